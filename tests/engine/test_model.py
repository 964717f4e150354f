"""The handlers play by the model, and a core with one rule taken out does not.

In long: `make model`.
"""

from collections.abc import Iterator

import pytest

from tests.engine.broken_cores import BROKEN
from tests.engine.model import caught, play, serving
from tests.functional.conftest import Service

SEED = 1
EXAMPLES = 100
STEPS = 30


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


def test_clients_a_thief_an_operator_and_the_sweep_meet_every_promise(service: Service) -> None:
    played = play(service, examples=EXAMPLES, steps=STEPS, seed_number=SEED)
    # The game is worth something only if all of this came up in it.
    assert {
        "rotated",
        "kept",
        "replayed_leeway",
        "replayed_idempotency_key",
        "reused",
        "idle_expired",
        "policy_cutoff",
    } <= played.answers.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_core_is_caught(service: Service, name: str) -> None:
    assert caught(service, name, examples=EXAMPLES, steps=STEPS, seed_number=SEED)
