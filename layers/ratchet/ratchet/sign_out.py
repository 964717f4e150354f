"""Ends a subject's sessions for a reason that lies with the user, not with one session."""

from ratchet.applications import Applications
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session_end import end_session
from ratchet.store import SessionStore

PAGE = 100


def sign_out(
    sub: str,
    *,
    reason: Reason,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> int:
    """Ends all of them and says how many it has ended.

    Repeatable: what is over stays as it is, so one that was cut short is simply run again. The
    subject's list is an index, which shows a session a moment after it started: run it once more
    after that moment. Raises Fault.
    """
    ended = 0
    after = None
    while True:
        sessions, after = store.of_subject(sub, limit=PAGE, after=after)
        for session in sessions:
            if session.ended_at is not None:
                continue
            application = applications.get(session.client_id, now)
            policy = application.policy if application else PRESETS["browser"]
            outcome = end_session(
                session.sid,
                reason=reason,
                by="",
                retention_seconds=policy.retention_seconds,
                store=store,
                bus=bus,
                now=now,
                sessions_valid_after=application.sessions_valid_after if application else 0,
            )
            stored = outcome.session
            ended += outcome.done and stored is not None and stored.reason is reason
        if after is None:
            return ended
