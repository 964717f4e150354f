"""Measuring in turn: whatever else the machine does meets all that is compared.

Each round runs every subject once, and each starts a round as often as the others. CPU time is that
of the calling thread, which a busy machine makes longer by little; wall time is beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

RESAMPLED = 1000


@dataclass
class Subject:
    """What is measured: only `run`, with what `prepare` returned; `check` sees what came of it."""

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    check: Callable[[Any], None] = lambda _: None


@dataclass
class Times:
    """Milliseconds, one of each a round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def in_turn(
    subjects: Mapping[str, Subject], *, rounds: int, unmeasured: int = 20
) -> dict[str, Times]:
    """The times of each subject; the first, `unmeasured` rounds are left out."""
    times = {name: Times() for name in subjects}
    names = list(subjects)
    for number in range(-unmeasured, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            subject = subjects[name]
            given = subject.prepare()
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            answer = subject.run(given)
            cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
            subject.check(answer)
            if number >= 0:
                times[name].cpu.append(cpu / 1e6)
                times[name].wall.append(wall / 1e6)
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def ratio(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """How many times the median of `other` that of `one` is, with its 95 % bootstrap interval.

    Rounds are drawn, not values: both of a round met the same machine.
    """
    return _resampled(one, other, lambda first, second: first / second)


def difference(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """How much larger the median of `one` is than that of `other`, with its interval as above."""
    return _resampled(one, other, lambda first, second: first - second)


def _resampled(
    one: Sequence[float], other: Sequence[float], compare: Callable[[float, float], float]
) -> dict[str, float]:
    random, pairs = Random(1), list(zip(one, other, strict=True))
    found = []
    for _ in range(RESAMPLED):
        drawn = random.choices(pairs, k=len(pairs))
        found.append(compare(*(statistics.median(side) for side in zip(*drawn, strict=True))))
    found.sort()
    return {
        "median": round(compare(statistics.median(one), statistics.median(other)), 4),
        "low": round(found[int(RESAMPLED * 0.025)], 4),
        "high": round(found[int(RESAMPLED * 0.975) - 1], 4),
    }
