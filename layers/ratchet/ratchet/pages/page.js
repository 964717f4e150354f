// What both pages do: say things, ask things, tell times, send requests.
// Whatever comes from elsewhere gets into a page as text, never as markup.

const DAY = 86_400;

export const find = (selector) => document.querySelector(selector);

/** An element with these attributes (those that are not undefined) and these texts or elements. */
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
}

/** In the page's live region: screen readers read it out. */
export function say(text) {
  find("#status").textContent = text;
}

/** Shows those of the page's parts that are named, and hides the others. */
export function show(...selectors) {
  for (const part of document.querySelectorAll("main > section, #again")) {
    part.hidden = !selectors.includes(`#${part.id}`);
  }
}

/** Asks before something ends. Resolves to true for yes; Escape and everything else is no. */
export function sure(title, text) {
  const question = find("#question");
  find("#question-title").textContent = title;
  find("#question-text").textContent = text;
  question.returnValue = "";
  find("#yes").onclick = () => question.close("yes");
  find("#no").onclick = () => question.close();
  question.showModal();
  return new Promise((resolve) => {
    question.onclose = () => resolve(question.returnValue === "yes");
  });
}

/** `at` in epoch seconds, in the reader's time zone: to the minute. */
export const instant = (at) => time(at, { dateStyle: "long", timeStyle: "short" });

/** Of what lies ahead: to the minute only if it is near. */
export function deadline(at) {
  return at - Date.now() / 1000 < 2 * DAY ? instant(at) : time(at, { dateStyle: "long" });
}

function time(at, style) {
  const date = new Date(at * 1000);
  const text = new Intl.DateTimeFormat("en-GB", style).format(date);
  return element("time", { datetime: date.toISOString() }, text);
}

/**
 * The answer to a request of this service. No answer and 5xx say nothing about what became of it:
 * the same again, a few times. Throws an Error for people if that does not help.
 */
export async function ask(path, options) {
  for (let pause = 1; ; pause *= 2) {
    // Not mode: "same-origin": with no-referrer its Origin would be null.
    const answer = await fetch(`..${path}`, { cache: "no-store", ...options }).catch(() => null);
    if (answer !== null && answer.status < 500) return answer;
    const seconds = Number(answer?.headers.get("Retry-After")) || pause;
    if (pause > 8 || seconds > 30) {
      throw new Error("The service cannot be reached. Nothing is lost; try again later.");
    }
    say("The service does not answer. Trying again …");
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/** The JSON of an answer. Throws an Error with the members of a refusal, and its `status`. */
export async function body(answer) {
  const told = answer.status === 204 ? {} : await answer.json().catch(() => null);
  if (told === null) throw new Error("That was no answer of this service. Try again later.");
  if (answer.ok) return told;
  const wait = answer.status === 429 && answer.headers.get("Retry-After");
  const text = told.error_description ?? "Too many requests; try again later.";
  const failure = new Error(wait ? `${text} (In ${wait} seconds.)` : text);
  throw Object.assign(failure, told, { status: answer.status });
}

/** The family of its program, "" if it is none that the service has a word for. */
export const agentOf = ({ agent = "" }) => (agent === "other" ? "" : agent);

/** What a session is called. */
export const nameOf = (session) => session.device || agentOf(session) || "A device without a name";

// The page may come back as it was, by the Back button, to somebody else.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
