"""A page of due sessions, all of them at the same time: ended, told of, filed.

end       UpdateItem each, a count  killed or failed before the last write? The session is still
publish   PutEvents, ten a call     due, and the next sweep goes on with it. So an event may be
file      UpdateItem each           repeated, with the same id, and is never lost.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from ratchet import events
from ratchet.errors import Fault
from ratchet.events import Bus, EntriesRefused, Event
from ratchet.session import Session
from ratchet.store import Outcome

PUT_EVENTS = 10
"""PutEvents takes at most this many entries."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is due for one session.

    what: the word that it is counted under once it is done, "" for none. left: the one if it could
    not be done. end: a write that comes before the events. events: of the session as that left it.
    file: the write after which it is not due any more; a session that lives must not have moved on.
    """

    session: Session
    what: str
    left: str = "faults"
    end: Callable[[], Outcome] | None = None
    events: Callable[[Session], Sequence[Event]] = lambda _: ()
    file: Callable[[Session], Outcome]


class OutOfTime(Fault):
    """What is left is for the next sweep."""


@dataclass(frozen=True, slots=True)
class Done:
    """counted: how often what was done. in_time: nothing was left for want of time."""

    counted: Counter[str]
    in_time: bool


def carry_out(
    steps: Iterable[Step], *, bus: Bus, workers: Executor, in_time: Callable[[], bool]
) -> Done:
    """Does what is due. A fault with one session stops no other."""
    counted: Counter[str] = Counter()
    late = False

    def each(operation: Callable[[T], R], items: Sequence[T]) -> list[tuple[T, R | Fault]]:
        def attempt(item: T) -> R | Fault:
            if not in_time():
                return OutOfTime("out of time")
            try:
                return operation(item)
            except Fault as fault:
                return fault

        return list(zip(items, workers.map(attempt, items), strict=True))

    def leave(step: Step, fault: Fault, what: str) -> None:
        nonlocal late
        if isinstance(fault, OutOfTime):
            late = True
        else:
            _log_left(step, fault)
            counted[what] += 1

    steps = list(steps)
    open_steps = [step for step in steps if step.end is None]
    now_ended: list[Session] = []
    ends = [(step, step.end) for step in steps if step.end is not None]
    for (step, _), ended in each(lambda pair: pair[1](), ends):
        if isinstance(ended, Fault):
            leave(step, ended, "faults")
        elif not ended.done or ended.session is None:
            counted["overtaken"] += 1
        else:
            counted[step.what] += 1
            _tell(step.what, ended.session)
            now_ended.append(ended.session)
            open_steps.append(replace(step, session=ended.session, what="", left="unpublished"))
    events.count_ends(now_ended)

    untold: dict[str, Fault] = {}
    for batch, answer in each(bus.publish, _batches(open_steps)):
        if isinstance(answer, Fault):
            refused = answer.refused if isinstance(answer, EntriesRefused) else batch
            untold |= {event.session.sid: answer for event in refused}
    for step in open_steps:
        if step.session.sid in untold:
            leave(step, untold[step.session.sid], step.left)
    told = [step for step in open_steps if step.session.sid not in untold]

    for step, filed in each(lambda step: step.file(step.session), told):
        if isinstance(filed, Fault):
            leave(step, filed, step.left)
        elif not filed.done and step.session.ended_at is None:
            counted["overtaken"] += 1
        else:
            counted[step.what] += 1
            if step.what == "warned":
                warnings = [event for event in step.events(step.session) if event.about]
                _tell(step.what, step.session, " and ".join(event.about for event in warnings))
    del counted[""]
    return Done(counted, in_time=not late)


def _batches(steps: Iterable[Step]) -> list[list[Event]]:
    """The events in calls of at most ten, all of a session in the same one: they have an order."""
    batches: list[list[Event]] = []
    for step in steps:
        happened = step.events(step.session)
        if batches and len(batches[-1]) + len(happened) <= PUT_EVENTS:
            batches[-1] += happened
        elif happened:
            batches.append(list(happened))
    return batches


def _log_left(step: Step, fault: Fault) -> None:
    happened = step.events(step.session)
    if not happened:
        events.log("sweep", level="ERROR", sid=step.session.sid, fault=str(fault))
        return
    about = {"sid": step.session.sid, "event_id": happened[0].id, "fault": str(fault)}
    events.log("event left for the sweep", level="WARNING", **about)


def _tell(what: str, session: Session, deadline: str = "") -> None:
    """One line in the log for each session that was not just filed anew."""
    about = {"sid": session.sid, "sub": session.sub, "client_id": session.client_id}
    reason = session.reason.value if session.reason else None
    events.log("sweep", outcome=what, error_reason=reason, deadline=deadline or None, **about)
