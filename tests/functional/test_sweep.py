"""The sweep: design section 9."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from ratchet import session_item
from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.sweep import MARGIN_MS, WHAT, sweep
from tests.functional.conftest import START, Service

DAY = 86400
IDLE = 15 * 60


@pytest.fixture(autouse=True)
def _no_position_stays(service: Service) -> Iterator[None]:
    yield
    for shard in range(session_item.ATTENTION_SHARDS):
        service.parts.sweep_positions.drop(shard)


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


@pytest.mark.parametrize("others", [0, 12])
def test_a_refresh_between_the_read_and_the_writes_of_a_page_wins(
    service: Service, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """and the rest of the page is swept as it would have been"""
    first = service.start("demo-sensitive")
    shard = session_item.attention_shard(first["sid"])
    put_in_shard(service, shard, others)
    service.now += IDLE + others
    store = service.parts.store
    read, due = store.read, store.due
    answers = []

    def read_and_be_overtaken(sids: Iterable[str], **options: Any) -> list[Session]:
        found = read(sids, **options)
        service.now -= others + 1
        answers.append(service.refresh(first["refresh_token"], "demo-sensitive"))
        service.now += others + 1
        return found

    def due_here(wanted: int, now: int, **options: Any) -> Any:
        # Only this shard: roles are enforced for one function at a time.
        return due(wanted, now, **options) if wanted == shard else ([], None)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", read_and_be_overtaken)
        patch.setattr(store, "due", due_here)
        report = run(service, lambda: MARGIN_MS + 1)
    assert (report["overtaken"], report.get("ended", 0)) == (1, others)
    assert [answer.status for answer in answers] == [200]
    assert service.session(first["sid"]).ended_at is None
    assert first["sid"] not in {event["sid"] for event in service.told}
    service.now -= others
    again = service.refresh(answers[0]["refresh_token"], "demo-sensitive")
    assert again.status == 200


def put_in_shard(service: Service, shard: int, count: int, **changed: Any) -> list[str]:
    """So many idle sessions of demo-sensitive in one shard, each a second after the one before."""
    first = service.start("demo-sensitive")
    item = service.item(first["sid"])
    service.delete_item(first["sid"])
    sids = (f"copy{number:018d}" for number in itertools.count())
    mine = (sid for sid in sids if session_item.attention_shard(sid) == shard)
    found = list(itertools.islice(mine, count))
    for number, sid in enumerate(found):
        instant = {"N": str(int(item["attention_at"]["N"]) + number)}
        item |= {"sid": {"S": sid}, "attention_shard": {"N": str(shard)}}
        service.put_item({**item, "attention_at": instant, "idle_deadline_at": instant, **changed})
    return found


def test_a_page_costs_one_query_one_read_its_writes_and_a_call_for_ten_events(
    service: Service,
) -> None:
    put_in_shard(service, 3, 121)
    service.now += IDLE + 121
    batches: list[int] = []
    publish = service.parts.bus.publish

    def counted(happened: Sequence[Any]) -> None:
        batches.append(len(happened))
        publish(happened)

    object.__setattr__(service.parts.bus, "publish", counted)
    service.calls.clear()
    assert service.sweep()["ended"] == 121
    names = service.calls.names
    assert names.count("Query") == session_item.ATTENTION_SHARDS + 1
    assert names.count("BatchGetItem") == 2
    assert names.count("UpdateItem") == 2 * 121
    assert sorted(batches) == [1, *[10] * 12]
    assert len(service.told) == 121
    assert len({event["id"] for event in service.told}) == 121


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


# --- the position --------------------------------------------------------------------------------


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard, and a page has two sessions."""
    monkeypatch.setattr("ratchet.sweep.ATTENTION_SHARDS", 1)
    monkeypatch.setattr("ratchet.store.BATCH", 2)


def sweep_while(service: Service, queries: int) -> dict[str, Any]:
    """A sweep that is out of time once it has made more queries than that."""
    service.calls.clear()
    names = service.calls.names
    return run(service, lambda: MARGIN_MS + (names.count("Query") <= queries))


def position(service: Service) -> dict[str, Any] | None:
    return service.parts.sweep_positions.get(0)


def test_sessions_that_cannot_be_handled_never_starve_those_behind_them(
    service: Service, pages_of_two: None
) -> None:
    """each run has time for one page; the first four sessions of the shard are damaged"""
    put_in_shard(service, 0, 4, client_id={"N": "0"})
    good = put_in_shard(service, 0, 8)[4:]
    damaged = put_in_shard(service, 0, 4, client_id={"N": "0"})
    service.now += IDLE + 100
    reports = [sweep_while(service, 1)]
    assert position(service) is not None
    while not reports[-1].get("ended"):
        reports.append(sweep_while(service, 2))
        assert len(reports) < 5
    assert [report["faults"] for report in reports[:-1]] == [2, 2]
    reports.append(sweep_while(service, 2))
    assert all(service.session(sid).reason is Reason.IDLE_EXPIRED for sid in good)
    # All the way round, the damaged ones are met again, and nothing is kept.
    last = run(service, lambda: MARGIN_MS + 1)
    assert (last["faults"], last["complete"]) == (4, False)
    assert position(service) is None
    for sid in damaged:
        service.delete_item(sid)


def test_the_next_sweep_goes_on_where_the_last_one_stopped_and_wraps_round(
    service: Service, pages_of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """where an answer failed it goes on behind that page, and comes back to it"""
    sids = put_in_shard(service, 0, 5)
    service.now += IDLE + 100
    read = service.parts.store.read
    asked: list[list[str]] = []

    def first_fails(wanted: Iterable[str], **options: Any) -> list[Session]:
        asked.append(list(wanted))
        if len(asked) == 1:
            raise Fault("dynamodb: InternalServerError")
        return read(asked[-1], **options)

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "read", first_fails)
        report = run(service, lambda: MARGIN_MS + 1)
        assert report == {"faults": 1, "lag_seconds": 0, "complete": False}
        kept = position(service)
        assert kept is not None
        assert kept["sid"]["S"] == sids[1]
        report = run(service, lambda: MARGIN_MS + 1)
    assert (report["ended"], report["complete"]) == (5, True)
    assert asked == [sids[:2], sids[2:4], sids[4:], sids[:2]]
    assert position(service) is None


def test_a_page_that_there_was_no_time_to_finish_is_begun_again_unless_it_was_the_first(
    service: Service, pages_of_two: None
) -> None:
    sids = put_in_shard(service, 0, 7)
    service.now += IDLE + 100
    names = service.calls.names

    def out_of_time_in_page(number: int) -> str:
        service.calls.clear()
        run(service, lambda: MARGIN_MS + (names.count("BatchGetItem") < number))
        kept = position(service)
        assert kept is not None
        return str(kept["sid"]["S"])

    assert out_of_time_in_page(2) == sids[1]
    assert out_of_time_in_page(1) == sids[3]
    assert [service.session(sid).ended_at is None for sid in sids] == [False] * 2 + [True] * 5
    assert run(service, lambda: MARGIN_MS + 1)["ended"] == 5


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"attention_at": {"N": str(START * 2)}},
        {"attention_at": {"N": "-1"}},
        {"attention_at": {"N": "1.5"}},
        {"attention_at": {"S": "yesterday"}},
        {"sid": {"S": ""}},
        {"sid": {"S": "x" * 2049}},
        {"sid": {"N": "7"}},
        {"sid": {"S": "of another shard, long gone"}, "what": {"S": "is this?"}},
    ],
)
def test_a_damaged_position_is_as_good_as_none(
    service: Service, pages_of_two: None, garbage: dict[str, Any]
) -> None:
    put_in_shard(service, 0, 3)
    service.now += IDLE + 100
    key = {"attention_shard": {"N": "0"}}
    valid = {"attention_at": {"N": str(START + IDLE)}, "sid": {"S": "x"}} if garbage else {}
    service.parts.sweep_positions.keep({**key, **valid, **garbage})
    assert service.sweep() == {"ended": 3, "lag_seconds": 100, "complete": True}
    assert position(service) is None


def test_a_position_that_cannot_be_read_or_kept_stops_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, pages_of_two: None
) -> None:
    put_in_shard(service, 0, 3)
    service.now += IDLE + 100

    def away(*_: Any) -> Any:
        raise Fault("dynamodb: ResourceNotFoundException")

    for operation in ("get", "keep", "drop"):
        monkeypatch.setattr(service.parts.sweep_positions, operation, away)
    assert not sweep_while(service, 1)["complete"]
    assert run(service, lambda: MARGIN_MS + 1)["complete"]
    warned = [line for line in service.lines() if line["message"] == "position of the sweep"]
    assert {line["level"] for line in warned} == {"WARNING"}
    assert len(warned) == 3
    monkeypatch.undo()


# --- what it tells -------------------------------------------------------------------------------


def test_an_entry_that_eventbridge_refuses_keeps_no_other_from_being_settled(
    service: Service,
) -> None:
    sids = {service.start("demo-sensitive")["sid"] for _ in range(6)}
    service.now += IDLE
    taken: list[str] = []

    class Picky:
        """Refuses one entry of each call."""

        def put_events(self, **call: Any) -> dict[str, Any]:
            entries: list[dict[str, Any]] = [{"EventId": "x"} for _ in call["Entries"]]
            entries[-1] = {"ErrorCode": "InternalFailure"}
            taken.extend(json.loads(one["Detail"])["sid"] for one in call["Entries"][:-1])
            return {"FailedEntryCount": 1, "Entries": entries}

    bus: Any = service.parts.bus
    client = bus._client
    bus._client = Picky
    report = service.sweep()
    bus._client = client
    assert (report["ended"], report["complete"]) == (6, True)
    assert report["unpublished"] == 6 - len(taken)
    open_sids = {sid for sid in sids if service.session(sid).attention_at is not None}
    assert open_sids == sids - set(taken)
    left = [line for line in service.lines() if line["message"] == "event left for the sweep"]
    assert {line["sid"] for line in left} == open_sids
    assert {line["fault"] for line in left} == {"events: an entry was refused"}
    assert service.sweep()["published"] == len(open_sids)
    assert {event["sid"] for event in service.told} == open_sids


def test_a_sweep_with_nothing_to_do_reports_zeros(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """an alarm can tell a sweep that found nothing from one that does not run"""
    capsys.readouterr()
    service.sweep()
    (metrics,) = [line for line in map(json.loads, _json(capsys)) if "SweepEnded" in line]
    assert metrics["function"] == "sweep"
    for name in ("LagSeconds", "Incomplete", *map(str.title, WHAT)):
        assert metrics[f"Sweep{name}"] == [0]


def _json(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = service.start("demo-sensitive")
    warned = service.start()
    refreshed = service.start()
    service.now += 40 * DAY
    service.refresh(refreshed["refresh_token"])
    service.now = START + 83 * DAY
    before = [service.item(found["sid"]) for found in (idle, warned, refreshed)]
    capsys.readouterr()
    service.calls.clear()
    report = service.sweep(dry_run=True)
    did = {"ended": 1, "warned": 1, "rearmed": 1}
    assert report == {**did, "lag_seconds": 83 * DAY - IDLE, "complete": True, "dry_run": True}
    assert set(service.calls.names) <= {"Query", "BatchGetItem", "GetItem"}
    assert before == [service.item(found["sid"]) for found in (idle, warned, refreshed)]
    assert types(service) == []
    assert not [line for line in _json(capsys) if "_aws" in line]
    real = service.sweep()
    assert {**real, "dry_run": True} == report
