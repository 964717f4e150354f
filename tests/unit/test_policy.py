"""Policies: the presets of design section 7, and the rules that every policy must keep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.policy import PRESETS, InvalidPolicy, Policy

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("browser", {"access": HOUR, "idle": 14 * DAY, "absolute": 180 * DAY, "leeway": 30}),
        ("native", {"access": HOUR, "idle": 90 * DAY, "absolute": 365 * DAY, "leeway": 30}),
        ("sensitive", {"access": 300, "idle": 900, "absolute": 12 * HOUR, "leeway": 0}),
        ("kiosk", {"access": 900, "idle": 8 * HOUR, "absolute": 8 * HOUR, "leeway": 30}),
        ("cli", {"access": HOUR, "idle": 90 * DAY, "absolute": 365 * DAY, "leeway": 30}),
        ("machine", {"access": HOUR, "idle": 0, "absolute": 0, "leeway": 30}),
    ],
)
def test_a_preset_has_the_documented_numbers(preset: str, numbers: dict[str, int]) -> None:
    policy = PRESETS[preset]
    assert {
        "access": policy.access_ttl_seconds,
        "idle": policy.idle_ttl_seconds,
        "absolute": policy.absolute_ttl_seconds,
        "leeway": policy.leeway_seconds,
    } == numbers


def test_the_presets_are_the_documented_ones() -> None:
    assert set(PRESETS) == {"browser", "native", "sensitive", "kiosk", "cli", "machine"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_keeps_the_rules_rotates_and_answers_a_key_for_a_day(preset: str) -> None:
    policy = PRESETS[preset]
    assert Policy(**asdict(policy)) == policy
    assert Policy.from_mapping({"preset": preset}) == policy
    assert policy.rotation
    assert policy.retry_window_seconds == DAY
    assert policy.refresh_tokens is (preset != "machine")


@given(
    preset=st.sampled_from(sorted(PRESETS)),
    access=st.integers(1, 10**6),
    leeway=st.integers(0, 600),
    window=st.integers(0, DAY),
)
def test_every_number_of_a_preset_can_be_overridden_and_the_others_stay(
    preset: str, access: int, leeway: int, window: int
) -> None:
    overrides = {
        "access_ttl_seconds": access,
        "leeway_seconds": leeway,
        "retry_window_seconds": window,
    }
    policy = Policy.from_mapping({"preset": preset, **overrides})
    assert asdict(policy) == asdict(PRESETS[preset]) | overrides


def test_the_mapping_that_a_policy_is_read_from_is_left_as_it_was() -> None:
    written = {"preset": "browser", "leeway_seconds": 5}
    Policy.from_mapping(written)
    assert written == {"preset": "browser", "leeway_seconds": 5}


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy(
            access_ttl_seconds=0,
            idle_ttl_seconds=20,
            absolute_ttl_seconds=10,
            leeway_seconds=601,
            retry_window_seconds=DAY + 1,
            idle_warning_seconds=20,
            absolute_warning_seconds=10,
            touch_interval_seconds=59,
            rotation=False,
        )
    for name in (
        "access_ttl_seconds must not be 0",
        "idle_ttl_seconds must not exceed absolute_ttl_seconds",
        "leeway_seconds must not exceed 600",
        "retry_window_seconds must not exceed 86400",
        "idle_warning_seconds must be less than idle_ttl_seconds",
        "absolute_warning_seconds must be less than absolute_ttl_seconds",
        "touch_interval_seconds must be 0, or at least 60 and less than idle_ttl_seconds",
        "rotation_off_reason",
    ):
        assert name in str(caught.value)


def test_all_numbers_that_are_none_are_reported_at_once() -> None:
    values = {"access_ttl_seconds": -1, "leeway_seconds": 1.5, "retention_seconds": "30"}
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_mapping({"preset": "browser", **values})
    assert all(name in str(caught.value) for name in values)


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, True, "60", None, [60]])
@pytest.mark.parametrize(
    "name",
    [
        "access_ttl_seconds",
        "idle_ttl_seconds",
        "absolute_ttl_seconds",
        "leeway_seconds",
        "retry_window_seconds",
        "idle_warning_seconds",
        "absolute_warning_seconds",
        "touch_interval_seconds",
        "retention_seconds",
    ],
)
def test_a_duration_is_a_whole_number_of_seconds(name: str, value: Any) -> None:
    with pytest.raises(InvalidPolicy, match=f"{name} must be a whole number"):
        Policy.from_mapping({"preset": "browser", name: value})


@pytest.mark.parametrize(
    ("at_most", "too_much"),
    [
        ({"leeway_seconds": 600}, {"leeway_seconds": 601}),
        ({"retry_window_seconds": DAY}, {"retry_window_seconds": DAY + 1}),
        ({"idle_ttl_seconds": 180 * DAY}, {"idle_ttl_seconds": 180 * DAY + 1}),
        ({"idle_warning_seconds": 14 * DAY - 1}, {"idle_warning_seconds": 14 * DAY}),
        ({"absolute_warning_seconds": 180 * DAY - 1}, {"absolute_warning_seconds": 180 * DAY}),
        ({"touch_interval_seconds": 14 * DAY - 1}, {"touch_interval_seconds": 14 * DAY}),
        ({"touch_interval_seconds": 60}, {"touch_interval_seconds": 59}),
    ],
)
def test_a_bound_is_exact(at_most: dict[str, int], too_much: dict[str, int]) -> None:
    Policy.from_mapping({"preset": "browser", **at_most})
    with pytest.raises(InvalidPolicy, match=next(iter(too_much))):
        Policy.from_mapping({"preset": "browser", **too_much})


@pytest.mark.parametrize("preset", [None, "", "Browser", "unknown", 1])
def test_a_policy_names_one_of_the_presets(preset: Any) -> None:
    with pytest.raises(InvalidPolicy, match="preset must be one of browser"):
        Policy.from_mapping({"preset": preset})


def test_a_policy_without_a_preset_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="preset"):
        Policy.from_mapping({"access_ttl_seconds": 60})


def test_all_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(InvalidPolicy, match="unknown: access_ttl, idle"):
        Policy.from_mapping({"preset": "browser", "idle": 1, "access_ttl": 1})


@pytest.mark.parametrize("reason", ["", " ", "\n"])
def test_rotation_is_not_switched_off_without_a_reason(reason: str) -> None:
    with pytest.raises(InvalidPolicy, match="rotation_off_reason"):
        Policy.from_mapping({"preset": "cli", "rotation": False, "rotation_off_reason": reason})


def test_rotation_is_switched_off_with_a_reason() -> None:
    policy = Policy.from_mapping(
        {"preset": "cli", "rotation": False, "rotation_off_reason": "the client cannot store it"}
    )
    assert not policy.rotation
