"""What is advised can be done: each command, typed as it is, changes what it was proposed for."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from ratchet.advice import Advice, advice
from ratchet.application import Application, from_mapping, to_mapping
from ratchet.policy import DAY, HOUR, PRESETS, Policy
from ratchet.reasons import Reason
from ratchet.registration import Mode, changed
from ratchet.reuse import ReuseCause
from ratchet.session import Session, idle_deadline
from ratchet_cli import apps
from tests.unit.conftest import NOW

Make = Callable[..., Any]
SESSIONS = {name: policy for name, policy in PRESETS.items() if policy.refresh_tokens}
SHORT = {
    f"idle {seconds} s": replace(PRESETS["sensitive"], idle_ttl_seconds=seconds)
    for seconds in (1, 2, 60, 61, 119)
}
POLICIES = {
    **PRESETS,
    **SHORT,
    "no key": replace(PRESETS["browser"], retry_window_seconds=0),
    "all of it": replace(
        PRESETS["sensitive"],
        idle_warning_seconds=60,
        absolute_warning_seconds=HOUR,
        touch_interval_seconds=60,
        leeway_seconds=60,
    ),
}
EXPIRED = (Reason.IDLE_EXPIRED, Reason.ABSOLUTE_EXPIRED)
KEYS = ("none", "same")


def typed(command: str, application: Application) -> Application:
    """The application after this command, read as the command line reads it."""
    words = shlex.split(command)
    assert words[:3] == ["ratchet", "apps", "update"], command
    given = apps.update_command.make_context("update", words[3:]).params
    assert given["client_id"] == application.client_id
    patch = apps._patch(given)
    # What changes a policy can be tried out first.
    assert given["dry_run"] is bool(patch), command
    if given["enable"]:
        patch["disabled_at"] = None
    if given["end_sessions_before"] is not None:
        patch["sessions_valid_after"] = int(given["end_sessions_before"])
    written = to_mapping(application, {"preset": "browser", **asdict(application.policy)})
    return from_mapping(changed(written, patch, mode=Mode(given["mode"]), now=NOW))


def advised(session: Session, application: Application, reason: Reason) -> list[Advice]:
    found: list[Advice] = []
    had = session.idle_deadline_at - session.started_at
    for away in (None, had, 3 * had, 2 * session.absolute_deadline_at):
        found += advice(session, application, reason, away_seconds=away)
    return found


def sessions(make_session: Make, policy: Policy, reason: Reason) -> list[Session]:
    absolute = NOW + policy.absolute_ttl_seconds
    idle = idle_deadline(policy, absolute_deadline_at=absolute, now=NOW)
    times: dict[str, Any] = {"idle_deadline_at": idle, "absolute_deadline_at": absolute}
    if reason in EXPIRED or reason is Reason.POLICY_CUTOFF:
        return [make_session(**times), make_session(**times, active_at=NOW)]
    over: dict[str, Any] = {**times, "ended_at": NOW + 1, "reason": reason}
    if reason is not Reason.REUSED:
        return [make_session(**over)]
    evidences = [
        {
            "reuse_cause": cause.value,
            "behind": 1,
            "since_rotation_seconds": since,
            "key_before": key,
        }
        for cause in ReuseCause
        for since in (0, DAY + 1)
        for key in KEYS
    ]
    return [make_session(**over, evidence=evidence) for evidence in evidences]


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("name", POLICIES)
def test_each_command_works_for_the_policy_it_is_proposed_for_and_changes_it(
    make_session: Make, make_application: Make, name: str, reason: Reason
) -> None:
    """Of sessions that started under each preset, and whatever the policy is by now."""
    application = make_application(
        policy=POLICIES[name], disabled_at=NOW, sessions_valid_after=NOW + 1
    )
    for started_under in (*SESSIONS.values(), POLICIES[name]):
        if not started_under.refresh_tokens:
            continue
        for session in sessions(make_session, started_under, reason):
            for piece in advised(session, application, reason):
                if piece.command.startswith("ratchet users "):
                    continue
                if piece.command:
                    assert typed(piece.command, application) != application, piece


@pytest.mark.parametrize(
    ("name", "reason", "options"),
    [
        (
            "sensitive",
            Reason.IDLE_EXPIRED,
            ["--idle-ttl 30m", "--touch-interval 3m", "--idle-warning 5m"],
        ),
        ("sensitive", Reason.ABSOLUTE_EXPIRED, ["--absolute-ttl 1d", "--absolute-warning 1h"]),
        ("kiosk", Reason.ABSOLUTE_EXPIRED, ["--absolute-ttl 16h", "--absolute-warning 1h"]),
        ("browser", Reason.IDLE_EXPIRED, ["--idle-ttl 28d", "--touch-interval 1h"]),
        ("browser", Reason.ABSOLUTE_EXPIRED, ["--absolute-ttl 360d"]),
        # without refresh tokens no session starts that it could help
        ("machine", Reason.IDLE_EXPIRED, []),
        # as short as this no touch interval and no warning is of use
        ("idle 1 s", Reason.IDLE_EXPIRED, ["--idle-ttl 2s"]),
    ],
)
def test_what_is_proposed_fits_the_policy(
    make_session: Make, make_application: Make, name: str, reason: Reason, options: list[str]
) -> None:
    policy = POLICIES[name]
    session = sessions(
        make_session, policy if policy.refresh_tokens else SHORT["idle 60 s"], reason
    )
    warned = replace(
        session[0],
        warned_deadline_at=session[0].idle_deadline_at if policy.idle_warning_seconds else None,
        warned_absolute_deadline_at=(
            session[0].absolute_deadline_at if policy.absolute_warning_seconds else None
        ),
    )
    found = advice(warned, make_application(policy=policy), reason, away_seconds=None)
    commands = [piece.command for piece in found if piece.command]
    assert commands == [f"ratchet apps update app {option} --dry-run" for option in options]


def test_what_the_application_has_by_now_is_not_proposed_again(
    make_session: Make, make_application: Make
) -> None:
    """The session started under a policy that its application has changed since."""
    session = sessions(make_session, PRESETS["sensitive"], Reason.IDLE_EXPIRED)[0]
    application = make_application(policy=replace(PRESETS["browser"], touch_interval_seconds=HOUR))
    found = advice(session, application, Reason.IDLE_EXPIRED, away_seconds=None)
    assert [piece.command for piece in found] == ["", ""]
    assert "now it gives 14 days" in found[0].text


@pytest.mark.parametrize(("since", "proposed"), [(47, True), (61, False)])
def test_a_longer_leeway_is_proposed_only_where_it_would_have_helped(
    make_session: Make, make_application: Make, since: int, proposed: bool
) -> None:
    evidence = {"reuse_cause": "lost_response", "since_rotation_seconds": since, "key_sent": False}
    session = make_session(ended_at=NOW + 1, reason=Reason.REUSED, evidence=evidence)
    found = advice(session, make_application(), Reason.REUSED, away_seconds=None)
    leeway = "ratchet apps update app --leeway 1m --dry-run"
    assert (leeway in [piece.command for piece in found]) is proposed


@pytest.mark.parametrize(
    ("jkt", "dpop", "proposed"),
    [(None, "off", True), (None, "optional", True), (None, "required", True), ("k", "off", False)],
)
def test_a_key_is_proposed_to_sessions_that_are_bound_to_none(
    make_session: Make, make_application: Make, jkt: str | None, dpop: str, proposed: bool
) -> None:
    evidence = {"reuse_cause": "theft_like", "key_sent": False}
    session = make_session(ended_at=NOW + 1, reason=Reason.REUSED, evidence=evidence, jkt=jkt)
    found = advice(session, make_application(dpop=dpop), Reason.REUSED, away_seconds=None)
    assert any("DPoP" in piece.text for piece in found) is proposed
