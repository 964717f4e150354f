"""The events on the bus: each at least once, with one id, and never in the way of a request.

That all of them are as docs/events says is looked at after every test (conftest.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ratchet.session import ANNOUNCED_WITHIN_SECONDS
from tests.event_schemas import FOLDER
from tests.functional import test_id_tokens
from tests.functional.conftest import START, Answer, Service
from tests.identity_provider import identity_provider

DAY = 86400
KEY = "a-random-idempotency-key"


class Killed(BaseException):
    """Lambda ends the function: nothing of it catches this."""


class Broken:
    """EventBridge, as it fails."""

    def __init__(self, fail: Callable[[Sequence[Any]], Any]) -> None:
        self.fail = fail

    def put_events(self, Entries: Sequence[Any]) -> Any:  # noqa: N803 - the SDK's name
        return self.fail(Entries)


def throttled(_: Sequence[Any]) -> Any:
    error = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    raise ClientError(error, "PutEvents")  # type: ignore[arg-type] # as little as it needs


def unreachable(_: Sequence[Any]) -> Any:
    raise EndpointConnectionError(endpoint_url="https://events.test")


def refused(entries: Sequence[Any]) -> Any:
    """The last one only: what comes before it is accepted."""
    accepted = [{"EventId": str(number)} for number in range(len(entries) - 1)]
    return {
        "FailedEntryCount": 1,
        "Entries": [*accepted, {"ErrorCode": "InternalFailure", "ErrorMessage": "try again"}],
    }


FAILURES = {
    throttled: "events: ThrottlingException",
    unreachable: "events: EndpointConnectionError",
    refused: "events: an entry was refused",
}


@pytest.fixture
def away(service: Service) -> Iterator[Callable[[Callable[[Sequence[Any]], Any] | None], None]]:
    """Breaks EventBridge in one way, or mends it with None."""
    bus = service.parts.bus
    client = bus._client

    def breaks(fail: Callable[[Sequence[Any]], Any] | None) -> None:
        broken: Any = Broken(fail) if fail else None
        bus._client = (lambda: broken) if fail else client

    yield breaks
    bus._client = client


class Cause(NamedTuple):
    """happen: what causes events, `passes` seconds after the start. told: which."""

    happen: Callable[[Service, Answer], Any]
    told: list[str]
    client_id: str = "demo-native"
    passes: int = 0
    policy: Mapping[str, int] | None = None


def sweep(service: Service, _: Answer) -> None:
    service.sweep()


def revoke(service: Service, first: Answer) -> None:
    form = {"client_id": "demo-native", "token": first["refresh_token"]}
    assert service.call("POST", "/oauth/revoke", form=form).status == 200


def reuse(service: Service, first: Answer) -> None:
    second = service.refresh(first["refresh_token"])
    service.refresh(second["refresh_token"])
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (400, "reused")


UNMOVABLE = {"idle_ttl_seconds": 365 * DAY, "idle_warning_seconds": DAY}
CAUSES = {
    "idle warning": Cause(sweep, ["session.expiring"], passes=83 * DAY),
    "absolute warning": Cause(sweep, ["session.expiring"], passes=351 * DAY, policy=UNMOVABLE),
    "expired": Cause(sweep, ["session.expired"], "demo-sensitive", passes=900),
    "revoked": Cause(revoke, ["session.revoked"]),
    "reused": Cause(reuse, ["session.revoked", "session.reuse_detected"]),
}


def types(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def left(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["message"] == "event left for the sweep"]


def test_every_type_has_a_schema_and_a_test() -> None:
    tested = {"session.started"} | {name for cause in CAUSES.values() for name in cause.told}
    assert {path.stem for path in FOLDER.glob("*.json")} == tested


# --- a failed PutEvents --------------------------------------------------------------------------


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
@pytest.mark.parametrize("name", CAUSES)
def test_what_eventbridge_did_not_take_is_published_by_the_next_sweep(
    service: Service, away: Any, name: str, fail: Callable[[Sequence[Any]], Any]
) -> None:
    cause = CAUSES[name]
    if cause.policy:
        service.set_policy(cause.client_id, **cause.policy)
    first = service.start(cause.client_id)
    service.now += cause.passes
    away(fail)
    cause.happen(service, first)
    assert service.told == []
    session = service.session(first["sid"])
    assert session.attention_at is not None
    assert session.attention_at <= service.now
    (line,) = left(service)
    assert line["fault"] == FAILURES[fail]
    assert line["sid"] == first["sid"]
    assert service.sweep()["unpublished"] == 1
    away(None)
    service.now += 60
    report = service.sweep()
    assert (report["complete"], report.get("unpublished")) == (True, None)
    assert types(service.told) == cause.told
    assert line["event_id"] == service.told[0]["id"]
    service.now += 60
    assert service.sweep() == {"lag_seconds": 0, "complete": True}
    assert types(service.told) == cause.told


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_a_start_that_eventbridge_did_not_take_fails_no_sign_in_and_is_published_by_a_sweep(
    service: Service, away: Any, fail: Callable[[Sequence[Any]], Any]
) -> None:
    away(fail)
    first = service.start()
    (line,) = left(service)
    assert (line["fault"], line["sid"]) == (FAILURES[fail], first["sid"])
    assert service.refresh(first["refresh_token"]).status == 200
    # Until then it might still be its own function that publishes it.
    service.now += ANNOUNCED_WITHIN_SECONDS - 1
    assert service.sweep() == {"lag_seconds": 0, "complete": True}
    service.now += 1
    assert service.sweep()["unpublished"] == 1
    away(None)
    assert service.sweep()["announced"] == 1
    (event,) = service.published
    assert (event["type"], event["at"], event["id"]) == ("session.started", START, line["event_id"])
    session = service.session(first["sid"])
    assert not session.unannounced
    assert session.attention_at == session.idle_deadline_at - 7 * DAY
    assert service.sweep() == {"lag_seconds": 0, "complete": True}


# --- starts --------------------------------------------------------------------------------------


def test_a_start_is_published_before_it_is_answered_and_says_whose_it_is(service: Service) -> None:
    first = service.start(device="Ada's phone")
    (event,) = service.published
    assert event["type"] == "session.started"
    assert event["id"] == f"{first['sid']}.session.started.{START}"
    assert (event["sid"], event["sub"], event["client_id"]) == (first["sid"], "ada", "demo-native")
    assert (event["at"], event["reason"], event["device"]) == (START, None, "Ada's phone")
    assert event["idle_deadline_at"] == START + 90 * DAY
    assert event["absolute_deadline_at"] == START + 365 * DAY
    session = service.session(first["sid"])
    assert not session.unannounced
    assert session.attention_at == START + 83 * DAY


def test_a_sign_in_with_a_password_is_a_start_too(service: Service) -> None:
    first = service.login()
    assert [(event["type"], event["sid"]) for event in service.published] == [
        ("session.started", first["sid"])
    ]


def test_an_id_token_that_is_used_twice_is_one_start(service: Service) -> None:
    with identity_provider() as provider:
        shop = test_id_tokens.Shop(service, provider)
        token = shop.id_token()
        first, again = shop.bearer(token, KEY), shop.bearer(token, KEY)
    assert first["refresh_token"] == again["refresh_token"]
    assert [(event["type"], event["sid"]) for event in service.published] == [
        ("session.started", first["sid"])
    ]


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_function_that_is_killed_as_it_publishes_a_start_leaves_that_to_the_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    """after: the event is repeated, with the same id"""
    publish = service.parts.bus.publish

    def kill(happened: Any) -> None:
        if killed == "after":
            publish(happened)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.bus, "publish", kill)
        with pytest.raises(Killed):
            service.start()
    service.now += ANNOUNCED_WITHIN_SECONDS
    assert service.sweep()["announced"] == 1
    assert types(service.published) == ["session.started"] * (2 if killed == "after" else 1)
    assert len({event["id"] for event in service.published}) == 1


def test_a_session_that_ends_before_its_start_was_published_publishes_both_in_order(
    service: Service, away: Any
) -> None:
    away(unreachable)
    first = service.start()
    away(None)
    revoke(service, first)
    assert types(service.published) == ["session.started", "session.revoked"]
    session = service.session(first["sid"])
    assert (session.unannounced, session.attention_at) == (False, None)
    assert service.sweep() == {"lag_seconds": 0, "complete": True}


def test_a_session_that_starts_and_ends_while_eventbridge_is_away_publishes_both_in_order(
    service: Service, away: Any
) -> None:
    away(unreachable)
    first = service.start("demo-sensitive")
    service.now += 900
    assert service.sweep()["ended"] == 1
    away(None)
    assert service.sweep()["published"] == 1
    assert types(service.published) == ["session.started", "session.expired"]
    assert service.session(first["sid"]).attention_at is None


# --- warnings ------------------------------------------------------------------------------------


def test_each_deadline_is_warned_of_once_with_its_own_lead_time(service: Service) -> None:
    """300 idle days of 365: 60 days are between the deadlines, and both are warned of"""
    service.set_policy(
        "demo-native",
        idle_ttl_seconds=300 * DAY,
        idle_warning_seconds=10 * DAY,
        absolute_warning_seconds=70 * DAY,
    )
    began = service.now
    first = service.start()
    warned: list[int] = []
    for day in range(285, 302):
        service.now = began + day * DAY
        service.sweep()
        warned += [day] * (len(service.told) - len(warned))
    assert types(service.told) == ["session.expiring", "session.expiring", "session.expired"]
    assert warned == [290, 295, 300]
    idle, absolute, _ = service.told
    at = began + 300 * DAY
    assert (idle["deadline"], idle["deadline_at"], idle["reason"]) == ("idle", at, "idle_expired")
    at = began + 365 * DAY
    assert (absolute["deadline"], absolute["deadline_at"]) == ("absolute", at)
    assert (absolute["reason"], absolute["at"]) == ("absolute_expired", at)
    assert idle["id"] == f"{first['sid']}.session.expiring.idle.{idle['deadline_at']}"
    assert absolute["id"] == f"{first['sid']}.session.expiring.absolute.{at}"


def test_a_session_at_the_end_of_its_life_is_warned_of_the_absolute_deadline_alone(
    service: Service,
) -> None:
    answer = service.start()
    for _ in range(5):
        service.now += 70 * DAY
        answer = service.refresh(answer["refresh_token"])
    service.sweep()
    assert service.told == []
    service.now = START + 351 * DAY
    assert service.sweep()["warned"] == 1
    service.now = START + 364 * DAY
    answer = service.refresh(answer["refresh_token"])
    assert answer.status == 200
    service.sweep()
    (event,) = service.told
    assert (event["deadline"], event["reason"]) == ("absolute", "absolute_expired")
    service.now = START + 365 * DAY
    service.sweep()
    assert [event["reason"] for event in service.told] == ["absolute_expired"] * 2


def test_a_late_sweep_tells_all_that_is_due_at_once(service: Service, away: Any) -> None:
    service.set_policy(
        "demo-native",
        idle_ttl_seconds=300 * DAY,
        idle_warning_seconds=10 * DAY,
        absolute_warning_seconds=70 * DAY,
    )
    away(throttled)
    first = service.start()
    away(None)
    service.now += 299 * DAY
    assert service.sweep()["warned"] == 1
    assert [(event["type"], event.get("deadline")) for event in service.published] == [
        ("session.started", None),
        ("session.expiring", "absolute"),
        ("session.expiring", "idle"),
    ]
    session = service.session(first["sid"])
    assert session.attention_at == session.idle_deadline_at
    assert service.sweep() == {"lag_seconds": 0, "complete": True}


def test_a_lead_time_of_0_is_no_warning(service: Service) -> None:
    service.set_policy("demo-native", idle_warning_seconds=0, absolute_warning_seconds=0)
    first = service.start()
    assert service.session(first["sid"]).attention_at == service.now + 90 * DAY
    service.now += 90 * DAY
    service.sweep()
    assert types(service.told) == ["session.expired"]
