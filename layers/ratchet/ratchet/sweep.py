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

A page of a hundred due sessions costs one query, one batch read, the writes, and a call for every
ten events.
"""

import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ratchet import events
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.attention import visit_due
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import Session, told
from ratchet.session_end import end_session
from ratchet.session_item import ATTENTION_SHARDS
from ratchet.store import SessionStore
from ratchet.sweep_page import Step, carry_out
from ratchet.sweep_positions import SweepPositions

MARGIN_MS = 20_000
"""Stops this long before the function's time is over: longer than the slowest call with retries,
and after it the one that keeps the position."""
WORKERS = 16
"""Calls at the same time, for all shards together: as many as one CPU can feed."""
WHAT = (
    "ended",
    "warned",
    "announced",
    "rearmed",
    "published",
    "unpublished",
    "overtaken",
    "faults",
)
"""What a visit is counted under: in the report if there was any, as a metric also if none."""


@dataclass(frozen=True, slots=True)
class Report:
    """visited: how often what was done. lag_seconds: how late the latest visit was.

    in_time: nothing was left for want of time.
    """

    visited: Counter[str] = field(default_factory=Counter)
    lag_seconds: int = 0
    in_time: bool = True

    @property
    def complete(self) -> bool:
        """Whether all that was due has been looked at."""
        return self.in_time and not self.visited["faults"]

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.visited + other.visited,
            max(self.lag_seconds, other.lag_seconds),
            self.in_time and other.in_time,
        )

    def to_dict(self) -> dict[str, Any]:
        return {**self.visited, "lag_seconds": self.lag_seconds, "complete": self.complete}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One sweep: what it works with."""

    applications: Applications
    applications_lock: threading.Lock
    store: SessionStore
    positions: SweepPositions
    bus: Bus
    now: int
    dry_run: bool
    in_time: Callable[[], bool]
    workers: Executor


def sweep(
    *,
    applications: Applications,
    store: SessionStore,
    positions: SweepPositions,
    bus: Bus,
    now: int,
    remaining_ms: Callable[[], int],
    dry_run: bool = False,
) -> Report:
    """One run over all shards. remaining_ms: how much time the function still has.

    dry_run: reports what would be done, and does none of it.
    """
    with (
        ThreadPoolExecutor(ATTENTION_SHARDS) as shards,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        run = _Run(
            applications=applications,
            applications_lock=threading.Lock(),
            store=store,
            positions=positions,
            bus=bus,
            now=now,
            dry_run=dry_run,
            in_time=lambda: remaining_ms() > MARGIN_MS,
            workers=workers,
        )
        report = sum(shards.map(partial(_sweep_shard, run), range(ATTENTION_SHARDS)), Report())
    if not dry_run:
        _account(report)
    return report


def _account(report: Report) -> None:
    events.log("sweep", outcome="complete" if report.complete else "incomplete")
    # Zeros too: an alarm is to hear of a sweep that does not run at all.
    events.count(
        {"function": "sweep"},
        {
            "SweepLagSeconds": ("Seconds", report.lag_seconds),
            "SweepIncomplete": ("Count", int(not report.complete)),
            **{
                f"Sweep{what.title()}": ("Count", report.visited[what])
                for what in sorted({*WHAT, *report.visited})
            },
        },
    )


def _sweep_shard(run: _Run, shard: int) -> Report:
    pages: list[Report] = []

    def visit(sids: Sequence[str]) -> bool:
        pages.append(_visit(run, sids))
        return pages[-1].in_time

    try:
        in_time = visit_due(
            shard,
            visit,
            store=run.store,
            positions=None if run.dry_run else run.positions,
            now=run.now,
            in_time=run.in_time,
        )
    except Fault as fault:
        events.log("sweep", level="ERROR", fault=str(fault))
        return sum(pages, Report(Counter(faults=1)))
    return sum(pages, Report(in_time=in_time))


def _visit(run: _Run, sids: Sequence[str]) -> Report:
    """One page. A fault with one session stops no other."""
    visited: Counter[str] = Counter()
    lag_seconds = 0
    damaged: dict[str, str] = {}
    steps: list[Step] = []

    @functools.cache
    def application_of(client_id: str) -> Application | Fault | None:
        """Looked for once a page, also when it cannot be read; read once, whoever asks first."""
        try:
            with run.applications_lock:
                return run.applications.get(client_id, run.now)
        except Fault as fault:
            return fault

    sessions = run.store.read(sids, damaged=damaged, consistent=True)
    visited["overtaken"] += len(sids) - len(sessions) - len(damaged)
    for session in sessions:
        if session.attention_at is None or session.attention_at > run.now:
            visited["overtaken"] += 1
            continue
        application = application_of(session.client_id)
        if isinstance(application, Fault):
            damaged[session.sid] = str(application)
            continue
        lag_seconds = max(lag_seconds, run.now - session.attention_at)
        steps.append(_due(session, application, run))
    for sid, problem in damaged.items():
        events.log("sweep", level="ERROR", sid=sid, fault=problem)
        visited["faults"] += 1
    if run.dry_run:
        return Report(+(visited + Counter(step.what for step in steps)), lag_seconds)
    done = carry_out(steps, bus=run.bus, workers=run.workers, in_time=run.in_time)
    return Report(+(visited + done.counted), lag_seconds, done.in_time)


def _due(session: Session, application: Application | None, run: _Run) -> Step:
    """What is due for one session: the decision, with the writes that carry it out."""
    store, now = run.store, run.now
    if session.ended_at is not None:
        return Step(
            session=session,
            what="published",
            left="unpublished",
            events=events.ending,
            file=store.settle,
        )
    era = application.era(session.started_at) if application else None
    policy = era.policy if era else PRESETS["browser"]
    valid_after = application.sessions_valid_after if application else 0
    if reason := session.dead_because(now, valid_after):
        end = partial(
            end_session,
            session.sid,
            reason=reason,
            by="",
            retention_seconds=policy.retention_seconds,
            ended_at=now if reason is Reason.POLICY_CUTOFF else session.idle_deadline_at,
            seen=session,
            store=store,
            bus=None,
            now=now,
        )
        return Step(session=session, what="ended", end=end, events=events.ending, file=store.settle)
    after = told(session, policy, now)
    happened = events.due(session, after)
    types = {event.type for event in happened}
    return Step(
        session=session,
        what="warned" if "session.expiring" in types else "announced" if types else "rearmed",
        left="unpublished" if happened else "faults",
        events=lambda _: happened,
        file=partial(store.rearm, becomes=after),
    )
