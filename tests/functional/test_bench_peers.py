"""`make bench`, short: the programs run, and whatever no machine changes is as it has to be.

In processes of their own, on the engine of the benches.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.engine import program
from bench.peer import PEERS, RATCHET, Peer

ROOT = Path(__file__).parents[2]
SHORT = ["--rounds", "2", "--seconds", "0.2", "--races", "3", "--sessions", "1"]
SHORT += ["--rotations", "5", "--live", "20", "--due", "5"]


@pytest.fixture(autouse=True, scope="module")
def _engine_of_the_benches() -> None:
    if program() is None:
        pytest.skip("the engine of the benches is not installed: npm ci --prefix bench")


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def side_by_side(name: str, folder: Path) -> dict[str, Any]:
    path = folder / "found.json"
    run("bench.side_by_side", "--only", name, *SHORT, "--result", str(path))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["peers"][name]
    return found


def test_a_session_of_ratchet_is_one_item_one_write_and_one_successor(tmp_path: Path) -> None:
    """side by side with nobody: sixteen callers get the same token, and all of them go on"""
    found = side_by_side("Ratchet", tmp_path)
    kept, race = found["kept"], found["race"]
    assert (kept["operations"], kept["rows"]) == ({"UpdateItem": 1.0}, 1.0)
    assert kept["bytes"] <= 1024
    assert race["statuses"] == {"200": 3 * 16}
    assert race["successors"] == {"median": 1, "least": 1, "most": 1}
    assert race["survived"] == 3 * 16
    assert found["lost_answer"] == {"answered": True, "same_successor": True, "goes_on": True}
    assert found["old_token"] == {"refused": True, "ends_the_session": True}
    assert found["callers"]["8"]["latency_ms"]["p50"] > 0


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != RATCHET], ids=lambda p: p.name)
def test_what_ratchet_is_compared_with_starts_and_refreshes(peer: Peer, tmp_path: Path) -> None:
    if not peer.installed:
        pytest.skip("not installed: make peers")
    found = side_by_side(peer.name, tmp_path)
    assert found["race"]["callers"] == 16
    assert found["kept"]["rows"] > 4
    assert ("clean_up" in found) == peer.clears


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        subjects = ("concurrency", "growth", "cost")
        run("bench", *subjects, "--quick", "--into", name)
        yield {
            subject: json.loads((Path(name) / f"{subject}.json").read_text(encoding="utf-8"))
            for subject in subjects
        }


def test_callers_share_connections_and_none_is_made_for_a_request(results: dict[str, Any]) -> None:
    far = results["concurrency"]["far"]
    # A call that takes too long on a busy machine takes its connection with it.
    assert far["connections"] <= 64 + 8
    assert far["calls"] > 2 * far["connections"]


def test_callers_do_not_wait_for_each_other(results: dict[str, Any]) -> None:
    """with DynamoDB a tenth of a second away, eight of them get much more than one"""
    rates = {
        number: found["refreshes_per_second"]["median"]
        for number, found in results["concurrency"]["far"]["callers"].items()
    }
    assert rates["8"] > 2 * rates["1"]


def test_a_refresh_is_one_unit_however_old_the_session_and_however_large_the_table(
    results: dict[str, Any],
) -> None:
    growth = results["growth"]
    for found in (*growth["rotations"].values(), *growth["sessions"].values()):
        assert (found["write_units"], found["read_units"], found["calls"]) == (1, 0, 1)


def test_what_a_refresh_asks_for_is_counted_for_both_homes_of_the_keys(
    results: dict[str, Any],
) -> None:
    memory, kms = (results["cost"]["counted"][home] for home in ("secretsmanager", "kms"))
    for found, expected in ((memory, (1, 0, 0)), (kms, (1, 1, 1))):
        refresh = found["refresh"]
        asked = (refresh["write_units"], refresh["read_units"], refresh["signatures"])
        assert asked == expected
        assert 100 < refresh["log_bytes"] < 2000
    # the session with both indexes, and then its event
    assert memory["start"]["write_units"] == 6
