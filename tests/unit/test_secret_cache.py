"""A secret is read once in minutes; an outage of Secrets Manager signs nobody out (promise 7)."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from ratchet.errors import Fault
from ratchet.secret_cache import CachedSecret

NOW = 1_800_000_000
DAY = 86400
THROTTLED = ClientError(
    {"Error": {"Code": "ThrottlingException", "Message": "the-message"}}, "GetSecretValue"
)
OUTAGES = [
    THROTTLED,
    EndpointConnectionError(endpoint_url="https://secretsmanager.test"),
    ReadTimeoutError(endpoint_url="https://secretsmanager.test"),
]


class Client:
    """Answers get_secret_value with `answer`, a text or an error, and counts the calls."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.calls = 0

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert SecretId == "the-secret"
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"SecretString": self.answer}


def decode(text: str) -> str:
    if text.startswith("invalid"):
        raise Fault("not of the right shape")
    return text


def cached(client: Any) -> CachedSecret[str]:
    return CachedSecret(client, "the-secret", decode)


def test_a_secret_is_not_read_before_it_is_needed() -> None:
    client = Client("one")
    cached(client)
    assert client.calls == 0


def test_a_secret_is_fresh_for_300_seconds() -> None:
    client = Client("one")
    secret = cached(client)
    for age in (0, 1, 299):
        assert secret.get(NOW + age) == "one"
    assert client.calls == 1


def test_a_secret_is_read_again_after_300_seconds() -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = "two"
    assert secret.get(NOW + 299) == "one"
    assert secret.get(NOW + 300) == "two"
    assert secret.get(NOW + 599) == "two"
    assert client.calls == 2


def test_a_clock_that_runs_behind_reads_nothing_again() -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    assert secret.get(NOW - 10) == "one"
    assert client.calls == 1


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: type(error).__name__)
def test_an_outage_changes_nothing_and_is_looked_at_every_30_seconds(outage: Exception) -> None:
    """A look at something that does not answer takes time, and every request would wait for it."""
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = outage

    assert secret.get(NOW + 300) == "one"
    assert client.calls == 2
    for age in (301, 329):
        assert secret.get(NOW + age) == "one"
    assert client.calls == 2
    assert secret.get(NOW + 330) == "one"
    assert client.calls == 3


def test_after_an_outage_the_new_secret_is_used() -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = THROTTLED
    secret.get(NOW + 300)
    client.answer = "two"
    assert secret.get(NOW + 329) == "one"
    assert secret.get(NOW + 330) == "two"
    assert secret.get(NOW + 629) == "two"
    assert client.calls == 3


def test_a_secret_is_trusted_through_an_outage_of_24_hours_and_no_longer() -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = THROTTLED
    assert secret.get(NOW + DAY - 31) == "one"
    with pytest.raises(Fault):
        secret.get(NOW + DAY)


def test_a_secret_is_not_trusted_longer_because_of_a_failed_look() -> None:
    """The 30 seconds between two looks do not come on top of the 24 hours."""
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = THROTTLED
    assert secret.get(NOW + DAY - 1) == "one"
    with pytest.raises(Fault):
        secret.get(NOW + DAY)


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda error: type(error).__name__)
def test_an_outage_without_a_secret_is_a_fault_and_tried_again_at_once(outage: Exception) -> None:
    client = Client(outage)
    secret = cached(client)
    for _ in range(2):
        with pytest.raises(Fault):
            secret.get(NOW)
    assert client.calls == 2
    client.answer = "one"
    assert secret.get(NOW) == "one"


def test_a_fault_names_the_service_and_its_code_only() -> None:
    with pytest.raises(Fault) as caught:
        cached(Client(THROTTLED)).get(NOW)
    assert str(caught.value) == "secretsmanager: ThrottlingException"


def test_a_new_secret_of_the_wrong_shape_leaves_the_good_one_in_use() -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    client.answer = "invalid"
    assert secret.get(NOW + 300) == "one"
    client.answer = "two"
    assert secret.get(NOW + 330) == "two"


def test_a_first_secret_of_the_wrong_shape_is_a_fault() -> None:
    with pytest.raises(Fault, match="not of the right shape"):
        cached(Client("invalid")).get(NOW)


def test_a_secret_without_a_text_is_a_fault() -> None:
    class Binary(Client):
        def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
            return {"SecretBinary": b"one"}

    with pytest.raises(Fault, match="empty"):
        cached(Binary("")).get(NOW)


def test_every_look_that_fails_is_counted_whether_or_not_an_older_secret_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Client("one")
    secret = cached(client)
    secret.get(NOW)
    assert "SigningFaults" not in capsys.readouterr().out
    client.answer = THROTTLED
    assert secret.get(NOW + 300) == "one"
    assert capsys.readouterr().out.count('"SigningFaults":[1]') == 1
    with pytest.raises(Fault):
        cached(client).get(NOW)
    assert capsys.readouterr().out.count('"SigningFaults":[1]') == 1
