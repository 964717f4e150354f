// What a person does on the pages under /account: docs/sessions-page.md. Run by test_pages.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { api, call, operator, operatorToken, refresh, run, signedIn, startSession } from "./driver.mjs";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const PASSWORD = "correct-horse-battery-staple";

/** Opens a page; whatever breaks its Content-Security-Policy or is not caught fails the journey. */
async function open(context, path, width = 800) {
  const page = await context.newPage();
  page.broken = [];
  page.on("pageerror", (error) => page.broken.push(String(error)));
  page.on("console", (message) => {
    if (/content security policy|trusted ?type/i.test(message.text())) page.broken.push(message.text());
  });
  await page.setViewportSize({ width, height: 900 });
  await page.goto(`${api}/account/${path}`);
  return page;
}

const openSessions = (context, width) => open(context, "sessions?client_id=demo-browser", width);

const shown = (page, selector) => page.waitForSelector(selector, { state: "visible" });
const row = (page, { sid }) => page.locator(`li[data-sid="${sid}"]`);
const status = (page) => page.locator("#status").innerText();
const said = (page, text) => page.locator("#status", { hasText: text }).waitFor();
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);

/** No finding of axe, light and dark; nothing wider than a small phone; nothing against the CSP. */
async function good(page) {
  assert.deepEqual(page.broken, []);
  await page.evaluate(`window.axe || (() => {${AXE}})()`);
  // In the dark the colours are all that is different.
  for (const [colorScheme, options] of [["light", {}], ["dark", { runOnly: ["color-contrast"] }]]) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(async (options) => {
      const { violations } = await axe.run(document, { resultTypes: ["violations"], ...options });
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
    }, options);
    assert.deepEqual(found, [], colorScheme);
  }
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 320, height });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 320);
  await page.setViewportSize({ width, height });
}

/** Two sessions refreshed a few times, of which the second ended by reuse. */
async function stolen(sub) {
  const first = await startSession("demo-native", { sub, device: "Pixel 9" });
  const second = await refresh("demo-native", first.refresh_token);
  await refresh("demo-native", first.refresh_token);
  await refresh("demo-native", second.refresh_token);
  const { error_reason } = await refresh("demo-native", first.refresh_token);
  assert.equal(error_reason, "reused");
  return first;
}

async function openOperator(context, about, token) {
  const page = await open(context, "operator");
  await page.fill("#token", token ?? (await operatorToken()));
  await page.fill("#about", about);
  await page.keyboard.press("Enter");
  return page;
}

const journeys = {
  async "a person sees their devices, which one is this, when each ends and why others ended"(context) {
    const here = await signedIn(context, "bea");
    const phone = await startSession("demo-native", { sub: "bea", device: "Bea's phone" });
    const lost = await stolen("bea");
    const page = await openSessions(context);
    await shown(page, "#live");
    assert.equal(await page.locator("#live li").count(), 2);
    const live = await page.locator("#live li h3").allInnerTexts();
    assert.deepEqual(live, ["This laptop This device", "Bea's phone"]);
    assert.match(
      await row(page, phone).innerText(),
      /Ends on \d+ \w+ \d{4} unless it is used before; at the latest on \d+ \w+ \d{4}\./,
    );
    assert.match(await row(page, here).innerText(), /Signed in on \d+ \w+ \d{4}/);
    assert.match(
      await row(page, lost).innerText(),
      /Pixel 9[^]*Ended on \d+ \w+ \d{4} at \d\d:\d\d\. A key of it that had been replaced was used again/,
    );
    assert.equal(await status(page), "");
    await good(page);
  },

  async "a device that ends soon is told to the minute"(context) {
    await signedIn(context, "kim");
    const short = await startSession("demo-sensitive", { sub: "kim", device: "Bank" });
    const page = await openSessions(context);
    await shown(page, "#live");
    assert.match(
      await row(page, short).innerText(),
      /Ends after a while without use; at the latest on \d+ \w+ \d{4} at \d\d:\d\d\./,
    );
  },

  async "a device that only an API was used from was used, too"(context) {
    await signedIn(context, "max");
    const used = await startSession("demo-native", { sub: "max", device: "Max's phone" });
    await context.route(/\/sessions$/, async (route) => {
      const json = await (await route.fetch()).json();
      const session = json.sessions.find(({ sid }) => sid === used.sid);
      session.active_at = session.started_at + 7_200;
      assert.equal(session.refreshed_at, null);
      await route.fulfill({ json });
    });
    const page = await openSessions(context);
    await shown(page, "#live");
    const lastUse = /, last used on \d+ \w+ \d{4} at \d\d:\d\d or a little later\./;
    assert.match(await row(page, used).innerText(), lastUse);
    assert.equal(await page.getByText("last used").count(), 1);
  },

  async "who signs out one device ends its session, and its row says so"(context) {
    await signedIn(context, "cal");
    const phone = await startSession("demo-native", { sub: "cal", device: "Cal's phone" });
    const page = await openSessions(context);
    await page.getByRole("button", { name: "Sign out Cal's phone" }).click();
    assert.equal(await page.getByRole("alertdialog").getByRole("heading").innerText(), "Sign out Cal's phone?");
    await good(page);
    await page.getByRole("alertdialog").getByRole("button", { name: "Sign out" }).click();
    await said(page, "Cal's phone is signed out.");
    assert.match(await page.locator("#over").locator(`li[data-sid="${phone.sid}"]`).innerText(), /You signed out\./);
    assert.equal(await focused(page), "live-title");
    const { error_reason } = await refresh("demo-native", phone.refresh_token);
    assert.equal(error_reason, "revoked_by_user");
    await page.reload();
    await shown(page, "#live");
    assert.equal(await page.locator("#live li").count(), 1);
  },

  async "who signs out this device is asked to sign in again"(context) {
    const here = await signedIn(context, "dan");
    const page = await openSessions(context);
    await page.getByRole("button", { name: "Sign out this device" }).click();
    await page.click("#yes");
    await said(page, "You are signed out on this device.");
    await shown(page, "#sign-in");
    assert.equal(await page.locator("li").count(), 0);
    assert.deepEqual(await context.cookies(), []);
    assert.equal((await operator("GET", `/sessions/${here.sid}`)).reason, "revoked_by_user");
  },

  async "who signs out everywhere ends every session"(context) {
    const all = [await signedIn(context, "eve")];
    for (const device of ["Phone", "Tablet"]) all.push(await startSession("demo-native", { sub: "eve", device }));
    const page = await openSessions(context);
    await page.click("#everywhere");
    await page.click("#yes");
    await said(page, "You are signed out everywhere: 3 sessions ended.");
    assert.equal(await focused(page), "sign-in-title");
    for (const { sid } of all) {
      assert.equal((await operator("GET", `/sessions/${sid}`)).reason, "revoked_everywhere");
    }
    assert.deepEqual(await context.cookies(), []);
    await good(page);
  },

  async "nothing ends before it is confirmed, and the keyboard is enough"(context) {
    await signedIn(context, "flo");
    const phone = await startSession("demo-native", { sub: "flo", device: "Flo's phone" });
    const page = await openSessions(context);
    await shown(page, "#live");
    const label = () => page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    while ((await label()) !== "Sign out Flo's phone") await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    await page.keyboard.press("Enter");
    assert.equal(await focused(page), "no");
    await page.keyboard.press("Escape");
    assert.equal(await label(), "Sign out Flo's phone");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter"); // Cancel
    assert.equal((await operator("GET", `/sessions/${phone.sid}`)).status, "active");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.equal(await focused(page), "yes");
    await page.keyboard.press("Enter");
    await said(page, "Flo's phone is signed out.");
    assert.equal((await operator("GET", `/sessions/${phone.sid}`)).reason, "revoked_by_user");
  },

  async "a person signs in on the page with a password"(context) {
    const page = await openSessions(context);
    await shown(page, "#sign-in");
    assert.equal(await status(page), "");
    await good(page);
    const signIn = async (password) => {
      await page.fill("#email", "ada@example.com");
      await page.fill("#password", password);
      await page.keyboard.press("Enter");
    };
    await signIn("staple");
    await page.getByRole("alert").filter({ hasText: "The e-mail address or the password is wrong." }).waitFor();
    assert.equal(await focused(page), "password");
    assert.equal(await page.inputValue("#password"), "");
    assert.deepEqual(await context.cookies(), []);
    await good(page);
    await signIn(PASSWORD);
    await said(page, "You are signed in.");
    assert.equal(await focused(page), "live-title");
    assert.match(await page.locator("#live .badge").innerText(), /This device/);
    await page.reload();
    await shown(page, "#live .badge");
    assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage })), "{}");
  },

  async "an application that takes no passwords says where to sign in"(context) {
    const token = await call("POST", "/oauth/token", {
      form: { grant_type: "client_credentials" },
      headers: { Authorization: `Basic ${btoa("demo-operator:demo-operator-secret")}` },
    });
    await call("POST", "/applications", {
      headers: { Authorization: `Bearer ${token.access_token}` },
      json: {
        client_id: "elsewhere",
        confidential: false,
        grant_types: ["refresh_token"],
        scopes: ["profile"],
        policy: { preset: "browser" },
        allowed_origins: [api],
        refresh_cookie: true,
      },
    });
    const page = await open(context, "sessions?client_id=elsewhere");
    await shown(page, "#elsewhere");
    assert.match(await page.locator("#elsewhere").innerText(), /Sign in to elsewhere in this browser/);
    assert.equal(await page.locator("form").isVisible(), false);
    await good(page);
  },

  async "an application that has no page is told what is wrong"(context) {
    for (const [query, text] of [
      ["", "The address of this page has to name the application"],
      ["?client_id=nobody", "This page is not set up for the application “nobody”. Client authentication failed."],
      ["?client_id=Your%20account%20is%20locked", "The address of this page has to name the application"],
      [`?client_id=${"a".repeat(65)}`, "The address of this page has to name the application"],
      ["?client_id=demo-native", "This page is not set up for the application “demo-native”."],
    ]) {
      const page = await open(context, `sessions${query}`);
      await said(page, text);
      assert.equal(await page.locator("section:visible, form:visible").count(), 0);
      assert.doesNotMatch(await page.locator("body").innerText(), /locked|aaaaa/);
      await good(page);
    }
    // As one for another audience than this service.
    await signedIn(context, "leo");
    const json = { error: "invalid_token", error_description: "The access token is invalid" };
    await context.route(/\/sessions$/, (route) => route.fulfill({ status: 401, json }));
    const page = await openSessions(context);
    await said(page, "This page is not set up for the application “demo-browser”. The access token");
  },

  async "an access token that has run out is renewed once"(context) {
    await signedIn(context, "gus");
    const phone = await startSession("demo-native", { sub: "gus", device: "Phone" });
    const page = await openSessions(context);
    await shown(page, "#live");
    let refreshes = 0;
    let expired = 0;
    await page.route(/oauth\/refresh/, (route) => (refreshes++, route.continue()));
    await page.route(/sessions\/.{22}$/, (route) =>
      expired++ === 0
        ? route.fulfill({ status: 401, json: { error: "invalid_token", error_description: "The access token expired" } })
        : route.continue(),
    );
    await page.getByRole("button", { name: "Sign out Phone" }).click();
    await page.click("#yes");
    await said(page, "Phone is signed out.");
    assert.equal(refreshes, 1);
    assert.equal((await operator("GET", `/sessions/${phone.sid}`)).reason, "revoked_by_user");
  },

  async "a session that ended while its page was open says why"(context) {
    const here = await signedIn(context, "hal");
    const page = await openSessions(context);
    await shown(page, "#live");
    await operator("DELETE", `/sessions/${here.sid}`);
    await page.click("#everywhere");
    await page.click("#yes");
    await said(page, "This session has ended. Somebody who runs this service ended it.");
    assert.equal(await focused(page), "sign-in-title");
    await shown(page, "#sign-in");
    assert.deepEqual(await context.cookies(), []);
  },

  async "tabs that load at the same instant stay signed in"(context) {
    const { sid } = await signedIn(context, "ida");
    const tabs = await Promise.all([1, 2, 3].map(() => openSessions(context)));
    await Promise.all(tabs.map((tab) => shown(tab, "#live .badge")));
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
  },

  async "an outage signs nobody out"(context) {
    await signedIn(context, "jan");
    const keys = [];
    await context.route(/oauth\/refresh/, (route) => {
      keys.push(route.request().headers()["idempotency-key"]);
      return keys.length <= 2 ? route.abort() : route.continue();
    });
    const page = await openSessions(context);
    await said(page, "The service does not answer. Trying again");
    // Nor does who loads the page again meanwhile: it is the same request, with the same key.
    await page.reload();
    await shown(page, "#live");
    assert.ok(keys.length >= 3);
    assert.equal(new Set(keys).size, 1);
  },

  async "a text is shown as it is, whatever is in it"(context) {
    const device = `<img src=x onerror="alert(1)"><b>${"W".repeat(30)}`;
    await signedIn(context, "kai", { device });
    const page = await openSessions(context);
    await shown(page, "#live");
    assert.equal(await page.locator("#live h3").innerText(), `${device} This device`);
    assert.equal(await page.locator("#live img, #live b").count(), 0);
    await good(page);
    // What would have run without textContent is stopped once more.
    const stopped = await page.evaluate(() => {
      try {
        document.body.innerHTML = "<p>";
      } catch (error) {
        return error.name;
      }
    });
    assert.equal(stopped, "TypeError");
  },

  async "an operator sees the time-line of a session with a replay and a reuse"(context) {
    const { sid } = await stolen("lea");
    const token = await operatorToken();
    const page = await openOperator(context, sid, token);
    await shown(page, "#one");
    assert.equal(await focused(page), "one-title");
    assert.match(await page.locator("#sentence").innerText(), /presented again/);
    const evidence = /^The evidence: 2 generations behind, .*, without an Idempotency-Key\.$/;
    assert.match(await page.locator("#evidence").innerText(), evidence);
    assert.match(await page.locator("#advice").innerText(), /^What to change\n/);
    assert.equal(await page.locator("#missing").innerText(), "");
    const entries = await page.locator(".timeline > li h4").allInnerTexts();
    const told = ["Started", "Refreshed", "Replayed", "Refreshed", "Reuse detected", "Ended"];
    assert.deepEqual(entries, told);
    assert.match(await page.locator(".timeline .replayed").innerText(), /inside the leeway/);
    assert.match(await page.locator("#one dl").innerText(), /reuse_cause\n/);
    const marks = await page.evaluate(() =>
      [...document.querySelectorAll(".timeline h4")].map((title) => {
        const { width, backgroundColor, borderRadius, transform } = getComputedStyle(title, "::before");
        return [width, backgroundColor, borderRadius, transform].join();
      }),
    );
    // One mark each: for what went well, the replay, the reuse and the end.
    assert.ok(marks.every((mark) => mark.startsWith("18px")));
    assert.deepEqual(marks.map((mark) => marks.indexOf(mark)), [0, 0, 2, 0, 4, 5]);
    assert.equal(await page.locator("#end").isVisible(), false);
    await good(page);
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href]));
    assert.ok(!kept.includes(token));
  },

  async "an operator finds a subject's sessions and signs one out"(context) {
    const live = await startSession("demo-native", { sub: "mia", device: "Mia's phone" });
    await stolen("mia");
    const page = await openOperator(context, "mia");
    await shown(page, "#found");
    assert.equal(await page.locator("#found li").count(), 2);
    await good(page);
    await row(page, live).getByRole("button").click();
    await shown(page, "#one");
    const entries = await page.locator(".timeline > li h4").allInnerTexts();
    assert.deepEqual(entries, ["Started", "Deadline", "Deadline"]);
    // API use may be activity, too.
    const idle = await page.locator(".timeline .deadline").first().innerText();
    assert.match(idle, /It ends unless there is activity before/);
    assert.equal(await page.locator("#evidence").isVisible(), false);
    const active = page.locator("#one dt", { hasText: /^active_at$/ }).locator("+ dd");
    assert.match(await active.innerText(), /^\d+ \w+ \d{4} at \d\d:\d\d:\d\d UTC$/);
    await page.click("#end");
    await good(page);
    await page.click("#yes");
    await said(page, "The session has ended.");
    assert.equal((await operator("GET", `/sessions/${live.sid}`)).reason, "revoked_by_operator");
    assert.equal((await page.locator(".timeline > li h4").allInnerTexts()).at(-1), "Ended");
  },

  async "an operator is told what their access token may not"(context) {
    const { sid } = await startSession("demo-native", { sub: "nia" });
    const refused = await openOperator(context, sid, "eyJhbGciOiJub25lIn0.e30.");
    await said(refused, /access token/i);
    await good(refused);
    const cannotRead = await openOperator(context, sid, await operatorToken("sessions:revoke"));
    await said(cannotRead, /scope/);
    const cannotRevoke = await openOperator(context, sid, await operatorToken("sessions:read"));
    await cannotRevoke.click("#end");
    await cannotRevoke.click("#yes");
    await said(cannotRevoke, /scope/);
    assert.equal((await operator("GET", `/sessions/${sid}`)).status, "active");
    const none = await openOperator(context, "somebody-else");
    await said(none, "There is no session of “somebody-else”.");
  },
};

await run(journeys);
