"""API use as activity: an API tells which sessions' access tokens it has just been called with.

Idle time counts from the last refresh, and, where the policy has `touch_interval_seconds`, from the
last use as well. Here: idle 15 minutes, interval 1 minute, absolute 8 hours.

    12:00:00  refresh                            idle deadline 12:15:00
    12:00:40  touch: active 40 s ago             fresh, no write
    12:05:00  two APIs touch, 12:05:00 - 1 min   one of the two writes takes effect: 12:20:00
              is later than the last activity
    12:21:00  touch                              ended, idle_expired: nothing revives it

The rule is in the condition of the write, so it holds however many APIs and instances call. A touch
moves the idle deadline, never earlier, and nothing else: no absolute deadline, no index, no token.
Where that deadline cannot move, because it is the absolute one or the idle time has been shortened,
the use is written down all the same: mode `now` of a change counts from it.

A refresh token carries its own last possible instant, and past it is refused without a look at the
session. A touched session must not promise what its token cannot keep:

    touch off  token made at 12:00  good until 12:15 (and 24 h for a lost answer)
               touched for two days, then refreshed: idle_expired, of a session that was alive
    touch on   token made at 12:00  good until 20:00, as long as the session may last

So where touch is on tokens are made to last (`Policy.lasting_tokens`), and the very write that
stores such a token sets `active_at`; a rotation with touch off removes it. Only sessions that have
it are touched: one whose token is of before touch was switched on gets it with its next refresh.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ratchet.applications import Applications
from ratchet.errors import Fault, InsufficientScope, InvalidRequest
from ratchet.reasons import Reason
from ratchet.request import Parameters
from ratchet.response import Response
from ratchet.session import Session, idle_deadline
from ratchet.sessions import Caller
from ratchet.store import BATCH, SessionStore

SCOPE = "sessions:touch"
WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What became of one session.

    outcome: "touched"; "fresh", active within the interval already; "not_counted", API use does not
    count for it, or not yet; "ended", with the reason; "unknown". session: as it is now, if alive.
    """

    sid: str
    outcome: str
    session: Session | None = None
    reason: Reason | None = None

    def to_dict(self) -> Mapping[str, Any]:
        body: dict[str, Any] = {"sid": self.sid, "outcome": self.outcome}
        if self.session is not None:
            body["idle_deadline_at"] = self.session.idle_deadline_at
            body["absolute_deadline_at"] = self.session.absolute_deadline_at
        if self.reason is not None:
            body["reason"] = self.reason.value
        return body


def touch(
    session: Session, *, applications: Applications, store: SessionStore, now: int
) -> Touched:
    """Counts a use of this session, as it was just read, at `now`.

    At most one write; none if it would change nothing. Raises Fault: nothing is lost, ask again.
    """
    sid = session.sid
    application = applications.get(session.client_id, now)
    if application is None or application.disabled_at is not None:
        return Touched(sid=sid, outcome="ended", reason=Reason.APPLICATION_DISABLED)
    if reason := session.dead_because(now, application.sessions_valid_after):
        return Touched(sid=sid, outcome="ended", reason=reason)
    policy = application.era(session.started_at).policy
    interval = policy.touch_interval_seconds
    if not interval or session.active_at is None:
        return Touched(sid=sid, outcome="not_counted", session=session)
    if session.active_at > now - interval:
        return Touched(sid=sid, outcome="fresh", session=session)
    idle_deadline_at = max(
        idle_deadline(policy, absolute_deadline_at=session.absolute_deadline_at, now=now),
        session.idle_deadline_at,
    )
    outcome = store.touch(
        sid,
        idle_deadline_at=idle_deadline_at,
        expires_at=idle_deadline_at + policy.retention_seconds,
        active_before=now - interval,
        now=now,
    )
    if outcome.session is None:
        return Touched(sid=sid, outcome="unknown")
    if outcome.done:
        return Touched(sid=sid, outcome="touched", session=outcome.session)
    # Somebody was faster: another API, a refresh, an end.
    if reason := outcome.session.dead_because(now, application.sessions_valid_after):
        return Touched(sid=sid, outcome="ended", reason=reason)
    counted = "not_counted" if outcome.session.active_at is None else "fresh"
    return Touched(sid=sid, outcome=counted, session=outcome.session)


def touch_sessions(
    caller: Caller,
    parameters: Parameters,
    *,
    applications: Applications,
    store: SessionStore,
    now: int,
) -> Response:
    """`{"sessions": [{"sid", "outcome", …}]}`, in the order of `sids`, each once.

    An application's own token only: no client may keep its session alive by saying so. Raises
    InsufficientScope, InvalidRequest, Fault (some may be touched; to repeat it costs no write).
    """
    if caller.sub is not None or SCOPE not in caller.scopes:
        raise InsufficientScope(SCOPE, client_id=caller.client_id, sub=caller.sub)
    sids = _sids(parameters.only("sids").values.get("sids"))

    def one(sid: str) -> Touched:
        if sid in damaged:
            raise Fault(damaged[sid])
        session = found.get(sid)
        if session is None:
            return Touched(sid=sid, outcome="unknown")
        return touch(session, applications=applications, store=store, now=now)

    damaged: dict[str, str] = {}
    # Consistent: what it calls unknown or ended an API may act on.
    read = store.read([sid for sid in sids if len(sid) == 22], damaged=damaged, consistent=True)
    found = {session.sid: session for session in read}
    with ThreadPoolExecutor(WORKERS) as workers:
        futures = [workers.submit(one, sid) for sid in sids]
    # Only now: a fault with one session, or with its application, stops no other.
    results = [future.result() for future in futures]
    touched = sum(result.outcome == "touched" for result in results)
    log = {"client_id": caller.client_id, "touched": touched}
    return Response(body={"sessions": [result.to_dict() for result in results]}, log=log)


def _sids(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= BATCH:
        raise InvalidRequest(f"sids must be a list of 1 to {BATCH} session ids.")
    if not all(isinstance(sid, str) for sid in value):
        raise InvalidRequest("sids must have texts only.")
    return list(dict.fromkeys(value))
