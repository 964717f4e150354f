"""Promise 7: whatever fails, the client gets 503 with Retry-After, and its retry succeeds."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from ratchet import wiring
from ratchet.errors import Fault
from ratchet.lean_client import LeanClient
from tests.functional.conftest import Answer, Service

KEY = "a-random-idempotency-key"


def unavailable(answer: Answer, fault: str) -> None:
    assert answer.status == 503
    assert answer["error"] == "temporarily_unavailable"
    assert (answer["error_reason"], answer["retry"]) == ("unavailable", "after")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.log["level"], answer.log["error_reason"]) == ("ERROR", "unavailable")
    assert fault in answer.log["fault"]


class Break:
    """Makes the next call of the DynamoDB client fail, before or after it took effect."""

    def __init__(self, service: Service) -> None:
        self._client = cast(Any, service.parts.store._client)
        self._call: Callable[..., Any] = self._client._make_api_call
        # Where a request leaves, each try by itself.
        lean = isinstance(self._client, LeanClient)
        self._wire: tuple[Any, str] = (
            (self._client, "_send") if lean else (self._client._endpoint.http_session, "send")
        )
        self._send: Callable[..., Any] = getattr(*self._wire)

    def next_call(self, fail: Callable[[], Exception], *, after: bool = False) -> None:
        def call(operation: str, arguments: dict[str, Any]) -> Any:
            self.mend()
            if after:
                self._call(operation, arguments)
            raise fail()

        self._client._make_api_call = call

    def every_call_happens_twice(self) -> None:
        """The answer to each is lost, and the SDK repeats it."""
        answered = itertools.cycle([False, True])

        def send(*request: Any) -> Any:
            answer = self._send(*request)
            if not next(answered):
                raise ReadTimeoutError(endpoint_url="http://x")
            return answer

        setattr(*self._wire, send)

    def mend(self) -> None:
        self._client._make_api_call = self._call
        setattr(*self._wire, self._send)


@pytest.fixture
def broken(service: Service) -> Iterator[Break]:
    fault = Break(service)
    yield fault
    fault.mend()


def error(code: str) -> Callable[[], Exception]:
    return lambda: ClientError({"Error": {"Code": code, "Message": "x"}}, "UpdateItem")


FAILURES = {
    "throttled": error("ProvisionedThroughputExceededException"),
    "internal": error("InternalServerError"),
    "conflict": error("TransactionConflictException"),
    "no table": error("ResourceNotFoundException"),
    "timeout": lambda: ReadTimeoutError(endpoint_url="http://x"),
    "unreachable": lambda: ConnectTimeoutError(endpoint_url="http://x"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after it took effect"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_write_signs_nobody_out(
    service: Service, broken: Break, failure: str, after: bool
) -> None:
    first = service.start()
    broken.next_call(FAILURES[failure], after=after)
    answer = service.refresh(first["refresh_token"])
    unavailable(answer, "dynamodb")
    assert (answer.log["sid"], answer.log["client_id"]) == (first["sid"], "demo-native")
    service.now += 10
    second = service.refresh(first["refresh_token"])
    assert second.status == 200
    assert service.session(first["sid"]).generation == 1
    assert service.refresh(second["refresh_token"]).status == 200


def test_an_outage_longer_than_the_leeway_is_covered_by_the_idempotency_key(
    service: Service, broken: Break
) -> None:
    first = service.start()
    broken.next_call(FAILURES["timeout"], after=True)
    unavailable(service.refresh(first["refresh_token"], key=KEY), "ReadTimeoutError")
    service.now += 600
    second = service.refresh(first["refresh_token"], key=KEY)
    assert second.status == 200
    assert service.refresh(second["refresh_token"]).status == 200


def test_a_write_that_the_sdk_repeats_after_it_took_effect_is_won_all_the_same(
    service: Service, broken: Break
) -> None:
    """attempt 1 takes effect, its answer is lost; attempt 2, the same bytes, finds it done"""
    broken.every_call_happens_twice()
    first = service.start("demo-sensitive")
    second = service.refresh(first["refresh_token"], "demo-sensitive")
    assert (second.status, second.log["outcome"]) == (200, "rotated")
    broken.mend()
    assert service.refresh(second["refresh_token"], "demo-sensitive").status == 200
    assert service.session(first["sid"]).generation == 2


def test_without_the_signing_key_nothing_is_written(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.start()

    def away(now: int) -> None:
        raise Fault("secretsmanager: InternalServiceError")

    service.calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(service.parts.signer, "prepare", away)
        unavailable(service.refresh(first["refresh_token"]), "secretsmanager")
    assert service.calls.names == []
    assert service.session(first["sid"]).generation == 0
    assert service.refresh(first["refresh_token"]).status == 200


def test_a_defect_is_503_and_its_log_line_quotes_no_value(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.start()
    token = first["refresh_token"]

    def defect(*_: object) -> None:
        raise ValueError(f"cannot handle {token}")

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "rotate", defect)
        answer = service.refresh(token)
    unavailable(answer, "ValueError")
    assert "refresh.py:" in answer.log["at"]
    assert token not in str(answer.log)
    assert service.refresh(token).status == 200


def test_a_missing_setting_is_503_and_named_in_the_log(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RATCHET_SESSIONS_TABLE")
    monkeypatch.setattr(wiring, "_parts", None)
    unavailable(service.refresh("rt1_x"), "RATCHET_SESSIONS_TABLE is missing")


def test_an_event_that_cannot_be_published_fails_no_request(service: Service) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.refresh(second["refresh_token"])

    def away(_: object) -> None:
        raise Fault("events: ServiceUnavailable")

    object.__setattr__(service.parts.bus, "publish", away)
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (400, "reused")
    session = service.session(first["sid"])
    assert session.attention_at == service.now


def test_an_end_that_the_sdk_repeats_is_published_and_counted_all_the_same(
    service: Service, broken: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    first = service.start()
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    broken.every_call_happens_twice()
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (400, "reused")
    assert "session.reuse_detected" in [event["type"] for event in service.told]
    assert counted(capsys) == {"reused": 1, "reused stale_copy": 1}


def counted(capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """How many ends the metric says there were, by reason, and by reason and cause of a reuse."""
    ends: Counter[str] = Counter()
    for text in capsys.readouterr().out.splitlines():
        line = json.loads(text) if text.startswith("{") else {}
        for number in line.get("SessionsEnded", ()):
            ends[" ".join(filter(None, (line["reason"], line.get("reuse_cause"))))] += number
    return ends


def end_by_reuse(service: Service) -> None:
    first = service.start()
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    assert service.refresh(first["refresh_token"])["error_reason"] == "reused"


def end_everywhere(service: Service) -> None:
    for _ in range(2):
        service.start()
    answer = service.call("DELETE", "/sessions?sub=ada", bearer=service.operator())
    assert answer.log["ended"] == 2


def end_in_the_sweep(service: Service) -> None:
    service.start("demo-sensitive")
    service.now += 86400
    assert service.sweep()["ended"] == 1


ENDS: dict[Callable[[Service], None], dict[str, int]] = {
    end_by_reuse: {"reused": 1, "reused stale_copy": 1},
    end_everywhere: {"revoked_everywhere": 2},
    end_in_the_sweep: {"idle_expired": 1},
}


@pytest.mark.parametrize("fails", ["nothing", "publish", "settle"])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_is_counted_once_when_it_is_stored_whether_or_not_it_can_be_told(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: Callable[[Service], None],
    fails: str,
) -> None:
    """An alarm for a theft must not wait for EventBridge."""

    def away(_: object) -> None:
        raise Fault("away")

    publish = service.parts.bus.publish
    if fails == "publish":
        object.__setattr__(service.parts.bus, "publish", away)
    with monkeypatch.context() as patch:
        if fails == "settle":
            patch.setattr(service.parts.store, "settle", away)
        end(service)
    assert counted(capsys) == ENDS[end]
    object.__setattr__(service.parts.bus, "publish", publish)
    sessions = ENDS[end].get("revoked_everywhere", 1)
    assert service.sweep().get("published", 0) == (0 if fails == "nothing" else sessions)
    assert counted(capsys) == {}


def test_two_who_end_a_session_in_the_same_second_count_one_end(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one has stored the end and not settled it when the other comes."""
    first = service.start()
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    end = service.parts.store.end

    def overtaken(*args: Any, **options: Any) -> Any:
        patch.undo()
        with monkeypatch.context() as unfinished:
            unfinished.setattr(service.parts.store, "settle", lambda _: None)
            assert service.refresh(first["refresh_token"])["error_reason"] == "reused"
        return end(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "end", overtaken)
        answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (400, "reused")
    types = [event["type"] for event in service.told]
    assert types.count("session.reuse_detected") == 1
    assert counted(capsys)["reused"] == 1
