"""Claims that a function of the deployment's own adds, with the real function (docs/claims.md)."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest

from ratchet import wiring
from ratchet.session_item import MAX_ITEM_BYTES, item_bytes, largest_bytes
from tests.functional.conftest import BACKEND, MACHINE, START, Answer, Service
from tests.functional.lambda_functions import deployed

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"
# What it does is the subject's choice.
SOURCE = """
import time

ANSWERS = {
    "ada": {"claims": {"plan": "gold", "tenant": "t1"}},
    "nothing": {"claims": {}},
    "none": None,
    "list": [],
    "no claims": {"plan": "gold"},
    "null": {"claims": None},
    "claims list": {"claims": ["gold"]},
    "reserved": {"claims": {"plan": "gold", "aud": "https://other.test", "sub": "eve"}},
    "deep": {"claims": {"a": [[]] * 60}},
    "nan": {"claims": {"a": float("nan")}},
    "too long": {"claims": {"a": "x" * 1000}},
}

def handler(event, context):
    if event["sub"] == "late":
        time.sleep(4)
    if event["sub"] == "failing":
        raise ValueError("the-message")
    if event["sub"] == "echo":
        return {"claims": {"told": event}}
    if event["sub"].startswith("x"):
        return {"claims": {"x": event["sub"]}}
    return ANSWERS[event["sub"]]
"""
WRONG = {
    "late": "hook: ReadTimeoutError",
    "failing": "hook: the function failed",
    "none": "hook: the answer is not a JSON object",
    "list": "hook: the answer is not a JSON object",
    "no claims": "hook: claims must be a JSON object.",
    "null": "hook: claims must be a JSON object.",
    "claims list": "hook: claims must be a JSON object.",
    "reserved": "hook: claims must not have aud, sub.",
    "deep": "hook: claims may have 50 objects and lists.",
    "nan": "hook: claims must be a JSON object.",
    "too long": "hook: the claims are ",
}


@pytest.fixture(scope="module")
def arn(engine: Mapping[str, str]) -> Iterator[str]:
    with deployed(SOURCE) as arn:
        yield arn


@pytest.fixture
def hooked(service: Service, arn: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service with that function; demo-native wants claims, demo-sensitive needs them."""
    set_function(service, arn, monkeypatch)
    service.change("demo-native", claims_hook="optional")
    service.change("demo-sensitive", claims_hook="required")
    return service


def set_function(service: Service, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_clients", {})
    service.calls.watch(wiring._lambda_client(), "lambda")
    parts = dataclasses.replace(service.parts, claims_hook=wiring._hook(arn))
    monkeypatch.setattr(wiring, "_parts", parts)


def claims(answer: Answer) -> Mapping[str, Any]:
    assert answer.status == 200, answer
    decoded: Mapping[str, Any] = jwt.decode(
        answer["access_token"], options={"verify_signature": False}
    )
    return decoded


def attempt(service: Service, client_id: str, sub: str, **form: str) -> Answer:
    form = {"client_id": client_id, "sub": sub, **form}
    return service.call("POST", "/sessions", form=form, auth=BACKEND)


def warnings(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["level"] == "WARNING"]


@pytest.mark.parametrize("client_id", ["demo-native", "demo-sensitive"])
def test_claims_are_asked_for_once_and_are_in_every_token_of_the_session(
    hooked: Service, client_id: str
) -> None:
    hooked.calls.clear()
    answer = hooked.start(client_id)
    assert hooked.calls.names.count("Invoke") == 1
    sid = answer["sid"]
    assert hooked.session(sid).claims == {"plan": "gold", "tenant": "t1"}
    for _ in range(3):
        assert (claims(answer)["plan"], claims(answer)["tenant"]) == ("gold", "t1")
        hooked.calls.clear()
        answer = hooked.refresh(answer["refresh_token"], client_id)
        assert "Invoke" not in hooked.calls.names
    assert not warnings(hooked)


def test_a_sign_in_with_a_password_is_asked_about_too(hooked: Service) -> None:
    answer = hooked.login()
    assert (claims(answer)["sub"], claims(answer)["plan"]) == ("ada", "gold")


def test_an_application_that_does_not_want_claims_is_not_asked_about(hooked: Service) -> None:
    hooked.calls.clear()
    assert "plan" not in claims(hooked.start("demo-browser"))
    assert "Invoke" not in hooked.calls.names


def test_an_applications_own_tokens_are_not_asked_about(hooked: Service) -> None:
    hooked.change("demo-machine", claims_hook="required")
    hooked.calls.clear()
    form = {"grant_type": "client_credentials"}
    assert "plan" not in claims(hooked.call("POST", "/oauth/token", form=form, auth=MACHINE))
    assert "Invoke" not in hooked.calls.names


def test_the_function_is_told_who_signed_in_and_how_and_nothing_secret(hooked: Service) -> None:
    hooked.change("demo-native", audience=("urn:test:orders", "urn:test:billing"))
    answer = hooked.start(
        sub="echo",
        scope="profile",
        resource="urn:test:orders",
        auth_time=str(START),
        amr="pwd otp",
        acr="silver",
        device="Pixel 9",
        claims='{"a": 1}',
    )
    assert claims(answer)["told"] == {
        "type": "add_claims",
        "client_id": "demo-native",
        "sub": "echo",
        "scope": "profile",
        "resource": ["urn:test:orders"],
        "auth_time": START,
        "amr": ["pwd", "otp"],
        "acr": "silver",
        "claims": {"a": 1},
    }


def test_what_was_not_given_is_told_all_the_same(hooked: Service) -> None:
    told = claims(hooked.start(sub="echo", scope="profile"))["told"]
    assert (told["resource"], told["amr"], told["acr"], told["claims"]) == ([], [], None, {})


def test_the_function_has_the_last_word_about_a_claim(hooked: Service) -> None:
    answer = hooked.start(claims='{"plan": "free", "team": "a"}')
    assert hooked.session(answer["sid"]).claims == {"plan": "gold", "tenant": "t1", "team": "a"}
    assert hooked.session(hooked.start(sub="nothing")["sid"]).claims == {}


@pytest.mark.parametrize(("sub", "fault"), WRONG.items(), ids=list(WRONG))
def test_optional_claims_that_cannot_be_had_are_left_out_and_a_line_says_why(
    hooked: Service, capsys: pytest.CaptureFixture[str], sub: str, fault: str
) -> None:
    answer = attempt(hooked, "demo-native", sub, claims='{"team": "a"}')
    assert answer.status == 200
    assert hooked.session(answer["sid"]).claims == {"team": "a"}
    (line,) = warnings(hooked)
    assert line["message"] == "claims left out"
    assert line["fault"].startswith(fault)
    assert (line["client_id"], line["sub"]) == ("demo-native", sub)
    assert '"client_id":"demo-native","service":"ratchet","ClaimsLeftOut":[1]' in (
        capsys.readouterr().out
    )
    assert "the-message" not in hooked.log.getvalue()


@pytest.mark.parametrize(("sub", "fault"), WRONG.items(), ids=list(WRONG))
def test_without_required_claims_no_session_starts(hooked: Service, sub: str, fault: str) -> None:
    hooked.calls.clear()
    answer = attempt(hooked, "demo-sensitive", sub)
    assert (answer.status, answer["error"]) == (503, "temporarily_unavailable")
    assert (answer["error_reason"], answer["retry"]) == ("unavailable", "after")
    assert answer.headers["retry-after"] == "2"
    assert answer.log["fault"].startswith(fault)
    assert (answer.log["client_id"], answer.log["sub"]) == ("demo-sensitive", sub)
    assert "PutItem" not in hooked.calls.names
    assert "the-message" not in hooked.log.getvalue()


def test_where_no_function_is_set_claims_cannot_be_had(service: Service) -> None:
    service.change("demo-native", claims_hook="optional")
    service.change("demo-sensitive", claims_hook="required")
    assert attempt(service, "demo-native", "ada").status == 200
    assert warnings(service)[0]["fault"] == "hook: no function is set"
    answer = attempt(service, "demo-sensitive", "ada")
    assert (answer.status, answer.log["fault"]) == (503, "hook: no function is set")


def test_a_sign_in_that_is_refused_is_not_asked_about(hooked: Service) -> None:
    hooked.calls.clear()
    for form in ({"scope": "admin"}, {"resource": "urn:x:y"}, {"claims": '{"sub": "eve"}'}):
        assert attempt(hooked, "demo-native", "ada", **form).status == 400
    long = '{"a": "' + "x" * 900 + '"}'
    assert attempt(hooked, "demo-native", "ada", claims=long).status == 400
    assert "Invoke" not in hooked.calls.names


def test_a_session_stays_within_1_kb_whatever_is_added(hooked: Service) -> None:
    """The largest that fits stays at one write unit for life; one byte more is left out."""

    def start(padding: int) -> Answer:
        claims = json.dumps({"padding": "p" * padding})
        return attempt(hooked, "demo-native", "x" * 100, device="d" * 64, claims=claims)

    session = hooked.session(start(0)["sid"])
    padding = MAX_ITEM_BYTES - largest_bytes(session)
    fits, too_long = start(padding), start(padding + 1)
    assert hooked.session(fits["sid"]).claims["x"] == "x" * 100
    assert "x" not in hooked.session(too_long["sid"]).claims
    assert warnings(hooked)[-1]["fault"] == "hook: the claims are 1 bytes too long for a session"
    for answer in (fits, too_long):
        token = answer["refresh_token"]
        for _ in range(3):
            hooked.calls.clear()
            token = hooked.refresh(token, key="a-random-idempotency-key")["refresh_token"]
            assert hooked.calls.names == ["UpdateItem"]
        assert item_bytes(hooked.item(answer["sid"])) <= MAX_ITEM_BYTES


# --- docs/claims.md ------------------------------------------------------------------------------


def test_the_page_shows_what_the_function_is_told(hooked: Service) -> None:
    (shown,) = re.findall("```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    told = claims(hooked.start(sub="echo", amr="pwd", scope="profile orders:read"))["told"]
    assert json.loads(shown) == {**told, "sub": "ada", "auth_time": 1795262471}


def test_the_function_of_the_page_works(
    service: Service, engine: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = re.findall("```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with deployed(source, "page") as arn:
        set_function(service, arn, monkeypatch)
        service.change("demo-native", claims_hook="required")
        ada, kim = claims(service.start()), claims(service.start(sub="kim"))
    assert (ada["plan"], ada["tenant"]) == ("gold", "t1")
    assert (kim["plan"], kim["tenant"]) == ("free", "t1")
