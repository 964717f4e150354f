"""The rules of changing applications: which policy a session has, and when a change ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.application import Application, FormerPolicy
from ratchet.errors import InvalidDescription
from ratchet.live_sessions import deadlines
from ratchet.policy import DAY, PRESETS, Policy
from ratchet.registration import Mode, changed, new_secret, view
from ratchet.session import Session
from tests.unit.conftest import NOW

WRITTEN: dict[str, Any] = {
    "client_id": "app",
    "confidential": False,
    "policy": {"preset": "browser"},
    "version": 4,
}
LATER = NOW + 1000


def change(
    patch: dict[str, Any], mode: Mode = Mode.NEXT_REFRESH, now: int = NOW, **written: Any
) -> dict[str, Any]:
    mapping = {**WRITTEN, **written}
    return changed(mapping, patch, mode=mode, now=now)


def absolute(days: int) -> Policy:
    return Policy.from_mapping({"preset": "browser", "absolute_ttl_seconds": days * DAY})


def application(*former: tuple[int, Policy], policy: Policy = PRESETS["browser"]) -> Application:
    formers = tuple(
        FormerPolicy(until_at=until_at, over_at=until_at + 400 * DAY, policy=old)
        for until_at, old in former
    )
    return Application(client_id="app", confidential=False, policy=policy, former_policies=formers)


def test_a_patch_names_what_changes_and_null_takes_away() -> None:
    after = change({"name": "x", "scopes": ["a"], "policy": {"leeway_seconds": 3}}, name="old")
    assert (after["name"], after["scopes"], after["version"]) == ("x", ["a"], 4)
    assert after["policy"] == {"preset": "browser", "leeway_seconds": 3}
    assert "name" not in change({"name": None}, name="old")
    without = change({"policy": {"leeway_seconds": None}}, policy=after["policy"])
    assert without["policy"] == {"preset": "browser"}


@pytest.mark.parametrize("mode", Mode)
def test_a_change_that_is_not_about_the_policy_keeps_the_former_ones(mode: Mode) -> None:
    former = {"until_at": NOW - 1, "over_at": LATER, "policy": asdict(PRESETS["native"])}
    after = change({"name": "x"}, mode, former_policies=[former])
    assert after["former_policies"] == [former]


@pytest.mark.parametrize("mode", [Mode.NEXT_REFRESH, Mode.NOW])
def test_in_the_other_modes_one_policy_is_everybodys(mode: Mode) -> None:
    former = {"until_at": NOW - 1, "over_at": LATER, "policy": asdict(PRESETS["native"])}
    patch = {"policy": {"idle_ttl_seconds": 7 * DAY}}
    assert change(patch, mode, former_policies=[former])["former_policies"] == []


def test_a_former_policy_is_kept_until_the_last_of_its_sessions_is_over() -> None:
    """Also of those that had started under a longer one before."""
    first = change({"policy": {"absolute_ttl_seconds": 20 * DAY}})
    assert first["longest_absolute_ttl_seconds"] == 180 * DAY
    second = change({"policy": {"leeway_seconds": 1}}, Mode.NEW_SESSIONS, NOW + 5, **first)
    (former,) = second["former_policies"]
    assert (former["until_at"], former["over_at"]) == (NOW + 5, NOW + 5 + 180 * DAY)
    again = {"policy": {"leeway_seconds": 2}}
    third = change(again, Mode.NEW_SESSIONS, former["over_at"] - 1, **second)
    assert len(third["former_policies"]) == 2
    fourth = change(again, Mode.NEW_SESSIONS, former["over_at"], **second)
    assert [kept["until_at"] for kept in fourth["former_policies"]] == [former["over_at"]]


@pytest.mark.parametrize("mode", [Mode.NEXT_REFRESH, Mode.NOW])
def test_mending_a_policy_takes_away_neither_former_policies_nor_how_long_things_lived(
    mode: Mode,
) -> None:
    former = {"until_at": NOW - 1, "over_at": LATER, "policy": asdict(PRESETS["native"])}
    broken: dict[str, Any] = {
        "policy": {"preset": "sensitive", "leeway_seconds": 601, "access_ttl_seconds": 7200},
        "former_policies": [former],
        "longest_absolute_ttl_seconds": 900 * DAY,
    }
    after = change({"policy": {"leeway_seconds": 5}}, mode, **broken)
    assert after["former_policies"] == [former]
    assert after["longest_absolute_ttl_seconds"] == 900 * DAY
    assert after["longest_access_ttl_seconds"] == 7200


@pytest.mark.parametrize("policy", [None, "native", {"preset": "nativ"}, {}])
def test_what_cannot_be_read_had_the_longest_lifetimes_of_all_presets(policy: Any) -> None:
    after = change({"policy": {"preset": "sensitive"}}, policy=policy)
    longest = max(preset.absolute_ttl_seconds for preset in PRESETS.values())
    longest_access = max(preset.access_ttl_seconds for preset in PRESETS.values())
    assert after["longest_absolute_ttl_seconds"] == longest
    assert after["longest_access_ttl_seconds"] == longest_access


def test_a_policy_that_breaks_a_rule_is_no_policy_for_older_sessions() -> None:
    with pytest.raises(InvalidDescription) as refused:
        change({"policy": {"preset": "native"}}, Mode.NEW_SESSIONS, policy={"preset": "x"})
    assert refused.value.problems == [
        "the policy that older sessions would keep breaks a rule; mend it first"
    ]


@given(
    days=st.lists(st.integers(20, 400), min_size=1, max_size=9),
    started_at=st.integers(NOW - 5000, NOW + 5000),
    age=st.integers(0, 400 * DAY),
)
def test_a_session_has_one_policy_and_the_guess_is_one_of_those_that_fit(
    days: list[int], started_at: int, age: int
) -> None:
    *olds, policy = [absolute(number) for number in days]
    app = application(*((NOW + 500 * at, old) for at, old in enumerate(olds)), policy=policy)
    era = app.era(started_at)
    assert era.has(started_at)
    assert [era.policy] == [found.policy for found in app._eras() if found.has(started_at)]
    guess = app.likely_era(started_at + era.policy.absolute_ttl_seconds, started_at + age)
    assert guess in app._eras()
    if len(set(days)) == 1:
        assert guess == era


def test_the_guess_is_right_until_a_session_is_older_than_the_difference_of_lifetimes() -> None:
    app = application((NOW, absolute(180)), policy=absolute(100))
    old, new = app._eras()
    deadline = NOW - 10 + 180 * DAY
    assert app.likely_era(deadline, NOW + 79 * DAY) == old
    assert app.likely_era(deadline, NOW + 80 * DAY) == new
    assert app.likely_era(NOW + 100 * DAY, NOW) == new


def test_an_application_under_a_policy_has_that_one_only() -> None:
    app = application((NOW, absolute(180)), policy=absolute(100))
    old = app.under(app.era(NOW - 1).policy)
    assert (old.policy, old.former_policies) == (absolute(180), ())
    new = app.under(app.era(NOW).policy)
    assert (new.policy, new.former_policies) == (absolute(100), ())


@given(
    refreshed=st.none() | st.integers(0, 900),
    idle=st.integers(0, 4000),
    absolute_ttl=st.integers(4000, 8000),
)
def test_a_policy_that_holds_now_never_lengthens_a_session(
    make_session: Callable[..., Session], refreshed: int | None, idle: int, absolute_ttl: int
) -> None:
    rotated_at = None if refreshed is None else NOW + refreshed
    session = make_session(rotated_at=rotated_at)
    policy = Policy(access_ttl_seconds=60, idle_ttl_seconds=idle, absolute_ttl_seconds=absolute_ttl)
    idle_at, absolute_at = deadlines(session, policy)
    assert absolute_at == min(session.absolute_deadline_at, NOW + absolute_ttl)
    assert idle_at == min(session.idle_deadline_at, (rotated_at or NOW) + idle, absolute_at)


def test_a_secret_has_256_bits_and_no_command_takes_it_for_an_option() -> None:
    secrets = {new_secret() for _ in range(200)}
    assert len(secrets) == 200
    assert all(len(secret) == 46 and secret.startswith("cs_") for secret in secrets)


def test_an_application_that_breaks_a_rule_is_shown_with_its_problems() -> None:
    shown = view({**WRITTEN, "policy": {"preset": "x"}, "secret_hashes": ["0" * 64]}, NOW)
    assert "effective_policy" not in shown
    assert "secret_hashes" not in shown
    assert any("preset" in problem for problem in shown["problems"])
