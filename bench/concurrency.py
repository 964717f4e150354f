"""One process, one caller or many: what it gets through, and whether they wait for each other."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import picture, proxy, service

CALLERS = (1, 8, 64)
ROUNDS, SECONDS = 5, 1.5
DELAY_SECONDS = 0.1
"""So long that the processor is never what they wait for."""
Result = dict[str, Any]


def measure(environment: Mapping[str, str], *, quick: bool = False) -> Result:
    """environment: of the functions, see `service`. quick: too few rounds to tell anything."""
    rounds, seconds = (2, 0.3) if quick else (ROUNDS, SECONDS)
    near = _child(environment, rounds, seconds)
    with proxy.relay(environment["AWS_ENDPOINT_URL_DYNAMODB"]) as wire:
        wire.delay_seconds = DELAY_SECONDS
        far = _child(
            {**environment, "AWS_ENDPOINT_URL_DYNAMODB": wire.url}, min(rounds, 3), seconds
        )
        connections, calls = wire.connections, wire.operations.total()
    return {
        "callers": near,
        "far": {
            "delay_ms": DELAY_SECONDS * 1000,
            "callers": far,
            "connections": connections,
            "calls": calls,
        },
    }


def _child(environment: Mapping[str, str], rounds: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        arguments = [str(path), str(rounds), str(seconds), *map(str, CALLERS)]
        service.child("bench.concurrency_child", arguments, environment)
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found


def table(result: Result) -> str:
    far = result["far"]
    lines = [
        "| callers | refreshes a second (quartiles) | CPU | p50 / p95 / p99"
        f" | DynamoDB {far['delay_ms']:.0f} ms away: refreshes a second | p50 / p99 |",
        "|---|---|---|---|---|---|",
    ]
    for number, near in result["callers"].items():
        away, rate = far["callers"][number], near["refreshes_per_second"]
        wall, long = near["wall_ms"], away["wall_ms"]
        lines.append(
            f"| {number} | {rate['median']:.0f} ({rate['low']:.0f} to {rate['high']:.0f})"
            f" | {near['cpu_ms']['median']:.2f} ms"
            f" | {wall['p50']:.1f} / {wall['p95']:.1f} / {wall['p99']:.1f} ms"
            f" | {away['refreshes_per_second']['median']:.0f}"
            f" | {long['p50']:.0f} / {long['p99']:.0f} ms |"
        )
    one = far["callers"][str(CALLERS[0])]["refreshes_per_second"]["median"]
    most = far["callers"][str(CALLERS[-1])]["refreshes_per_second"]["median"]
    lines += [
        "",
        f"With DynamoDB that far away, {CALLERS[-1]} callers get **{most / one:.0f} times** what"
        f" one gets. All of it was {far['calls']:,} calls over"
        f" **{far['connections']} connections**.",
    ]
    return "\n".join(lines)


def pictures(result: Result) -> dict[str, str]:
    rates = {
        f"{number} callers": found["refreshes_per_second"]
        for number, found in result["callers"].items()
    }
    return {"concurrency": picture.bars("Refreshes a second of one process", rates, digits=0)}
