"""What a warm function takes, from the event of a request to its response."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import picture, service, turns

ROUNDS, FEWER = 400, 12
# In the order of the table.
REQUESTS = {
    "refresh": "refresh",
    "lean": "refresh, lean transport",
    "issue": "start a session",
    "client_credentials": "client credentials",
    "introspect": "introspect a refresh token",
    "revoke": "revoke",
    "garbage": "refuse garbage",
    "jwks": "JWKS",
}
Result = dict[str, Any]


def measure(environment: Mapping[str, str], *, quick: bool = False) -> Result:
    """environment: of the functions, see `service`. quick: too few rounds to tell anything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.json"
        service.child("bench.warm_child", [str(path), str(FEWER if quick else ROUNDS)], environment)
        return summary(json.loads(path.read_text(encoding="utf-8")))


def summary(times: dict[str, Any]) -> Result:
    """times: of each subject its milliseconds of `cpu` and `wall`, one of each a round."""
    refresh, floor = times["refresh"]["cpu"], times["floor"]["cpu"]
    return {
        "rounds": len(floor),
        "milliseconds": {
            name: {clock: turns.spread(found[clock]) for clock in ("cpu", "wall")}
            for name, found in times.items()
        },
        "refresh_to_floor": turns.ratio(refresh, floor),
        "lean_to_refresh": turns.ratio(times["lean"]["cpu"], refresh),
        "lean_to_floor": turns.ratio(times["lean"]["cpu"], floor),
        "refresh_beyond_floor_ms": turns.difference(refresh, floor),
    }


def table(result: Result) -> str:
    times = result["milliseconds"]
    lines = [
        "| | CPU, median (quartiles) | wall, median (quartiles) |",
        "|---|---|---|",
    ]
    for name, told in {"floor": "*floor of a refresh*", **REQUESTS}.items():
        cells = (_told(times[name][clock]) for clock in ("cpu", "wall"))
        lines.append(f"| {told} | {' | '.join(cells)} |")
    ratio, beyond = result["refresh_to_floor"], result["refresh_beyond_floor_ms"]
    lean = result["lean_to_refresh"]
    lines += [
        "",
        f"A refresh takes **{ratio['median']:.2f} times** the CPU of its floor (95 % interval"
        f" {ratio['low']:.2f} to {ratio['high']:.2f}). What is ours of it, from parsing to the log"
        f" line, is **{beyond['median']:.2f} ms** ({beyond['low']:.2f} to {beyond['high']:.2f}).",
        f"With the lean transport it takes **{lean['median']:.2f} times** that of boto3's"
        f" ({lean['low']:.2f} to {lean['high']:.2f}), and {result['lean_to_floor']['median']:.2f}"
        " times the floor.",
    ]
    return "\n".join(lines)


def _told(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ms ({found['low']:.2f} to {found['high']:.2f})"


def pictures(result: Result) -> dict[str, str]:
    times = result["milliseconds"]
    bars = {
        told: times[name]["cpu"]
        for name, told in {"floor": "floor of a refresh", **REQUESTS}.items()
    }
    return {"warm": picture.bars("CPU of a warm request, ms", bars)}
