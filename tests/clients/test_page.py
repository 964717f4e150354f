"""docs/clients.md: each of its examples keeps a program signed in, on the local stack."""

import asyncio
import re
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

import ratchet_client
from ratchet_cli.seed import ADA
from ratchet_client import Session, SessionEnded
from tests.clients import quick
from tests.local_stack import ROOT, LocalStack

PAGE = ROOT / "docs" / "clients.md"
BLOCK = re.compile(r"^##+ (.*?)$|^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def example(stack: LocalStack, under: str) -> dict[str, Any]:
    """The names that the example below this heading makes. The stack is issuer and API."""
    heading, found = "", {}
    for title, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        heading = title or heading
        if code:
            found[heading] = code
    code = re.sub(r"https://(id|api)\.example\.com", stack.url, found[under])
    code = code.replace('"shop"', '"demo-native"').replace("/orders", "/sessions")
    made: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), made)  # noqa: S102 - it is our own page
    return made


def signed_in(stack: LocalStack) -> Session:
    first = example(stack, "Python")
    first["sign_in"](ADA["email"], ADA["password"])
    session: Session = first["session"]
    return session


def test_the_first_example_signs_in_and_out(stack: LocalStack, home: Path) -> None:
    session = signed_in(stack)
    assert (home / ".config" / "shop" / "session").stat().st_mode & 0o777 == 0o600
    token = session.access_token()
    assert session.access_token(refused=token) != token
    session.sign_out()
    with pytest.raises(SessionEnded, match="revoked_by_user"):
        session.access_token()


@pytest.mark.parametrize("under", ["httpx", "requests"])
def test_a_program_calls_an_api(stack: LocalStack, under: str) -> None:
    signed_in(stack)
    program = example(stack, under)
    with program["client" if under == "httpx" else "http"]:
        assert program["orders"]() == 200


def test_a_program_of_asyncio_calls_an_api(stack: LocalStack) -> None:
    signed_in(stack)
    assert asyncio.run(example(stack, "httpx and asyncio")["orders"]()) == 200


def test_a_command_prints_the_token_or_says_what_to_do(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    main = example(stack, "A command line")["main"]
    with pytest.raises(SystemExit, match="Please sign in: nobody has signed in"):
        main()
    session = signed_in(stack)
    main()
    assert capsys.readouterr().out == f"{session.access_token()}\n"
    session.sign_out()
    with pytest.raises(SystemExit, match="Please sign in: revoked_by_user: The user signed out"):
        example(stack, "A command line")["main"]()


def test_a_function_keeps_its_session_in_a_table(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = quick.aws(stack)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", where["endpoint_url"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", where["region_name"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    boto3.client("dynamodb").create_table(
        TableName="sessions-of-clients",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    function = example(stack, "Functions on Lambda")
    form = {"client_id": "demo-native", "email": ADA["email"], "password": ADA["password"]}
    function["session"].start(httpx.post(f"{stack.url}/login", data=form).json())
    for instance in (function, example(stack, "Functions on Lambda")):
        with instance["client"]:
            assert instance["handler"]({}, None) == {"statusCode": 200}


def test_a_store_of_ones_own_is_one_for_all(quick_stack: LocalStack, tmp_path: Path) -> None:
    store = example(quick_stack, "A store of your own")["SqliteStore"]
    one, other = (store(str(tmp_path / "sessions")) for _ in range(2))
    first, second = (quick.session(quick_stack.url, kept) for kept in (one, other))
    first.start(quick.start(quick_stack, "ada"))
    token = first.access_token()
    assert one.try_lock()
    assert not other.try_lock()
    assert not one.try_lock()
    # a reader is not held up
    assert second.access_token() == token
    one.unlock()
    newer = first.access_token(refused=token)
    assert newer != token
    assert second.access_token(refused=token) == newer
    for kept in (one, other):
        kept._table.close()
        kept._lock.close()


def test_every_error_of_the_page_is_one_and_every_one_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    errors = {
        name
        for name, found in vars(ratchet_client).items()
        if isinstance(found, type) and issubclass(found, Exception)
    }
    # the base class, and what a `send` of one's own raises
    assert errors - {"RatchetClientError", "ConnectionFailed"} == {
        name for name in errors if f"`{name}`" in page
    }
