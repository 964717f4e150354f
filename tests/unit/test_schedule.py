"""Scheduled functions run at their rate. Time is a number here: no test sleeps."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from ratchet_cli import schedule
from ratchet_cli.template import Schedule


class Clock:
    """A clock that moves on only while the schedule waits, and a stop that comes at `end`."""

    def __init__(self, end: float) -> None:
        self.now = 0.0
        self.end = end

    def wait(self, timeout: float) -> bool:
        self.now += timeout
        return self.now > self.end


class Calls(list[tuple[float, str, Any]]):
    """Remembers (time, function, event); each call takes `seconds`."""

    def __init__(self, clock: Clock, seconds: float = 0) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = seconds

    def __call__(self, function: str, event: Any) -> None:
        self.append((self.clock.now, function, event))
        self.clock.now += self.seconds


def run(clock: Clock, calls: Any, *schedules: Schedule) -> None:
    schedule.run(schedules, calls, clock, lambda: clock.now)


def test_each_function_runs_once_in_every_period() -> None:
    clock = Clock(end=9)
    calls = Calls(clock)
    run(clock, calls, Schedule("A", 3, "1"), Schedule("B", 4, "2"))
    assert calls == [(3, "A", 1), (4, "B", 2), (6, "A", 1), (8, "B", 2), (9, "A", 1)]


def test_a_function_that_raises_is_called_again(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock(end=2)
    calls = Calls(clock)

    def fail(function: str, event: Any) -> None:
        calls(function, event)
        raise ValueError("for the log")

    run(clock, fail, Schedule("A", 1, "1"))
    assert [now for now, _, _ in calls] == [1, 2]
    assert capfd.readouterr().err.count("ValueError: for the log") == 2


def test_calls_that_were_missed_are_not_made_up_for() -> None:
    clock = Clock(end=10)
    calls = Calls(clock, seconds=3.5)
    run(clock, calls, Schedule("A", 1, "1"))
    assert [now for now, _, _ in calls] == [1, 4.5, 8]


def test_without_a_schedule_nothing_waits() -> None:
    run(Clock(end=-1), None)


def test_a_schedule_without_input_sends_the_default_notification() -> None:
    event = schedule.event(Schedule("A", 1, None))
    assert event["source"] == "aws.scheduler"
    assert event["detail-type"] == "Scheduled Event"


def test_it_stops_promptly_between_two_calls() -> None:
    called = threading.Event()
    before = time.monotonic()
    with schedule.running(
        [Schedule("A", 0.01, "1"), Schedule("B", 3600, "2")], lambda *_: called.set()
    ):
        assert called.wait(2)
    assert time.monotonic() - before < 1
    assert not [thread for thread in threading.enumerate() if "run" in thread.name]
