// What a person does in a browser, each as a sentence of the specification: docs/browser.md.
// Run by test_browser.py.

import assert from "node:assert/strict";
import { api, call, operator, run, sites } from "./driver.mjs";
import { COOKIE, LOST, ORDERS, open, refused, share, sidOf, signedIn } from "./tab.mjs";

const DAY = 86_400;

const cookies = async (context) =>
  Object.fromEntries((await context.cookies()).map((cookie) => [cookie.name, cookie]));

/** A fetch of the page's own, without the module's lock. Resolves to the status, 0 for none. */
const raw = (page, path, { client_id, headers, ...parameters }) =>
  page.evaluate(
    async ({ url, client_id, headers, parameters }) => {
      const body = new URLSearchParams({ client_id, ...parameters });
      const options = { method: "POST", credentials: "include", headers, body };
      return fetch(url, options).then((answer) => answer.status, () => 0);
    },
    {
      url: `${new URL(page.url()).origin.replace(/:\d+$/, "")}:${new URL(api).port}${path}`,
      client_id,
      headers,
      parameters,
    },
  );

const asking = { "Ratchet-Refresh-Token": "cookie" };

const journeys = {
  async "no script sees the refresh token"(context) {
    const bodies = [];
    context.on("response", (answer) => bodies.push(answer.text().catch(() => "")));
    const { page } = await signedIn(context);
    await page.evaluate(() => session.refresh());
    const { [COOKIE]: cookie, ...others } = await cookies(context);
    assert.deepEqual(others, {});
    const { value, expires, ...attributes } = cookie;
    assert.match(value, /^rt1_/);
    assert.ok(Math.abs(expires - Date.now() / 1000 - 44 * DAY) < 60);
    assert.deepEqual(attributes, {
      name: COOKIE,
      domain: "localhost",
      path: "/",
      httpOnly: true,
      secure: true,
      sameSite: "Strict",
    });
    assert.equal(await page.evaluate(() => document.cookie), "");
    assert.match(await page.evaluate(() => JSON.stringify({ ...localStorage })), ORDERS);
    const seen = (await Promise.all(bodies)).join();
    assert.ok(seen.includes("access_token") && !seen.includes("rt1_"));
  },

  async "a person signs in with e-mail address and password"(context) {
    const page = await open(context, sites.page);
    const signIn = (password) => page.evaluate(
      (password) => session.signIn("ada@example.com", password).then(() => null, (e) => e.reason),
      password,
    );
    assert.equal(await signIn("staple"), "wrong_credentials");
    assert.deepEqual(await cookies(context), {});
    assert.equal(await signIn("correct-horse-battery-staple"), null);
    const sid = await sidOf(page);
    await page.reload();
    await page.waitForFunction(() => window.session);
    assert.equal(await sidOf(page), sid);
  },

  async "a reload and a new tab keep the session"(context) {
    const { page, sid } = await signedIn(context);
    await page.reload();
    await page.waitForFunction(() => window.session);
    assert.equal(await sidOf(page), sid);
    const tab = await open(context, sites.page);
    assert.equal(await sidOf(tab), sid);
  },

  async "two tabs that refresh at the same instant stay signed in"(context) {
    let { page, sid } = await signedIn(context);
    const tab = await open(context, sites.page);
    for (let together = 0, rounds = 0; together < 10; rounds++) {
      assert.ok(rounds < 50, "this machine never gets them to the same instant");
      const form = { client_id: "demo-browser", headers: asking };
      const path = "/oauth/refresh?client_id=demo-browser";
      const sent = [];
      const note = (request) => request.method() === "POST" && sent.push(request);
      context.on("request", note);
      const statuses = await Promise.all([page, tab, page, tab].map((p) => raw(p, path, form)));
      context.off("request", note);
      const presented = await Promise.all(sent.map((request) => request.headerValue("cookie")));
      if (new Set(presented).size === 1) {
        assert.deepEqual(statuses, [200, 200, 200, 200], `round ${rounds}`);
        together++;
      } else if (statuses.includes(400)) {
        // On a busy machine one was answered before another was sent: then it is no replay.
        ({ page, sid } = await signedIn(context));
      }
    }
    await Promise.all([page, tab].map((p) => p.evaluate(() => session.refresh())));
    assert.deepEqual([await sidOf(page), await sidOf(tab)], [sid, sid]);
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
  },

  async "an answer that was lost is asked for again"(context) {
    const { page, sid } = await signedIn(context);
    const { [COOKIE]: before } = await cookies(context);
    await share(page, LOST);
    // The service has rotated, the browser never heard of it.
    await call("POST", "/oauth/refresh", {
      form: { client_id: "demo-browser" },
      headers: {
        ...asking,
        Origin: sites.page,
        Cookie: `${COOKIE}=${before.value}`,
        "Idempotency-Key": LOST,
      },
    });
    assert.equal(await refused(page), null);
    assert.equal(await sidOf(page), sid);
    assert.equal((await operator("GET", `/sessions/${sid}`)).generation, 2);
    assert.equal(await refused(page), null);
  },

  async "an outage keeps the session"(context) {
    const { page, sid } = await signedIn(context);
    let failures = 0;
    await page.route(/oauth\/refresh/, async (route) => {
      if (route.request().method() !== "POST" || failures >= 2) return route.continue();
      if (failures++ === 0) return route.abort();
      return route.fulfill({
        status: 503,
        headers: {
          "Retry-After": "1",
          "Access-Control-Allow-Origin": sites.page,
          "Access-Control-Allow-Credentials": "true",
          "Access-Control-Expose-Headers": "Retry-After",
        },
        json: { error: "temporarily_unavailable", error_reason: "unavailable", retry: "after" },
      });
    });
    assert.equal(await refused(page), null);
    assert.equal(failures, 2);
    assert.equal(await sidOf(page), sid);
  },

  async "a page of another origin cannot use the cookie"(context) {
    // On the same site, so that SameSite=Strict does not help: a port, as it could be a subdomain.
    const { page, sid } = await signedIn(context, sites.page, "shop");
    const before = await operator("GET", `/sessions/${sid}`);
    for (const path of ["/oauth/refresh", "/oauth/revoke"]) {
      const evil = await open(context, sites.other, "shop");
      for (const address of [path, `${path}?client_id=shop`]) {
        const preflighted = { client_id: "shop", headers: asking };
        assert.equal(await raw(evil, address, preflighted), 0, address);
        assert.equal(await raw(evil, address, { client_id: "shop", headers: {} }), 0, address);
      }
      await evil.goto(`${sites.other}/form?path=${path}&client_id=shop`);
      await Promise.all([evil.waitForNavigation(), evil.click("button")]);
      assert.match(await evil.innerText("body"), /parameter (refresh_token|token) is missing/);
    }
    assert.deepEqual(await operator("GET", `/sessions/${sid}`), before);
    assert.equal(await refused(page), null);
  },

  async "a page of another site does not even send the cookie"(context) {
    const { page, sid } = await signedIn(context);
    const elsewhere = await open(context, sites.elsewhere);
    // Ports do not part cookies: what /echo of the host is sent is what the API would be sent.
    const sent = (from) =>
      from.evaluate(
        (url) => fetch(url, { credentials: "include" }).then((answer) => answer.text()),
        `${sites.page}/echo`,
      );
    assert.equal(await sent(elsewhere), "");
    assert.match(await sent(page), new RegExp(`^${COOKIE}=rt1_`));
    assert.equal(await sidOf(page), sid);
  },

  async "a session that was ended takes the cookie with it"(context) {
    const { page, sid } = await signedIn(context);
    await operator("DELETE", `/sessions/${sid}`);
    assert.equal(await refused(page), "revoked_by_operator");
    assert.deepEqual(await cookies(context), {});
    assert.equal(await refused(page), "no_cookie");
  },

  async "signing out ends the session and takes the cookie away"(context) {
    const { page, sid } = await signedIn(context);
    await page.evaluate(() => session.signOut());
    assert.deepEqual(await cookies(context), {});
    const { status, reason } = await operator("GET", `/sessions/${sid}`);
    assert.deepEqual({ status, reason }, { status: "ended", reason: "revoked_by_user" });
    assert.equal(await refused(page), "no_cookie");
  },

  async "two applications at one address do not sign each other out"(context) {
    const first = await signedIn(context);
    const second = await signedIn(context, sites.page, "shop");
    assert.deepEqual(Object.keys(await cookies(context)).sort(), [
      COOKIE,
      "__Host-Http-ratchet-shop",
    ]);
    await first.page.evaluate(() => session.refresh());
    await first.page.evaluate(() => session.signOut());
    assert.equal(await refused(second.page), null);
    assert.equal(await sidOf(second.page), second.sid);
  },

  async "it works on http://127.0.0.1 too"(context) {
    const { page, sid } = await signedIn(context, sites.address);
    await page.evaluate(() => session.refresh());
    const { [COOKIE]: cookie } = await cookies(context);
    assert.deepEqual([cookie.domain, cookie.secure], ["127.0.0.1", true]);
    assert.equal(await sidOf(page), sid);
    assert.equal(await page.evaluate(() => document.cookie), "");
  },

  async "a page may ask for the subject's own sessions"(context) {
    const { page, sid } = await signedIn(context);
    const found = await page.evaluate(async (url) => {
      const headers = { Authorization: `Bearer ${await session.accessToken()}` };
      const answer = await fetch(url, { headers });
      return (await answer.json()).sessions.find((one) => one.current).sid;
    }, `http://localhost:${new URL(api).port}/sessions?client_id=demo-browser`);
    assert.equal(found, sid);
  },
};

await run(journeys);
