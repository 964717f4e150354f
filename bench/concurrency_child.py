"""Many callers of one process: how many refreshes a second it gets through, and how fast.

python -m bench.concurrency_child RESULT ROUNDS SECONDS CALLERS...   in the functions' environment
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.load import Answer, Chains, percentiles
from bench.turns import spread
from bench.warm_child import Requests, body


class Direct:
    """A caller of the handlers themselves."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def start(self) -> str:
        return str(self._requests.start()["refresh_token"])

    def ready(self) -> None:
        """It always is."""

    def refresh(self, token: str) -> Answer:
        answer = self._requests.invoke("RefreshFunction", self._requests.refreshing(token))
        return Answer(answer["statusCode"], body(answer)["refresh_token"])


def measure(rounds: int, seconds: float, callers: list[int]) -> dict[str, Any]:
    """By number of callers, who take turns. The first turns are left out."""
    requests = Requests()
    chains = {number: Chains([Direct(requests) for _ in range(number)]) for number in callers}
    rates: dict[int, list[float]] = {number: [] for number in callers}
    cpu: dict[int, list[float]] = {number: [] for number in callers}
    took: dict[int, list[float]] = {number: [] for number in callers}
    for turn in range(-1, rounds):
        first = turn % len(callers)
        for number in callers[first:] + callers[:first]:
            before = time.process_time()
            load = chains[number].run(seconds)
            spent = time.process_time() - before
            if turn >= 0:
                rates[number].append(load.rate)
                cpu[number].append(spent * 1000 / load.statuses[200])
                took[number] += load.milliseconds
    return {
        str(number): {
            "refreshes": len(took[number]),
            "refreshes_per_second": spread(rates[number]),
            "cpu_ms": spread(cpu[number]),
            "wall_ms": percentiles(took[number]),
        }
        for number in callers
    }


def main(result: str, rounds: str, seconds: str, *callers: str) -> None:
    found = measure(int(rounds), float(seconds), [int(number) for number in callers])
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
