"""What a change of an application does to the sessions that live: foreseen, or done at once.

There is no index of an application's sessions: it would cost every session start a write, for a
question that is asked once a month. These read the whole table, a megabyte a page, and are for
operators only.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ratchet.application import Application
from ratchet.events import Bus
from ratchet.policy import DAY, Policy
from ratchet.reasons import Reason
from ratchet.session import Session, attention_at
from ratchet.session_end import end_session
from ratchet.store import SessionStore

WORKERS = 8
_TRIES = 3
_RETENTION_SECONDS = 30 * DAY


@dataclass(slots=True)
class Ends:
    """How many sessions end by then, if nobody refreshes them."""

    now: int = 0
    within_a_day: int = 0
    within_a_week: int = 0

    def add(self, at: int, now: int) -> None:
        self.now += at <= now
        self.within_a_day += at <= now + DAY
        self.within_a_week += at <= now + 7 * DAY


@dataclass(slots=True)
class Preview:
    """live: sessions looked at. as_it_is: without the change. changed: with it, in its mode.
    at_once: with it in mode `now`. next: where to go on, None: all sessions have been looked at."""

    live: int = 0
    as_it_is: Ends = field(default_factory=Ends)
    changed: Ends = field(default_factory=Ends)
    at_once: Ends = field(default_factory=Ends)
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Applied:
    """ended, shortened: sessions that were. next: as in `Preview`."""

    ended: int = 0
    shortened: int = 0
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(
    changes: Mapping[str, tuple[Application, Application]],
    *,
    at_once: bool,
    store: SessionStore,
    now: int,
    after: str | None = None,
    pages: int | None = None,
) -> Preview:
    """Changes nothing. changes: applications before and after, by client id.

    at_once: the change is to be made in mode `now`. pages: how many to read at most.
    """
    seen = Preview()
    client_id = next(iter(changes)) if len(changes) == 1 else None
    for sessions, seen.next in _pages(store, now, client_id, after, pages):
        for session in sessions:
            before, later = changes.get(session.client_id, (None, None))
            if before is None or later is None or not _alive(session, before, now):
                continue
            seen.live += 1
            seen.as_it_is.add(session.idle_deadline_at, now)
            over = not _alive(session, later, now)
            # In another mode a new policy would leave the former ones to older sessions.
            one_for_all = not at_once and later.policy != before.policy
            policy = later.policy if one_for_all else later.era(session.started_at).policy
            at = min(deadlines(session, policy))
            seen.at_once.add(now if over else at, now)
            seen.changed.add(now if over else at if at_once else session.idle_deadline_at, now)
    return seen


def apply_now(
    application: Application,
    *,
    store: SessionStore,
    bus: Bus,
    now: int,
    after: str | None = None,
    pages: int | None = None,
) -> Applied:
    """Gives the live sessions the deadlines they would have had under its policy from the start.

    Those that keep a former policy are measured by that one. No deadline gets later. Those whose
    deadline has passed by that end, for the reason it says. Warnings come as the policy says too.
    A session that is refreshed or used meanwhile is looked at again. Safe to repeat. Raises Fault.
    """
    done = Applied()

    def one(session: Session) -> str:
        return _apply(session, application, store, bus, now)

    with ThreadPoolExecutor(WORKERS) as workers:
        for sessions, done.next in _pages(store, now, application.client_id, after, pages):
            results = list(workers.map(one, sessions))
            done.ended += results.count("ended")
            done.shortened += results.count("shortened")
    return done


def deadlines(session: Session, policy: Policy) -> tuple[int, int]:
    """Idle and absolute deadline of a session if this had been its policy, never later than its
    own."""
    absolute = min(session.absolute_deadline_at, session.started_at + policy.absolute_ttl_seconds)
    idle = min(session.idle_deadline_at, session.last_active_at + policy.idle_ttl_seconds, absolute)
    return idle, absolute


def end_all(client_id: str, *, by: str, store: SessionStore, bus: Bus, now: int) -> int:
    """Ends the live sessions of an application that is disabled for good; how many."""

    def one(session: Session) -> bool:
        return end_session(
            session.sid,
            reason=Reason.APPLICATION_DISABLED,
            by=by,
            retention_seconds=_RETENTION_SECONDS,
            store=store,
            bus=bus,
            now=now,
        ).done

    with ThreadPoolExecutor(WORKERS) as workers:
        pages = _pages(store, now, client_id, None, None)
        return sum(sum(workers.map(one, sessions)) for sessions, _ in pages)


def _pages(
    store: SessionStore, now: int, client_id: str | None, after: str | None, pages: int | None
) -> Iterator[tuple[list[Session], str | None]]:
    read = 0
    while pages is None or read < pages:
        sessions, after = store.live(now, client_id=client_id, after=after)
        yield sessions, after
        read += 1
        if after is None:
            return


def _alive(session: Session, application: Application, now: int) -> bool:
    over = session.dead_because(now, application.sessions_valid_after)
    return application.disabled_at is None and over is None


def _apply(
    session: Session, application: Application, store: SessionStore, bus: Bus, now: int
) -> str:
    policy = application.era(session.started_at).policy
    found: Session | None = session
    for _ in range(_TRIES):
        if found is None or not _alive(found, application, now):
            return "over"
        idle, absolute = deadlines(found, policy)
        becomes = replace(found, idle_deadline_at=idle, absolute_deadline_at=absolute)
        becomes = replace(becomes, attention_at=_next_attention(becomes, policy, now))
        if becomes == found:
            return "unchanged"
        if idle <= now:
            outcome = end_session(
                found.sid,
                reason=Reason.IDLE_EXPIRED if idle < absolute else Reason.ABSOLUTE_EXPIRED,
                by="",
                retention_seconds=policy.retention_seconds,
                seen=found,
                store=store,
                bus=bus,
                now=now,
            )
        else:
            outcome = store.shorten(found, becomes)
        if outcome.done and idle <= now:
            return "ended"
        if outcome.done:
            same = replace(becomes, attention_at=found.attention_at) == found
            return "filed" if same else "shortened"
        # It has been refreshed since, or has ended.
        found = outcome.session
    return "overtaken"


def _next_attention(session: Session, policy: Policy, now: int) -> int:
    """Never later than it is filed under: a visit too early files it anew. Nor in the past: what
    a sweep finds there looks as if it had been due for that long."""
    at = max(attention_at(session, policy), now)
    return min(at, at if session.attention_at is None else session.attention_at)
