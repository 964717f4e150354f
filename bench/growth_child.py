"""A warm function: over very many requests, all of one session; and in tables of any size.

    python -m bench.growth_child RESULT rotations ROUNDS COUNT
    python -m bench.growth_child RESULT sessions ROUNDS TABLE=SESSIONS...

In the functions' environment. TABLE: there are so many sessions in it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from bench.sweep import Meter
from bench.turns import Subject, in_turn, ratio, spread
from bench.warm_child import Json, Requests, body
from ratchet import wiring
from ratchet.parts import Parts

SAMPLES, TRACED_SAMPLES = 100, 20


class Rotating:
    """One session, in one table, that is refreshed again and again."""

    def __init__(self, requests: Requests, parts: Parts) -> None:
        self._requests, self._parts = requests, parts
        self.count = 0
        wiring._parts = parts
        self._newest = requests.start()["refresh_token"]

    def prepare(self) -> Json:
        wiring._parts = self._parts
        return self._requests.refreshing(self._newest)

    def run(self, asked: Json) -> Json:
        return self._requests.invoke("RefreshFunction", asked)

    def check(self, answer: Json) -> None:
        self._newest = body(answer)["refresh_token"]
        self.count += 1

    def refresh(self) -> None:
        answer = self.run(self.prepare())
        # On a busy machine one of a hundred thousand calls may take longer than the SDK waits.
        while answer["statusCode"] == 503:
            answer = self.run(self.prepare())
        self.check(answer)

    def until(self, count: int) -> Rotating:
        while self.count < count:
            self.refresh()
        return self

    @property
    def subject(self) -> Subject:
        return Subject(self.run, self.prepare, self.check)

    def units(self) -> dict[str, float]:
        """What DynamoDB charges a refresh, and how many calls it is: of the next ten."""
        store: Any = self._parts.store
        meter, times = Meter(store._client), 10
        for _ in range(times):
            self.refresh()
        cost = meter.cost
        return {
            "write_units": cost.write_units / times,
            "read_units": cost.read_units / times,
            "calls": cost.calls.total() / times,
        }


def resident_kb() -> int:
    """Memory of this process (/proc: Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def memory(session: Rotating, requests: int) -> Json:
    """Resident memory after each hundredth of so many requests; its slope over the second half."""
    step = max(requests // SAMPLES, 1)
    samples = []
    for _ in range(SAMPLES):
        for _ in range(step):
            session.refresh()
        samples.append(resident_kb())
    return {
        "requests": step * SAMPLES,
        "resident_kb": samples,
        "slope_bytes": round(slope(samples[SAMPLES // 2 :]) * 1024 / step, 2),
    }


def slope(values: list[int]) -> float:
    """Of the line through them that fits best, from one value to the next."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return above / sum((at - middle) ** 2 for at in range(len(values)))


def traced(session: Rotating, requests: int) -> Json:
    """Bytes that Python's own objects take, after each twentieth of so many requests; the slope."""
    step = max(requests // TRACED_SAMPLES, 1)
    samples = []
    tracemalloc.start()
    for _ in range(TRACED_SAMPLES):
        for _ in range(step):
            session.refresh()
        gc.collect()
        samples.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return {
        "requests": step * TRACED_SAMPLES,
        "bytes": samples,
        # What was made before is replaced by what is traced, so the first half rises.
        "slope_bytes": round(slope(samples[TRACED_SAMPLES // 2 :]) / step, 2),
    }


def compared(sessions: dict[str, Rotating], rounds: int) -> Json:
    """Each beside the first."""
    times = in_turn({name: one.subject for name, one in sessions.items()}, rounds=rounds)
    first = next(iter(times.values()))
    return {
        name: {
            "cpu": spread(found.cpu),
            "wall": spread(found.wall),
            "wall_to_first": ratio(found.wall, first.wall),
            "cpu_to_first": ratio(found.cpu, first.cpu),
            **sessions[name].units(),
        }
        for name, found in times.items()
    }


def rotations(most: int, rounds: int) -> Json:
    """Memory while one session is rotated so often; then it beside younger ones."""
    requests, parts = Requests(), wiring.parts()
    oldest = Rotating(requests, parts)
    found = memory(oldest, most)
    traces = traced(Rotating(requests, parts), most // 50)
    old = {
        str(count): Rotating(requests, parts).until(count) for count in (10, max(most // 100, 11))
    }
    old[str(most)] = oldest.until(most)
    return {"memory": {**found, "traced": traces}, "rotations": compared(old, rounds)}


def sessions(tables: list[str], rounds: int) -> Json:
    """tables: NAME=SESSIONS."""
    requests, large = Requests(), {}
    for table in tables:
        os.environ["RATCHET_SESSIONS_TABLE"], _, size = table.partition("=")
        large[size] = Rotating(requests, wiring.build(wiring.settings())).until(10)
    return {"sessions": compared(large, rounds)}


def main(result: str, kind: str, rounds: str, *arguments: str) -> None:
    if kind == "rotations":
        found = rotations(int(arguments[0]), int(rounds))
    else:
        found = sessions(list(arguments), int(rounds))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
