"""The short form of `make garbage`, and the proof that it can fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from ratchet import refresh_token
from ratchet.refresh_token import Peppers, RefreshToken
from tests.engine import garbage
from tests.engine.garbage_kinds import GENUINE, Generator, Sent
from tests.engine.garbage_service import Service

SEED = 20261121


def test_garbage_costs_no_call_no_5xx_and_no_time_out_of_proportion() -> None:
    report = garbage.run(5000, SEED)
    assert report.failures == []
    assert (report.dynamodb_calls, report.control_calls) == (0, GENUINE)
    assert len(report.kinds) == 18


def test_the_same_seed_sends_the_same_requests() -> None:
    def sent() -> list[Sent]:
        rng = random.Random(SEED)  # noqa: S311 - to be repeatable
        generator = Generator(Service(rng), rng)
        return [generator.next() for _ in range(200)]

    assert sent() == sent()


def no_mac(text: str, *, peppers: Peppers, now: int) -> RefreshToken:
    return refresh_token._unpack(refresh_token._decode(text))


def a_crash(text: str, *, peppers: Peppers, now: int) -> RefreshToken:
    if not text.isascii():
        raise IndexError(text)
    return parse(text, peppers=peppers, now=now)


def slow_when_long(text: str, *, peppers: Peppers, now: int) -> RefreshToken:
    for start in range(len(text)):
        text[start:].count("=")
    return parse(text, peppers=peppers, now=now)


def wrong_reason(text: str, *, peppers: Peppers, now: int) -> RefreshToken:
    return parse(text, peppers=peppers, now=now - 30 * 86400)


parse = refresh_token.parse


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (no_mac, "DynamoDB was asked"),
        (a_crash, "a 503"),
        (slow_when_long, "times the median"),
        (wrong_reason, "DynamoDB was asked"),
    ],
)
def test_a_broken_parser_is_found(broken: Callable[..., Any], told: str) -> None:
    with mock.patch.object(refresh_token, "parse", broken):
        report = garbage.run(1000, SEED)
    assert any(told in failure for failure in report.failures), report.failures
