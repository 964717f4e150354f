"""`make bench-sweep`, short: what is counted, not how long it takes. On the tests' own engine."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest

from bench.engine import program
from bench.sweep import (
    Bench,
    Cost,
    described,
    due,
    expected,
    measure,
    paired_ratio,
    sessions,
    summary,
)
from ratchet.session_item import ATTENTION_SHARDS, attention_shard
from ratchet.store import BATCH

ROOT = Path(__file__).parents[2]
DUE = 60
SIZES = {"bench-small": 2 * DUE, "bench-large": 10 * DUE}


@pytest.fixture
def bench(engine: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    client = boto3.client("dynamodb")
    for name in SIZES:
        client.create_table(TableName=name, **described("SessionsTable"))
    yield Bench(os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or engine["AWS_ENDPOINT_URL"], "bench")
    for name in (*SIZES, "bench-ApplicationsTable", "bench-SweepTable"):
        client.delete_table(TableName=name)


def test_a_sweep_asks_for_the_same_and_reads_as_much_however_large_the_table_is(
    bench: Bench,
) -> None:
    for name, size in SIZES.items():
        bench.put(name, sessions(size - DUE, 1, name))
    costs = measure(bench, SIZES, count=DUE, rounds=1, seed=1)
    (small,), (large,) = costs["bench-small"], costs["bench-large"]
    assert small.calls == large.calls
    shards = {attention_shard(session.sid) for session in due(DUE, 1)}
    told = expected(DUE)
    assert small.calls == {
        "Query": ATTENTION_SHARDS,
        # a shard with something due: its position, and its page
        "GetItem": len(shards) + 1,
        "BatchGetItem": len(shards),
        "UpdateItem": DUE + told["ended"],
        "PutEvents": small.calls["PutEvents"],
    }
    assert small.calls["PutEvents"] <= len(shards) * 2
    # The local emulator charges nothing for a batch read; the test below has the true figures.
    assert (small.read_units, small.write_units) == (large.read_units, large.write_units)
    # nothing due: one query a shard, and nothing else
    for name in SIZES:
        (idle,) = costs[f"{name}, nothing due"]
        assert idle.calls == {"Query": ATTENTION_SHARDS}


def test_what_is_due_does_not_depend_on_the_table_and_fills_pages() -> None:
    first, second = (list(due(3 * BATCH, 7)) for _ in range(2))
    assert first == second
    assert len({session.sid for session in itertools.chain(first, second)}) == 3 * BATCH
    assert sum(expected(3 * BATCH).values()) == 3 * BATCH


def test_each_time_is_kept_and_a_round_is_compared_with_itself() -> None:
    """the machine was three times as slow in the second round"""
    small, large = (
        [Cost(seconds=seconds) for seconds in times] for times in ((1, 3, 2), (1, 3, 4))
    )
    assert summary({"small": small})["small"]["seconds"]["each"] == [1, 3, 2]
    assert paired_ratio(small, large) == 1


def test_the_command_finds_the_same_read_units_where_units_are_counted_as_dynamodb_does(
    tmp_path: Path,
) -> None:
    if program() is None:
        pytest.skip("the engine of the benches is not installed: npm ci --prefix bench")
    short = ["--sessions", "900", "--due", str(DUE), "--rounds", "1", "--seed", "1"]
    result = tmp_path / "sweep.json"
    command = [sys.executable, "-m", "bench.sweep", *short, "--result", str(result)]
    # Its verdict is about time, which the machine of a test says nothing about.
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    sweeps = json.loads(result.read_text(encoding="utf-8"))["sweeps"]
    small, large = (sweeps[f"sessions-{size}"] for size in ("120", "900"))
    shards = len({attention_shard(session.sid) for session in due(DUE, 1)})
    # a query of less than 4 KB; a position; the application; each session, consistently
    units = ATTENTION_SHARDS * 0.5 + shards + 0.5 + DUE
    assert small["read_units"] == large["read_units"] == [units]
    assert small["write_units"] == large["write_units"]
    assert small["calls"] == large["calls"]
    idle = sweeps["sessions-900, nothing due"]
    assert (idle["calls"], idle["read_units"]) == ({"Query": ATTENTION_SHARDS}, [8.0])
