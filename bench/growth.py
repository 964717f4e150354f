"""Whether a refresh costs the same however old its session and however large its table is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from bench import picture, service
from bench.sweep import described, sessions
from ratchet.session_item import to_item

ROTATIONS, ROUNDS = 100_000, 400
SIZES = (1_000, 100_000, 1_000_000)
Result = dict[str, Any]


def measure(
    environment: Mapping[str, str],
    *,
    quick: bool = False,
    rotations: int = ROTATIONS,
    sizes: Sequence[int] = SIZES,
) -> Result:
    """environment: of the functions, see `service`. An engine of its own has the large tables.

    quick: too few of everything to tell anything.
    """
    rounds = ROUNDS
    if quick:
        rotations, sizes, rounds = 200, (100, 1000), 12
    tables = {
        f"sessions-{size}": (
            described("SessionsTable"),
            (to_item(session) for session in sessions(size, size, "growth")),
        )
        for size in sizes
    }
    named = [f"{name}={size}" for name, size in zip(tables, sizes, strict=True)]
    # The one session takes minutes to get old, the tables to be filled: at the same time. Memory
    # does not mind, and what is compared is compared in turn.
    with ThreadPoolExecutor(1) as beside:
        old = beside.submit(_child, environment, "rotations", rounds, str(rotations))
        with service.service(tables) as own:
            found = old.result()
            return {"rounds": rounds, **found, **_child(own, "sessions", rounds, *named)}


def _child(environment: Mapping[str, str], kind: str, rounds: int, *arguments: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        service.child("bench.growth_child", [str(path), kind, str(rounds), *arguments], environment)
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found


def table(result: Result) -> str:
    lines = [
        "| | units | CPU, median (quartiles) | wall, median (quartiles) | wall, to the first |",
        "|---|---|---|---|---|",
    ]
    for number, found in result["rotations"].items():
        lines.append(_row(f"{int(number):,} rotations before", found))
    for number, found in result["sessions"].items():
        lines.append(_row(f"{int(number):,} sessions in the table", found))
    memory, traced = result["memory"], result["memory"]["traced"]
    resident = memory["resident_kb"]
    half = len(resident) // 2
    lines += [
        "",
        f"Memory over {memory['requests']:,} requests: {resident[half] / 1024:.1f} MB resident"
        f" after half of them, {resident[-1] / 1024:.1f} MB after all. The line that fits the"
        f" second half best rises by **{memory['slope_bytes']} bytes a request**; that of Python's"
        f" own objects (`tracemalloc`, {traced['requests']:,} requests) by"
        f" **{traced['slope_bytes']}**.",
    ]
    return "\n".join(lines)


def _row(told: str, found: Result) -> str:
    cpu, wall, ratio = found["cpu"], found["wall"], found["wall_to_first"]
    return (
        f"| {told} | {found['write_units']:g} write, {found['read_units']:g} read"
        f" | {cpu['median']:.2f} ms ({cpu['low']:.2f} to {cpu['high']:.2f})"
        f" | {wall['median']:.2f} ms ({wall['low']:.2f} to {wall['high']:.2f})"
        f" | {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) |"
    )


def pictures(result: Result) -> dict[str, str]:
    walls = {
        f"{int(number):,} rotations": found["wall"] for number, found in result["rotations"].items()
    } | {f"{int(number):,} sessions": found["wall"] for number, found in result["sessions"].items()}
    return {"growth": picture.bars("Wall time of a refresh, ms", walls)}


@click.command()
@click.option("--rotations", default=ROTATIONS, show_default=True, help="Of one session.")
@click.option("--sessions", "size", default=SIZES[-1], show_default=True, help="In a table.")
@click.option("--result", type=click.Path(path_type=Path), help="Where the figures go, as JSON.")
def main(rotations: int, size: int, result: Path | None) -> None:
    """Measure with other numbers. What the page quotes is left to make bench ONLY=growth."""
    with service.service() as environment:
        found = measure(environment, rotations=rotations, sizes=(*SIZES[:-1], size))
    click.echo(table(found))
    if result is not None:
        text = json.dumps({**service.about(), **found}, indent=2)
        result.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
