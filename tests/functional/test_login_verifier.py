"""A deployment's own Lambda that checks credentials, over the real API (docs/login.md)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ratchet import wiring
from ratchet.hook import Hook
from ratchet.verifier import HookVerifier
from tests.functional.conftest import START, Service
from tests.functional.lambda_functions import deployed

# Its answer is the password, or what the password tells it to do.
SOURCE = """
import json, time

def handler(event, context):
    if event["password"] == "sleep":
        time.sleep(7)
    if event["password"] == "echo":
        return {"verified": True, "sub": "kim", "claims": {"seen": {
            name: event[name] for name in event if name != "password"}}}
    return json.loads(event["password"])
"""


@pytest.fixture(scope="module")
def arn(engine: Mapping[str, str]) -> Iterator[str]:
    with deployed(SOURCE, "verifier") as arn:
        yield arn


@pytest.fixture
def verified(service: Service, arn: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(wiring, "_clients", {})
    verifier = HookVerifier(Hook(wiring._verifier_client, arn))
    object.__setattr__(service.parts, "verifier", lambda: verifier)
    return service


def test_the_setting_names_it(service: Service, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_VERIFIER_FUNCTION", arn)
    monkeypatch.setattr(wiring, "_parts", None)
    assert isinstance(wiring.parts().verifier(), HookVerifier)


def test_it_is_told_what_it_needs_and_nothing_else(verified: Service) -> None:
    answer = verified.login(" Kim@EXAMPLE.com", "echo", source_ip="198.51.100.9")
    assert answer.status == 200
    assert verified.session(answer["sid"]).claims["seen"] == {
        "type": "verify_credentials",
        "email": "kim@example.com",
        "client_id": "demo-native",
        "source_ip": "198.51.100.9",
    }


def test_its_word_starts_a_session(verified: Service) -> None:
    answer = verified.login(
        "kim@example.com",
        '{"verified": true, "sub": "kim", "amr": ["pwd", "otp"], "acr": "gold", '
        '"claims": {"tenant": "t1"}}',
        scope="profile",
        device="Pixel 9",
    )
    assert answer.status == 200
    session = verified.session(answer["sid"])
    assert (session.sub, session.amr, session.acr) == ("kim", ("pwd", "otp"), "gold")
    assert (session.claims, session.auth_time) == ({"tenant": "t1"}, START)
    assert (session.scope, session.device) == ("profile", "Pixel 9")


def test_amr_is_pwd_unless_it_says_otherwise(verified: Service) -> None:
    answer = verified.login("kim@example.com", '{"verified": true, "sub": "kim"}')
    assert verified.session(answer["sid"]).amr == ("pwd",)


def test_its_refusal_is_the_answer_of_a_wrong_password(verified: Service) -> None:
    for word in ('{"verified": false}', '{"verified": false, "why": "unknown"}'):
        answer = verified.login("kim@example.com", word)
        assert (answer.status, answer["error"]) == (400, "invalid_grant")
        assert answer["error_reason"] == "wrong_credentials"
        assert answer.log["detail"] == "refused by the verifier"
        assert "why" not in str(answer.log)
    assert not verified.scan(verified._sessions_table)


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("sleep", "hook: ReadTimeoutError"),
        ("not JSON", "hook: the function failed"),
        ("[]", "hook: the answer is not a JSON object"),
        ("{}", "verifier: the answer is not one of a verifier"),
        ('{"verified": "yes", "sub": "kim"}', "verifier: the answer is not one of a verifier"),
        ('{"verified": 1, "sub": "kim"}', "verifier: the answer is not one of a verifier"),
        ('{"verified": true, "sub": "k", "x": 1}', "verifier: the answer is not one of a verifier"),
        ('{"verified": true}', "verifier: The parameter sub is missing."),
        ('{"verified": true, "sub": 7}', "verifier: The parameter sub is not a text."),
        ('{"verified": true, "sub": " kim"}', "verifier: sub must be 1 to 128 printable"),
        ('{"verified": true, "sub": "kim", "amr": [1]}', "verifier: amr must be names"),
        ('{"verified": true, "sub": "kim", "claims": []}', "verifier: claims must be a JSON"),
        ('{"verified": true, "sub": "kim", "claims": {"sub": "x"}}', "verifier: claims must not"),
        ('{"verified": true, "sub": "demo-machine"}', "verifier: sub is the id of an application"),
    ],
)  # fmt: skip
def test_whatever_else_it_does_is_a_fault_that_signs_nobody_in(
    verified: Service, word: str, fault: str
) -> None:
    answer = verified.login("kim@example.com", word)
    assert (answer.status, answer["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.log["fault"].startswith(fault)
    assert answer.log["client_id"] == "demo-native"
    assert not verified.scan(verified._sessions_table)


def test_it_is_throttled_as_our_own_is_and_not_asked_then(
    verified: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    call = Hook.call

    def counted(self: Hook, payload: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(payload)
        return call(self, payload)

    monkeypatch.setattr(Hook, "call", counted)
    statuses = [verified.login("kim@example.com", '{"verified": false}').status for _ in range(12)]
    assert statuses == [400] * 10 + [429] * 2
    assert len(asked) == 10
