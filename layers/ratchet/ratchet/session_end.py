"""How a session ends, whoever ends it: one conditional write, then the events.

    end:      UpdateItem SET ended_at, reason, attention_at = now    it is dead from here on
    count:    the metric, for the alarms                             by whoever stored the end
    publish:  PutEvents                                              killed or failed here? it is
    settle:   UpdateItem REMOVE attention_at                         still due: the sweep publishes

So an event is delivered at least once, and an EventBridge outage fails no request and hides no
end from the alarms.
"""

from collections.abc import Mapping
from typing import Any

from ratchet import events
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.store import Outcome, SessionStore


def end_session(
    sid: str,
    *,
    reason: Reason,
    by: str,
    retention_seconds: int,
    store: SessionStore,
    bus: Bus | None,
    now: int,
    ended_at: int | None = None,
    client_id: str | None = None,
    token_hash: bytes | None = None,
    seen: Session | None = None,
    sessions_valid_after: int = 0,
    evidence: Mapping[str, Any] | None = None,
) -> Outcome:
    """Ends a session and tells. done False: it was over already, or is not as expected.

    One that has expired, but is not stored as ended yet, is ended as expired: another instance,
    whose clock is behind, must not refresh what its owner was told is over.
    bus None: the caller counts it and publishes later. sessions_valid_after: of the application.
    The other parameters are those of `SessionStore.end`. Raises Fault when the write is not
    certain.
    """
    ended_at = now if ended_at is None else ended_at
    outcome = store.end(
        sid,
        reason=reason,
        by=by,
        now=now,
        retention_seconds=retention_seconds,
        ended_at=ended_at,
        client_id=client_id,
        token_hash=token_hash,
        seen=seen,
        evidence=evidence,
    )
    session = outcome.session
    if session is None or (client_id is not None and session.client_id != client_id):
        return outcome
    expired = session.ended_at is None and session.dead_because(now)
    if expired and seen is None:
        return end_session(
            sid,
            reason=session.dead_because(now, sessions_valid_after) or expired,
            by="",
            retention_seconds=retention_seconds,
            store=store,
            bus=bus,
            now=now,
            ended_at=session.idle_deadline_at,
            seen=session,
        )
    # Our own write, which the SDK repeated after its answer was lost, looks like somebody else's.
    ours = (ended_at, reason, by, now)
    stored = (session.ended_at, session.reason, session.ended_by, session.attention_at)
    if not outcome.done and not (outcome.repeated and ours == stored):
        return outcome
    if bus is not None:
        events.count_ends([session])
        publish_end(session, store=store, bus=bus)
    return Outcome(True, session)


def publish_end(session: Session, *, store: SessionStore, bus: Bus) -> bool:
    """Publishes the end of a session and files it away. False: the sweep will repeat it."""
    ending = events.ending(session)
    try:
        bus.publish(ending)
        store.settle(session)
    except Fault as fault:
        events.log(
            "event left for the sweep",
            level="WARNING",
            sid=session.sid,
            event_id=ending[0].id,
            fault=str(fault),
        )
        return False
    return True
