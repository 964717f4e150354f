// A tab with browser/ratchet.js in it: `session`, and in `told` what it was told.

import { sites, startSession } from "./driver.mjs";

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
