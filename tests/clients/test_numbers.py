"""The short form of `make clients`."""

import os
import secrets
from pathlib import Path

import pytest

from tests.clients import numbers
from tests.local_stack import LocalStack

SEED = int(os.environ.get("RATCHET_SEED") or secrets.randbits(32))


def test_processes_that_share_a_session_refresh_once_per_expiry(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    numbers.one_refresh_each(quick_stack, tmp_path, processes=5, calls=15, pause=0.3)


def test_a_server_that_loses_every_third_answer_signs_nobody_out(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    numbers.lost_answers(quick_stack, tmp_path, processes=2, calls=8)


def test_a_server_that_answers_503_signs_nobody_out(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    numbers.outage(quick_stack, tmp_path, processes=2, calls=1, seconds=2)


def test_an_api_that_refuses_every_token_gets_one_refresh(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    numbers.refused_for_ever(quick_stack, tmp_path, processes=2, calls=5)


def test_a_refresh_is_taken_up_after_a_kill(quick_stack: LocalStack, tmp_path: Path) -> None:
    numbers.kills(quick_stack, tmp_path, rounds=3, seed=SEED)


def test_the_judge_notices_a_client_without_keys_or_without_a_lock(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    """two ways to break it, each red"""
    with numbers.bench(quick_stack, tmp_path) as made:
        made.age()
        text = made.path.read_text()
        assert made.run(1, 1, 0) == {"200": 1}
        # a copy of the store, as if there were no lock: its key is another one
        made.path.write_text(text)
        assert "SessionEnded" in str(made.run(1, 1, 0))
        with pytest.raises(AssertionError):
            made.judge()
