"""The races' short form, and the proof that they can fail. `make races` runs 3,000 rounds.

RATCHET_SEED repeats a run; every failure names its seed.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.engine import threaded_moto
from tests.engine.broken import CAUGHT_BY, STORES
from tests.engine.engines import SEED as SEED_VARIABLE
from tests.engine.engines import engine
from tests.engine.race_scenarios import ISSUER
from tests.engine.race_verdicts import BrokenPromise
from tests.engine.race_workers import Pool
from tests.engine.races import SHARES, Referee, shares, until_caught

SEED = int(os.environ.get(SEED_VARIABLE) or secrets.randbits(32))
ROUNDS = 100
BOUND = 300
"""Rounds after which a broken store that was not caught counts as overlooked: the least likely
shows in one of a few rounds."""


EXPECTED = {
    "no-condition": "a fork",
    "get-then-put": "a fork",
    "rotates-ended": "a token works after the end",
    "no-cutoff": "a token works after the end",
    "ends-twice": "told with ids",
    "blind-sweep": "refreshed and ended",
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as pool:
        yield pool


@pytest.fixture(scope="module")
def referee(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Referee]:
    with engine(tmp_path_factory.mktemp("races"), issuer=ISSUER) as environment:
        yield Referee(pool, environment, SEED)


@pytest.mark.parametrize("scenario", SHARES)
def test_whoever_races_the_outcome_is_the_one_that_is_written_down(
    referee: Referee, scenario: str
) -> None:
    rounds = shares(ROUNDS)[scenario]
    figures = referee.run(scenario, rounds)
    assert figures.rounds == rounds
    assert figures.calls >= rounds * referee.callers
    assert figures.outcomes.total() >= rounds
    assert figures.forks == 0


@pytest.mark.parametrize("how", STORES)
def test_a_store_without_one_of_its_conditions_is_caught(referee: Referee, how: str) -> None:
    promise = until_caught(referee, how, BOUND)
    assert promise is not None, f"{how} went unnoticed for {BOUND} rounds, seed {SEED}"
    assert f"scenario {CAUGHT_BY[how]}" in str(promise)
    assert EXPECTED[how] in str(promise)


def test_an_engine_that_is_not_atomic_is_caught(
    pool: Pool, referee: Referee, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same store and the same callers on moto in threads: the harness must see its forks."""
    with (
        threaded_moto.started() as endpoint,
        engine(tmp_path_factory.mktemp("moto"), issuer=ISSUER, endpoint=endpoint) as environment,
    ):
        promise = until_caught(Referee(pool, environment, SEED), "moto", BOUND)
    referee.use(None)
    assert promise is not None, f"moto went unnoticed for {BOUND} rounds, seed {SEED}"
    assert "a fork" in str(promise)


def test_a_broken_promise_names_scenario_round_and_seed(referee: Referee) -> None:
    with (
        referee.broken("no-condition"),
        pytest.raises(BrokenPromise, match=rf"scenario same, round 1, seed {SEED}"),
    ):
        referee.run("same", 1)
