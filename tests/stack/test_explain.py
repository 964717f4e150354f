"""`ratchet explain` on the local stack, as an operator at night has it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from click.testing import CliRunner, Result

from ratchet import wiring
from ratchet_cli import users
from ratchet_cli.main import cli
from ratchet_cli.seed import ADA, SECRETS
from tests.local_stack import LocalStack, started

BACKEND = ("demo-backend", SECRETS["demo-backend"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    # With --verbose the lines are on the terminal; they have to be in the file all the same.
    with started(tmp_path_factory.mktemp("tree"), "--verbose") as running:
        yield running


@pytest.fixture
def ratchet(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a command in the stack's tree; nothing it sets stays behind."""
    monkeypatch.chdir(stack.tree)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(wiring, "_clients", {})
    monkeypatch.setattr(users, "INDEX_SECONDS", 0.0)
    before = dict(os.environ)

    def run(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(cli, arguments, input=typed)

    yield run
    os.environ.clear()
    os.environ.update(before)


def start(stack: LocalStack, sub: str, client_id: str = "demo-native") -> dict[str, str]:
    form = {"client_id": client_id, "sub": sub, "device": "a phone"}
    answer = httpx.post(f"{stack.url}/sessions", data=form, auth=BACKEND)
    body: dict[str, str] = answer.json()
    return body


def refresh(stack: LocalStack, token: str, client_id: str = "demo-native") -> httpx.Response:
    form = {"client_id": client_id, "refresh_token": token}
    return httpx.post(f"{stack.url}/oauth/refresh", data=form)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body


def kinds(body: dict[str, Any]) -> list[str]:
    assert body["explanation"]["timeline_missing"] is None
    return [entry["what"] for entry in body["explanation"]["timeline"]]


def test_a_session_that_is_alive(stack: LocalStack, ratchet: Any) -> None:
    first = start(stack, "alive")
    refresh(stack, first["refresh_token"])
    text = ratchet("explain", first["sid"])
    assert text.stdout.startswith("The session has not ended. It ends at ")
    assert f"  session          {first['sid']}\n" in text.stdout
    assert "\nTime-line (" in text.stdout
    body = told(ratchet("explain", first["sid"], "--json"))
    assert (body["status"], body["sub"], kinds(body)) == (
        "active",
        "alive",
        ["started", "refreshed"],
    )


def test_a_refresh_token_leads_to_its_session_and_is_nowhere_to_be_seen(
    stack: LocalStack, ratchet: Any
) -> None:
    first = start(stack, "reused", "demo-sensitive")
    second = refresh(stack, first["refresh_token"], "demo-sensitive").json()
    standings = {}
    for token in (first["refresh_token"], second["refresh_token"]):
        shown = ratchet("explain", "--token", "--json", typed=token + "\n")
        body = told(shown)
        assert body["sid"] == first["sid"]
        standings[body["token"]["standing"]] = token
        assert token not in shown.output
        assert token not in (stack.tree / ".ratchet" / "functions.log").read_text("utf-8")
    assert list(standings) == ["direct_parent", "current"]
    # To ask is not to use: it is still good.
    third = refresh(stack, second["refresh_token"], "demo-sensitive")
    assert third.status_code == 200
    refresh(stack, first["refresh_token"], "demo-sensitive")
    text = ratchet("explain", "--token", typed=first["refresh_token"] + "\n").stdout
    assert text.startswith("The session was ended at ")
    assert "The token is 2 generations behind" in text
    assert "\nIf this was not wanted\n  - " in text


def test_a_token_that_is_typed_is_not_echoed(stack: LocalStack) -> None:
    token = start(stack, "typing")["refresh_token"]
    terminal, end = pty.openpty()
    program = "from ratchet_cli.main import cli; cli()"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, "explain", "--token", "--json"],
        cwd=stack.tree,
        stdin=end,
        stderr=end,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(end)
        seen = b""
        while b"Refresh token:" not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, token.encode() + b"\n")
        assert process.stdout is not None
        body = json.loads(process.stdout.read())
    # Nobody has the other end any more: an error, if nothing was left to read.
    with contextlib.suppress(OSError):
        seen += os.read(terminal, 1000)
    os.close(terminal)
    assert body["token"]["standing"] == "current"
    assert token.encode() not in seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("{}",),
        ("--token", "{}"),
        ("--token={}",),
        ("--sub", "{}"),
        ("--sub", "x", "--client-id", "{}"),
        ("A" * 22, "{}"),
        ("-{}",),
    ],
)
def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    stack: LocalStack, ratchet: Any, arguments: tuple[str, ...]
) -> None:
    token = start(stack, "careless")["refresh_token"]
    refused = ratchet("explain", *[text.format(token) for text in arguments])
    assert refused.exit_code == 2
    assert token[4:20] not in refused.output


def test_a_sid_and_a_subject_may_have_letters_that_tokens_start_with(ratchet: Any) -> None:
    for sid in ("AAAAeyJAAAAAAAAAAAAAAA", "eyJAAAAAAAAAAAAAAAAAAA", "Art1_AAAAAAAAAAAAAAAAA"):
        assert ratchet("explain", sid).stdout.startswith(f"There is no session {sid}")
    for sub in ("auth0|eyJudge", "eyJudge", "part1_ada"):
        assert f"No sessions of {sub} are kept" in ratchet("explain", "--sub", sub).stdout


def test_it_says_why_a_token_does_not_belong_on_the_command_line(
    stack: LocalStack, ratchet: Any
) -> None:
    said = ratchet("explain", start(stack, "careless")["refresh_token"]).output
    assert "shell's history" in said
    assert "ratchet explain --token < file" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either a SID, or --sub SUBJECT, or --token"),
        (("A" * 22, "--token"), "give either a SID"),
        (("A" * 22, "--client-id", "demo-native"), "--client-id goes with --sub"),
        (("A" * 21,), "a sid has 22 characters"),
        (("--jsn",), "a sid has 22 characters"),
        (("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ",), "shell's history"),
        (("--sub", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ"), "shell's history"),
    ],
)
def test_what_it_does_not_take(ratchet: Any, arguments: tuple[str, ...], said: str) -> None:
    refused = ratchet("explain", *arguments)
    assert refused.exit_code == 2
    assert said in refused.output


def test_a_text_that_is_no_token_and_a_session_that_nobody_knows(ratchet: Any) -> None:
    body = told(ratchet("explain", "--token", "--json", typed="rt1_garbage\n"))
    assert (body["sid"], body["token"]["standing"]) == (None, "not_ours")
    assert body["explanation"]["cause"] == "malformed"
    unknown = ratchet("explain", "-" + "A" * 21)
    assert unknown.exit_code == 0
    assert unknown.stdout.startswith("There is no session -AAAAAAAAAAAAAAAAAAAAA, and the log")


def test_the_sessions_of_a_subject_newest_first(stack: LocalStack, ratchet: Any) -> None:
    old = start(stack, "grace")
    new = start(stack, "grace", "demo-browser")
    form = {"client_id": "demo-native", "token": old["refresh_token"]}
    httpx.post(f"{stack.url}/oauth/revoke", data=form)
    listed = told(ratchet("explain", "--sub", "grace", "--json"))
    found = {one["sid"]: one["explanation"]["cause"] for one in listed["sessions"]}
    assert found == {new["sid"]: None, old["sid"]: "revoked_by_user"}
    assert not listed["more"]
    text = ratchet("explain", "--sub", "grace", "--client-id", "demo-native").stdout
    assert "The user signed out at " in text
    assert new["sid"] not in text
    assert "There are more" in ratchet("explain", "--sub", "grace", "--limit", "1").stdout
    assert "No sessions of nobody are kept" in ratchet("explain", "--sub", "nobody").stdout


def test_what_the_commands_do_to_a_session_is_told(stack: LocalStack, ratchet: Any) -> None:
    """They are no functions: the item says which one it was, or the line is in the file."""
    form = {"client_id": "demo-native", "email": ADA["email"], "password": ADA["password"]}
    first = httpx.post(f"{stack.url}/login", data=form).json()
    assert ratchet("users", "disable", "ada").exit_code == 0
    body = told(ratchet("explain", first["sid"], "--json"))
    assert body["explanation"]["by"] == "ratchet users disable"
    assert body["explanation"]["cause"] == "user_disabled"
    assert kinds(body) == ["started", "ended"]
    ratchet("users", "enable", "ada")


def test_without_the_log_the_item_answers_alone(stack: LocalStack, ratchet: Any) -> None:
    first = start(stack, "logless")
    log = stack.tree / ".ratchet" / "functions.log"
    moved = log.rename(log.with_suffix(".away"))
    try:
        text = ratchet("explain", first["sid"])
    finally:
        moved.rename(log)
    assert text.exit_code == 0
    assert "  Not complete: the log could not be read (the log file: No such file" in text.stdout
