"""Ends a subject's sessions for a reason that lies with the user, not with one session."""

from dataclasses import dataclass

from ratchet import events
from ratchet.applications import Applications
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session_end import end_session
from ratchet.store import SessionStore

PAGE = 100


@dataclass(frozen=True, slots=True)
class SignedOut:
    """ended: how many sessions were. left: what kept others from it, one text for each."""

    ended: int
    left: tuple[str, ...]


def sign_out(
    sub: str,
    *,
    reason: Reason,
    by: str,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> SignedOut:
    """Ends all of them; one that cannot be ended, or is damaged, keeps no other alive.

    Repeatable: what is over stays as it is, so one that was cut short is simply run again. The
    subject's list is an index, which shows a session a moment after it started: run it once more
    after that moment. by: the command that does it. Raises Fault if the list itself cannot be read.
    """
    ended = 0
    left: list[str] = []
    known: dict[str, tuple[int, int]] = {}

    def keeping(client_id: str) -> tuple[int, int]:
        """Retention and `sessions_valid_after`; the defaults for an application that is damaged."""
        if client_id not in known:
            try:
                application = applications.get(client_id, now)
            except Fault as fault:
                about = {"client_id": client_id, "fault": str(fault)}
                events.log("ended without its application", level="WARNING", **about)
                application = None
            policy = application.policy if application else PRESETS["browser"]
            valid_after = application.sessions_valid_after if application else 0
            known[client_id] = policy.retention_seconds, valid_after
        return known[client_id]

    after = None
    while True:
        damaged: dict[str, str] = {}
        sessions, after = store.of_subject(sub, limit=PAGE, after=after, damaged=damaged)
        left.extend(damaged.values())
        for session in sessions:
            if session.ended_at is not None:
                continue
            retention_seconds, sessions_valid_after = keeping(session.client_id)
            try:
                outcome = end_session(
                    session.sid,
                    reason=reason,
                    by=by,
                    retention_seconds=retention_seconds,
                    store=store,
                    bus=bus,
                    now=now,
                    sessions_valid_after=sessions_valid_after,
                )
            except Fault as fault:
                left.append(f"session {session.sid}: {fault}")
                continue
            stored = outcome.session
            ended += outcome.done and stored is not None and stored.reason is reason
        if after is None:
            return SignedOut(ended, tuple(left))
