"""The sweep: visits the sessions that are due, and only those.

A refresh never touches attention_at, so a session comes up at its *original* instant. If it has
lived on it is filed under its next one; else it is warned of or ended. The sweep enforces nothing:
a dead session is refused whether or not it was swept. Every step is conditional and repeatable, and
what was done leaves the due part of the index, so an interrupted sweep goes on where it stopped.

    sweep    reads session, deadline 12:00, now 12:01
    client                                   refreshes: refused, the deadline is in the condition
    ---
    sweep    reads session, deadline 12:00 (an old copy)
    client   refreshed at 11:59, deadline 12:14
    sweep    end IF deadline = 12:00         fails: the refresh wins
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from ratchet import events
from ratchet.applications import Applications
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import Session, attention_at
from ratchet.session_end import end_session, publish_end
from ratchet.session_item import ATTENTION_SHARDS
from ratchet.store import SessionStore

MARGIN_MS = 15_000
"""Stops this long before the function's time is over: longer than the slowest call with retries."""
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Report:
    """visited: how often what was done. lag_seconds: how late the latest visit was. complete: all
    that was due has been looked at."""

    visited: Counter[str] = field(default_factory=Counter)
    lag_seconds: int = 0
    complete: bool = True

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.visited + other.visited,
            max(self.lag_seconds, other.lag_seconds),
            self.complete and other.complete,
        )

    def to_dict(self) -> dict[str, Any]:
        return {**self.visited, "lag_seconds": self.lag_seconds, "complete": self.complete}


def sweep(
    *,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
    remaining_ms: Callable[[], int],
) -> Report:
    """One run over all shards. remaining_ms: how much time the function still has."""

    def in_time() -> bool:
        return remaining_ms() > MARGIN_MS

    def one(shard: int) -> Report:
        return _sweep_shard(shard, applications, store, bus, now, in_time)

    with ThreadPoolExecutor(WORKERS) as workers:
        report = sum(workers.map(one, range(ATTENTION_SHARDS)), Report())
    events.log("sweep", outcome="complete" if report.complete else "incomplete")
    events.count(
        {"function": "sweep"},
        {
            "SweepLagSeconds": (MetricUnit.Seconds, report.lag_seconds),
            "SweepIncomplete": (MetricUnit.Count, int(not report.complete)),
            **{
                f"Sweep{what.title()}": (MetricUnit.Count, number)
                for what, number in report.visited.items()
            },
        },
    )
    return report


def _sweep_shard(
    shard: int,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
    in_time: Callable[[], bool],
) -> Report:
    visited: Counter[str] = Counter()
    lag_seconds = 0
    try:
        for sid in (sid for page in store.due(shard, now) for sid in page):
            if not in_time():
                return Report(visited, lag_seconds, complete=False)
            what, lag = _look_at(sid, applications, store, bus, now)
            visited[what] += 1
            lag_seconds = max(lag_seconds, lag)
    except Fault as fault:
        events.log("sweep", level="ERROR", fault=str(fault))
        visited["faults"] += 1
    return Report(visited, lag_seconds, complete=not visited["faults"])


def _look_at(
    sid: str, applications: Applications, store: SessionStore, bus: Bus, now: int
) -> tuple[str, int]:
    """What was done, and how late it was in seconds. A fault with one session stops no other."""
    try:
        session = store.get(sid)
        if session is None or session.attention_at is None or session.attention_at > now:
            return "overtaken", 0
        return _visit(session, applications, store, bus, now), now - session.attention_at
    except Fault as fault:
        events.log("sweep", level="ERROR", sid=sid, fault=str(fault))
        return "faults", 0


def _visit(
    session: Session, applications: Applications, store: SessionStore, bus: Bus, now: int
) -> str:
    """Does what is due for one session, and says what that was."""
    if session.ended_at is not None:
        return "published" if publish_end(session, store=store, bus=bus) else "unpublished"
    application = applications.get(session.client_id, now)
    era = application.era(session.started_at) if application else None
    policy = era.policy if era else PRESETS["browser"]
    valid_after = application.sessions_valid_after if application else 0
    if reason := session.dead_because(now, valid_after):
        outcome = end_session(
            session.sid,
            reason=reason,
            by="",
            retention_seconds=policy.retention_seconds,
            ended_at=now if reason is Reason.POLICY_CUTOFF else session.idle_deadline_at,
            idle_deadline_at=session.idle_deadline_at,
            store=store,
            bus=bus,
            now=now,
        )
        return _tell("ended", session, reason) if outcome.done else "overtaken"
    next_at = attention_at(session, policy)
    if next_at > now:
        return "rearmed" if store.rearm(session, attention_at=next_at).done else "overtaken"
    # Published first: killed in between, the warning is repeated with the same id, never lost.
    bus.publish([events.expiring(session)])
    deadline = session.idle_deadline_at
    outcome = store.rearm(session, attention_at=deadline, warned_deadline_at=deadline)
    return _tell("warned", session) if outcome.done else "overtaken"


def _tell(what: str, session: Session, reason: Reason | None = None) -> str:
    """One line in the log for each session that was not just filed anew."""
    about = {"sid": session.sid, "sub": session.sub, "client_id": session.client_id}
    events.log("sweep", outcome=what, error_reason=reason.value if reason else None, **about)
    return what
