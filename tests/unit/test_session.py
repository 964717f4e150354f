"""When a session is dead and when a parent token is still answered (design sections 3, 6 and 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import (
    ANNOUNCED_WITHIN_SECONDS,
    Session,
    attention_at,
    idle_deadline,
    told,
)

NOW = 1_800_000_000
DAY = 86400
POLICY = PRESETS["browser"]
PARENT, KEY = b"p" * 32, b"k" * 32
MakeSession = Callable[..., Session]


# --- dead_because --------------------------------------------------------------------------------


def test_a_session_lives_until_the_exact_second_of_its_deadline(make_session: MakeSession) -> None:
    session = make_session(idle_deadline_at=NOW + 10, absolute_deadline_at=NOW + 20)
    assert session.dead_because(NOW + 9) is None
    assert session.dead_because(NOW + 10) is Reason.IDLE_EXPIRED


@pytest.mark.parametrize(
    ("idle", "absolute", "reason"),
    [
        (NOW - 1, NOW, Reason.IDLE_EXPIRED),
        (NOW - 5000, NOW - 100, Reason.IDLE_EXPIRED),
        (NOW, NOW + 1, Reason.IDLE_EXPIRED),
        (NOW, NOW, Reason.ABSOLUTE_EXPIRED),
        (NOW - 5000, NOW - 5000, Reason.ABSOLUTE_EXPIRED),
    ],
)
def test_the_deadline_that_came_first_is_the_reason(
    make_session: MakeSession, idle: int, absolute: int, reason: Reason
) -> None:
    """A session that was idle too long did not die of old age, however long ago it was."""
    session = make_session(idle_deadline_at=idle, absolute_deadline_at=absolute)
    assert session.dead_because(NOW) is reason


@pytest.mark.parametrize("reason", Reason)
def test_the_stored_reason_comes_first(make_session: MakeSession, reason: Reason) -> None:
    session = make_session(ended_at=NOW - 5, reason=reason, idle_deadline_at=NOW - 1)
    assert session.dead_because(NOW, sessions_valid_after=NOW + 1) is reason


def test_an_end_whose_reason_is_not_known_is_still_an_end(make_session: MakeSession) -> None:
    assert make_session(ended_at=NOW).dead_because(NOW) is Reason.REVOKED_BY_OPERATOR


def test_an_end_counts_even_for_a_clock_that_runs_behind(make_session: MakeSession) -> None:
    session = make_session(ended_at=NOW + 5, reason=Reason.REUSED)
    assert session.dead_because(NOW) is Reason.REUSED


def test_the_cutoff_ends_what_started_before_it(make_session: MakeSession) -> None:
    session = make_session(started_at=NOW)
    assert session.dead_because(NOW + 1, sessions_valid_after=NOW) is None
    assert session.dead_because(NOW + 1, sessions_valid_after=NOW + 1) is Reason.POLICY_CUTOFF


def test_what_came_first_is_the_reason_the_cutoff_or_the_deadline(
    make_session: MakeSession,
) -> None:
    session = make_session(started_at=NOW, idle_deadline_at=NOW + 5)
    assert session.dead_because(NOW + 9, sessions_valid_after=NOW + 4) is Reason.POLICY_CUTOFF
    assert session.dead_because(NOW + 9, sessions_valid_after=NOW + 5) is Reason.IDLE_EXPIRED
    assert session.dead_because(NOW + 4, sessions_valid_after=NOW + 9) is Reason.POLICY_CUTOFF


# --- answers_parent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leeway", "window", "age", "key", "right"),
    [
        # the leeway, to the second
        (30, DAY, 0, None, "leeway"),
        (30, DAY, 30, None, "leeway"),
        (30, DAY, 31, None, None),
        (1, DAY, 1, None, "leeway"),
        (1, DAY, 2, None, None),
        # no leeway at all
        (0, DAY, 0, None, None),
        (0, DAY, 1, None, None),
        # the clock of another instance runs ahead: rotated in our future
        (30, DAY, -5, None, "leeway"),
        (0, DAY, -5, None, None),
        (0, DAY, -5, KEY, "idempotency_key"),
        # the same request repeated, also long after the leeway and where there is none
        (30, DAY, 31, KEY, "idempotency_key"),
        (30, DAY, DAY, KEY, "idempotency_key"),
        (30, DAY, DAY + 1, KEY, None),
        (0, DAY, 0, KEY, "idempotency_key"),
        (0, 100, 100, KEY, "idempotency_key"),
        (0, 100, 101, KEY, None),
        # another request: only the leeway can help it
        (30, DAY, 31, b"x" * 32, None),
        (30, DAY, 30, b"x" * 32, "leeway"),
        (0, DAY, 0, b"x" * 32, None),
    ],
)
def test_the_parent_is_answered_by_the_leeway_or_by_the_key(
    make_session: MakeSession, leeway: int, window: int, age: int, key: bytes | None, right: Any
) -> None:
    session = make_session(
        parent_hash=PARENT,
        request_hash=KEY,
        # as `SessionStore.rotate` does at NOW
        leeway_until_at=NOW + leeway if leeway else None,
        retry_until_at=NOW + window,
    )
    assert session.answers_parent(PARENT, key, NOW + age) == right


@pytest.mark.parametrize("age", [-5, 0, 1, 31])
def test_nothing_but_the_direct_parent_is_answered(make_session: MakeSession, age: int) -> None:
    session = make_session(
        parent_hash=PARENT, request_hash=KEY, leeway_until_at=NOW + 30, retry_until_at=NOW + DAY
    )
    for other in (b"x" * 32, session.current_hash, b""):
        assert session.answers_parent(other, KEY, NOW + age) is None


def test_a_session_that_was_never_rotated_answers_no_parent(make_session: MakeSession) -> None:
    session = make_session()
    assert session.answers_parent(session.current_hash, KEY, NOW) is None
    assert make_session(parent_hash=PARENT).answers_parent(PARENT, KEY, NOW) is None


def test_two_requests_without_a_key_are_not_the_same_request(make_session: MakeSession) -> None:
    session = make_session(
        parent_hash=PARENT, request_hash=None, leeway_until_at=NOW + 30, retry_until_at=NOW + DAY
    )
    assert session.answers_parent(PARENT, None, NOW + 31) is None
    assert session.answers_parent(PARENT, KEY, NOW + 31) is None


# --- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("absolute", "expected"),
    [
        (NOW + 100 * DAY, NOW + 14 * DAY),
        (NOW + 14 * DAY, NOW + 14 * DAY),
        (NOW + 14 * DAY - 1, NOW + 14 * DAY - 1),
        (NOW + 1, NOW + 1),
    ],
)
def test_the_idle_deadline_is_never_later_than_the_absolute_one(
    absolute: int, expected: int
) -> None:
    assert idle_deadline(POLICY, absolute_deadline_at=absolute, now=NOW) == expected


IDLE, ABSOLUTE = NOW + 1000, NOW + 5000


@pytest.mark.parametrize(
    ("leads", "warned", "idle", "expected"),
    [
        # nothing to warn of: at its deadline
        ((0, 0), (None, None), IDLE, IDLE),
        # before the idle deadline
        ((100, 0), (None, None), IDLE, IDLE - 100),
        # warned of it already, or of the one before a refresh
        ((100, 0), (IDLE, None), IDLE, IDLE),
        ((100, 0), (NOW + 500, None), IDLE, IDLE - 100),
        # before the absolute deadline, as far as the idle one lets it come to that
        ((0, 4500), (None, None), IDLE, NOW + 500),
        ((0, 3000), (None, None), IDLE, IDLE),
        ((0, 4500), (None, ABSOLUTE), IDLE, IDLE),
        # warned of the one it had before it was shortened
        ((0, 4500), (None, ABSOLUTE + 1), IDLE, NOW + 500),
        # the first of both, then the other
        ((100, 4500), (None, None), IDLE, NOW + 500),
        ((100, 4500), (None, ABSOLUTE), IDLE, IDLE - 100),
        ((600, 4500), (None, None), IDLE, NOW + 400),
        ((100, 4500), (IDLE, ABSOLUTE), IDLE, IDLE),
        # no refresh moves an idle deadline that is the absolute one
        ((100, 0), (None, None), ABSOLUTE, ABSOLUTE),
        ((100, 50), (None, None), ABSOLUTE, ABSOLUTE - 50),
        ((100, 50), (None, ABSOLUTE), ABSOLUTE, ABSOLUTE),
        # there was less time than a warning needs
        ((2000, 0), (None, None), IDLE, NOW),
        ((0, 9000), (None, None), IDLE, NOW),
    ],
)
def test_a_session_needs_attention_before_each_deadline_and_at_the_first(
    make_session: MakeSession,
    leads: tuple[int, int],
    warned: tuple[int | None, int | None],
    idle: int,
    expected: int,
) -> None:
    policy = replace(POLICY, idle_warning_seconds=leads[0], absolute_warning_seconds=leads[1])
    session = make_session(
        started_at=NOW,
        idle_deadline_at=idle,
        absolute_deadline_at=ABSOLUTE,
        warned_deadline_at=warned[0],
        warned_absolute_deadline_at=warned[1],
    )
    assert attention_at(session, policy) == expected
    new = replace(session, unannounced=True)
    assert attention_at(new, policy) == NOW + ANNOUNCED_WITHIN_SECONDS
    soon_over = replace(new, idle_deadline_at=NOW + 5)
    assert attention_at(soon_over, policy) == NOW + 5


@pytest.mark.parametrize(
    ("late", "warned", "next_at"),
    [
        # on time: each warning by itself
        (0, (None, ABSOLUTE), IDLE - 100),
        # late: what is due by then, all at once
        (499, (IDLE, ABSOLUTE), IDLE),
    ],
)
def test_what_is_due_is_told_at_once_and_what_follows_is_next(
    make_session: MakeSession, late: int, warned: tuple[int | None, int], next_at: int
) -> None:
    policy = replace(POLICY, idle_warning_seconds=100, absolute_warning_seconds=4500)
    session = make_session(
        started_at=NOW, idle_deadline_at=IDLE, absolute_deadline_at=ABSOLUTE, unannounced=True
    )
    after = told(session, policy, NOW + 500 + late)
    assert (after.warned_deadline_at, after.warned_absolute_deadline_at) == warned
    assert (after.unannounced, after.attention_at) == (False, next_at)
    assert told(after, policy, NOW + 500 + late) == after


def test_before_anything_is_due_nothing_but_the_start_is_told(make_session: MakeSession) -> None:
    session = make_session(started_at=NOW, idle_deadline_at=IDLE, absolute_deadline_at=ABSOLUTE)
    policy = replace(POLICY, idle_warning_seconds=100, absolute_warning_seconds=4500)
    after = told(replace(session, unannounced=True), policy, NOW)
    assert after == replace(session, attention_at=NOW + 500)


def test_scopes_are_shown_in_a_stable_order(make_session: MakeSession) -> None:
    assert make_session(scopes=frozenset({"b", "a", "c"})).scope == "a b c"
