"""The arithmetic of the buckets, and what counts as one address."""

from __future__ import annotations

import pytest

from ratchet import throttle
from ratchet.throttle import ACCOUNT, ADDRESS, Limit

LIMIT = Limit(attempts=3, seconds=300)


def played(limit: Limit, attempts: list[int]) -> list[int]:
    """The wait that each attempt, made at that instant, is answered with."""
    empty_at, waits = 0, []
    for now in attempts:
        wait = limit.wait(max(empty_at, now), now)
        if not wait:
            empty_at = max(empty_at, now) + limit.seconds
        waits.append(wait)
    return waits


def test_an_empty_bucket_takes_so_many_at_once_and_then_one_after_the_other() -> None:
    assert played(LIMIT, [0, 1, 2, 3, 299, 300, 301, 600, 601]) == [0, 0, 0, 297, 1, 0, 299, 0, 299]


def test_a_bucket_that_was_left_alone_is_empty_again() -> None:
    assert played(LIMIT, [0, 0, 0, 900, 900, 900, 900]) == [0, 0, 0, 0, 0, 0, 300]


@pytest.mark.parametrize("limit", [ACCOUNT, ADDRESS, LIMIT])
def test_nobody_ever_waits_longer_than_one_attempt_takes_to_drain(limit: Limit) -> None:
    """Refused attempts do not count, so hammering makes nothing worse."""
    waits = played(limit, [second // 7 for second in range(20_000)])
    assert 0 < max(waits) <= limit.seconds
    admitted = waits.count(0)
    assert admitted <= limit.attempts + 20_000 // 7 // limit.seconds + 1


def test_an_account_can_be_guessed_at_288_times_a_day() -> None:
    day = 86400
    assert played(ACCOUNT, list(range(day))).count(0) == ACCOUNT.attempts - 1 + day // 300


@pytest.mark.parametrize(
    ("ip", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:DB8:1:2::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_of_an_ipv6_address_the_network_counts_that_one_line_gets(ip: str, source: str) -> None:
    assert throttle.source_of(ip) == source


def test_no_key_shows_an_address_and_no_two_meanings_have_one_key() -> None:
    email = "ada@example.com"
    keys = {
        throttle.account_key(email),
        throttle.account_key("ada@example.org"),
        throttle.pair_key(email, "192.0.2.7"),
        throttle.pair_key(email, "192.0.2.8"),
        throttle.address_key("192.0.2.7"),
    }
    assert len(keys) == 5
    assert not [key for key in keys if "ada" in key]
