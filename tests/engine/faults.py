"""Faults at every step, kills, and outages: `python -m tests.engine.faults --seed 1`.

The real Lambda handlers run on a real engine behind `fault_proxy`, which makes one call go wrong.
Whatever fails, promise 7 holds:

- The client gets its normal answer, or 503 with Retry-After. Never a 500, never another reason.
- Its next try, Retry-After later and as it stands, gets what it asked for.
- Nobody is signed out, the generation rises by one, the successor works: there is no fork.
- What EventBridge does fails no request, and the next sweep publishes what was not.

The same for a process that is killed before or after any of its calls, and for outages of ten
minutes under load. KMS is not rehearsed: no `Signer` uses it yet.

Here are the command and its table. `fault_service` is what is called, `fault_journeys` what is
under way, `fault_steps` judges a fault in it, `kills` and `outages` are what they say.
"""

import argparse
import contextlib
import functools
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from tests.engine.engines import engine
from tests.engine.fault_service import (
    ISSUER,
    BrokenPromise,
)
from tests.engine.fault_steps import STEP_FAULTS, bench, combinations
from tests.engine.kills import Mortal, judge_kill, kills
from tests.engine.outages import OUTAGES, rehearse


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(rows: Mapping[tuple[str, str], Mapping[str, str]], columns: Sequence[str]) -> str:
    width = max(*map(len, columns), *(len(v) for row in rows.values() for v in row.values()))
    lines = [f"{'request':<14}{'step':<13}" + "".join(f"{name:<{width + 1}}" for name in columns)]
    for (journey, step), row in rows.items():
        cells = "".join(f"{row.get(name, '-'):<{width + 1}}" for name in columns)
        lines.append(f"{journey:<14}{step:<13}{cells}".rstrip())
    return "\n".join(lines)


def _tabulate(
    title: str,
    found: Sequence[tuple[str, str, str]],
    columns: Sequence[str],
    judges: Sequence[Callable[[], str]],
) -> list[str]:
    """Judges every (journey, step, column), prints the table, returns what was broken."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    broken = []
    began = time.perf_counter()
    for (journey, step, column), judge in zip(found, judges, strict=True):
        try:
            verdict = judge()
        except BrokenPromise as promise:
            broken.append(str(promise))
            verdict = "BROKEN"
        rows.setdefault((journey, step), {})[column] = verdict
    say(f"\n{title}: {len(found)} combinations, {time.perf_counter() - began:.1f} s")
    say(table(rows, columns))
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults at every step, kills and outages.")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--users", type=int, default=60, help="clients in an outage rehearsal")
    parser.add_argument("--only", choices=["faults", "sdk", "kills", "outages"])
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    random = Random(seed)  # noqa: S311 - no secret
    say(f"seed {seed}")
    broken: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = stack.enter_context(engine(folder, issuer=ISSUER))
        mortal = stack.enter_context(Mortal(environment))
        on = stack.enter_context(bench(environment))
        for part, title, found in (
            ("faults", "A fault, no SDK retries", combinations()),
            ("sdk", "A fault, with the SDK's retries as deployed", combinations(sdk=True)),
        ):
            if options.only in (None, part):
                broken += _tabulate(
                    title,
                    [(one.journey, one.step, one.fault) for one in found],
                    STEP_FAULTS,
                    [functools.partial(on.judge, one) for one in found],
                )
        if options.only in (None, "kills"):
            deaths = kills()
            broken += _tabulate(
                "The process killed",
                [(journey, step, when) for journey, when, step in deaths],
                ("before", "after"),
                [functools.partial(judge_kill, on, mortal, *death) for death in deaths],
            )
        for what in OUTAGES:
            if options.only in (None, "outages"):
                say("")
                try:
                    say(str(rehearse(on, what, random, options.users)))
                except BrokenPromise as promise:
                    broken.append(str(promise))
    say("")
    for line in broken:
        say(f"BROKEN: {line}, seed {seed}")
    if not broken:
        say(f"every promise was kept, seed {seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
