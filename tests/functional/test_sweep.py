"""The sweep: design section 9."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ratchet import session_item
from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.sweep import MARGIN_MS, sweep
from tests.functional.conftest import START, Service

DAY = 86400
IDLE = 15 * 60


def types(service: Service) -> list[str]:
    return [event["type"] for event in service.told]


def test_an_expired_session_is_ended_with_its_reason_and_told_of_once(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.now += IDLE + 100
    assert service.sweep() == {"ended": 1, "lag_seconds": 100, "complete": True}
    session = service.session(first["sid"])
    assert (session.reason, session.ended_at) == (Reason.IDLE_EXPIRED, START + IDLE)
    assert session.ended_by == ""
    assert session.attention_at is None
    assert session.expires_at == service.now + 30 * DAY
    assert types(service) == ["session.expired"]
    assert service.told[0]["reason"] == "idle_expired"
    assert service.sweep() == {"lag_seconds": 0, "complete": True}
    assert types(service) == ["session.expired"]


def test_a_session_at_its_absolute_deadline_is_ended_as_such(service: Service) -> None:
    answer = service.start("demo-sensitive")
    while service.now < START + 12 * 3600 - 600:
        service.now += 600
        answer = service.refresh(answer["refresh_token"], "demo-sensitive")
    service.now = START + 12 * 3600
    service.sweep()
    assert service.session(answer["sid"]).reason is Reason.ABSOLUTE_EXPIRED


def test_a_session_that_is_not_due_is_not_even_read(service: Service) -> None:
    service.start()
    service.calls.clear()
    assert service.sweep() == {"lag_seconds": 0, "complete": True}
    assert service.calls.names == ["Query"] * session_item.ATTENTION_SHARDS


def test_a_session_about_to_expire_is_warned_of_once_per_deadline(service: Service) -> None:
    first = service.start()
    service.now = START + 83 * DAY
    assert service.sweep()["warned"] == 1
    assert types(service) == ["session.expiring"]
    warning = service.told[0]
    assert (warning["sid"], warning["sub"], warning["at"]) == (
        first["sid"],
        "ada",
        START + 90 * DAY,
    )
    service.now += DAY
    service.sweep()
    assert types(service) == ["session.expiring"]
    service.now = START + 90 * DAY
    service.sweep()
    assert types(service) == ["session.expiring", "session.expired"]


def test_a_session_that_was_refreshed_meanwhile_is_filed_under_its_new_instant(
    service: Service,
) -> None:
    first = service.start()
    before = service.session(first["sid"]).attention_at
    service.now += 40 * DAY
    service.refresh(first["refresh_token"])
    assert service.session(first["sid"]).attention_at == before
    service.now = START + 83 * DAY
    assert service.sweep()["rearmed"] == 1
    session = service.session(first["sid"])
    assert session.attention_at == START + (40 + 83) * DAY
    assert session.ended_at is None
    assert types(service) == []


def test_a_session_that_was_warned_of_and_then_refreshed_is_warned_of_again(
    service: Service,
) -> None:
    first = service.start()
    service.now = START + 85 * DAY
    service.sweep()
    service.refresh(first["refresh_token"])
    service.now = START + 90 * DAY
    assert service.sweep()["rearmed"] == 1
    service.now = START + (85 + 83) * DAY
    assert service.sweep()["warned"] == 1
    assert types(service) == ["session.expiring"] * 2
    assert len({event["id"] for event in service.told}) == 2


def test_an_ended_session_needs_no_visit(service: Service) -> None:
    first = service.start("demo-sensitive")
    form = {"client_id": "demo-sensitive", "token": first["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    service.now += DAY
    assert service.sweep() == {"lag_seconds": 0, "complete": True}
    assert service.session(first["sid"]).reason is Reason.REVOKED_BY_USER


def test_a_refresh_at_the_same_moment_wins(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """the sweep holds an old copy of a session that is refreshed before the sweep writes"""
    first = service.start("demo-sensitive")
    stale = service.session(first["sid"])
    service.now += IDLE - 1
    second = service.refresh(first["refresh_token"], "demo-sensitive")
    service.now += 1
    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "read", lambda sids, **_: [stale])
        assert service.sweep()["overtaken"] == 1
    assert service.session(first["sid"]).ended_at is None
    assert types(service) == []
    assert second.status == 200


def test_more_than_one_page_of_a_shard_is_swept_in_one_run(service: Service) -> None:
    first = service.start("demo-sensitive")
    item = service.item(first["sid"])
    shard = session_item.attention_shard(first["sid"])
    sids = (f"copy{number:018d}" for number in itertools.count())
    copies = itertools.islice(
        (sid for sid in sids if session_item.attention_shard(sid) == shard), 120
    )
    for sid in copies:
        service.put_item({**item, "sid": {"S": sid}})
    service.now += IDLE
    service.calls.clear()
    assert service.sweep()["ended"] == 121
    assert service.calls.names.count("Query") == session_item.ATTENTION_SHARDS + 1
    assert len(service.told) == 121


def run(service: Service, remaining_ms: Callable[[], int]) -> dict[str, Any]:
    """A sweep with a clock of its own."""
    parts = service.parts
    return sweep(
        applications=parts.applications,
        store=parts.store,
        positions=parts.sweep_positions,
        bus=parts.bus,
        now=service.now,
        remaining_ms=remaining_ms,
    ).to_dict()


def test_a_sweep_that_runs_out_of_time_stops_and_the_next_one_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wherever it stops: what was ended and not told of is told of by the next one"""
    monkeypatch.setattr("ratchet.sweep.WORKERS", 2)
    for _ in range(20):
        service.start("demo-sensitive")
    service.now += IDLE
    service.calls.clear()
    written = service.calls.names
    first = run(service, lambda: MARGIN_MS + (written.count("UpdateItem") < 7))
    assert not first["complete"]
    assert 7 <= first["ended"] < 20
    told = len(service.told)
    assert told < 20
    second = run(service, lambda: MARGIN_MS + 1)
    assert second["complete"]
    assert first["ended"] + second["ended"] == 20
    assert second["published"] >= first["ended"] - told
    assert len({event["id"] for event in service.told}) == 20
    assert run(service, lambda: MARGIN_MS + 1) == {"lag_seconds": 0, "complete": True}


def test_an_end_that_could_not_be_published_is_published_by_the_next_sweep(
    service: Service,
) -> None:
    """EventBridge is away when a session is revoked, and back later"""
    first = service.start()
    publish = service.parts.bus.publish

    def away(_: object) -> None:
        raise Fault("events: ServiceUnavailable")

    object.__setattr__(service.parts.bus, "publish", away)
    form = {"client_id": "demo-native", "token": first["refresh_token"]}
    assert service.call("POST", "/oauth/revoke", form=form).status == 200
    assert any(line["message"] == "event left for the sweep" for line in service.lines())
    assert service.sweep()["unpublished"] == 1
    object.__setattr__(service.parts.bus, "publish", publish)
    service.now += 60
    assert service.sweep()["published"] == 1
    assert types(service) == ["session.revoked"]
    assert service.told[0]["at"] == START
    assert service.session(first["sid"]).attention_at is None


@pytest.mark.parametrize("damage", [None, "99999999999", "-1"])
def test_a_damaged_item_stops_no_other(service: Service, damage: str | None) -> None:
    good, bad = service.start("demo-sensitive"), service.start("demo-sensitive")
    item = service.item(bad["sid"])
    if damage is None:
        del item["idle_deadline_at"]
    else:
        item["idle_deadline_at"] = {"N": damage}
    service.put_item(item)
    service.now += IDLE
    report = service.sweep()
    assert (report["ended"], report["faults"], report["complete"]) == (1, 1, False)
    assert service.session(good["sid"]).reason is Reason.IDLE_EXPIRED
    (line,) = [line for line in service.lines() if "fault" in line]
    assert line["sid"] == bad["sid"]
    assert "damaged" in line["fault"]
    service.delete_item(bad["sid"])


def test_dynamodb_being_away_is_reported_and_nothing_is_lost(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start("demo-sensitive")
    service.now += IDLE

    def away(*_: object, **__: object) -> None:
        raise Fault("dynamodb: ThrottlingException")

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "read", away)
        report = service.sweep()
    assert (report["faults"], report["complete"]) == (1, False)
    assert service.sweep()["ended"] == 1
