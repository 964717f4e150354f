"""The session of a program: an access token whenever it needs one, one refresh for all.

A refresh, in this order, so that it can be broken off between any two lines and repeated:

    lock the store
    read it again                  somebody else has refreshed meanwhile? Then theirs is taken
    store an Idempotency-Key       the one of a refresh that was broken off, if there is one
    send refresh token and key     only at once after that write: it shows that the lock is ours
    store both new tokens, drop the key
    unlock

What is waited for (a lock, Retry-After) is waited for without the lock.
"""

import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ratchet_client.authorization_server import AuthorizationServer, check
from ratchet_client.credential import Credential, Step
from ratchet_client.errors import (
    ConnectionFailed,
    LockLost,
    RefreshRefused,
    RefreshUnavailable,
    SessionEnded,
    StoreFailed,
)
from ratchet_client.kept import Kept
from ratchet_client.store import Store
from ratchet_client.token_answer import (
    Answer,
    Later,
    Refused,
    Terminal,
    Tokens,
    read,
    server_ahead_seconds,
    tokens_from,
)
from ratchet_client.token_request import Application, Method
from ratchet_client.transport import Send
from ratchet_client.transport import send as send_with_urllib

_log = logging.getLogger("ratchet_client")
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
# Between asking for the write before a request and sending it. Whoever took longer was stopped (a
# function that was frozen, a laptop that slept): by now the lock and the tokens may be another's.
_LATEST_SEND_SECONDS = 5
_MOST_LOSSES = 5


class Session:
    """One sign-in, kept in a store. Threads may share it, and processes may share its store.

    issuer, token_endpoint: one of the two. With an issuer the addresses come from its metadata
    (RFC 8414). revocation_endpoint is needed for `sign_out` only.
    client_authentication: none, client_secret_basic (the default with a secret) or
    client_secret_post.
    parameters: more of the form of a refresh, such as `resource` or `scope`.
    give_up_after_seconds: how long a call waits for a server that does not answer, in all.
    timeout_seconds: of one request. clock: epoch seconds. sleep, uniform: as in time and random.
    send: how to send requests where no other way is given; left out: with the standard library.
    """

    def __init__(
        self,
        store: Store,
        *,
        client_id: str,
        issuer: str | None = None,
        token_endpoint: str | None = None,
        revocation_endpoint: str | None = None,
        client_secret: str | None = None,
        client_authentication: Method | None = None,
        parameters: Mapping[str, str] | None = None,
        give_up_after_seconds: float = 60,
        timeout_seconds: float = 10,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        send: Send = send_with_urllib,
    ) -> None:
        self._server = AuthorizationServer(
            issuer, token_endpoint, revocation_endpoint, timeout_seconds
        )
        self._kept = Kept(store)
        self._application = Application(
            client_id, client_secret, client_authentication, timeout_seconds
        )
        self._parameters = dict(parameters or {})
        self._give_up_after_seconds = give_up_after_seconds
        self._clock, self._sleep, self._uniform = clock, sleep, uniform
        self._send = send
        self._api_ahead_seconds: float | None = None

    def __repr__(self) -> str:
        return f"<Session of {self._application.client_id} in {self._kept}>"

    # --- using it ------------------------------------------------------------------------------

    def access_token(self, *, refused: str | None = None, send: Send | None = None) -> str:
        """A token to send now. Refreshes if it is time, or waits for whoever does.

        refused: a token that an API has answered with 401 `invalid_token`. If it is returned again
        there is no better one: the API refuses whatever it is given.

        Raises NotSignedIn, SessionEnded, RefreshUnavailable, RefreshRefused or StoreFailed.
        """
        return self.credential(refused=refused, send=send).access_token

    def credential(self, *, refused: str | None = None, send: Send | None = None) -> Credential:
        """As `access_token`, with what is known of the token: its `sid` tells whose it is."""
        if (found := self.at_hand(refused=refused)) is not None:
            return found
        try:
            self._kept.known = found = self._current(refused, send or self._send)
        except StoreFailed as failure:
            known = self._kept.known
            if refused is not None or known is None or self._step(known, None) is Step.REFRESH:
                raise
            _log.warning("the store failed, the access token is still good: %s", failure)
            return known
        return found

    def at_hand(self, *, refused: str | None = None, refreshing: bool = False) -> Credential | None:
        """The one in memory, if it is to be used as it is; None if `credential` has to look.

        refreshing: somebody is at it; a token that is still good will do.
        """
        known = self._kept.known
        if known is None or known.ended or known.access_token == refused or not self._kept.whole:
            return None
        step = self._step(known, refused)
        return known if step is Step.USE or (refreshing and step is Step.REFRESH_EARLY) else None

    def learn_time(self, headers: Mapping[str, str]) -> None:
        """From the `date` of an API's answer (names in lower case): is its clock ahead of ours?"""
        ahead = server_ahead_seconds(headers, now=self._clock())
        if ahead is not None:
            self._api_ahead_seconds = ahead

    # --- beginning and end ---------------------------------------------------------------------

    def start(self, answer: Mapping[str, Any]) -> None:
        """Keep a session that has just begun. answer: the token response, as the server gave it.

        Replaces what the store had. Raises ValueError if it is no token response for bearer tokens:
        tokens that are bound to a key (DPoP) are not supported.
        """
        tokens = tokens_from(answer)
        if tokens is None:
            raise ValueError("this is no token response with a bearer token")
        with self._locked():
            self._kept.save(Credential().renewed(tokens, now=self._clock(), uniform=self._uniform))

    def sign_out(self, *, send: Send | None = None) -> None:
        """End the session at the server (RFC 7009), and forget its tokens.

        Raises RefreshUnavailable, with everything as it was, if the server does not answer.
        """
        send = send or self._send
        with self._locked():
            credential = self._kept.load()
            if credential.ended is not None:
                return
            if credential.refresh_token:
                try:
                    token, now = credential.refresh_token, self._clock()
                    endpoint = self._server.endpoint("revocation_endpoint", send, now=now)
                    response = send(self._application.revoke(endpoint, token))
                    check(response, now=now, private=(token, self._application.client_secret))
                except ConnectionFailed as failure:
                    raise RefreshUnavailable(f"no answer: {failure}") from None
            self._kept.save(
                credential.tombstone(SessionEnded("revoked_by_user", "The user signed out."))
            )
            _log.info("signed out")

    # --- the refresh ---------------------------------------------------------------------------

    def _current(self, refused: str | None, send: Send) -> Credential:
        """A credential whose access token is to be used, from the store or the server."""
        give_up_at = self._clock() + self._give_up_after_seconds
        pause, why = _FIRST_PAUSE_SECONDS, "the last refresh failed, and it is too early"
        losses = 0
        while True:
            self._kept.save_again()
            credential = self._kept.known = self._kept.load()
            step = self._step(credential, refused)
            if step is Step.USE:
                return credential
            now = self._clock()
            wait = credential.wait(now)
            if step is Step.REFRESH and wait > 0:
                if now + wait > give_up_at:
                    raise RefreshUnavailable(why, retry_after_seconds=wait)
                self._sleep(wait)
                continue
            if not self._kept.try_lock():
                if step is Step.REFRESH_EARLY:
                    return credential
                if now > give_up_at:
                    raise RefreshUnavailable("somebody else has the lock all the time")
                self._sleep(self._uniform(pause / 2, pause))
                pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
                continue
            try:
                outcome = self._refresh(refused, send)
                if isinstance(outcome, Credential):
                    # Whatever the time is by now: there is none that is younger.
                    return outcome
                why = outcome or why
            except LockLost:
                # Before the request nothing was sent. After it, whoever has the lock now presents
                # the same token with the same key, and stores the same.
                _log.warning("the lock ran out in the middle of a refresh")
                if self._step(credential, refused) is Step.REFRESH_EARLY:
                    return credential
                losses += 1
                if losses == _MOST_LOSSES:
                    raise RefreshUnavailable("the lock runs out all the time") from None
            finally:
                self._kept.unlock()

    def _refresh(self, refused: str | None, send: Send) -> Credential | str | None:
        """One attempt, with the lock.

        The new credential, or what failed, or None: look at the store, it says what to do next.
        """
        credential = self._kept.load()
        early = (step := self._step(credential, refused)) is Step.REFRESH_EARLY
        if step is Step.USE or credential.wait(self._clock()) > 0:
            return None
        if credential.idempotency_key is None:
            credential = replace(credential, idempotency_key=secrets.token_urlsafe(24))
        answer, sent_at, server_ahead = self._ask(credential, send)
        if isinstance(answer, Tokens):
            renewed = credential.renewed(
                answer,
                now=sent_at,
                uniform=self._uniform,
                server_ahead_seconds=server_ahead,
                after_refusal=refused == credential.access_token,
            )
            self._kept.save_answer(credential, renewed)
            _log.info("refreshed, sid %s", renewed.sid or "unknown")
            return renewed
        if isinstance(answer, Terminal):
            self._end(credential, answer)
            return None
        delay = self._delay(credential, answer)
        self._kept.save_answer(credential, credential.delayed(until=self._clock() + delay))
        if isinstance(answer, Refused):
            problem = RefreshRefused(answer.status, answer.error, answer.reason, answer.description)
            _log.error("refused: %s", problem)
            if not early:
                raise problem
            return None
        _log.warning("%s, again in %.1f seconds", answer.detail, delay)
        return answer.detail

    def _ask(self, credential: Credential, send: Send) -> tuple[Answer, float, float | None]:
        """What the server says, when it was asked, and how far its clock is ahead of ours.

        Raises LockLost, with nothing sent, if the lock is or may be another's by now.
        """
        sent_at = self._clock()
        try:
            endpoint = self._server.endpoint("token_endpoint", send, now=sent_at)
            request = self._application.refresh(
                endpoint,
                credential.refresh_token or "",
                key=credential.idempotency_key or "",
                parameters=self._parameters,
            )
            renewing_at = self._clock()
            self._kept.save(credential)
            sent_at = self._clock()
            if not 0 <= sent_at - renewing_at <= _LATEST_SEND_SECONDS:
                raise LockLost("stopped between the last write and the request")
            response = send(request)
        except (ConnectionFailed, RefreshUnavailable) as failure:
            after = getattr(failure, "retry_after_seconds", None)
            return Later(f"no answer: {failure}", after or None), sent_at, None
        except RefreshRefused as no:
            refused = Refused(no.status, no.error, no.reason, no.description)
            return refused, sent_at, None
        now = self._clock()
        private = (credential.refresh_token, credential.access_token, credential.idempotency_key)
        answer = read(response, now=now, private=(*private, self._application.client_secret))
        return answer, sent_at, server_ahead_seconds(response.headers, now=now)

    def _end(self, credential: Credential, answer: Terminal) -> None:
        """Unless the store has newer tokens by now, whoever wrote them."""
        if self._kept.load().refresh_token != credential.refresh_token:
            return
        end = SessionEnded(answer.reason, answer.description, sid=credential.sid)
        self._kept.save_answer(credential, credential.tombstone(end))
        _log.error("the session has ended, sid %s: %s", end.sid or "unknown", end.reason)

    def _delay(self, credential: Credential, answer: Later | Refused) -> float:
        """Until the next attempt, whoever makes it: not all at the same time."""
        if isinstance(answer, Later) and answer.after_seconds:
            return answer.after_seconds + self._uniform(0, 0.25 + answer.after_seconds / 10)
        # The first exponent that is past the longest delay will do for all that follow.
        longest = _FIRST_DELAY_SECONDS * 2.0 ** min(credential.failures, 8)
        longest = min(longest, _LONGEST_DELAY_SECONDS)
        return self._uniform(longest / 2, longest)

    def _step(self, credential: Credential, refused: str | None) -> Step:
        return credential.step(
            now=self._clock(), api_ahead_seconds=self._api_ahead_seconds, refused=refused
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        give_up_at = self._clock() + self._give_up_after_seconds
        while not self._kept.try_lock():
            if self._clock() > give_up_at:
                raise RefreshUnavailable("somebody else has the lock all the time")
            self._sleep(self._uniform(0.01, 0.05))
        try:
            yield
        finally:
            self._kept.unlock()
