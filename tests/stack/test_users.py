"""`ratchet users` on the local stack, as an operator has it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
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

PASSWORD = "a fine day for 🐈"


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
    monkeypatch.setattr(users, "INDEX_SECONDS", 0.0)
    before = dict(os.environ)

    def run(*arguments: str, typed: str = "") -> Result:
        result = CliRunner().invoke(cli, ["users", *arguments], input=typed)
        assert PASSWORD not in result.output
        assert "$argon2" not in result.output
        return result

    yield run
    os.environ.clear()
    os.environ.update(before)


def login(stack: LocalStack, email: str, password: str = PASSWORD) -> httpx.Response:
    form = {"client_id": "demo-native", "email": email, "password": password}
    return httpx.post(f"{stack.url}/login", data=form)


def refresh(stack: LocalStack, signed_in: httpx.Response) -> httpx.Response:
    form = {"client_id": "demo-native", "refresh_token": signed_in.json()["refresh_token"]}
    return httpx.post(f"{stack.url}/oauth/refresh", data=form)


def test_the_seeded_user_signs_in(stack: LocalStack) -> None:
    assert login(stack, ADA["email"], ADA["password"]).status_code == 200


def test_a_user_is_added_shown_and_listed_and_signs_in(stack: LocalStack, ratchet: Any) -> None:
    made = ratchet("add", "Kim@BÜCHER.example", "--json", typed=PASSWORD + "\n")
    assert made.exit_code == 0, made.output
    view = json.loads(made.stdout)
    assert view["email"] == "kim@xn--bcher-kva.example"
    assert len(view["sub"]) == 22
    assert json.loads(ratchet("show", "kim@bücher.example", "--json").stdout) == view
    assert json.loads(ratchet("show", view["sub"], "--json").stdout) == view
    listed = json.loads(ratchet("list", "--json").stdout)["users"]
    assert [user["email"] for user in listed] == [ADA["email"], view["email"]]
    assert f"{ADA['email']}  ada\n" in ratchet("list").output
    signed_in = login(stack, "KIM@bücher.example")
    assert signed_in.status_code == 200
    sessions = httpx.get(
        f"{stack.url}/sessions",
        headers={"Authorization": f"Bearer {signed_in.json()['access_token']}"},
    ).json()["sessions"]
    assert [session["sub"] for session in sessions] == [view["sub"]]


def test_a_disabled_user_is_signed_out_with_the_true_reason_and_may_come_back(
    stack: LocalStack, ratchet: Any
) -> None:
    assert ratchet("add", "lee@example.com", "--sub", "lee", typed=PASSWORD).exit_code == 0
    before = [login(stack, "lee@example.com") for _ in range(2)]
    done = ratchet("disable", "lee@example.com", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sessions_ended"] == 2
    assert "run this again to be sure" in done.stderr
    assert json.loads(done.stdout)["disabled_at"]
    for signed_in in before:
        answer = refresh(stack, signed_in)
        assert (answer.status_code, answer.json()["error_reason"]) == (400, "user_disabled")
    assert login(stack, "lee@example.com").json()["error_reason"] == "wrong_credentials"
    assert "disabled" in ratchet("list").output
    again = json.loads(ratchet("disable", "lee", "--json").stdout)
    assert again["sessions_ended"] == 0
    assert again["disabled_at"] == json.loads(done.stdout)["disabled_at"]
    assert json.loads(ratchet("enable", "lee", "--json").stdout)["disabled_at"] is None
    assert login(stack, "lee@example.com").status_code == 200


def test_a_changed_password_ends_the_sessions_and_the_old_one_is_wrong(
    stack: LocalStack, ratchet: Any
) -> None:
    assert ratchet("add", "pat@example.com", "--sub", "pat", typed=PASSWORD).exit_code == 0
    before = login(stack, "pat@example.com")
    done = ratchet("set-password", "pat", "--json", typed="another one altogether\n")
    assert json.loads(done.stdout)["sessions_ended"] == 1
    assert refresh(stack, before).json()["error_reason"] == "password_changed"
    assert login(stack, "pat@example.com").json()["error_reason"] == "wrong_credentials"
    after = login(stack, "pat@example.com", "another one altogether")
    assert refresh(stack, after).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "typed", "says"),
    [
        (("add", "ada"), PASSWORD, "this is not an e-mail address: not one @"),
        (("add", "new@example.com"), "short", "this cannot be a password: it must have 8 to 256"),
        (("add", "new@example.com"), "", "this cannot be a password: it must have 8 to 256"),
        (("add", "new@example.com"), "NEW@example.com", "it must not be the e-mail address"),
        (("add", "ADA@example.com"), PASSWORD, "nothing was added: the e-mail address is taken"),
        (("add", "new@example.com", "--sub", "ada"), PASSWORD, "the subject is taken"),
        (("add", "new@example.com", "--sub", "demo-native"), PASSWORD, "id of an application"),
        (("add", "new@example.com", "--sub", " x"), PASSWORD, "sub must be"),
        (("show", "nobody"), "", "there is no such user"),
        (("show", "nobody@example.com"), "", "there is no such user"),
        (("disable", "nobody@example.com"), "", "there is no such user"),
        (("enable", "nobody@example.com"), "", "there is no such user"),
        (("set-password", "nobody@example.com"), PASSWORD, "there is no such user"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(
    ratchet: Any, arguments: tuple[str, ...], typed: str, says: str
) -> None:
    before = ratchet("list", "--json").stdout
    result = ratchet(*arguments, typed=typed)
    assert result.exit_code == 1
    assert says in result.output
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
    assert ratchet("list", "--json").stdout == before


def test_no_user_gets_a_subject_that_an_identity_provider_makes(ratchet: Any) -> None:
    trusted = [{"issuer": "https://id.example", "audience": ["x"], "subject_prefix": "idp-x:"}]
    options = ("--preset", "native", "--set", f"trusted_issuers={json.dumps(trusted)}")
    made = CliRunner().invoke(cli, ["apps", "create", "trusting", *options])
    assert made.exit_code == 0, made.output
    result = ratchet("add", "new@example.com", "--sub", "idp-x:1", typed=PASSWORD)
    told = (
        'Error: https://id.example makes subjects like this for trusting (subject_prefix "idp-x:")'
    )
    assert (result.exit_code, result.output) == (1, told + "\n")
    assert ratchet("add", "new@example.com", "--sub", "idp-y:1", typed=PASSWORD).exit_code == 0
    # the command for applications refuses what the HTTP API refuses
    options = (*options[:3], options[3].replace("id.example", "evil.example"))
    result = CliRunner().invoke(cli, ["apps", "create", "another", *options])
    assert (result.exit_code, "overlaps" in result.output) == (1, True)
    deleted = ["apps", "delete", "trusting", "--force"]
    assert CliRunner().invoke(cli, deleted).exit_code == 0


def test_a_password_is_no_argument(ratchet: Any) -> None:
    for command in ("add", "set-password"):
        assert ratchet(command, "x@example.com", "secret-password").exit_code == 2
        assert "--password" not in ratchet(command, "--help").output


def test_without_a_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["users", "list"])
    assert (result.exit_code, "make run" in result.output) == (1, True)


def test_nothing_of_it_gets_into_the_functions_log(stack: LocalStack) -> None:
    login(stack, ADA["email"], ADA["password"])
    login(stack, ADA["email"])
    log = (stack.tree / ".ratchet" / "functions.log").read_text("utf-8")
    assert '"message":"login"' in log
    for secret in (PASSWORD, ADA["password"], *SECRETS.values()):
        assert secret not in log
