"""A Lambda function of the deployment's own, called over the real API (docs/claims.md)."""

import time
from collections.abc import Iterator, Mapping

import pytest

from ratchet import wiring
from ratchet.errors import Fault
from ratchet.hook import ANSWER_SECONDS, CONNECT_SECONDS, MAX_ANSWER_BYTES, Hook
from tests.functional.lambda_functions import deployed

# Answers as it is told to.
SOURCE = """
import time

def handler(event, context):
    if "late" in event:
        time.sleep(event["late"])
    if "raises" in event:
        raise ValueError(event["raises"])
    if "bytes" in event:
        return {"x": "y" * (event["bytes"] - len('{"x": ""}'))}
    return event.get("answers")
"""


@pytest.fixture(scope="module")
def arn(engine: Mapping[str, str]) -> Iterator[str]:
    with deployed(SOURCE, "hook") as arn:
        yield arn


@pytest.fixture
def hook(arn: str, monkeypatch: pytest.MonkeyPatch) -> Hook:
    monkeypatch.setattr(wiring, "_clients", {})
    return Hook(wiring._lambda_client, arn)


def test_a_function_answers_an_object_with_an_object(hook: Hook) -> None:
    assert hook.call({"answers": {"claims": {"tier": "gold", "né": 1}}}) == {
        "claims": {"tier": "gold", "né": 1}
    }


@pytest.mark.parametrize("answer", [None, [], "text", 5, True])
def test_an_answer_that_is_no_object_is_a_fault(hook: Hook, answer: object) -> None:
    with pytest.raises(Fault, match=r"^hook: the answer is not a JSON object$"):
        hook.call({"answers": answer})


def test_what_a_failing_function_says_stays_in_its_own_log(hook: Hook) -> None:
    """Its errorMessage may quote a password."""
    with pytest.raises(Fault, match=r"^hook: the function failed$") as caught:
        hook.call({"raises": "correct-horse"})
    assert caught.value.__cause__ is None
    assert not caught.value.log


def test_an_answer_has_a_largest_size(hook: Hook) -> None:
    assert len(hook.call({"bytes": MAX_ANSWER_BYTES})["x"]) == MAX_ANSWER_BYTES - 9
    with pytest.raises(Fault, match=r"^hook: the answer has more than 16384 bytes$"):
        hook.call({"bytes": MAX_ANSWER_BYTES + 1})


def test_a_late_function_is_not_waited_for_and_not_asked_again(hook: Hook) -> None:
    hook.call({"answers": {}})
    started = time.monotonic()
    with pytest.raises(Fault, match=r"^hook: ReadTimeoutError$"):
        hook.call({"late": 4})
    assert time.monotonic() - started < CONNECT_SECONDS + ANSWER_SECONDS + 0.5


def test_a_function_that_is_not_there_is_a_fault(arn: str) -> None:
    with pytest.raises(Fault, match=r"^hook: ResourceNotFoundException$"):
        Hook(wiring._lambda_client, arn + "-other").call({})


def test_lambda_that_cannot_be_reached_is_a_fault(
    arn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "_clients", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Fault, match=r"^hook: EndpointConnectionError$"):
        Hook(wiring._lambda_client, arn).call({})
    monkeypatch.setattr(wiring, "_clients", {})
