// What browser/ratchet.js and the session page do when they get no answer, a strange one, or one that
// another origin has lost: docs/browser.md. Run by test_browser.py.

import assert from "node:assert/strict";
import { api, operator, run, sites } from "./driver.mjs";
import {
  during, EXPIRED, eventually, KEY, LOST, MINUTES, open, orders, post, REFRESH, refreshes, refused, rotate,
  share, shared, sidOf, signedIn, told, tokenOf,
} from "./tab.mjs";

const service = `http://localhost:${new URL(api).port}`;
const cors = { "Access-Control-Allow-Origin": sites.page, "Access-Control-Allow-Credentials": "true" };

/** The service rotates at this page's next refresh, and dies with the answer on its way; so does the page. */
async function loseAnswer(context, page) {
  const rotated = new Promise((resolve) => {
    page.route(REFRESH, async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      resolve(await rotate(context, route.request()).then(() => route.abort()));
    });
  });
  // Nor does it ask again before it is closed.
  await page.evaluate(() => (window.setTimeout = () => 0));
  page.evaluate(() => session.refresh()).catch(() => {});
  await rotated;
  await page.close();
}

const openSessions = async (context, client_id) => {
  const page = await context.newPage();
  await page.goto(`${service}/account/sessions?client_id=${client_id}`);
  return page;
};

/** The service answers refreshes with these, one after the other, and then as it is. */
async function answers(context, ...given) {
  await context.route(REFRESH, (route) => {
    if (route.request().method() !== "POST" || given.length === 0) return route.continue();
    const { headers, ...answer } = given.shift();
    return route.fulfill({ ...answer, headers: { ...cors, ...headers } });
  });
}

/** The service's answers say this of the access token's lifetime; undefined: nothing. */
const lifetime = (page, expires_in) =>
  page.evaluate((expires_in) => {
    const { text } = Response.prototype;
    Response.prototype.text = async function () {
      const body = JSON.parse(await text.call(this));
      return JSON.stringify({ ...body, expires_in, refresh_after: expires_in });
    };
  }, expires_in);

const failure = (page) => page.evaluate(() => session.accessToken().then(() => null, (e) => e.name));

const journeys = {
  async "an answer that was lost is asked for again by a page of another origin"(context) {
    // Without a leeway whoever has no Idempotency-Key is a thief.
    const { page, sid } = await signedIn(context, sites.page, "strict");
    const sent = refreshes(context);
    await loseAnswer(context, page);
    const other = await open(context, sites.other, "strict");
    assert.equal(await refused(other), null);
    assert.equal(await sidOf(other), sid);
    assert.deepEqual([sent.length, new Set(sent).size], [2, 1]);
    assert.equal(await other.evaluate(() => document.cookie), "");
    assert.equal(await refused(other), null);
    assert.notEqual(sent[2], sent[0]);
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
  },

  async "an answer that a page lost is asked for again by the session page, and the other way"(context) {
    const { page, sid } = await signedIn(context, sites.page, "strict");
    await loseAnswer(context, page);
    const sessions = await openSessions(context, "strict");
    await sessions.waitForSelector("#live .badge");
    assert.equal(await sessions.evaluate(() => document.cookie), "");
    let lost = 0;
    await sessions.route(REFRESH, async (route) => {
      if (lost++ === 0) await rotate(context, route.request());
      await route.abort();
    });
    await sessions.reload();
    await sessions.waitForSelector("text=The service does not answer.");
    await sessions.close();
    assert.equal(await refused(await open(context, sites.other, "strict")), null);
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
  },

  async "all hosts of the site share the Idempotency-Key, and nobody else has it"(context) {
    const at = (host) => open(context, sites.page.replace("localhost", host));
    const [page, other, elsewhere] = await Promise.all(
      ["app.ratchet.localhost", "staff.eu.ratchet.localhost", "shop.localhost"].map(at),
    );
    const asked = page.waitForRequest(REFRESH);
    await context.route(REFRESH, (route) => route.abort());
    page.evaluate(() => session.refresh()).catch(() => {});
    const key = (await asked).headers()["idempotency-key"];
    assert.match(key, /^[0-9a-f-]{36}$/);
    assert.deepEqual([await shared(page), await shared(other)], [key, key]);
    assert.equal(await shared(elsewhere), undefined);
    const { domain, secure, sameSite, expires } = (await context.cookies()).find((c) => c.name === KEY);
    assert.deepEqual([domain, secure, sameSite], [".ratchet.localhost", true, "Strict"]);
    assert.ok(Math.abs(expires - Date.now() / 1000 - 86_400) < 60);
  },

  async "what another host of the site writes there does not stop a refresh"(context) {
    const { page } = await signedIn(context);
    const sent = refreshes(context);
    await share(page, "x");
    assert.equal(await refused(page), null);
    assert.match(sent[0], /^[0-9a-f-]{36}$/);
  },

  async "on a slow network tabs wait for the one that refreshes, unless their token is good"(context) {
    await context.clock.install();
    const { page, sid } = await signedIn(context);
    const tab = await open(context);
    assert.equal(await sidOf(tab), sid);
    const before = await tokenOf(page);
    const slow = { offline: false, latency: 1_500, downloadThroughput: -1, uploadThroughput: -1 };
    for (const one of [page, tab]) {
      await (await context.newCDPSession(one)).send("Network.emulateNetworkConditions", slow);
    }
    const sent = refreshes(context);
    await context.clock.fastForward(50 * MINUTES);
    const asked = Date.now();
    assert.equal(await tokenOf(page), before);
    assert.ok(Date.now() - asked < 1_500);
    for (const one of [page, tab]) await eventually(async () => (await tokenOf(one)) !== before);
    await context.clock.fastForward(90 * MINUTES);
    const [one, other] = await Promise.all([tokenOf(page), tokenOf(tab)]);
    assert.equal(one, other);
    assert.equal(sent.length, 2);
  },

  async "an answer that is not the service's is none, and the Idempotency-Key stays"(context) {
    await context.clock.install();
    const { page, sid } = await signedIn(context);
    const sent = refreshes(context);
    await answers(
      context,
      { status: 200, json: { status: "ok" } },
      { status: 200, contentType: "text/html", body: "<!doctype html><title>Welcome to our Wi-Fi</title>" },
      { status: 200, body: "" },
      { status: 511, json: null },
    );
    assert.equal(await during(refused(page), () => context.clock.fastForward(1_000)), null);
    assert.deepEqual([sent.length, new Set(sent).size], [5, 1]);
    assert.equal(await sidOf(page), sid);
    assert.deepEqual(await told(page), [["started", sid]]);
  },

  async "the session page takes no other answer, either"(context) {
    await signedIn(context);
    const sent = refreshes(context);
    await answers(
      context,
      { status: 200, contentType: "text/html", body: "<!doctype html><title>Welcome to our Wi-Fi</title>" },
      { status: 200, json: { status: "ok" } },
    );
    const page = await openSessions(context, "demo-browser");
    for (let round = 0; round < 2; round++) {
      await page.waitForSelector("text=That was no answer of this service.");
      await page.click("#again button");
    }
    await page.waitForSelector("#live .badge");
    assert.deepEqual([sent.length, new Set(sent).size], [3, 1]);
  },

  async "a wrong password on the session page does not forget a refresh without an answer"(context) {
    const page = await openSessions(context, "demo-browser");
    await page.waitForSelector("#sign-in", { state: "visible" });
    await share(page, LOST);
    await page.fill("#email", "ada@example.com");
    await page.fill("#password", "staple");
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=The e-mail address or the password is wrong.");
    assert.equal(await shared(page), LOST);
  },

  async "before Retry-After has passed no tab asks for a refresh"(context) {
    await context.clock.install();
    const { page, sid } = await signedIn(context);
    const tab = await open(context);
    await tokenOf(tab);
    const before = await tokenOf(page);
    const sent = refreshes(context);
    const wait = (seconds) => ({ status: 503, headers: { "Retry-After": `${seconds}`, ...exposed } });
    const exposed = { "Access-Control-Expose-Headers": "Retry-After" };
    await answers(context, wait(120), { ...wait(120), status: 429 }, wait(20), wait(86_400));
    // The token is good: nobody notices.
    await context.clock.fastForward(50 * MINUTES);
    for (let call = 0; call < 3; call++) {
      for (const one of [page, tab]) {
        assert.equal(await tokenOf(one), before);
        await one.evaluate(() => navigator.locks.request("ratchet-demo-browser", () => {}));
      }
    }
    assert.equal(sent.length, 1);
    // It is not: it has expired, and whoever asks is told at once.
    await context.clock.fastForward(50 * MINUTES);
    for (const one of [page, tab, page]) assert.equal(await failure(one), "Unreachable");
    assert.equal(sent.length, 2);
    await context.clock.fastForward(80_000);
    assert.equal(await failure(tab), "Unreachable");
    assert.equal(sent.length, 2);
    // A short while is waited for, whatever else happens, and one of days is not taken seriously.
    await context.clock.fastForward(80_000);
    const waiting = failure(page);
    waiting.catch(() => {});
    const held = () => localStorage.getItem("ratchet-hold-demo-browser") > Date.now();
    await eventually(() => page.evaluate(held));
    assert.equal(sent.length, 3);
    for (const one of [page, tab]) await one.evaluate(() => dispatchEvent(new Event("online")));
    await context.clock.runFor(19_000);
    assert.equal(sent.length, 3);
    assert.equal(await during(waiting, () => context.clock.runFor(1_000)), "Unreachable");
    assert.equal(sent.length, 4);
    await context.clock.fastForward(250_000);
    assert.equal(await failure(tab), "Unreachable");
    await context.clock.fastForward(130_000);
    assert.equal(await sidOf(tab), sid);
    assert.deepEqual([sent.length, new Set(sent).size], [5, 1]);
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
  },

  async "a Retry-After that makes no sense does not make the module hurry"(context) {
    const { page } = await signedIn(context);
    const sent = refreshes(context);
    const headers = { "Retry-After": "-5", "Access-Control-Expose-Headers": "Retry-After" };
    await answers(context, ...Array(20).fill({ status: 503, headers }));
    const waiting = refused(page);
    await eventually(() => sent.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.equal(sent.length, 1);
    await context.unroute(REFRESH);
    assert.equal(await waiting, null);
  },

  async "a 401 that says nothing counts as an expired token, once"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    const before = await tokenOf(page);
    const sent = refreshes(context);
    const seen = await orders(page, [[401], [200]]);
    assert.equal(await post(page, "3 apples"), 200);
    assert.deepEqual(seen.map(({ body }) => body), ["3 apples", "3 apples"]);
    assert.notEqual(seen[1].authorization, `Bearer ${before}`);
    assert.equal(sent.length, 1);
    await page.unroute(/\/orders$/);
    await context.clock.fastForward(2 * MINUTES);
    const refusing = await orders(page, [[401]]);
    for (let call = 0; call < 3; call++) assert.equal(await post(page, "3 apples"), 401);
    assert.deepEqual([sent.length, refusing.length], [2, 4]);
  },

  async "a challenge may be written in any way that RFC 9110 allows"(context) {
    const { page } = await signedIn(context);
    const seen = await orders(page, [[401, "bearer Error  = invalid_token"], [200]]);
    assert.equal(await post(page, "3 apples"), 200);
    assert.equal(seen.length, 2);
  },

  async "a challenge that the page may not read says nothing"(context) {
    const { page } = await signedIn(context);
    const seen = [];
    await page.route(`${sites.other}/orders`, (route) => {
      seen.push(route.request().headers().authorization);
      const headers = { "Access-Control-Allow-Origin": "*", "WWW-Authenticate": EXPIRED[1] };
      return route.fulfill({ status: seen.length === 1 ? 401 : 200, headers });
    });
    const status = await page.evaluate(
      (url) => session.fetch(url).then((answer) => [answer.status, answer.headers.has("WWW-Authenticate")]),
      `${sites.other}/orders`,
    );
    assert.deepEqual([status, seen.length], [[200, false], 2]);
  },

  async "who says so gets a 401 that says nothing as it is"(context) {
    const { page } = await signedIn(context);
    await page.evaluate(async (issuer) => {
      const { Session } = await import("/ratchet.js");
      window.session = new Session({ issuer, clientId: "demo-browser", refreshOnBare401: false });
      await session.refresh();
    }, service);
    const sent = refreshes(context);
    const seen = await orders(page, [[401]]);
    assert.equal(await post(page, "3 apples"), 401);
    assert.deepEqual([sent.length, seen.length], [0, 1]);
  },

  async "a token that is good for no time, or nobody knows how long, does not cost a refresh each time"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    const tab = await open(context);
    for (const one of [page, tab]) await lifetime(one, undefined);
    await refused(page);
    await tokenOf(tab);
    const sent = refreshes(context);
    const calls = async () => {
      for (let call = 0; call < 3; call++) assert.equal(await tokenOf(page), await tokenOf(tab));
    };
    await calls();
    assert.equal(sent.length, 0);
    for (const one of [page, tab]) await one.reload().then(() => one.waitForFunction(() => window.session));
    for (const one of [page, tab]) await lifetime(one, 0);
    await calls();
    const reloaded = sent.length;
    assert.ok(reloaded <= 2);
    await calls();
    assert.equal(sent.length, reloaded);
    await context.clock.fastForward(2 * MINUTES);
    await calls();
    assert.equal(sent.length, reloaded + 1);
  },

  async "a token of four seconds is used for three"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    await lifetime(page, 4);
    await refused(page);
    await context.clock.pauseAt(Date.now() + 5 * MINUTES);
    await refused(page);
    const sent = refreshes(context);
    await context.clock.fastForward(2_900);
    const token = await tokenOf(page);
    assert.equal(await tokenOf(page), token);
    assert.equal(sent.length, 0);
    await context.clock.fastForward(200);
    assert.notEqual(await tokenOf(page), token);
    assert.equal(sent.length, 1);
  },
};

await run(journeys);
