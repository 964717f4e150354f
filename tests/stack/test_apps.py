"""`ratchet apps` on the local stack, as an operator has it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from click.testing import CliRunner

from ratchet import wiring
from ratchet_cli.main import cli
from ratchet_cli.seed import SECRETS
from tests.local_stack import LocalStack, started

BACKEND = ("demo-backend", SECRETS["demo-backend"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        yield running


@pytest.fixture
def ratchet(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a command in the stack's tree; nothing it sets stays behind."""
    monkeypatch.chdir(stack.tree)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(wiring, "_clients", {})
    before = dict(os.environ)
    yield lambda *arguments: CliRunner().invoke(cli, ["apps", *arguments])
    os.environ.clear()
    os.environ.update(before)


def sign_in(stack: LocalStack, client_id: str) -> dict[str, Any]:
    form = {"sub": "ada", "client_id": client_id}
    answer = httpx.post(f"{stack.url}/sessions", data=form, auth=BACKEND)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_an_application_is_registered_shown_listed_changed_and_deleted(ratchet: Any) -> None:
    made = ratchet("create", "shop", "--preset", "machine", "--scope", "a b", "--json")
    assert made.exit_code == 0, made.output
    secret = json.loads(made.stdout)["client_secret"]
    shown = ratchet("show", "shop")
    assert shown.exit_code == 0
    assert secret not in shown.output
    assert "policy.access_ttl        1h   (preset machine)" in shown.output
    listed = ratchet("list")
    assert [line for line in listed.output.splitlines() if line.startswith("shop ")]
    names = {
        one["client_id"] for one in json.loads(ratchet("list", "--json").stdout)["applications"]
    }
    assert {"shop", "demo-native"} <= names
    changed = ratchet("update", "shop", "--access-ttl", "5m", "--name", "Shop", "--json")
    view = json.loads(changed.stdout)
    assert (view["version"], view["name"]) == (2, "Shop")
    assert view["effective_policy"]["access_ttl_seconds"] == 300
    back = json.loads(
        ratchet("update", "shop", "--unset", "policy.access_ttl_seconds", "--json").stdout
    )
    assert back["effective_policy"]["access_ttl_seconds"] == 3600
    assert ratchet("delete", "shop").exit_code == 0
    gone = ratchet("show", "shop")
    assert (gone.exit_code, gone.output) == (1, "Error: There is no such application.\n")


def test_all_problems_are_listed_and_nothing_is_changed(ratchet: Any) -> None:
    arguments = ("--preset", "native", "--leeway", "1h", "--grant", "password", "--set", "foo=1")
    result = ratchet("create", "wrong", *arguments)
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: nothing was changed:",
        "  - leeway_seconds must not exceed 600",
        "  - unknown: foo",
        "  - unknown grant types: password",
    ]
    assert ratchet("show", "wrong").exit_code == 1
    taken = ratchet("create", "demo-native", "--preset", "native")
    assert (taken.exit_code, "exists" in taken.output) == (1, True)


def test_a_dry_run_tells_what_would_end_and_changes_nothing(
    ratchet: Any, stack: LocalStack
) -> None:
    sign_in(stack, "demo-sensitive")
    arguments = ("demo-sensitive", "--disable", "--dry-run")
    result = ratchet("update", *arguments)
    assert result.exit_code == 0
    assert "Of 1 live sessions end, if nobody refreshes them:" in result.output
    assert "with this change  1    1             1" in result.output
    assert "Nothing was changed" in result.output
    view = json.loads(ratchet("update", *arguments, "--json").stdout)
    assert (view["dry_run"], view["sessions"]["changed"]["now"]) == (True, 1)
    assert json.loads(ratchet("show", "demo-sensitive", "--json").stdout)["disabled_at"] is None


def test_all_applications_are_changed_with_one_command_or_none_is(ratchet: Any) -> None:
    refused = ratchet("update", "--all", "--leeway", "1h")
    assert (refused.exit_code, "leeway_seconds" in refused.output) == (1, True)
    done = ratchet("update", "--all", "--access-ttl", "5m", "--json")
    views = json.loads(done.stdout)["applications"]
    assert {view["effective_policy"]["access_ttl_seconds"] for view in views} == {300}
    assert ratchet("update", "--all", "--unset", "policy.access_ttl_seconds").exit_code == 0


def test_a_secret_is_rotated_without_an_outage_and_printed_once(ratchet: Any) -> None:
    ratchet("create", "bank", "--preset", "machine")
    rotated = json.loads(ratchet("rotate-secret", "bank", "--json").stdout)
    assert (rotated["secrets"], len(rotated["client_secret"])) == (2, 46)
    again = ratchet("rotate-secret", "bank")
    assert (again.exit_code, "Two secrets are valid" in again.output) == (1, True)
    dropped = json.loads(ratchet("rotate-secret", "bank", "--drop-old", "--json").stdout)
    assert dropped["secrets"] == 1
    assert "client_secret" not in dropped
    ratchet("delete", "bank")


def test_an_application_with_live_sessions_is_deleted_by_force_only(
    ratchet: Any, stack: LocalStack
) -> None:
    session = sign_in(stack, "demo-browser")
    kept = ratchet("delete", "demo-browser")
    assert (kept.exit_code, "1 live sessions; --force ends them" in kept.output) == (1, True)
    assert ratchet("update", "demo-browser", "--disable").exit_code == 0
    kept = ratchet("delete", "demo-browser")
    assert (kept.exit_code, "1 live sessions; --force ends them" in kept.output) == (1, True)
    done = ratchet("delete", "demo-browser", "--force", "--json")
    assert json.loads(done.stdout) == {"client_id": "demo-browser", "deleted": True, "ended": 1}
    form = {"grant_type": "client_credentials"}
    token = httpx.post(f"{stack.url}/oauth/token", data=form, auth=BACKEND).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    shown = httpx.get(f"{stack.url}/sessions/{session['sid']}", headers=bearer).json()
    assert (shown["status"], shown["reason"]) == ("ended", "application_disabled")


def test_a_policy_that_holds_now_waits_until_every_function_knows_it(
    ratchet: Any, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(stack, "demo-native")
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    policy = ("--idle-ttl", "1h", "--idle-warning", "0")
    done = ratchet("update", "demo-native", *policy, "--mode", "now", "--json")
    assert json.loads(done.stdout)["sessions"] == {"ended": 0, "shortened": 1, "next": None}
    assert waited == [60]


@pytest.mark.parametrize(
    "arguments",
    [
        ["update"],
        ["update", "demo-native"],
        ["update", "demo-native", "--all", "--access-ttl", "5m"],
        ["update", "demo-native", "--disable", "--enable"],
        ["update", "demo-native", "--end-sessions-before", "yesterday"],
        ["update", "demo-native", "--set", "nothing"],
        ["show", "demo-native", "--local", "--stack", "prod"],
    ],
)
def test_a_command_that_makes_no_sense_is_refused(ratchet: Any, arguments: list[str]) -> None:
    assert ratchet(*arguments).exit_code == 2


def test_without_a_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["apps", "list"])
    assert (result.exit_code, "make run" in result.output) == (1, True)
