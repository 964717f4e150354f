"""May this request to an API of the deployment's own pass? (docs/apis.md, functions/authorizer)

Token and proof are looked at with every request, so no verdict about them outlives anything. Only
whether the session is alive is remembered, for seconds:

    token    ratchet_verify, with the keys that the issuer publishes
    proof    of a token that is bound to a key (RFC 9449 section 7): each is good once
    session  the sessions table, at most once in KEPT_SECONDS for each session, if asked at all

API Gateway's own memory would pass an expired token, and a bound one without its proof: it is off.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ratchet import errors
from ratchet.applications import Applications
from ratchet.errors import Fault, InvalidToken
from ratchet.reasons import Reason
from ratchet.response import Response
from ratchet.session import Session
from ratchet.store import SessionStore
from ratchet.touch import Touched, touch
from ratchet_verify import Claims, ExpiredToken, Refusal, Unavailable, Verifier
from ratchet_verify.aws_lambda import authenticate

KEPT_SECONDS = 10
"""For so long an ended session may still be served, and one look into the table answers for all."""
MAX_KEPT = 4096
_OVER = ("ended", "unknown")


def authorize(
    event: dict[str, Any], *, verifier: Verifier, session_check: "SessionCheck | None", now: int
) -> Response:
    """The claims of the token that came with the event of an authorizer (payload format 2.0).

    session_check: None if the token's own expiry is all that counts. Raises InvalidToken, whatever
    it is that the client has to mend, and Fault when nobody can know.
    """
    try:
        claims = authenticate(verifier, event)
    except Unavailable as away:
        raise Fault(f"issuer: {away.detail}") from None
    except ExpiredToken as expired:
        raise errors.ExpiredToken(expired.detail) from None
    except Refusal as refusal:
        raise InvalidToken(": ".join(filter(None, (refusal.error, refusal.detail)))) from None
    log: dict[str, Any] = {"sub": claims.sub, "sid": claims.sid, "client_id": claims.client_id}
    if session_check is not None:
        log["touched"] = int(session_check.check(claims, now)) or None
    return Response(body=claims.all, log=log)


@dataclass(frozen=True, slots=True)
class _Verdict:
    reason: Reason | None
    since: int
    until: int


class SessionCheck:
    """Whether the session of a token is alive, and API use as its activity (docs/activity.md)."""

    def __init__(
        self, applications: Applications, store: SessionStore, *, max_kept: int = MAX_KEPT
    ) -> None:
        self._applications = applications
        self._store = store
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Verdict] = OrderedDict()

    def check(self, claims: Claims, now: int) -> bool:
        """Whether this use was counted, which takes a write. Raises InvalidToken, Fault."""
        reason, counted = None, False
        if claims.sid is None:
            application = self._applications.get(claims.client_id, now)
            if application is None or application.disabled_at is not None:
                reason = Reason.APPLICATION_DISABLED
        else:
            reason, counted = self._look(claims.sid, now)
        if reason is not None:
            about = {"sub": claims.sub, "sid": claims.sid, "client_id": claims.client_id}
            raise InvalidToken("its session is over", reason=reason, **about)
        return counted

    def _look(self, sid: str, now: int) -> tuple[Reason | None, bool]:
        with self._lock:
            kept = self._kept.get(sid)
        if kept is not None and kept.since <= now < kept.until:
            return kept.reason, False
        touched = self._ask(sid, now)
        over, until = touched.outcome in _OVER, now + KEPT_SECONDS
        reason = (touched.reason or Reason.SESSION_UNKNOWN) if over else None
        if touched.session is not None:
            until = min(until, touched.session.idle_deadline_at)
        with self._lock:
            self._kept[sid] = _Verdict(reason, now, until)
            self._kept.move_to_end(sid)
            while len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)
        return reason, touched.outcome == "touched"

    def _ask(self, sid: str, now: int) -> Touched:
        # A copy that lags behind does not know who has just signed in, nor the deadline that a
        # refresh has just moved. So nobody is turned away before the newest one is asked.
        for consistent in (False, True):
            session = self._store.get(sid, consistent=consistent)
            touched = self._touched(sid, session, now)
            if touched.outcome not in _OVER:
                break
        return touched

    def _touched(self, sid: str, session: Session | None, now: int) -> Touched:
        if session is None:
            return Touched(sid=sid, outcome="unknown")
        return touch(session, applications=self._applications, store=self._store, now=now)
