"""How a session starts, whoever starts it: one conditional write, then the event.

    start:     PutItem unannounced, attention_at = soon              it is alive from here on
    publish:   PutEvents                                             killed or failed here? it comes
    file:      UpdateItem REMOVE unannounced SET attention_at = …    due: the sweep publishes

So the event is delivered at least once, and an EventBridge outage fails no sign-in.
"""

from dataclasses import replace

from ratchet import events
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.policy import Policy
from ratchet.session import Session, attention_at, told
from ratchet.store import SessionStore


def unannounced(session: Session, policy: Policy) -> Session:
    """A new session as it has to be written."""
    session = replace(session, unannounced=True)
    return replace(session, attention_at=attention_at(session, policy))


def publish_start(
    session: Session, policy: Policy, *, store: SessionStore, bus: Bus, now: int
) -> bool:
    """Publishes the start of a stored session and files it. False: the sweep will."""
    after = told(session, policy, now)
    happened = events.due(session, after)
    try:
        bus.publish(happened)
        store.rearm(session, after)
    except Fault as fault:
        events.log(
            "event left for the sweep",
            level="WARNING",
            sid=session.sid,
            event_id=happened[0].id,
            fault=str(fault),
        )
        return False
    return True
