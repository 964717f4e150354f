// What browser/ratchet.js promises, each as a sentence of docs/browser.md. Run by test_browser.py.

import assert from "node:assert/strict";
import { operator, run, sites, startSession } from "./driver.mjs";
import {
  during, EXPIRED, eventually, LOST, MINUTES, open, ORDERS, orders, post, REFRESH, refreshes, refused,
  rotate, share, shared, sidOf, signedIn, told, tokenOf, turn,
} from "./tab.mjs";

const journeys = {
  async "the page of the documentation signs in, asks an API and signs out"(context) {
    const page = await context.newPage();
    await page.goto(`${sites.page}/page.html`);
    await page.fill("[name=email]", "ada@example.com");
    await page.fill("[name=password]", "staple");
    await page.click("text=Sign in");
    await page.waitForSelector("text=The e-mail address or the password is wrong.");
    await page.fill("[name=password]", "correct-horse-battery-staple");
    await page.click("text=Sign in");
    await page.waitForSelector("text=/Signed in: [1-9]/");
    await page.reload();
    await page.click("text=Sign out");
    await page.waitForSelector("text=revoked_by_user");
    assert.ok(await page.isVisible("#sign-in"));
  },

  async "ten tabs whose token expires refresh once"(context) {
    await context.clock.install();
    const tabs = [];
    for (let tab = 0; tab < 9; tab++) tabs.push(await open(context));
    const { page, sid } = await signedIn(context);
    tabs.push(page);
    const first = await tokenOf(page);
    const sent = refreshes(context);
    for (let round = 1; round <= 2; round++) {
      await context.clock.fastForward(90 * MINUTES);
      const tokens = new Set(await Promise.all(tabs.map(tokenOf)));
      assert.equal(sent.length, round);
      assert.equal(tokens.size, 1);
      assert.ok(!tokens.has(first));
    }
    assert.equal((await operator("GET", `/sessions/${sid}`)).generation, 3);
    for (const tab of tabs) assert.deepEqual(await told(tab), [["started", sid]]);
  },

  async "ten tabs that are opened at once refresh once"(context) {
    const { page, sid } = await signedIn(context);
    const tabs = await Promise.all(Array.from({ length: 9 }, () => open(context)));
    await page.close();
    // The lock comes before the word of whoever had it.
    await Promise.all(tabs.map((tab) => tab.evaluate(() => {
      const post = BroadcastChannel.prototype.postMessage;
      BroadcastChannel.prototype.postMessage = function (word) {
        setTimeout(() => post.call(this, word), 200);
      };
    })));
    const sent = refreshes(context);
    assert.deepEqual([...new Set(await Promise.all(tabs.map(sidOf)))], [sid]);
    assert.equal(sent.length, 1);
  },

  async "a request that is refused for its token is sent again once, with its body"(context) {
    const { page } = await signedIn(context);
    const before = await tokenOf(page);
    const sent = refreshes(context);
    const seen = await orders(page, [EXPIRED, [200]]);
    assert.equal(await post(page, "3 apples"), 200);
    const after = await tokenOf(page);
    assert.notEqual(after, before);
    assert.deepEqual(seen, [
      { authorization: `Bearer ${before}`, body: "3 apples" },
      { authorization: `Bearer ${after}`, body: "3 apples" },
    ]);
    assert.equal(sent.length, 1);
  },

  async "an API that refuses every token does not cost a refresh each time"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    const tab = await open(context);
    await page.evaluate(() => session.refresh());
    await tokenOf(tab);
    const sent = refreshes(context);
    const [seen] = [await orders(page, [EXPIRED]), await orders(tab, [EXPIRED])];
    for (let call = 0; call < 3; call++) {
      assert.deepEqual([await post(page, "a"), await post(tab, "b")], [401, 401]);
    }
    assert.deepEqual([sent.length, seen.length], [1, 4]);
    await context.clock.fastForward(2 * MINUTES);
    assert.equal(await post(page, "c"), 401);
    assert.equal(sent.length, 2);
  },

  async "a refusal for another reason is passed on, and so is one of a stream"(context) {
    const { page } = await signedIn(context);
    const sent = refreshes(context);
    for (const answer of [[401, 'Bearer realm="orders"'], [403, EXPIRED[1]], [403]]) {
      const seen = await orders(page, [answer]);
      assert.equal(await post(page, "3 apples"), answer[0]);
      assert.equal(seen.length, 1);
      await page.unroute(/\/orders$/);
    }
    const seen = await orders(page, [EXPIRED]);
    const status = await page.evaluate(async () => {
      const body = new Blob(["3 apples"]).stream();
      return (await session.fetch("/orders", { method: "POST", body, duplex: "half" })).status;
    });
    assert.deepEqual([status, seen.length, sent.length], [401, 1, 0]);
  },

  async "an end of the session is told once in every tab"(context) {
    const tabs = [await open(context), await open(context)];
    const { page, sid } = await signedIn(context);
    tabs.push(page);
    await operator("DELETE", `/sessions/${sid}`);
    const all = [["started", sid], ["ended", "revoked_by_operator"]];
    assert.deepEqual(await Promise.all(tabs.map(refused)), Array(3).fill("revoked_by_operator"));
    for (const tab of tabs) assert.deepEqual(await told(tab), all);
    const sent = refreshes(context);
    for (const tab of tabs) await assert.rejects(tokenOf(tab), /An operator/);
    assert.equal(sent.length, 0);
    for (const tab of tabs) assert.equal(await refused(tab), "no_cookie");
    for (const tab of tabs) assert.deepEqual(await told(tab), all);
  },

  async "a first visit is not told of an end"(context) {
    const page = await open(context);
    assert.equal(await refused(page), "no_cookie");
    assert.deepEqual(await told(page), []);
  },

  async "signing out in one tab signs out the others"(context) {
    const { page, sid } = await signedIn(context);
    const tab = await open(context);
    await page.evaluate(() => {
      window.tabs = new BroadcastChannel("ratchet-demo-browser");
      tabs.onmessage = ({ data }) => (window.word ??= data);
    });
    assert.equal(await sidOf(tab), sid);
    await page.evaluate(() => session.signOut());
    const all = [["started", sid], ["ended", "revoked_by_user"]];
    await eventually(async () => (await told(tab)).length === 2);
    assert.deepEqual([await told(page), await told(tab)], [all, all]);
    // Not even if somebody's word is late.
    await page.evaluate(() => tabs.postMessage(word));
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const one of [page, tab]) await assert.rejects(tokenOf(one), /signed out/);
    assert.match(await tab.evaluate(() => JSON.stringify({ ...localStorage })), ORDERS);
  },

  async "the newest sign-in counts in all tabs, and sends nobody's request again"(context) {
    const { page, sid } = await signedIn(context);
    const tab = await open(context);
    const seen = [];
    assert.equal(await sidOf(tab), sid);
    // Bob signs in while Ada's request is on its way.
    const bob = await startSession("demo-browser", { sub: "bob" });
    await tab.route(/\/orders$/, async (route) => {
      seen.push(route.request().headers().authorization);
      await page.evaluate((token) => session.adopt(token), bob.refresh_token);
      await route.fulfill({ status: 401, headers: { "WWW-Authenticate": EXPIRED[1] } });
    });
    assert.equal(await post(tab, "3 apples"), 401);
    assert.equal(seen.length, 1);
    assert.equal(await sidOf(tab), bob.sid);
    assert.deepEqual(await told(tab), [["started", sid], ["started", bob.sid]]);
  },

  async "a tab that missed the word of another one asks"(context) {
    const { page: tab } = await signedIn(context);
    const page = await open(context);
    const bob = await startSession("demo-browser", { sub: "bob" });
    // As if it had been frozen, or left by the Back button: it is not told. And whoever does not
    // tell it has a clock that was set back.
    await page.evaluate((token) => {
      BroadcastChannel.prototype.postMessage = () => {};
      const now = Date.now;
      Date.now = () => now() - 86_400_000;
      return session.adopt(token);
    }, bob.refresh_token);
    assert.equal(await sidOf(tab), bob.sid);
    assert.deepEqual((await told(tab)).at(-1), ["started", bob.sid]);
  },

  async "offline nothing is lost, and back online it goes on at once"(context) {
    await context.clock.install();
    const { page, sid } = await signedIn(context);
    const sent = refreshes(context);
    await context.setOffline(true);
    await context.clock.fastForward(90 * MINUTES);
    // Nothing but the network's return can end a pause.
    await context.clock.pauseAt(Date.now() + 95 * MINUTES);
    const token = tokenOf(page);
    token.catch(() => {});
    await eventually(() => sent.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const offline = sent.length;
    assert.equal(await shared(page), sent[0]);
    await context.setOffline(false);
    await token;
    assert.equal(sent.length, offline + 1);
    assert.deepEqual([...new Set(sent)].length, 1);
    assert.equal(await sidOf(page), sid);
    assert.match(await page.evaluate(() => JSON.stringify({ ...localStorage })), ORDERS);
  },

  async "an answer that takes too long is asked for again with the same key"(context) {
    const { page, sid } = await signedIn(context);
    const sent = refreshes(context);
    await page.evaluate(() => {
      const timeout = AbortSignal.timeout;
      AbortSignal.timeout = (ms) => {
        AbortSignal.timeout = timeout;
        return timeout.call(AbortSignal, ms / 15);
      };
    });
    let held = 0;
    await page.route(REFRESH, async (route) => {
      if (route.request().method() !== "POST" || held++ > 0) return route.continue();
      await rotate(context, route.request());
    });
    assert.equal(await refused(page), null);
    assert.deepEqual([sent.length, new Set(sent).size], [2, 1]);
    const { status, generation } = await operator("GET", `/sessions/${sid}`);
    assert.deepEqual([status, generation], ["active", 2]);
  },

  async "a tab that is killed in mid-refresh leaves the session to another one"(context) {
    const { page, sid } = await signedIn(context);
    const tab = await open(context);
    await tokenOf(tab);
    const before = (await operator("GET", `/sessions/${sid}`)).generation;
    const sent = refreshes(context);
    const rotated = new Promise((resolve) => {
      page.route(REFRESH, async (route) => {
        if (route.request().method() !== "POST") return route.continue();
        resolve(await rotate(context, route.request()).then(() => route.abort()));
      });
    });
    // It has the lock until it dies. (A request held back would be let go by its end.)
    await page.evaluate(() => (window.setTimeout = () => 0));
    page.evaluate(() => session.refresh()).catch(() => {});
    await rotated;
    const waiting = refused(tab);
    waiting.catch(() => {});
    const crashed = page.waitForEvent("crash");
    (await context.newCDPSession(page)).send("Page.crash").catch(() => {});
    await crashed;
    assert.equal(await waiting, null);
    assert.deepEqual([sent.length, new Set(sent).size], [2, 1]);
    assert.equal(await sidOf(tab), sid);
    const { status, generation } = await operator("GET", `/sessions/${sid}`);
    assert.deepEqual([status, generation], ["active", before + 1]);
  },

  async "a wrong password does not forget a refresh without an answer"(context) {
    const { page } = await signedIn(context);
    await share(page, LOST);
    await page.evaluate(() => session.signIn("ada@example.com", "staple").catch(() => {}));
    const sent = refreshes(context);
    assert.equal(await refused(page), null);
    assert.deepEqual(sent, [LOST]);
  },

  async "a tab refreshes ahead of time, and right after the laptop slept"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    const sent = refreshes(context);
    await context.clock.fastForward(40 * MINUTES);
    await context.clock.runFor(20_000);
    assert.equal(sent.length, 0);
    await context.clock.fastForward(9 * MINUTES);
    await eventually(() => sent.length === 1);
    await page.waitForFunction(() => document.cookie === "");
    // No timer comes: the clock stands, at a later time, and the network is back.
    await context.clock.pauseAt(Date.now() + 55 * MINUTES);
    await context.clock.setSystemTime(Date.now() + 600 * MINUTES);
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await eventually(() => sent.length === 2);
  },

  async "a hidden tab does not refresh until it is looked at"(context) {
    await context.clock.install();
    const { page } = await signedIn(context);
    const sent = refreshes(context);
    await turn(page, "hidden");
    await context.clock.fastForward(90 * MINUTES);
    await context.clock.runFor(30_000);
    assert.equal(sent.length, 0);
    await turn(page, "visible");
    await eventually(() => sent.length === 1);
  },

  async "while the service is away a token that is still good is used"(context) {
    await context.clock.install();
    const { page, sid } = await signedIn(context);
    const token = await tokenOf(page);
    const sent = refreshes(context);
    await context.route(REFRESH, (route) => route.abort());
    await context.clock.fastForward(50 * MINUTES);
    assert.equal(await tokenOf(page), token);
    await eventually(() => sent.length > 0);
    await context.clock.fastForward(50 * MINUTES);
    const failed = page.evaluate(() => session.accessToken().catch((error) => error.name));
    assert.equal(await during(failed, () => context.clock.fastForward(20_000)), "Unreachable");
    await context.unroute(REFRESH);
    assert.equal(await sidOf(page), sid);
    assert.equal(new Set(sent).size, 1);
    assert.deepEqual(await told(page), [["started", sid]]);
  },

  async "a redirect to another origin does not take the token along"(context) {
    const { page } = await signedIn(context);
    const heard = (to) =>
      page.evaluate(
        (to) => session.fetch(`/moved?to=${encodeURIComponent(to)}`).then((answer) => answer.text()),
        `${to}/authorization`,
      );
    assert.equal(await heard(sites.page), `Bearer ${await tokenOf(page)}`);
    assert.equal(await heard(sites.other), "");
  },
};

await run(journeys);
