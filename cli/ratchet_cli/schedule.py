"""Runs the scheduled functions, as EventBridge Scheduler does."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ratchet_cli.aws import REGION
from ratchet_cli.template import Schedule

Invoke = Callable[[str, Any], Any]
_STOP_SECONDS = 5


class Stop(Protocol):
    """What this needs of a threading.Event."""

    def wait(self, timeout: float) -> bool:
        """Sleep for up to `timeout` seconds; return whether it is time to stop."""


def event(schedule: Schedule) -> Any:
    """Return what the function is called with: the Input, or the default notification."""
    if schedule.input is not None:
        return json.loads(schedule.input)
    return {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": REGION,
        "resources": [],
        "detail": "{}",
    }


def run(
    schedules: Sequence[Schedule],
    invoke: Invoke,
    stop: Stop,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Call each function once every `seconds`, the first time after one period, until `stop`.

    One call at a time: a call that takes longer than its period delays the next one and is not
    made up for. A function that raises is called again when it is next due.
    """
    if not schedules:
        return
    due = [clock() + schedule.seconds for schedule in schedules]
    while not stop.wait(max(0.0, min(due) - clock())):
        for index, schedule in enumerate(schedules):
            if due[index] > clock():
                continue
            try:
                invoke(schedule.function, event(schedule))
            except (Exception, SystemExit):  # noqa: BLE001 - one failed run does not stop the next
                traceback.print_exc()
            due[index] = max(due[index] + schedule.seconds, clock())


@contextlib.contextmanager
def running(schedules: Sequence[Schedule], invoke: Invoke) -> Iterator[None]:
    """Run the schedules in a thread for the time of a `with` block."""
    stop = threading.Event()
    # A daemon: a call that is stuck may not keep the whole process from ending.
    thread = threading.Thread(target=run, args=(schedules, invoke, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_SECONDS)
