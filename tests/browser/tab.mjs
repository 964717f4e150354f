// A tab with browser/ratchet.js in it: `session`, and in `told` what it was told.

import assert from "node:assert/strict";
import { call, sites, startSession } from "./driver.mjs";

export const COOKIE = "__Host-Http-ratchet-demo-browser";

/** localStorage, as JSON, while nothing is under way. */
export const ORDERS = /^\{"ratchet-order-demo-browser":"\d+"\}$/;

export async function open(context, site = sites.page, client_id = "demo-browser") {
  const page = await context.newPage();
  await page.goto(`${site}/?client_id=${client_id}`);
  await page.waitForFunction(() => window.session);
  return page;
}

/** A page that is signed in, and its session. */
export async function signedIn(context, site = sites.page, client_id = "demo-browser") {
  const page = await open(context, site, client_id);
  const { sid, refresh_token } = await startSession(client_id);
  await page.evaluate((token) => session.adopt(token), refresh_token);
  return { page, sid };
}

/** null, or why nobody is signed in. */
export const refused = (page) =>
  page.evaluate(() => session.refresh().then(() => null, (e) => e.reason ?? e.message));

export const tokenOf = (page) => page.evaluate(() => session.accessToken());

export const sidOf = async (page) => JSON.parse(atob((await tokenOf(page)).split(".")[1])).sid;

/** [["started", sid], ["ended", reason], …] */
export const told = (page) => page.evaluate(() => told);

export const REFRESH = /\/oauth\/refresh/;
export const KEY = "__Secure-ratchet-key-demo-browser";
export const LOST = "00000000-0000-4000-8000-000000000000";
export const MINUTES = 60_000;

/** The requests for a refresh that the tabs send from now on; `Idempotency-Key` of each. */
export function refreshes(context) {
  const keys = [];
  context.on("request", (request) => {
    if (request.method() === "POST" && REFRESH.test(request.url())) {
      keys.push(request.headers()["idempotency-key"]);
    }
  });
  return keys;
}

/** What a tab asks of the service, without the answer: the service has rotated, the tab waits. */
export async function rotate(context, request) {
  const { hostname } = new URL(request.url());
  const form = Object.fromEntries(new URLSearchParams(request.postData()));
  const name = `__Host-Http-ratchet-${form.client_id}`;
  const all = await context.cookies();
  const { value } = all.find((cookie) => cookie.name === name && cookie.domain === hostname);
  await call("POST", "/oauth/refresh", {
    form,
    headers: {
      "Ratchet-Refresh-Token": "cookie",
      "Idempotency-Key": request.headers()["idempotency-key"],
      Origin: new URL(request.frame().url()).origin,
      Cookie: `${name}=${value}`,
    },
  });
}

/** An API of the page's that answers with these statuses, one after the other. */
export async function orders(page, answers) {
  const seen = [];
  await page.route(/\/orders$/, async (route) => {
    const request = route.request();
    seen.push({ authorization: request.headers().authorization, body: request.postData() });
    const [status, challenge] = answers[Math.min(seen.length, answers.length) - 1];
    await route.fulfill({ status, headers: challenge && { "WWW-Authenticate": challenge } });
  });
  return seen;
}

export const EXPIRED = [401, 'Bearer realm="orders", error="invalid_token", error_description="…"'];

export const post = (page, body) =>
  page.evaluate((body) => session.fetch("/orders", { method: "POST", body }).then((a) => a.status), body);

/** Calls `work` until `wanted` has ended. */
export async function during(wanted, work) {
  let ended = false;
  const end = wanted.finally(() => (ended = true));
  end.catch(() => {});
  while (!ended) {
    await work();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return end;
}

export async function eventually(check) {
  for (let tries = 0; !(await check()); tries++) {
    assert.ok(tries < 100, `never: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The Idempotency-Key that waits for an answer, for all pages of the site; undefined for none. */
export async function shared(page) {
  const pairs = (await page.evaluate(() => document.cookie)).split("; ");
  return pairs.find((pair) => pair.startsWith(`${KEY}=`))?.slice(KEY.length + 1);
}

/** As if a refresh with this key had no answer. */
export const share = (page, key) =>
  page.evaluate((pair) => (document.cookie = `${pair}; Path=/; Secure`), `${KEY}=${key}`);

/** As another tab covers it, or no longer does. */
export const turn = (page, state) =>
  page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);
