// The pictures of docs/sessions-page.md. Run by screenshots.py (`make screenshots`).

import { api, given, operator, operatorToken, refresh, signedIn, startSession, withBrowser } from "./driver.mjs";

const CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0";
const PIXEL = `Mozilla/5.0 (Linux; Android 15) ${CHROME} Mobile Safari/537.36`;
const WINDOWS = `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROME} Safari/537.36`;
const IPAD = "Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1";
const LAPTOP = `Mozilla/5.0 (X11; Linux x86_64) ${CHROME} Safari/537.36`;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function device(client_id, name, agent) {
  const session = await startSession(client_id, { device: name });
  const headers = { "User-Agent": agent };
  const { refresh_token } = await refresh(client_id, session.refresh_token, headers);
  return { ...session, headers, first: session.refresh_token, refresh_token };
}

await withBrowser(async (browser) => {
  await device("demo-native", "Ada's phone", PIXEL);
  await device("demo-sensitive", "", WINDOWS);
  const ended = await device("demo-native", "Old tablet", IPAD);
  await operator("DELETE", `/sessions/${ended.sid}`);
  // A replay inside the leeway, a refresh, and then a copy of the first token from elsewhere.
  const copied = await device("demo-native", "Pixel 9", PIXEL);
  await pause(2);
  await refresh("demo-native", copied.first, copied.headers);
  await refresh("demo-native", copied.refresh_token, copied.headers);
  await pause(3);
  await refresh("demo-native", copied.first, { "User-Agent": "curl/8.5.0" });

  const context = await browser.newContext({ userAgent: LAPTOP });
  await signedIn(context, "ada", { device: "Laptop" });
  const page = await context.newPage();
  const take = async (name, colorScheme, width) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 600 });
    await page.screenshot({ path: `${given.folder}/${name}.png`, fullPage: true });
  };

  await page.goto(`${api}/account/sessions?client_id=demo-browser`);
  await page.locator("#live .badge").waitFor();
  await take("sessions-light", "light", 640);
  await take("sessions-dark", "dark", 640);
  await take("sessions-narrow", "light", 320);
  await page.setViewportSize({ width: 640, height: 600 });
  await page.getByRole("button", { name: "Sign out Ada's phone" }).click();
  await page.screenshot({ path: `${given.folder}/sessions-question.png` });

  await page.goto(`${api}/account/operator`);
  await page.fill("#token", await operatorToken());
  await page.fill("#about", copied.sid);
  await page.keyboard.press("Enter");
  await page.locator("#one").waitFor();
  await page.setViewportSize({ width: 640, height: 600 });
  const clip = await page.evaluate(() => {
    document.activeElement.blur();
    const { top } = document.querySelector("#one").getBoundingClientRect();
    const { bottom } = document.querySelector(".timeline").getBoundingClientRect();
    return { x: 0, y: top + scrollY, width: innerWidth, height: bottom - top };
  });
  await page.screenshot({ path: `${given.folder}/operator.png`, fullPage: true, clip });
});
