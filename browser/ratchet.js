/**
 * Keeps a person signed in, in all tabs of an origin at once: docs/browser.md. Nothing to install.
 *
 * The access token is in memory. The refresh token is in a cookie that no script can read. Stored
 * is what is worth nothing without it: in a cookie of the site, for all origins that
 * share the refresh token, the Idempotency-Key of a refresh that has no answer yet; in localStorage
 * the order of the last change, and until when the service wants to be left alone.
 *
 *     tab A  ── lock ── POST /oauth/refresh ── tells the others ── unlock
 *     tab B  ──────────────── waits ───────────────────────────── lock ── has A's word: unlock
 */

/** @typedef {object} Access
 * @property {string} token
 * @property {string} sid the session
 * @property {number} refreshAt milliseconds of Date.now(), as are the others
 * @property {number} goodUntil
 * @property {number} idleDeadlineAt
 * @property {number} sessionDeadlineAt
 * @property {number} renewedAt when an API's refusal of the one before made it, else 0 */

/** What a tab knows, and what tabs tell each other. Of two the one with the higher order is newer.
 * @typedef {{order: number, access?: Access, ended?: {reason: string, description: string}}} State
 * @typedef {{order: number, access: Access}} Held
 * @typedef {{ok: boolean, status: number, retryAfter: number, body: any, sentAt: number}} Answer */

/** The session is over, or there is none. Only a new sign-in helps. */
export class SessionEnded extends Error {
  name = "SessionEnded";
  /** @param {{reason: string, description: string}} end `reason`: the `error_reason`, docs/reasons.md */
  constructor({ reason, description }) {
    super(description);
    this.reason = reason;
  }
}

/** No answer, or not yet: that says nothing about the session. Try again later. */
export class Unreachable extends Error {
  name = "Unreachable";
  message = "The sign-in service cannot be reached. Nothing is lost; try again later.";
}

/** The service said no, and not that the session is over: wrong credentials, for example. */
export class Refused extends Error {
  name = "Refused";
  /** @param {Answer} answer */
  constructor({ status, retryAfter, body }) {
    super(body.error_description ?? body.message ?? `HTTP ${status}`);
    this.status = status;
    /** @type {string | undefined} OAuth's code */
    this.error = body.error;
    /** @type {string | undefined} `error_reason`, docs/reasons.md */
    this.reason = body.error_reason;
    /** Seconds, 0 for none: of too many sign-ins. */
    this.retryAfter = retryAfter;
  }
}

const LOOK_MS = 10_000; // how often a page looks at the clock
const ANSWER_MS = 15_000; // until a request counts as lost
const PATIENCE_MS = 30_000; // until somebody who waits is told that the service is away
const WORD_MS = 1_000; // until another tab's word counts as lost
const LEFT_MS = 5_000; // what an access token needs for its way
const MINUTE_MS = 60_000;
const HOLD_MS = 300_000; // the longest Retry-After that is obeyed
const REFRESH = "/oauth/refresh";
const INVALID = /\berror *= *"?invalid_token\b/i;

export class Session {
  /** @type {State} */
  #state = { order: 0 };
  #refreshing = false;
  #closed = new AbortController();
  #issuer;
  #clientId;
  #onSessionStarted;
  #onSessionEnded;
  #refreshOnBare401;
  #tabs;

  /**
   * @param {object} options
   * @param {string} options.issuer the address of Ratchet, on the page's own site
   * @param {string} options.clientId an application with `refresh_cookie`
   * @param {(sid: string) => void} [options.onSessionStarted] this tab has a session that it did
   *     not have: after the first refresh, a sign-in here, or one in another tab
   * @param {(reason: string) => void} [options.onSessionEnded] the session is over, here or in
   *     another tab; once in each. Not for a visit without a session
   * @param {boolean} [options.refreshOnBare401] whether a 401 of an API that does not say why, or
   *     not so that this page may read it, is taken for an expired token
   */
  constructor({ issuer, clientId, onSessionStarted, onSessionEnded, refreshOnBare401 = true }) {
    this.#issuer = new URL(issuer).href.replace(/\/$/, "");
    this.#clientId = clientId;
    this.#onSessionStarted = onSessionStarted;
    this.#onSessionEnded = onSessionEnded;
    this.#refreshOnBare401 = refreshOnBare401;
    this.#tabs = new BroadcastChannel(`ratchet-${clientId}`);
    this.#tabs.onmessage = ({ data }) => {
      if (data.order > this.#state.order) this.#become(data);
    };
    // A timer set for one instant comes late if the laptop slept. So the page looks at the clock:
    // every now and then, and whenever something wakes it. Nobody looks at a hidden one.
    const look = () => {
      if (document.visibilityState === "visible") this.#ahead();
    };
    const interval = setInterval(look, LOOK_MS);
    const { signal } = this.#closed;
    signal.addEventListener("abort", () => clearInterval(interval));
    for (const type of ["online", "focus", "pageshow"]) addEventListener(type, look, { signal });
    for (const type of ["visibilitychange", "resume"]) document.addEventListener(type, look, { signal });
  }

  /** When the session ends unless it is used, and when in any case, as Dates. Null without one. */
  get deadlines() {
    const { access } = this.#state;
    if (!access) return null;
    return { idle: new Date(access.idleDeadlineAt), absolute: new Date(access.sessionDeadlineAt) };
  }

  /** The access token to send now. Throws SessionEnded, Unreachable, Refused. */
  async accessToken() {
    return (await this.#held()).access.token;
  }

  /**
   * `fetch` with the access token: for your own APIs only. A 401 with `invalid_token`, or without a
   * word, is repeated once, with a new token; not if the body is a stream, which cannot be sent twice.
   * Throws what `fetch` and `accessToken` do.
   * @param {RequestInfo | URL} input  @param {RequestInit} [init]
   */
  async fetch(input, init) {
    const request = new Request(input, init);
    const again = init?.body instanceof ReadableStream ? null : request.clone();
    const { order, access } = await this.#held();
    const answer = await fetch(authorized(request, access));
    const says = answer.headers.get("WWW-Authenticate");
    const expired = says ? INVALID.test(says) : this.#refreshOnBare401;
    // An API that refuses a token which its refusal has just made does not get another one.
    const renewed = Math.abs(Date.now() - access.renewedAt) < MINUTE_MS;
    if (answer.status !== 401 || !expired || again === null || renewed) return answer;
    const next = await this.#newer(order, Date.now());
    // Never as somebody else, who has signed in meanwhile.
    return next.access.sid === access.sid ? fetch(authorized(again, next.access)) : answer;
  }

  /** A new access token, for all tabs. Call it when the page loads. Throws what `accessToken` does. */
  async refresh() {
    await this.#newer(this.#state.order);
  }

  /** For an application with `password_login`. Throws Refused, Unreachable.
   * @param {string} email  @param {string} password */
  signIn(email, password) {
    return this.#alone(() => this.#start("/login", { email, password }));
  }

  /** For a session that your backend has started with POST /sessions. Throws Refused, Unreachable.
   * @param {string} refreshToken */
  adopt(refreshToken) {
    return this.#alone(() => this.#start(REFRESH, { refresh_token: refreshToken }));
  }

  /** For an identity provider's ID token, docs/sign-in.md. Throws Refused, Unreachable.
   * @param {Record<string, string>} parameters `grant_type`, `assertion` and so on */
  exchange(parameters) {
    return this.#alone(() => this.#start("/oauth/token", parameters));
  }

  /** Signs out, in all tabs. Throws Refused, Unreachable: then nobody is signed out. */
  signOut() {
    return this.#alone(async () => {
      const answer = await this.#ask("/oauth/revoke", {}, crypto.randomUUID());
      if (!answer.ok) throw new Refused(answer);
      this.#announce({ ended: { reason: "revoked_by_user", description: "The user signed out." } });
    });
  }

  /** Lets go of the page. The session goes on. */
  close() {
    this.#closed.abort();
    this.#tabs.close();
  }

  // --- what this tab knows -----------------------------------------------------------------------

  /** @param {State} state */
  #become(state) {
    const before = this.#state;
    this.#state = state;
    const { access, ended } = state;
    // In tasks of their own: what the page does there must not stop a refresh.
    if (access && access.sid !== before.access?.sid) {
      queueMicrotask(() => this.#onSessionStarted?.(access.sid));
    }
    if (ended && (before.access || (!before.ended && ended.reason !== "no_cookie"))) {
      queueMicrotask(() => this.#onSessionEnded?.(ended.reason));
    }
  }

  /** Something has changed, for all tabs. @param {Omit<State, "order">} news */
  #announce(news) {
    share(this.#item("key"), "");
    localStorage.removeItem(this.#item("hold"));
    // Counted up, so that a clock that was set back does not make news look old.
    const order = Math.max(Date.now(), this.#state.order + 1, this.#lastOrder() + 1);
    localStorage.setItem(this.#item("order"), String(order));
    this.#become({ order, ...news });
    if (!this.#closed.signal.aborted) this.#tabs.postMessage(this.#state);
  }

  #lastOrder() {
    return Number(localStorage.getItem(this.#item("order"))) || 0;
  }

  /** Another tab's word has not come, or not yet: this one was frozen, or left by the Back button. */
  #missedWord() {
    return this.#state.order > 0 && this.#lastOrder() > this.#state.order;
  }

  /** For how many milliseconds the service wants no refresh, as it told any tab. */
  #heldBack() {
    const ms = Number(localStorage.getItem(this.#item("hold"))) - Date.now();
    return ms > 0 && ms < 2 * HOLD_MS ? ms : 0; // more: the clock was set back
  }

  /** @param {"key" | "order" | "hold"} name */
  #item(name) {
    return `ratchet-${name}-${encodeURIComponent(this.#clientId)}`;
  }

  // --- refreshing --------------------------------------------------------------------------------

  /** @returns {Promise<Held>} */
  async #held() {
    const { order, access, ended } = this.#state;
    if (this.#missedWord()) return this.#newer(order);
    if (ended) throw new SessionEnded(ended);
    if (!access || Date.now() >= access.goodUntil) return this.#newer(order);
    // What it has will do: nobody waits for the next one, and an outage shows only at its end.
    this.#ahead();
    return { order, access };
  }

  /** Refreshes if it is time. What becomes of it shows at the next request, or in onSessionEnded. */
  #ahead() {
    const { order, access } = this.#state;
    const due = access !== undefined && Date.now() >= access.refreshAt;
    if (this.#refreshing || !(due || this.#missedWord())) return;
    this.#refreshing = true;
    this.#newer(order).catch(() => {}).finally(() => (this.#refreshing = false));
  }

  /** What is newer than `order`: of another tab, else of the service.
   * @param {number} order  @param {number} [renewedAt]  @returns {Promise<Held>} */
  #newer(order, renewedAt = 0) {
    return this.#alone(async (queued) => {
      // Lock and broadcast are not ordered: the word of whoever had the lock may still be on its way.
      if ((queued || this.#missedWord()) && this.#state.order <= order) {
        await pause(WORD_MS, [this.#tabs, "message"]);
      }
      const { order: known, access, ended } = this.#state;
      if (known > order && ended) throw new SessionEnded(ended);
      if (known > order && access && Date.now() < access.goodUntil) return { order: known, access };
      return this.#refreshed(renewedAt);
    });
  }

  /** @param {number} renewedAt */
  async #refreshed(renewedAt) {
    // Kept until there is an answer, by the next page too: with it a lost one can be asked for again.
    const key = shared(this.#item("key")) ?? crypto.randomUUID();
    share(this.#item("key"), key);
    try {
      return await this.#start(REFRESH, {}, key, renewedAt);
    } catch (error) {
      if (!(error instanceof Refused) || error.error !== "invalid_grant") throw error;
      const ended = { reason: error.reason ?? error.error, description: error.message };
      this.#announce({ ended });
      throw new SessionEnded(ended);
    }
  }

  /** @param {string} path  @param {Record<string, string>} parameters  @param {string} [key]
   * @param {number} [renewedAt]  @returns {Promise<Held>} */
  async #start(path, parameters, key = crypto.randomUUID(), renewedAt = 0) {
    const answer = await this.#ask(path, parameters, key);
    if (!answer.ok) throw new Refused(answer);
    const { body, sentAt } = answer;
    /** @param {number} seconds */
    const at = (seconds) => sentAt + seconds * 1000;
    // Of a token that is good for no time, or nobody knows how long, there is one a minute.
    const lasts = body.expires_in > 0 ? body.expires_in : 60;
    const after = body.refresh_after;
    const access = {
      token: body.access_token,
      sid: body.sid,
      refreshAt: at(after > 0 && after < lasts ? after : lasts * 0.75),
      goodUntil: at(lasts) - Math.min(LEFT_MS, lasts * 250),
      idleDeadlineAt: at(body.refresh_token_expires_in),
      sessionDeadlineAt: at(body.session_expires_in),
      renewedAt,
    };
    this.#announce({ access });
    return { order: this.#state.order, access };
  }

  // --- the service -------------------------------------------------------------------------------

  /** What sets or clears the cookie, in one tab at a time: no late answer overwrites a newer one.
   * @template T  @param {(queued: boolean) => Promise<T>} work `queued`: after somebody else
   * @returns {Promise<T>} */
  async #alone(work) {
    const { locks } = navigator;
    const name = `ratchet-${this.#clientId}`;
    const done = await locks.request(name, { ifAvailable: true }, async (lock) => lock && [await work(false)]);
    if (done !== null) return done[0];
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(new Unreachable()), PATIENCE_MS);
    return locks.request(name, { signal: patience.signal }, () => {
      clearTimeout(timer);
      return work(true);
    });
  }

  /** The answer to a request, which is repeated until there is one. Throws Unreachable.
   * @param {string} path  @param {Record<string, string>} parameters  @param {string} key
   * @returns {Promise<Answer>} */
  async #ask(path, parameters, key) {
    const address = `${this.#issuer}${path}?client_id=${encodeURIComponent(this.#clientId)}`;
    const until = performance.now() + PATIENCE_MS;
    const closed = this.#closed.signal;
    let ms = path === REFRESH ? this.#heldBack() : 0;
    let asked = ms / 1000; // of the service: Retry-After
    for (let wait = 1_000; ; wait *= 2) {
      if (closed.aborted || performance.now() + ms > until) throw new Unreachable();
      // Back online it goes on at once, unless it was asked to wait.
      if (ms > 0) await pause(ms, [closed, "abort"], [asked ? closed : window, "online"]);
      const sentAt = Date.now();
      asked = 0;
      try {
        const answer = await fetch(address, {
          method: "POST",
          credentials: "include",
          redirect: "error",
          headers: { "Ratchet-Refresh-Token": "cookie", "Idempotency-Key": key },
          body: new URLSearchParams({ client_id: this.#clientId, ...parameters }),
          signal: AbortSignal.any([closed, AbortSignal.timeout(ANSWER_MS)]),
        });
        const { ok, status } = answer;
        asked = Math.max(0, Number(answer.headers.get("Retry-After")) || 0);
        const later = status >= 500 || (status === 429 && path === REFRESH);
        const text = later ? "" : await answer.text();
        const body = (text && JSON.parse(text)) || {};
        const whole = !ok || path === "/oauth/revoke" || typeof body.access_token === "string";
        if (!later && whole) return { ok, status, retryAfter: asked, body, sentAt };
      } catch {
        // No answer, half an answer, or somebody else's.
      }
      // Neither that nor 5xx says anything about the session: the same again, with the same key.
      ms = Math.min(asked * 1000 || wait, HOLD_MS) * (1 + Math.random() / 4);
      if (asked && path === REFRESH) localStorage.setItem(this.#item("hold"), `${Date.now() + ms}`);
    }
  }
}

/** @param {Request} request  @param {Access} access */
function authorized(request, { token }) {
  request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}

/** In a cookie of the site, as far as the refresh token's is sent, of secure pages. "" takes it away.
 * @param {string} name  @param {string} value */
function share(name, value) {
  // A day: for so long the service knows an Idempotency-Key.
  const rest = `Path=/; Max-Age=${value ? 86_400 : 0}; Secure; SameSite=Strict`;
  const labels = location.hostname.split(".");
  // The site is the widest domain that the browser takes.
  for (let at = labels.length - 1; at >= 0 && (shared(name) ?? "") !== value; at--) {
    document.cookie = `__Secure-${name}=${value}; Domain=${labels.slice(at).join(".")}; ${rest}`;
  }
}

/** @param {string} name */
function shared(name) {
  const pairs = document.cookie.split("; ").map((pair) => pair.split("="));
  return pairs.find(([of, value]) => of === `__Secure-${name}` && /^[0-9a-f-]{36}$/.test(value))?.[1];
}

/** Ends with the first of these events, or after so many milliseconds.
 * @param {number} ms  @param {[EventTarget, string][]} events */
async function pause(ms, ...events) {
  const over = new AbortController();
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
    for (const [target, type] of events) target.addEventListener(type, resolve, { signal: over.signal });
  });
  over.abort();
}
