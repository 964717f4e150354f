"""A function of the deployment's own is asked when it is needed, and once."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from ratchet.errors import Fault
from ratchet.hook import Hook


class Client:
    """Answers invoke with these bytes, or raises."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.calls: list[dict[str, Any]] = []

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"StatusCode": 200, "Payload": BytesIO(self.answer)}


def test_no_client_is_made_before_the_first_call() -> None:
    def client() -> Any:
        raise AssertionError("made too early")

    Hook(client, "claims")


def test_the_payload_is_sent_as_json() -> None:
    client: Any = Client(b'{"claims": {}}')
    assert Hook(lambda: client, "claims").call({"sub": "ada"}) == {"claims": {}}
    assert client.calls == [{"FunctionName": "claims", "Payload": b'{"sub": "ada"}'}]


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"\xff", b'{"n": ' + b"9" * 5000 + b"}", b"[" * 16_000]
)
def test_what_is_not_json_is_a_fault(answer: bytes) -> None:
    client: Any = Client(answer)
    with pytest.raises(Fault, match=r"^hook: the answer is not a JSON object$"):
        Hook(lambda: client, "claims").call({})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "m"}}, "Invoke"),
            "hook: TooManyRequestsException",
        ),
        (ReadTimeoutError(endpoint_url="https://lambda.test/ada"), "hook: ReadTimeoutError"),
    ],
)
def test_a_failed_call_is_a_fault_that_names_the_error_only(error: Exception, message: str) -> None:
    client: Any = Client(error)
    with pytest.raises(Fault) as caught:
        Hook(lambda: client, "claims").call({"sub": "ada"})
    assert str(caught.value) == message
    assert len(client.calls) == 1
