"""What a sweep costs: `make bench-sweep`, or python -m bench.sweep --sessions 1000000 --due 10000.

The same due sessions are swept in a small table and in a large one, by turns, so that whatever
else the machine does meets both. A third of what is due is to be warned of or has been refreshed,
as it comes. Then the large table is swept once more, where nothing is due any more.

Measured is the flow of the function `sweep` with its own store, on one machine with the engine. The
bus accepts everything at once: its calls do not depend on the table.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import platform
import secrets
import statistics
import sys
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import boto3
import click
from botocore.config import Config

from bench import engine
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.events import Bus
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import Session, attention_at
from ratchet.session_item import ATTENTION_SHARDS, to_item
from ratchet.store import SessionStore
from ratchet.sweep import Report, sweep
from ratchet.sweep_positions import SweepPositions
from ratchet_cli import aws, template

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "sweep.json"
NOW = 1_800_000_000
POLICY = PRESETS["browser"]
CLIENT_ID = "bench"
LARGEST_RATIO = 1.2
MIX = {"ended": 12, "warned": 3, "rearmed": 4, "published": 1}
"""What is due, in twentieths."""
_TABLES = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@dataclass
class Cost:
    """Of one sweep."""

    seconds: float = 0.0
    read_units: float = 0.0
    write_units: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    report: dict[str, Any] = field(default_factory=dict)


class Meter:
    """Counts what a DynamoDB client asks for, and what it is charged."""

    def __init__(self, client: Any) -> None:
        self.cost = Cost()
        hooks = client.meta.events
        hooks.register("provide-client-params.dynamodb", self._ask)
        hooks.register("after-call.dynamodb", self._note)

    def _ask(self, params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "INDEXES"

    def _note(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        self.cost.calls[model.name] += 1
        charged = parsed.get("ConsumedCapacity", [])
        units = sum(
            one["CapacityUnits"] for one in (charged if isinstance(charged, list) else [charged])
        )
        if model.name in ("Query", "BatchGetItem", "GetItem"):
            self.cost.read_units += units
        else:
            self.cost.write_units += units


class AcceptingBus:
    """An EventBridge client that takes everything, and counts."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def put_events(self, *, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._meter.cost.calls["PutEvents"] += 1
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "x"} for _ in Entries]}


def sessions(count: int, seed: int, name: str) -> Iterator[Session]:
    """Live sessions, none of them due: as many as that, started at some time in the last days."""
    random = Random(seed)
    template = _session(NOW, random)
    for _ in range(count):
        started_at = NOW - random.randrange(POLICY.idle_ttl_seconds // 2)
        deadline = started_at + POLICY.idle_ttl_seconds
        session = replace(
            template,
            sid=_sid(random),
            sub=f"{name}-{random.randrange(count)}",
            started_at=started_at,
            auth_time=started_at,
            idle_deadline_at=deadline,
            absolute_deadline_at=started_at + POLICY.absolute_ttl_seconds,
        )
        yield replace(session, attention_at=max(attention_at(session, POLICY), NOW + 1))


def due(count: int, seed: int) -> Iterator[Session]:
    """Sessions that are due, each at a moment of the last five minutes; the same for a seed."""
    random = Random(seed)
    kinds = [kind for kind, weight in MIX.items() for _ in range(weight)]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        at = NOW - random.randrange(300)
        started_at = at - POLICY.idle_ttl_seconds
        session = replace(_session(started_at, random), attention_at=at)
        if kind == "warned":
            yield replace(session, idle_deadline_at=at + POLICY.idle_warning_seconds)
        elif kind == "rearmed":
            yield replace(session, idle_deadline_at=NOW + POLICY.idle_ttl_seconds)
        elif kind == "published":
            reason = Reason.REVOKED_BY_USER
            yield replace(session, ended_at=at, reason=reason, sealed=None, idle_deadline_at=at)
        else:
            yield replace(session, idle_deadline_at=at, warned_deadline_at=at)


def _session(started_at: int, random: Random) -> Session:
    """As one is that has been refreshed."""
    return Session(
        sid=_sid(random),
        client_id=CLIENT_ID,
        sub=f"user-{random.randrange(10**6)}",
        scopes=frozenset({"profile", "orders:read"}),
        device="Firefox on Linux",
        started_at=started_at,
        auth_time=started_at,
        current_hash=random.randbytes(32),
        parent_hash=random.randbytes(32),
        sealed=random.randbytes(106),
        generation=random.randrange(1, 500),
        rotated_at=started_at,
        leeway_until_at=started_at,
        idle_deadline_at=started_at + POLICY.idle_ttl_seconds,
        absolute_deadline_at=started_at + POLICY.absolute_ttl_seconds,
        expires_at=started_at + 2 * POLICY.absolute_ttl_seconds,
    )


def _sid(random: Random) -> str:
    return urlsafe_b64encode(random.randbytes(16)).rstrip(b"=").decode()


def described(resource: str) -> dict[str, Any]:
    """What CreateTable takes for a table of template.yaml."""
    properties = template.load(ROOT / "template.yaml")["Resources"][resource]["Properties"]
    return {name: properties[name] for name in _TABLES if name in properties}


class Bench:
    """Sweeps tables of one engine."""

    def __init__(self, endpoint: str, run: str) -> None:
        self._client: Any = boto3.client(
            "dynamodb", endpoint_url=endpoint, config=Config(max_pool_connections=64)
        )
        self._run = run
        for resource in ("ApplicationsTable", "SweepTable"):
            self._client.create_table(TableName=f"{run}-{resource}", **described(resource))
        application = Application(
            client_id=CLIENT_ID,
            confidential=False,
            grant_types=frozenset({"refresh_token"}),
            scopes=frozenset({"profile", "orders:read"}),
            policy=POLICY,
        )
        self._applications().put(application, {"preset": "browser"})
        self._meter = Meter(self._client)

    def _applications(self) -> Applications:
        return Applications(self._client, f"{self._run}-ApplicationsTable")

    def put(self, table: str, found: Iterator[Session]) -> None:
        """Writes sessions, over those of the same id."""
        writes = [{"PutRequest": {"Item": to_item(session)}} for session in found]

        def write(start: int) -> None:
            wanted = {table: writes[start : start + 25]}
            while wanted:
                wanted = self._client.batch_write_item(RequestItems=wanted)["UnprocessedItems"]

        with ThreadPoolExecutor(8) as workers:
            list(workers.map(write, range(0, len(writes), 25)))

    def sweep(self, table: str) -> Cost:
        """One sweep of a function that has just started: nothing is remembered."""
        self._meter.cost = Cost()
        bus: Any = AcceptingBus(self._meter)
        parts: dict[str, Any] = {
            "applications": self._applications(),
            "store": SessionStore(self._client, table),
            "positions": SweepPositions(self._client, f"{self._run}-SweepTable"),
            "bus": Bus(lambda: bus, "bench"),
        }
        with contextlib.redirect_stdout(io.StringIO()):
            started = time.perf_counter()
            report: Report = sweep(**parts, now=NOW, remaining_ms=lambda: 3_600_000)
            seconds = time.perf_counter() - started
        cost, self._meter.cost = self._meter.cost, Cost()
        cost.seconds, cost.report = seconds, report.to_dict()
        return cost


def expected(count: int) -> dict[str, int]:
    """What a sweep of so many due sessions must report."""
    kinds = [kind for kind, weight in MIX.items() for _ in range(weight)]
    return dict(Counter(kinds[number % len(kinds)] for number in range(count)))


def measure(
    bench: Bench, tables: Mapping[str, int], *, count: int, rounds: int, seed: int
) -> dict[str, list[Cost]]:
    """Sweeps of the same due sessions in each table by turns, then one where nothing is due.

    tables: name -> sessions in it. Raises RuntimeError when a sweep did not do what was due.
    """
    costs: dict[str, list[Cost]] = {table: [] for table in tables}
    for number in range(rounds):
        order = list(tables)[:: 1 if number % 2 == 0 else -1]
        for table in order:
            bench.put(table, due(count, seed))
            cost = bench.sweep(table)
            wanted = {**expected(count), "complete": True}
            if {name: cost.report.get(name) for name in wanted} != wanted:
                raise RuntimeError(f"{table}: {cost.report}, not {wanted}")
            costs[table].append(cost)
            print(f"  {table:>16}  {cost.seconds:8.2f} s  {cost.read_units:8g} read units")
    for table in tables:
        costs[f"{table}, nothing due"] = [bench.sweep(table) for _ in range(rounds)]
    return costs


def summary(costs: Mapping[str, list[Cost]]) -> dict[str, Any]:
    """For each table: the times, with median and spread, and what never varies. JSON."""
    return {
        table: {
            "seconds": {
                "median": round(statistics.median(cost.seconds for cost in found), 3),
                "least": round(min(cost.seconds for cost in found), 3),
                "most": round(max(cost.seconds for cost in found), 3),
                "each": [round(cost.seconds, 3) for cost in found],
            },
            "read_units": sorted({cost.read_units for cost in found}),
            "write_units": sorted({cost.write_units for cost in found}),
            "calls": dict(sorted(found[0].calls.items())),
            "report": found[0].report,
        }
        for table, found in costs.items()
    }


def paired_ratio(small: list[Cost], large: list[Cost]) -> float:
    """Median of what each round gives: its two sweeps met much the same machine."""
    ratios = [two.seconds / one.seconds for one, two in zip(small, large, strict=True)]
    return round(statistics.median(ratios), 3)


@click.command()
@click.option("--sessions", "large", default=1_000_000, show_default=True)
@click.option("--due", "count", default=10_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seed", type=int, help="Repeats a run; the default is another one each time.")
@click.option("--result", type=click.Path(path_type=Path), help="Where the figures go, as JSON.")
def main(large: int, count: int, rounds: int, seed: int | None, result: Path | None) -> None:
    """Measure what a sweep costs in a small and in a large table."""
    program = engine.program()
    if program is None:
        raise click.ClickException(str(engine.__doc__))
    seed = secrets.randbelow(10**6) if seed is None else seed
    small = 2 * count
    sizes = {f"{size:,}".replace(",", "_"): size for size in (small, large)}
    if len(sizes) != 2:
        raise click.UsageError("--sessions must differ from twice --due")
    logging.disable(logging.CRITICAL)
    click.echo(f"seed {seed}, {engine.version(program)}, {small:,} and {large:,} sessions ...")
    tables = {
        f"sessions-{name}": (
            described("SessionsTable"),
            (to_item(found) for found in sessions(size - count, seed, name)),
        )
        for name, size in sizes.items()
    }
    with engine.running(program, tables) as endpoint:
        aws.enter(aws.environment(endpoint))
        bench = Bench(endpoint, "bench")
        by_name = {f"sessions-{name}": size for name, size in sizes.items()}
        costs = measure(bench, by_name, count=count, rounds=rounds, seed=seed)
    found = summary(costs)
    first, second = (found[name] for name in by_name)
    ratio = round(second["seconds"]["median"] / first["seconds"]["median"], 3)
    paired = paired_ratio(*(costs[name] for name in by_name))
    same = first["read_units"] == second["read_units"] and len(first["read_units"]) == 1
    idle = found[f"{list(by_name)[1]}, nothing due"]
    only_queries = idle["calls"] == {"Query": ATTENTION_SHARDS}
    for table, figures in found.items():
        seconds = figures["seconds"]
        click.echo(
            f"{table}: {seconds['median']} s ({seconds['least']} to {seconds['most']}),"
            f" {figures['read_units']} read and {figures['write_units']} write units,"
            f" {figures['calls']}"
        )
    click.echo(
        f"time, large to small: {ratio} (of the medians), {paired} (median of the rounds' own);"
        f" the same read units: {same}"
    )
    if result is not None:
        about = {
            "command": f"make bench-sweep SESSIONS={large} DUE={count} ROUNDS={rounds} SEED={seed}",
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "python": platform.python_version(),
            "engine": engine.version(program),
        }
        result.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {**about, "ratio": ratio, "paired_ratio": paired, "sweeps": found}, indent=2
        )
        result.write_text(text + "\n", encoding="utf-8")
    if not (same and only_queries and ratio <= LARGEST_RATIO):
        sys.exit("a sweep does cost more in a larger table")


if __name__ == "__main__":
    main()
