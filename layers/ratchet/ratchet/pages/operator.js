// An operator's look at a session: what GET /sessions/{sid}?timeline=true says (docs/explain.md).

import { ask, body, element, find, nameOf, say, show, sure } from "./page.js";

const SID = /^[A-Za-z0-9_-]{22}$/;
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

// What an entry of the time-line is called. Its class has the same name; account.css draws it.
const WHAT = {
  started: "Started",
  refreshed: "Refreshed",
  replayed: "Replayed",
  used: "Used",
  refused: "Refused",
  failed: "Failed",
  reuse_detected: "Reuse detected",
  signed_out: "Signed out",
  warned: "Warned",
  swept: "Swept",
  ended: "Ended",
  deadline: "Deadline",
};

let token = ""; // the operator's access token: in memory, and nowhere else

async function call(method, path) {
  const headers = { Authorization: `Bearer ${token}` };
  return body(await ask(path, { method, credentials: "omit", headers }));
}

// --- what is shown -------------------------------------------------------------------------------

/** about: a sid or a sub. A subject may look like a sid, so what is no session is tried as one. */
async function look(about) {
  show();
  say("Loading …");
  try {
    const session = SID.test(about) && (await explained(about).catch(absent));
    if (session) return one(session);
    await many(about, "");
  } catch (failure) {
    say(failure.message);
  }
}

const explained = (sid) => call("GET", `/sessions/${sid}?timeline=true`);

function absent(failure) {
  if (failure.status !== 404) throw failure;
  return null;
}

async function many(sub, cursor) {
  const query = new URLSearchParams({ sub, ...(cursor && { cursor }) });
  const { sessions, next } = await call("GET", `/sessions?${query}`);
  const list = find("#found .sessions");
  if (!cursor) list.replaceChildren();
  list.append(...sessions.map(item));
  find("#found-title").textContent = `Sessions of ${sub}`;
  find("#more").hidden = !next;
  find("#more").onclick = () => many(sub, next).catch((failure) => say(failure.message));
  if (list.childElementCount === 0) return say(`There is no session of “${sub}”.`);
  show("#found");
  say(`${list.childElementCount} sessions.`);
}

function item(session) {
  const button = element("button", { type: "button" }, "Show");
  button.setAttribute("aria-label", `Show session ${session.sid}`);
  button.onclick = () => look(session.sid);
  const state = session.reason ? [`${session.reason}, `, utc(session.ended_at)] : ["active"];
  return element(
    "li",
    { "data-sid": session.sid },
    element("h3", {}, nameOf(session)),
    element("p", { class: "where" }, `${session.client_id} · ${session.sid}`),
    element("p", {}, "Started ", utc(session.started_at), "; ", ...state, "."),
    element("p", {}, button),
  );
}

function one(session) {
  const { sentence, evidence_text: evidence, advice, timeline_missing: missing } = session.explanation;
  find("#one-title").textContent = `Session ${session.sid}`;
  find("#sentence").textContent = sentence;
  find("#evidence").textContent = `The evidence: ${evidence}.`;
  find("#evidence").hidden = !evidence;
  find("#advice").replaceChildren(...told(advice));
  find("#missing").textContent = missing ? `Not all of it is known: ${missing}.` : "";
  find(".timeline").replaceChildren(...drawn(timeline(session)));
  find("#one dl").replaceChildren(...facts(session));
  find("#end").hidden = Boolean(session.reason);
  find("#end").onclick = () => end(session);
  show("#one");
  find("#one-title").focus();
  say("");
}

function told(advice) {
  if (advice.length === 0) return [];
  const lines = advice.map(({ text, command }) => {
    const line = element("li", {}, text);
    if (command) line.append(" ", element("code", {}, command));
    return line;
  });
  return [element("h3", {}, "What to change"), element("ul", {}, ...lines)];
}

function facts(session) {
  const instants = ["started_at", "auth_time", "refreshed_at", "active_at", "ended_at"];
  const { current, evidence, ...members } = session;
  return Object.entries({ ...members, ...evidence }).flatMap(([name, value]) => {
    if (value === null || value === "" || typeof value === "object") return [];
    const isInstant = instants.includes(name) || name.endsWith("_deadline_at");
    const shown = isInstant ? utc(value) : String(value);
    return [element("dt", {}, name), element("dd", {}, shown)];
  });
}

// --- the time-line -------------------------------------------------------------------------------

/** Entries in order, and what lies ahead. */
function timeline({ explanation, reason, idle_deadline_at: idle, absolute_deadline_at: absolute }) {
  const ahead = (at, text) => ({ at, what: "deadline", text });
  if (reason) return explanation.timeline;
  const last = ahead(absolute, "it ends at the latest");
  if (idle >= absolute) return [...explanation.timeline, last];
  return [...explanation.timeline, ahead(idle, "it ends unless there is activity before"), last];
}

/** The list is what happened; the line and its dots are drawn beside it by account.css. */
function drawn(entries) {
  return entries.map((entry, index) => {
    const before = index === 0 ? entry.at : (entries[index - 1].until_at ?? entries[index - 1].at);
    const gap = Math.max(0, entry.at - before);
    const kind = Object.hasOwn(WHAT, entry.what) ? entry.what : "other";
    const line = element("li", { class: kind, "data-gap": String(size(gap)) });
    if (gap > 0) line.append(element("p", { class: "gap" }, `${duration(gap)} later`));
    const times = [utc(entry.at)];
    if (entry.until_at) times.push(" to ", utc(entry.until_at));
    const { client_id, network, agent, request_id } = entry;
    const request = request_id && `request ${request_id}`;
    const from = [client_id, agent, network, request].filter(Boolean).join(" · ");
    line.append(
      element("h4", {}, WHAT[kind] ?? entry.what),
      element("p", { class: "where" }, ...times),
    );
    if (entry.text !== entry.what) line.append(element("p", { class: "text" }, entry.text));
    if (from) line.append(element("p", { class: "where" }, from));
    return line;
  });
}

/** How long the line of a pause is drawn: 0 to 5, with the logarithm of its length. */
const size = (seconds) => Math.min(5, Math.floor(Math.log10(seconds + 1)));

function duration(seconds) {
  const [unit, length] = UNITS.find(([, length]) => seconds >= length);
  const count = Math.round(seconds / length);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** In UTC and to the second, as the log has it. */
function utc(at) {
  const date = new Date(at * 1000);
  const style = { dateStyle: "long", timeStyle: "long", timeZone: "UTC" };
  const text = new Intl.DateTimeFormat("en-GB", style).format(date);
  return element("time", { datetime: date.toISOString() }, text);
}

// --- what is done --------------------------------------------------------------------------------

async function end(session) {
  const about = `The session of ${session.sub} ends at once, with the reason revoked_by_operator.`;
  if (!(await sure("Sign out this session?", about))) return;
  say("Signing out …");
  try {
    await call("DELETE", `/sessions/${session.sid}`);
    one(await explained(session.sid));
    say("The session has ended.");
  } catch (failure) {
    say(failure.message);
  }
}

find("form").onsubmit = (event) => {
  event.preventDefault();
  token = find("#token").value.trim();
  look(find("#about").value.trim());
};
// A link to a session, such as an alarm's: /account/operator#sid. No server is sent what follows #.
find("#about").value = decodeURIComponent(location.hash.slice(1));
