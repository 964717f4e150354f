"""How a session ends, whoever ends it: one conditional write, then the events.

    end:      UpdateItem SET ended_at, reason, attention_at = now    it is dead from here on
    publish:  PutEvents                                              killed or failed here? it is
    settle:   UpdateItem REMOVE attention_at                         still due: the sweep publishes

So an event is delivered at least once, and an EventBridge outage fails no request.
"""

from aws_lambda_powertools.metrics import MetricUnit

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
    bus: Bus,
    now: int,
    ended_at: int | None = None,
    client_id: str | None = None,
    idle_deadline_at: int | None = None,
) -> Outcome:
    """Ends a live session and tells. done False: it was over already, or is not as expected.

    The parameters are those of `SessionStore.end`. Raises Fault when the write is not certain.
    """
    outcome = store.end(
        sid,
        reason=reason,
        by=by,
        now=now,
        retention_seconds=retention_seconds,
        ended_at=ended_at,
        client_id=client_id,
        idle_deadline_at=idle_deadline_at,
    )
    if outcome.done and outcome.session is not None:
        events.count({"reason": reason.value}, {"SessionsEnded": (MetricUnit.Count, 1)})
        publish_end(outcome.session, store=store, bus=bus)
    return outcome


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
