"""`ratchet keys` on the local stack, as an operator has it."""

from __future__ import annotations

import json
import os
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

MACHINE = ("demo-machine", SECRETS["demo-machine"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree"), "--parameter", "SigningBackend=kms") as running:
        yield running


@pytest.fixture
def keys(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(stack.tree)
    # Each command is a process of its own elsewhere.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(wiring, "_clients", {})
    before = dict(os.environ)
    yield lambda *arguments: CliRunner().invoke(cli, ["keys", *arguments])
    os.environ.clear()
    os.environ.update(before)


def listed(keys: Any) -> dict[str, Any]:
    result = keys("list", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_keys_are_listed_with_their_homes_and_without_anything_secret(
    stack: LocalStack, keys: Any
) -> None:
    published = httpx.get(f"{stack.url}/.well-known/jwks.json").json()["keys"]
    found = listed(keys)
    assert [key["slot"] for key in found["signing_keys"]] == ["next", "current"]
    assert {key["kid"] for key in found["signing_keys"]} == {key["kid"] for key in published}
    assert all(key["home"].startswith("arn:aws:kms:") for key in found["signing_keys"])
    assert found["peppers"][-1]["state"] in ("current", "retired")
    shown = keys("list").output
    assert found["signing_keys"][1]["kid"] in shown
    assert "Can be rotated in 4" in shown


def test_keys_that_are_too_young_are_not_rotated_and_it_says_how_long_to_wait(keys: Any) -> None:
    before = listed(keys)
    result = keys("rotate")
    assert result.exit_code == 1
    assert "the signing keys can be rotated in 4" in result.output
    assert listed(keys) == before


def test_the_first_rotation_of_the_pepper_publishes_and_the_second_has_to_wait(keys: Any) -> None:
    assert keys("rotate", "--pepper").stdout == "Rotated: the pepper.\n"
    assert [(one["id"], one["state"]) for one in listed(keys)["peppers"]] == [
        (2, "next"),
        (1, "current"),
    ]
    assert "can be rotated in 4" in keys("rotate", "--pepper").output


def test_a_leaked_key_is_dropped_and_the_next_one_signs(keys: Any, stack: LocalStack) -> None:
    before = {key["slot"]: key["kid"] for key in listed(keys)["signing_keys"]}
    asked = keys("revoke", before["current"])
    assert asked.exit_code == 1, "nobody has said yes"
    result = keys("revoke", before["current"], "--yes")
    assert result.exit_code == 0, result.output
    assert f"{before['current']} was current and is dropped" in result.output
    assert "What stops working: access tokens that it has signed." in result.output
    after = {key["slot"]: key["kid"] for key in listed(keys)["signing_keys"]}
    assert after["current"] == before["next"]
    assert set(after) == {"next", "current"}
    assert after["next"] not in before.values()
    # nobody is disturbed meanwhile
    answer = httpx.post(
        f"{stack.url}/oauth/token", data={"grant_type": "client_credentials"}, auth=MACHINE
    )
    assert answer.status_code == 200


def test_a_key_that_there_is_not_is_named_and_nothing_changes(keys: Any) -> None:
    before = listed(keys)
    result = keys("revoke", "nothing", "--yes")
    assert result.exit_code == 1
    assert "no key has the kid nothing" in result.output
    assert listed(keys) == before


def test_without_a_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["keys", "list"])
    assert result.exit_code == 1
    assert "make run" in result.output
