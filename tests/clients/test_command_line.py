"""`ratchet login`, `token` and `logout` on the local stack, as a person has them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import keyring
import pytest
from click.testing import CliRunner, Result

from ratchet_cli import client
from ratchet_cli.main import cli
from ratchet_cli.seed import ADA
from ratchet_client import Session
from tests.clients import fault_front, numbers
from tests.key_store import InMemory
from tests.local_stack import LocalStack

AWAY = "http://127.0.0.1:1"
SIGN_IN, TRY_LATER, CORRECT_SOMETHING = 1, 75, 78
PROGRAM = "from ratchet_cli.main import cli; cli()"
Ratchet = Callable[..., Result]


@pytest.fixture
def home(stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands are called in the tree of the stack, so that they find it."""
    monkeypatch.chdir(stack.tree)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(client, "GIVE_UP_AFTER_SECONDS", 0.5)
    return tmp_path / "ratchet"


@pytest.fixture
def ratchet(home: Path) -> Ratchet:
    """Runs a command. What it prints has nothing secret in it, but the token of `token`."""

    def run(*arguments: str, typed: str = ADA["password"] + "\n") -> Result:
        if arguments[0] == "login":
            arguments = (*arguments, "--email", ADA["email"])
        before = secrets_in(home)
        result = CliRunner().invoke(cli, arguments, input=typed)
        public = result.stderr if arguments[0] == "token" else result.output
        for secret in {*before, *secrets_in(home), ADA["password"]}:
            assert secret not in public
        assert result.exit_code == 0 or result.stdout == ""
        return result

    return run


def content(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def secrets_in(home: Path) -> set[str]:
    names = ("access_token", "refresh_token", "idempotency_key")
    found = [content(file) for file in home.glob("*.json")]
    return {kept[name] for kept in found for name in names if kept.get(name)}


def change(file: Path, **values: Any) -> None:
    """What time would do to it: `expires_at`, `refresh_at`."""
    file.write_text(json.dumps({**content(file), **values}), encoding="utf-8")


def only(home: Path) -> Path:
    (file,) = home.glob("*.json")
    return file


def refresh(stack: LocalStack, token: str) -> httpx.Response:
    form = {"client_id": client.CLIENT_ID, "refresh_token": token}
    return httpx.post(f"{stack.url}/oauth/refresh", data=form, timeout=30)


def sessions(stack: LocalStack, token: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{stack.url}/sessions", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


def test_a_person_signs_in_has_tokens_and_signs_out(
    stack: LocalStack, ratchet: Ratchet, home: Path
) -> None:
    signed_in = ratchet("login")
    assert (signed_in.exit_code, signed_in.stderr) == (0, "")
    first, idle, absolute = signed_in.stdout.splitlines()
    assert first == f"Signed in as {ADA['email']} at {stack.url}, application demo-cli."
    assert idle.startswith("idle deadline      20")
    assert idle.endswith(" UTC, later with every refresh")
    assert absolute.startswith("absolute deadline  20")
    assert idle[19:38] < absolute[19:38]

    file = only(home)
    assert (file.stat().st_mode & 0o777, home.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = content(file)
    token = ratchet("token")
    assert (token.exit_code, token.stdout, token.stderr) == (0, kept["access_token"] + "\n", "")
    mine = [one for one in sessions(stack, token.stdout.strip()) if one["sid"] == kept["sid"]]
    assert [one["client_id"] for one in mine] == ["demo-cli"]
    assert mine[0]["device"].startswith("ratchet on ")

    done = ratchet("logout")
    assert (done.exit_code, done.stdout) == (0, f"Signed out at {stack.url}.\n")
    assert not file.exists()
    assert refresh(stack, kept["refresh_token"]).json()["error_reason"] == "revoked_by_user"
    assert ratchet("token").exit_code == SIGN_IN
    again = ratchet("logout")
    assert (again.exit_code, again.stdout) == (0, f"Nobody is signed in at {stack.url}.\n")


def test_whoever_has_not_signed_in_is_told_how(stack: LocalStack, ratchet: Ratchet) -> None:
    result = ratchet("token")
    how = f"ratchet login --issuer {stack.url} --client-id demo-cli"
    told = f"Error: nobody has signed in. Sign in: {how}\n"
    assert (result.exit_code, result.stderr) == (SIGN_IN, told)


def test_a_wrong_password_is_said_and_nothing_is_kept(
    stack: LocalStack, ratchet: Ratchet, home: Path
) -> None:
    result = ratchet("login", typed="staple\n")
    told = "Error: The e-mail address or the password is wrong.\n"
    assert (result.exit_code, result.stderr) == (SIGN_IN, told)
    assert not list(home.glob("*.json"))


def test_a_token_is_refreshed_ahead_of_time_and_not_before(ratchet: Ratchet, home: Path) -> None:
    ratchet("login")
    first = ratchet("token").stdout
    assert ratchet("token").stdout == first
    change(only(home), refresh_at=1)
    second = ratchet("token").stdout
    assert second != first
    assert ratchet("token").stdout == second == content(only(home))["access_token"] + "\n"


def test_the_end_of_the_session_is_said_with_its_reason(
    stack: LocalStack, ratchet: Ratchet, home: Path
) -> None:
    ratchet("login")
    file = only(home)
    headers = {"Authorization": f"Bearer {content(file)['access_token']}"}
    url = f"{stack.url}/sessions/{content(file)['sid']}"
    assert httpx.delete(url, headers=headers, timeout=30).status_code == 204
    change(file, expires_at=1, refresh_at=1)
    how = f"Sign in again: ratchet login --issuer {stack.url} --client-id demo-cli"
    for _ in range(2):
        result = ratchet("token")
        told = f"Error: the session ended: revoked_by_user: The user signed out. {how}\n"
        assert (result.exit_code, result.stderr) == (SIGN_IN, told)
    assert secrets_in(home) == set()
    assert ratchet("login").exit_code == 0
    assert ratchet("token").exit_code == 0


def test_a_new_sign_in_ends_the_session_that_it_replaces(
    stack: LocalStack, ratchet: Ratchet, home: Path
) -> None:
    ratchet("login")
    former = content(only(home))
    second = ratchet("login")
    assert (second.exit_code, second.stderr) == (0, "")
    assert content(only(home))["sid"] != former["sid"]
    assert refresh(stack, former["refresh_token"]).json()["error_reason"] == "revoked_by_user"
    assert ratchet("token").stdout == content(only(home))["access_token"] + "\n"


def test_signing_out_does_not_remove_what_somebody_has_just_signed_in_to(
    ratchet: Ratchet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratchet("login")
    kept = content(only(home))
    # as if the sign-in took place right after it
    monkeypatch.setattr(Session, "sign_out", lambda session: None)
    assert ratchet("logout").exit_code == 0
    assert content(only(home)) == kept


def test_each_service_and_application_has_a_file_of_its_own(
    stack: LocalStack, ratchet: Ratchet, home: Path
) -> None:
    assert ratchet("login").exit_code == 0
    assert ratchet("login", "--client-id", "demo-native").exit_code == 0
    # the slash at the end is no other service
    assert ratchet("login", "--issuer", f"{stack.url}/").exit_code == 0
    assert len(list(home.glob("*.json"))) == 2


# --- in the key store ----------------------------------------------------------------------------


@pytest.fixture
def key_store() -> Iterator[InMemory]:
    before = keyring.get_keyring()
    made = InMemory()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def kept_in(key_store: InMemory) -> dict[str, Any]:
    ((service, _), text) = next(iter(key_store.entries.items()))
    assert (service, len(key_store.entries)) == ("ratchet", 1)
    found: dict[str, Any] = json.loads(text)
    return found


def test_with_keyring_the_tokens_are_in_the_key_store_and_in_no_file(
    stack: LocalStack, ratchet: Ratchet, home: Path, key_store: InMemory
) -> None:
    assert ratchet("login", "--keyring").exit_code == 0
    kept = kept_in(key_store)
    assert ratchet("token").stdout == kept["access_token"] + "\n"
    assert not list(home.glob("*.json"))
    assert {file.read_bytes() for file in home.iterdir()} == {b""}
    name = next(iter(key_store.entries))
    key_store.entries[name] = json.dumps({**kept, "refresh_at": 1})
    newer = ratchet("token").stdout
    assert newer == kept_in(key_store)["access_token"] + "\n" != kept["access_token"] + "\n"
    done = ratchet("logout")
    assert (done.exit_code, done.stdout) == (0, f"Signed out at {stack.url}.\n")
    assert key_store.entries == {}
    assert ratchet("token").exit_code == SIGN_IN


def test_a_sign_in_moves_from_the_file_to_the_key_store_and_back(
    stack: LocalStack, ratchet: Ratchet, home: Path, key_store: InMemory
) -> None:
    ratchet("login")
    first = content(only(home))
    assert ratchet("login", "--keyring").exit_code == 0
    second = kept_in(key_store)
    assert not list(home.glob("*.json"))
    assert ratchet("login").exit_code == 0
    assert key_store.entries == {}
    assert ratchet("token").stdout == content(only(home))["access_token"] + "\n"
    for former in (first, second):
        refused = refresh(stack, former["refresh_token"]).json()
        assert refused["error_reason"] == "revoked_by_user"


def test_a_key_store_that_is_not_there_is_said_before_anybody_signs_in(
    stack: LocalStack, ratchet: Ratchet, home: Path, key_store: InMemory
) -> None:
    key_store.locked = True
    result = ratchet("login", "--keyring", typed="")
    assert (result.exit_code, "key store: KeyringLocked" in result.stderr) == (
        CORRECT_SOMETHING,
        True,
    )
    assert ratchet("token").exit_code == SIGN_IN
    key_store.locked = False
    ratchet("login", "--keyring")
    key_store.locked = True
    for command in (("token",), ("logout",), ("logout", "--forget")):
        assert ratchet(*command).exit_code == CORRECT_SOMETHING


def test_a_session_whose_tokens_cannot_be_kept_is_ended_at_once(
    stack: LocalStack, ratchet: Ratchet, key_store: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens would be nowhere, and it would go on until a deadline."""
    offered: list[str] = []

    def refuse(_store: InMemory, _service: str, _username: str, password: str) -> None:
        offered.append(json.loads(password)["refresh_token"])
        raise keyring.errors.PasswordSetError("is full")

    monkeypatch.setattr(InMemory, "set_password", refuse)
    result = ratchet("login", "--keyring")
    assert (result.exit_code, "key store: PasswordSetError" in result.stderr) == (
        CORRECT_SOMETHING,
        True,
    )
    assert refresh(stack, offered[0]).json()["error_reason"] == "revoked_by_user"


# --- the service is away -------------------------------------------------------------------------


@pytest.fixture
def away(ratchet: Ratchet, home: Path) -> Path:
    """The file of a sign-in whose service does not answer any more."""
    ratchet("login")
    return only(home).rename(client.path_of(AWAY, client.CLIENT_ID))


def test_an_outage_is_no_sign_out(ratchet: Ratchet, away: Path) -> None:
    before = content(away)
    for refresh_at in (before["refresh_at"], 1):
        change(away, refresh_at=refresh_at)
        assert ratchet("token", "--issuer", AWAY).stdout == before["access_token"] + "\n"
    change(away, expires_at=1)
    result = ratchet("token", "--issuer", AWAY)
    assert result.exit_code == TRY_LATER
    assert result.stderr.startswith(f"Error: {AWAY}: no answer: ")
    assert "Nothing is lost, try again" in result.stderr
    assert content(away)["refresh_token"] == before["refresh_token"]


def test_signing_out_keeps_the_tokens_until_the_service_knows(
    stack: LocalStack, ratchet: Ratchet, away: Path, home: Path
) -> None:
    kept = content(away)
    result = ratchet("logout", "--issuer", AWAY)
    assert result.exit_code == TRY_LATER
    assert result.stderr.startswith("The tokens are kept. To remove them all the same: --forget\n")
    assert content(away) == kept
    result = ratchet("logout", "--issuer", AWAY, "--forget")
    assert (result.exit_code, result.stdout) == (0, "The tokens are removed.\n")
    assert result.stderr.startswith("The session goes on until it is ended elsewhere: no answer: ")
    assert not list(home.glob("*.json"))
    assert refresh(stack, kept["refresh_token"]).status_code == 200


@pytest.mark.parametrize(
    ("fault", "exit_code", "says"),
    [
        ("drop", TRY_LATER, "Nothing is lost, try again later"),
        ("503", TRY_LATER, "the server answered 503"),
        ("429", TRY_LATER, "the server answered 429"),
        ("404", CORRECT_SOMETHING, "the server answered 404"),
    ],
)
def test_a_sign_in_that_is_not_answered_is_said(
    stack: LocalStack, ratchet: Ratchet, home: Path, fault: str, exit_code: int, says: str
) -> None:
    with fault_front.front(stack.url) as front:
        front.fault = lambda path, number: fault
        result = ratchet("login", "--issuer", front.url)
    assert (result.exit_code, says in result.stderr) == (exit_code, True)
    assert not list(home.glob("*.json"))


# --- what is wrong -------------------------------------------------------------------------------


def test_a_file_that_others_can_read_is_refused_until_a_new_sign_in(
    ratchet: Ratchet, home: Path
) -> None:
    ratchet("login")
    only(home).chmod(0o644)
    result = ratchet("token")
    assert (result.exit_code, "others can read" in result.stderr) == (CORRECT_SOMETHING, True)
    assert ratchet("login").exit_code == 0
    assert only(home).stat().st_mode & 0o777 == 0o600
    only(home).write_text("{}")
    assert ratchet("token").exit_code == CORRECT_SOMETHING
    assert ratchet("logout").exit_code == CORRECT_SOMETHING
    assert ratchet("logout", "--forget").exit_code == 0
    assert not list(home.glob("*.json"))


def test_an_application_that_is_none_is_no_end_of_a_session(ratchet: Ratchet) -> None:
    result = ratchet("login", "--client-id", "nobody")
    assert (result.exit_code, "invalid_client" in result.stderr) == (CORRECT_SOMETHING, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("token", "--issuer", "http://id.example.com"), "an https address is needed"),
        (("token", "--issuer", "https://ada:staple@id.example.com"), "no user"),
        (("login", "correct-horse"), "unexpected extra argument"),
        (("login", "--password", "correct-horse"), "No such option"),
    ],
)
def test_a_wrong_address_and_a_password_as_an_argument_are_wrong_usage(
    ratchet: Ratchet, arguments: tuple[str, ...], says: str
) -> None:
    result = ratchet(*arguments)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_without_a_stack_the_service_has_to_be_named(
    ratchet: Ratchet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ratchet("token")
    assert (result.exit_code, "Name the service: --issuer" in result.stderr) == (2, True)


# --- as processes --------------------------------------------------------------------------------


def test_many_processes_print_the_same_new_token_and_one_refreshes(
    quick_stack: LocalStack, tmp_path: Path
) -> None:
    numbers.commands(quick_stack, tmp_path, processes=8)


def test_a_password_that_is_typed_is_not_echoed(stack: LocalStack, home: Path) -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "login"],
        cwd=stack.tree,
        stdin=end,
        stderr=end,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(end)
        seen = b""
        for asked, typed in ((b"E-mail address:", ADA["email"]), (b"Password:", ADA["password"])):
            while asked not in seen:
                seen += os.read(terminal, 1000)
            os.write(terminal, typed.encode() + b"\n")
        assert process.stdout is not None
        assert process.stdout.read().startswith(f"Signed in as {ADA['email']} at {stack.url}")
    # Nobody has the other end any more: an error, if nothing was left to read.
    with contextlib.suppress(OSError):
        seen += os.read(terminal, 1000)
    os.close(terminal)
    assert ADA["password"].encode() not in seen


@pytest.fixture
def loaded(home: Path) -> set[str]:
    """The modules that `ratchet token` imports."""
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); " + PROGRAM
    arguments = [sys.executable, "-c", program, "token", "--issuer", AWAY]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == SIGN_IN, done.stderr
    return set(done.stdout.split())


def test_a_token_waits_for_no_part_of_the_service(loaded: set[str]) -> None:
    assert "ratchet_client.session" in loaded
    slow = {"boto3", "botocore", "httpx", "requests", "yaml", "uvicorn", "ministack", "ratchet"}
    assert not loaded & {*slow, "keyring"}


def test_every_command_is_there() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    listed = [line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines()[1:]]
    assert listed == sorted(listed)
    assert {"apps", "explain", "local", "login", "logout", "sweep", "token"} <= set(listed)
