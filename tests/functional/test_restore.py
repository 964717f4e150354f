"""Run-books: a table that was restored to an earlier instant, sessions copied in, peppers dropped.

Restoring to a point in time is played by putting copies back, which is what it comes to.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from ratchet.key_rotation import UnknownKey
from ratchet.keys import peppers
from ratchet.policy import DAY, HOUR
from ratchet.reasons import Reason
from ratchet.rotate_keys import NotRotating, drop_pepper
from ratchet.secret_versions import SecretVersions
from ratchet_cli.sessions import _end, _put, from_json, to_json
from tests.functional.conftest import START, Answer, Service
from tests.functional.key_fleet import Fleet


def refused(answer: Answer, reason: str) -> None:
    assert (answer.status, answer["error"], answer["error_reason"]) == (
        400,
        "invalid_grant",
        reason,
    )
    assert answer["retry"] == "never"


def restore(service: Service, copies: dict[str, Any]) -> None:
    """The whole table, as it was."""
    for item in service.scan(service._sessions_table):
        service.delete_item(item["sid"]["S"])
    for item in copies.values():
        service.put_item(item)


def copied(service: Service) -> dict[str, Any]:
    return {item["sid"]["S"]: item for item in service.scan(service._sessions_table)}


# --- what a restore does to rotation -------------------------------------------------------------


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_token_that_is_newer_than_the_restored_item_is_not_taken_for_theft(
    service: Service, ahead: int
) -> None:
    first = service.start()
    backup = copied(service)
    token = first["refresh_token"]
    for _ in range(ahead):
        service.now += HOUR
        token = service.refresh(token)["refresh_token"]
    restore(service, backup)
    answer = service.refresh(token)
    refused(answer, "session_unknown")
    assert answer.log["detail"] == "newer than the item"
    session = service.session(first["sid"])
    assert (session.ended_at, session.generation) == (None, 0)
    assert not service.told


def test_a_client_that_has_not_refreshed_since_goes_on(service: Service) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"], key="a-random-idempotency-key")
    backup = copied(service)
    service.now += HOUR
    restore(service, backup)
    # its own retry, too: the seal is restored with the rest
    again = service.refresh(first["refresh_token"], key="a-random-idempotency-key")
    assert again["refresh_token"] == second["refresh_token"]
    assert service.refresh(second["refresh_token"]).status == 200


def test_a_rotation_that_was_lost_gives_no_right_to_fork(service: Service) -> None:
    """Somebody has kept the token of the restored instant. It is the current one again; whoever
    comes with the newer one is turned away, and no two chains go on."""
    first = service.start()
    backup = copied(service)
    service.now += HOUR
    newer = service.refresh(first["refresh_token"])["refresh_token"]
    restore(service, backup)
    service.now += HOUR
    kept = service.refresh(first["refresh_token"])
    assert kept.status == 200
    refused(service.refresh(newer), "session_unknown")
    # once the other has gone past it, it is an old token like any other
    service.now += HOUR
    service.refresh(kept["refresh_token"])
    refused(service.refresh(newer), "reused")
    assert service.session(first["sid"]).reason is Reason.REUSED


def test_a_session_that_started_since_is_unknown(service: Service) -> None:
    backup = copied(service)
    first = service.start()
    restore(service, backup)
    refused(service.refresh(first["refresh_token"]), "session_unknown")


def test_a_dead_session_that_a_restore_brings_back_is_not_remembered_as_dead_for_long(
    service: Service,
) -> None:
    first = service.start()
    backup = copied(service)
    service.call("DELETE", f"/sessions/{first['sid']}", bearer=service.operator())
    refused(service.refresh(first["refresh_token"]), "revoked_by_operator")
    restore(service, backup)
    service.now += 60
    assert service.refresh(first["refresh_token"]).status == 200


# --- copying in what is missing ------------------------------------------------------------------


def put(service: Service, item: Any, *, dry_run: bool = False) -> str:
    line = item if isinstance(item, str) else json.dumps(to_json(item))
    return _put(service._dynamodb, service._sessions_table, line, service.now, dry_run)


def test_only_what_is_missing_is_put_back(service: Service) -> None:
    goes_on, lost = service.start(), service.start(sub="bob")
    ended, over = service.start(sub="carol"), service.start("demo-sensitive", sub="dora")
    backup = copied(service)
    service.now += HOUR
    second = service.refresh(goes_on["refresh_token"])
    service.call("DELETE", f"/sessions/{ended['sid']}", bearer=service.operator())
    service.delete_item(lost["sid"])
    service.delete_item(over["sid"])
    for dry_run in (True, False):
        done = {sid: put(service, item, dry_run=dry_run) for sid, item in backup.items()}
        assert done == {
            goes_on["sid"]: "present",
            lost["sid"]: "imported",
            ended["sid"]: "present",
            over["sid"]: "imported",
        }
    assert service.item(lost["sid"]) == backup[lost["sid"]]
    assert service.refresh(lost["refresh_token"]).status == 200
    assert service.refresh(second["refresh_token"]).status == 200
    assert service.session(ended["sid"]).reason is Reason.REVOKED_BY_OPERATOR
    # idle for longer than it may be: put back with its record, and still over
    refused(service.refresh(over["refresh_token"], "demo-sensitive"), "idle_expired")


def test_what_is_past_its_time_or_no_session_is_left_out(service: Service) -> None:
    item = service.item(service.start()["sid"])
    service.delete_item(item["sid"]["S"])
    service.now = int(item["expires_at"]["N"])
    assert put(service, item) == "past"
    service.now = START
    damaged = ["{}", "[]", "1", "no JSON", '{"sid": {"S": "x"}}', '{"sid": "x"}']
    damaged.append(json.dumps({**to_json(item), "current_hash": {"B": "?"}}))
    assert [put(service, line) for line in damaged] == ["damaged"] * len(damaged)
    assert copied(service) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sid": {"S": ""}},
        {"sid": {"S": 5}},
        {"sub": {"S": ""}},
        {"sub": {"S": "\udcff"}},  # a byte that was no character
        {"scopes": {"SS": "profile"}},
        {"attention_shard": {"S": "1"}},
        {"invented": {"N": "abc"}},
        {"invented": {"Q": "1"}},
        {"invented": {"S": "x" * 410_000}},
    ],
    ids=lambda wrong: json.dumps(wrong)[:30],
)
def test_a_line_that_dynamodb_would_refuse_does_not_keep_the_others_out(
    service: Service, wrong: dict[str, Any]
) -> None:
    line = to_json(service.item(service.start()["sid"])) | {"sid": {"S": "A" * 22}}
    before = copied(service)
    assert put(service, json.dumps(line | wrong)) == "damaged"
    assert put(service, json.dumps(line | wrong, ensure_ascii=False)) == "damaged"
    assert copied(service) == before


def test_a_line_of_nothing_but_brackets_does_not_keep_the_others_out(service: Service) -> None:
    assert put(service, "[" * 100_000) == "damaged"


def test_a_line_is_the_whole_item_also_what_a_later_version_may_add(service: Service) -> None:
    first = service.start(scope="profile", device="Ada's phone")
    service.refresh(first["refresh_token"], key="a-random-idempotency-key")
    item = {**service.item(first["sid"]), "invented": {"M": {"a": {"N": "1"}}}}
    assert from_json(json.loads(json.dumps(to_json(item)))) == item


def test_sessions_are_ended_by_their_id_and_what_is_over_stays(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratchet_cli.sessions._now", lambda: service.now)
    first, other = service.start(), service.start()
    assert _end(first["sid"], service.parts) == "ended"
    assert _end(first["sid"], service.parts) == "over"
    assert _end("A" * 22, service.parts) == "unknown"
    session = service.session(first["sid"])
    assert (session.reason, session.ended_by) == (
        Reason.REVOKED_BY_OPERATOR,
        "ratchet sessions end",
    )
    assert [event["type"] for event in service.told] == ["session.revoked"]
    refused(service.refresh(first["refresh_token"]), "revoked_by_operator")
    assert service.refresh(other["refresh_token"]).status == 200


def revoked(service: Service, first: Answer) -> None:
    form = {"client_id": "demo-native", "token": first["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)


def ended(service: Service, first: Answer) -> None:
    service.call("DELETE", f"/sessions/{first['sid']}", bearer=service.operator())


def everywhere(service: Service, _: Answer) -> None:
    service.call("DELETE", "/sessions?sub=ada", bearer=service.operator())


def reused(service: Service, first: Answer) -> None:
    second = service.refresh(first["refresh_token"])
    service.refresh(second["refresh_token"])
    service.now += HOUR
    service.refresh(first["refresh_token"])


@pytest.mark.parametrize("end", [revoked, ended, everywhere, reused])
def test_the_query_of_the_run_book_finds_every_end_that_somebody_wanted(
    service: Service, end: Callable[[Service, Answer], None]
) -> None:
    """docs/runbooks.md, "Ended since"."""
    first = service.start()
    end(service, first)
    assert service.session(first["sid"]).ended_at is not None
    found = {
        line["sid"]
        for line in service.lines()
        if "sid" in line
        and (
            line.get("ended") == 1
            or line.get("outcome") == "ended"
            or line.get("error_reason") == "reused"
            or line["message"] == "revoke"
        )
    }
    assert found == {first["sid"]}


# --- dropping a pepper ---------------------------------------------------------------------------


@pytest.fixture
def fleet(service: Service, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    fleet = Fleet(service, monkeypatch)
    fleet.rotate()
    fleet.rotate(fleet.pepper_id)
    return fleet


def versions(fleet: Fleet) -> SecretVersions:
    return SecretVersions(lambda: boto3.client("secretsmanager"), fleet.pepper_id)


def known(fleet: Fleet) -> tuple[int, list[int]]:
    found = peppers(json.dumps(fleet.peppers()))
    return found.current, sorted(found.by_id)


def test_dropping_the_next_pepper_is_noticed_by_nobody(service: Service, fleet: Fleet) -> None:
    token = service.start()["refresh_token"]
    leaked = fleet.peppers()["2"]
    assert drop_pepper(2, versions(fleet), now=service.now).unknown_until == 0
    assert known(fleet) == (1, [1, 3])
    service.now += 300
    token = service.refresh(token)["refresh_token"]
    service.now += 49 * HOUR
    fleet.rotate(fleet.pepper_id)
    service.now += 300
    assert service.refresh(token).status == 200
    assert known(fleet) == (3, [1, 3, 4])
    assert leaked not in fleet.peppers().values()


def test_dropping_a_retired_pepper_hits_only_who_has_not_refreshed_since(
    service: Service, fleet: Fleet
) -> None:
    active, asleep = (service.start()["refresh_token"] for _ in range(2))
    service.now += 49 * HOUR
    fleet.rotate(fleet.pepper_id)
    service.now += 14 * DAY
    active = service.refresh(active)["refresh_token"]
    drop_pepper(1, versions(fleet), now=service.now)
    service.now += 300
    assert service.refresh(active).status == 200
    refused(service.refresh(asleep), "unknown_pepper")
    assert fleet.peppers()["retired_at"] == {}


def test_dropping_the_current_pepper_signs_everyone_out_at_once_and_the_next_goes_on(
    service: Service, fleet: Fleet
) -> None:
    token = service.start()["refresh_token"]
    service.now += 2 * DAY
    published = versions(fleet).describe().published_at
    assert drop_pepper(1, versions(fleet), now=service.now).unknown_until == published + 300
    assert known(fleet) == (2, [2, 3])
    service.now += 300
    refused(service.refresh(token), "unknown_pepper")
    assert service.refresh(service.start()["refresh_token"]).status == 200


def test_dropping_the_only_pepper_makes_two_new_ones(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(service, monkeypatch)
    drop_pepper(1, versions(fleet), now=service.now)
    assert known(fleet) == (2, [2, 3])


def test_a_pepper_that_is_not_there_changes_nothing(service: Service, fleet: Fleet) -> None:
    before = fleet.peppers()
    with pytest.raises(UnknownKey):
        drop_pepper(9, versions(fleet), now=service.now)
    assert fleet.peppers() == before


def test_a_rotation_on_its_way_does_not_bring_a_dropped_pepper_back(
    service: Service, fleet: Fleet
) -> None:
    service.now += 49 * HOUR
    token = fleet.begin(fleet.pepper_id)
    fleet.step("createSecret", token, fleet.pepper_id)
    drop_pepper(1, versions(fleet), now=service.now)
    with pytest.raises(NotRotating):
        fleet.step("finishSecret", token, fleet.pepper_id)
    assert known(fleet) == (2, [2, 3])
