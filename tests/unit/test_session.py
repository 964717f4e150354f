"""When a session is dead and when a parent token is still answered (design sections 3, 6 and 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet.session import Session, attention_at, idle_deadline

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


@pytest.mark.parametrize(
    ("warning", "warned_for", "expected"),
    [
        # to warn, or at its deadline if there is nothing to warn of
        (100, None, NOW + 900),
        (0, None, NOW + 1000),
        # warned already, for this deadline or for one before a refresh
        (100, NOW + 1000, NOW + 1000),
        (100, NOW + 500, NOW + 900),
        # the absolute deadline left less than the warning needs
        (2000, None, NOW),
    ],
)
def test_a_session_needs_attention_to_be_warned_of_and_at_its_deadline(
    make_session: MakeSession, warning: int, warned_for: int | None, expected: int
) -> None:
    session = make_session(
        started_at=NOW, idle_deadline_at=NOW + 1000, warned_deadline_at=warned_for
    )
    assert attention_at(session, replace(POLICY, idle_warning_seconds=warning)) == expected


def test_scopes_are_shown_in_a_stable_order(make_session: MakeSession) -> None:
    assert make_session(scopes=frozenset({"b", "a", "c"})).scope == "a b c"
