"""What the first request of a container takes, imports included."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import picture, service, turns

ROUNDS, FEWER = 20, 2
Result = dict[str, Any]


def measure(environment: Mapping[str, str], *, quick: bool = False) -> Result:
    """environment: of the functions, see `service`. quick: too few rounds to tell anything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        service.child("bench.cold_child", [str(path), str(FEWER if quick else ROUNDS)], environment)
        return summary(json.loads(path.read_text(encoding="utf-8")))


def summary(times: dict[str, Any]) -> Result:
    """times: of each function its milliseconds of `cpu` and `wall`, and how many `modules`."""
    floor = times["floor"]["cpu"]
    return {
        "rounds": len(floor),
        "functions": {
            name: {
                "cpu": turns.spread(found["cpu"]),
                "wall": turns.spread(found["wall"]),
                "to_floor": turns.ratio(found["cpu"], floor),
                "modules": found["modules"],
            }
            for name, found in times.items()
        },
    }


def table(result: Result) -> str:
    lines = [
        "| | CPU, median (quartiles) | wall, median | CPU to the floor's (95 %) | modules |",
        "|---|---|---|---|---|",
    ]
    for name, found in result["functions"].items():
        cpu, ratio = found["cpu"], found["to_floor"]
        lines.append(
            f"| {'*floor*' if name == 'floor' else name}"
            f" | {cpu['median']:.0f} ms ({cpu['low']:.0f} to {cpu['high']:.0f})"
            f" | {found['wall']['median']:.0f} ms"
            f" | {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            f" | {found['modules']} |"
        )
    return "\n".join(lines)


def pictures(result: Result) -> dict[str, str]:
    bars = {name: found["cpu"] for name, found in result["functions"].items()}
    return {"cold": picture.bars("CPU of a cold start and its first request, ms", bars, digits=0)}
