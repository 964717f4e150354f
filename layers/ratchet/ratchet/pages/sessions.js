// A person's sessions: docs/sessions-page.md. The tokens are those of docs/browser.md: the refresh
// token is in the application's cookie, the access token in a variable.

import { agentOf, ask, body, deadline, element, find, instant, nameOf, say, show, sure } from "./page.js";

// What no client id can be is not shown either: an address is anybody's text.
const CLIENT_ID = new URLSearchParams(location.search).get("client_id")?.match(/^[!-~]{1,64}$/)?.[0] ?? "";
const KEY = `__Secure-ratchet-key-${encodeURIComponent(CLIENT_ID)}`;
const ENDED = 5; // so many of the ended ones are shown at first
const DAY = 86_400; // for so long the service knows an Idempotency-Key
const HIDDEN = 2 * 3_600; // so much earlier than it is a deadline may be told to people

// Why a session ended, for the person it belonged to. Other reasons: the service's own description.
const WHY = {
  idle_expired: "It was not used for too long.",
  absolute_expired: "It reached its longest duration.",
  reused: "A key of it that had been replaced was used again, so it was ended to keep you safe.",
  revoked_by_user: "You signed out.",
  revoked_by_operator: "Somebody who runs this service ended it.",
  revoked_everywhere: "You were signed out everywhere.",
  policy_cutoff: "The application ended everything that started earlier.",
  password_changed: "Your password was changed.",
};
/** of: a session that has ended, or the refusal that says so. */
const why = (of) => WHY[of.reason ?? of.error_reason] ?? of.description ?? of.message;

let access = null; // the access token: in memory, and nowhere else
let here = ""; // the session that it belongs to
let sessions = []; // as the service shows them, newest first
let every = false; // whether all of the ended ones are shown

// --- tokens: docs/browser.md ---------------------------------------------------------------------

// What sets or clears the cookie, in one tab at a time: no late answer overwrites a newer one.
const alone = (work) => navigator.locks.request(`ratchet-${CLIENT_ID}`, work);

const refresh = () =>
  alone(async () => {
    // Kept until there is an answer, by whichever page: with it a lost one can be asked for again.
    const key = shared() ?? crypto.randomUUID();
    share(key);
    try {
      await start("/oauth/refresh", {}, { "Idempotency-Key": key });
    } catch (failure) {
      if (failure.error === "invalid_grant") share("");
      throw failure;
    }
  });

const signIn = (email, password) => alone(() => start("/login", { email, password }));

async function start(path, parameters, headers) {
  const answer = await ask(path, {
    method: "POST",
    headers: { "Ratchet-Refresh-Token": "cookie", ...headers },
    body: new URLSearchParams({ client_id: CLIENT_ID, ...parameters }),
  });
  access = null;
  const { access_token: token, sid } = await body(answer);
  if (typeof token !== "string") throw new Error("That was no answer of this service. Try again later.");
  [access, here] = [token, sid];
  share("");
}

/** In a cookie of the site, for all pages that the refresh token is sent from. "" takes it away. */
function share(key) {
  const rest = `Path=/; Max-Age=${key ? DAY : 0}; Secure; SameSite=Strict`;
  const labels = location.hostname.split(".");
  // The site is the widest domain that the browser takes.
  for (let at = labels.length - 1; at >= 0 && (shared() ?? "") !== key; at--) {
    document.cookie = `${KEY}=${key}; Domain=${labels.slice(at).join(".")}; ${rest}`;
  }
}

function shared() {
  const pairs = document.cookie.split("; ").map((pair) => pair.split("="));
  return pairs.find(([name, value]) => name === KEY && /^[0-9a-f-]{36}$/.test(value))?.[1];
}

/** What the service answers to this session's access token; one that has run out is renewed. */
async function call(method, path) {
  for (let renewed = access === null; ; renewed = true) {
    if (access === null) await refresh();
    const answer = await ask(path, {
      method,
      credentials: "omit",
      headers: { Authorization: `Bearer ${access}` },
    });
    if (answer.status !== 401 || renewed) return body(answer);
    access = null;
  }
}

// --- what is shown -------------------------------------------------------------------------------

/** Everything anew. done: what has just been done, to be said at the end. */
async function load(done = "") {
  if (CLIENT_ID === "") {
    return say("The address of this page has to name the application: ?client_id=…");
  }
  say("Loading …");
  try {
    const found = [];
    let next = "";
    do {
      const page = await call("GET", `/sessions${next && `?cursor=${encodeURIComponent(next)}`}`);
      found.push(...page.sessions);
      next = page.next ?? "";
    } while (next);
    // The list may be a moment behind; one session is not.
    if (!found.some((session) => session.current)) {
      found.unshift(await call("GET", `/sessions/${here}`));
    }
    sessions = found;
    list();
    if (done) return arrive("#live", done);
    say("");
  } catch (failure) {
    failed(failure, done);
  }
}

function failed(failure, done) {
  const { error, error_reason } = failure;
  // With an access token 401 tells a reason if the session is over, as a refresh does.
  if (error === "invalid_grant" || (error === "invalid_token" && error_reason)) {
    return signedOut(failure, done);
  }
  const passing = error === undefined || error === "slow_down";
  show(...(passing ? ["#again"] : []));
  // The others are for whoever sets the application up.
  const about = passing ? "" : `This page is not set up for the application “${CLIENT_ID}”. `;
  say(about + failure.message);
}

function signedOut(refused, done) {
  sessions = [];
  list();
  const part = document.body.dataset.signIn === "password" ? "#sign-in" : "#elsewhere";
  show(part);
  if (refused.error_reason === "no_cookie" && !done) return say("");
  arrive(part, done || `This session has ended. ${why(refused)}`);
}

/** To where the focus is, once what had it is gone. */
function arrive(part, text) {
  find(`${part}-title`).focus();
  say(text);
}

function list() {
  const live = sessions.filter((session) => session.status === "active");
  const over = sessions.filter((session) => session.status !== "active");
  // This device first: what is looked for is among the others.
  live.sort((one, other) => other.current - one.current);
  find("#live .sessions").replaceChildren(...live.map(liveItem));
  find("#over .sessions").replaceChildren(...over.slice(0, every ? undefined : ENDED).map(overItem));
  find("#older").hidden = every || over.length <= ENDED;
  find("#older").textContent = `Show all ${over.length}`;
  show("#live", ...(over.length > 0 ? ["#over"] : []));
}

function liveItem(session) {
  const name = nameOf(session);
  const title = element("h3", {}, name);
  if (session.current) title.append(" ", element("span", { class: "badge" }, "This device"));
  const button = element("button", { type: "button", class: "ending" }, "Sign out");
  button.setAttribute("aria-label", `Sign out ${session.current ? "this device" : name}`);
  button.onclick = () => signOut(session);
  const used = ["Signed in on ", instant(session.started_at)];
  // A full hour is all that people are told of it, and nothing of the one that is running.
  if (session.active_at > session.started_at) {
    used.push(", last used on ", instant(session.active_at), " or a little later");
  }
  return element(
    "li",
    { "data-sid": session.sid },
    title,
    ...where(session),
    element("p", {}, ...ends(session)),
    element("p", {}, ...used, "."),
    element("p", {}, button),
  );
}

function overItem(session) {
  return element(
    "li",
    { "data-sid": session.sid },
    element("h3", {}, nameOf(session)),
    ...where(session),
    element("p", {}, "Ended on ", instant(session.ended_at), ". ", why(session)),
  );
}

function where(session) {
  const told = [session.client_id];
  if (session.device && agentOf(session)) told.push(agentOf(session));
  if (session.network) told.push(`network ${session.network}`);
  return [element("p", { class: "where" }, told.join(" · "))];
}

/** When it ends. People are told their idle deadline up to two hours early, and no short one. */
function ends({ idle_deadline_at: idle, absolute_deadline_at: absolute }) {
  if (idle === null) return ["Ends after a while without use; at the latest on ", deadline(absolute), "."];
  if (idle + HIDDEN > absolute) return ["Ends on ", deadline(absolute), "."];
  const unless = idle * 1000 <= Date.now() ? ["Ends within the hour"] : ["Ends on ", deadline(idle)];
  return [...unless, " unless it is used before; at the latest on ", deadline(absolute), "."];
}

// --- what is done --------------------------------------------------------------------------------

async function signOut(session) {
  const name = session.current ? "this device" : nameOf(session);
  const about = session.current
    ? "You will have to sign in again on this device."
    : "Whoever uses it will have to sign in again. Applications may notice only after a while.";
  if (!(await sure(`Sign out ${name}?`, about))) return;
  say("Signing out …");
  try {
    await call("DELETE", `/sessions/${session.sid}`);
    // The cookie goes when its session is found ended.
    if (session.current) return leave("You are signed out on this device.");
    const now = await call("GET", `/sessions/${session.sid}`);
    sessions = sessions.map((other) => (other.sid === now.sid ? now : other));
    list();
    arrive("#live", `${name} is signed out.`);
  } catch (failure) {
    failed(failure);
  }
}

async function signOutEverywhere() {
  const about = "All your sessions end, also the one on this device, and you will have to sign in again.";
  if (!(await sure("Sign out everywhere?", about))) return;
  say("Signing out …");
  try {
    const { ended } = await call("DELETE", "/sessions");
    leave(`You are signed out everywhere: ${ended} ${ended === 1 ? "session" : "sessions"} ended.`);
  } catch (failure) {
    failed(failure);
  }
}

function leave(done) {
  access = null;
  return load(done);
}

find("#everywhere").onclick = signOutEverywhere;
find("#older").onclick = () => {
  every = true;
  list();
  find("#over-title").focus();
};
find("#again button").onclick = () => load();
find("form").onsubmit = async (event) => {
  event.preventDefault();
  const problem = find("#sign-in-problem");
  problem.textContent = "";
  say("Signing in …");
  try {
    await signIn(find("#email").value, find("#password").value);
  } catch (failure) {
    say("");
    problem.textContent = failure.message;
    return find("#password").focus();
  } finally {
    find("#password").value = "";
  }
  await load("You are signed in.");
};

for (const name of document.querySelectorAll(".application")) name.textContent = CLIENT_ID;
load();
