"""Signing a subject out everywhere, whoever asks for it and why."""

from dataclasses import dataclass

from ratchet import events
from ratchet.applications import Applications
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.session_end import end_session, publish_end
from ratchet.store import SessionStore

PAGE = 100


@dataclass(frozen=True, slots=True)
class SignedOut:
    """ended: the sessions that were, some of them as expired.

    damaged, left: what kept others from it, one text for each.
    A damaged one can hand out no tokens, because every answer has to read it; others are alive.
    """

    ended: tuple[Session, ...] = ()
    damaged: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def sign_out(
    sub: str,
    *,
    reason: Reason,
    by: str,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
    last: str | None = None,
) -> SignedOut:
    """Ends all of them; one that cannot be ended, or is damaged, keeps no other alive.

    Repeatable: what is over stays as it is, so one that was cut short is simply run again. The
    subject's list is an index, which shows a session a moment after it started: run it once more
    after that moment. by: client id of who asks, or the command that does it. last: the session of
    whoever asks, with which they can ask again until the others have ended. Raises Fault if the
    list itself cannot be read.
    """
    ended: list[Session] = []
    damaged: list[str] = []
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

    def end(session: Session) -> None:
        # Only a stored end is for good: a cut-off can be taken back, another clock may be behind.
        if session.ended_at is not None:
            return
        retention_seconds, sessions_valid_after = keeping(session.client_id)
        try:
            outcome = end_session(
                session.sid,
                reason=reason,
                by=by,
                retention_seconds=retention_seconds,
                store=store,
                bus=None,
                now=now,
                sessions_valid_after=sessions_valid_after,
            )
        except Fault as fault:
            left.append(f"session {session.sid}: {fault}")
            return
        if outcome.done and outcome.session is not None:
            events.count_ends([outcome.session])
            ended.append(outcome.session)

    own: list[Session] = []
    after = None
    while True:
        wrong: dict[str, str] = {}
        sessions, after = store.of_subject(sub, limit=PAGE, after=after, damaged=wrong)
        damaged.extend(wrong.values())
        for session in sessions:
            if session.sid == last:
                own.append(session)
            else:
                end(session)
        if after is None:
            break
    for session in own:
        end(session)
    for session in ended:
        # All of them are dead by now; what EventBridge does not take at once is for the sweep.
        if not publish_end(session, store=store, bus=bus):
            break
    return SignedOut(
        tuple(ended),
        tuple(damaged),
        tuple(left),
    )
