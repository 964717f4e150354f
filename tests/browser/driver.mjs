// The browser, and the service as an application's backend or an operator has it.
//
//   node journeys.mjs '{"chromium": path, "sites": {name: url}, "api": url, "backend": "id:secret"}'

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const given = JSON.parse(process.argv[2]);
export const { sites, api } = given;

/** What the backend of an application does. */
export async function call(method, path, { form, json, headers } = {}) {
  const body = form ? new URLSearchParams(form) : json && JSON.stringify(json);
  const type = json && { "Content-Type": "application/json" };
  const answer = await fetch(api + path, { method, headers: { ...type, ...headers }, body });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text && JSON.parse(text);
}

const basic = { Authorization: `Basic ${btoa(given.backend)}` };

export const startSession = (client_id, parameters) =>
  call("POST", "/sessions", { form: { client_id, sub: "ada", ...parameters }, headers: basic });

/** An access token of the backend's own, with its scopes or one of them. */
export async function operatorToken(scope = "") {
  const form = { grant_type: "client_credentials", scope };
  return (await call("POST", "/oauth/token", { form, headers: basic })).access_token;
}

export const operator = async (method, path) =>
  call(method, path, { headers: { Authorization: `Bearer ${await operatorToken()}` } });

export const refresh = (client_id, refresh_token, headers) =>
  fetch(`${api}/oauth/refresh`, {
    method: "POST",
    headers,
    body: new URLSearchParams({ client_id, refresh_token }),
  }).then((answer) => answer.json());

/** A new session of demo-browser, handed to a page of the service in this browser (docs/browser.md). */
export async function signedIn(context, sub, parameters) {
  const session = await startSession("demo-browser", { sub, device: "This laptop", ...parameters });
  const page = await context.newPage();
  await page.goto(`${api}/account/operator`);
  const status = await page.evaluate(async ({ refresh_token }) => {
    const body = new URLSearchParams({ client_id: "demo-browser", refresh_token });
    const headers = { "Ratchet-Refresh-Token": "cookie" };
    return (await fetch("/oauth/refresh", { method: "POST", headers, body })).status;
  }, session);
  assert.equal(status, 200);
  await page.close();
  return session;
}

/** Calls `work` with a Chromium. */
export async function withBrowser(work) {
  // As root Chromium does not start with its sandbox.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const browser = await chromium.launch({ executablePath: given.chromium, args });
  await work(browser).finally(() => browser.close());
}

/** Prints one JSON object: every sentence with null, or with what went wrong. */
export async function run(journeys) {
  const results = {};
  await withBrowser(async (browser) => {
    for (const [sentence, journey] of Object.entries(journeys)) {
      const context = await browser.newContext();
      context.setDefaultTimeout(15_000);
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("It takes longer than a minute.")), 60_000);
      });
      try {
        await Promise.race([journey(context), late]);
        results[sentence] = null;
      } catch (error) {
        results[sentence] = String(error.stack ?? error);
      }
      clearTimeout(timer);
      await context.close();
    }
  });
  process.stdout.write(JSON.stringify(results));
}
