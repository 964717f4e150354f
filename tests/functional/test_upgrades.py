"""Upgrades: what the version before has written is read and refreshed, and the other way round."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from ratchet import keys, session_item
from ratchet.policy import HOUR
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.session_item import MAX_ITEM_BYTES, from_item, item_bytes
from tests.functional import item_journeys as journeys
from tests.functional.conftest import Answer, Service
from tests.functional.item_journeys import CLIENT, JOURNEYS, KEY, Written, shape
from tests.functional.previous_version import PreviousVersion, previous_version

WRITE = os.environ.get("ITEM_FIXTURES")
"""A schema version: `make item-fixtures VERSION=v2` writes its fixtures."""
VERSIONS = journeys.versions()
STORED = [(version, name) for version in VERSIONS for name in journeys.names(version)]
LIVE = [(version, name) for version, name in STORED if name not in ("ended", "reused")]


def other(version: str, name: str) -> Path:
    return journeys.FIXTURES / version / "others" / f"{name}.json"


def item(name: str) -> Mapping[str, Any]:
    return journeys.stored(VERSIONS[-1], name).item


def put(service: Service, version: str, name: str) -> Written:
    """An item as that version left it; nothing has happened since."""
    journeys.with_peppers(service, journeys.PEPPERS)
    written = journeys.stored(version, name)
    service.now = written.now
    service.put_item(written.item)
    return written


def sid(written: Written) -> str:
    return str(written.item["sid"]["S"])


def refresh(service: Service, written: Written, token: str, **headers: str) -> Answer:
    if written.key is not None:
        headers["DPoP"] = journeys.fresh_proof(service, ECKey.import_key(dict(written.key)))
    form = {"client_id": CLIENT, "refresh_token": token}
    return service.call("POST", "/oauth/refresh", form=form, headers=headers)


def test_a_fixture_of_every_journey_is_kept() -> None:
    assert VERSIONS, "write them: make item-fixtures VERSION=v1"
    assert set(journeys.names(VERSIONS[-1])) == set(JOURNEYS)


def test_the_fixtures_have_every_attribute_that_a_session_may_have() -> None:
    """One that no journey leaves behind? Then write one that does."""
    written = {name for kept in journeys.names(VERSIONS[-1]) for name in item(kept)}
    assert written == {field.name for field in fields(Session)} | {"attention_shard"}


@pytest.mark.parametrize("name", JOURNEYS)
def test_what_is_written_now_has_the_shape_of_the_newest_fixtures(
    service: Service, name: str
) -> None:
    """Names and types. It differs? Then read docs/upgrading.md, "Changing an item"."""
    journeys.with_peppers(service, journeys.PEPPERS)
    written = JOURNEYS[name](service)
    if WRITE:
        journeys.write(journeys.FIXTURES / WRITE, name, written)
    newest = journeys.stored(WRITE or VERSIONS[-1], name)
    assert shape(written.item) == shape(newest.item)


def test_every_item_is_read_and_nothing_of_it_is_lost() -> None:
    for version, name in STORED:
        written = journeys.stored(version, name)
        session = from_item(written.item)
        assert from_item(session_item.to_item(session)) == session, name
        assert item_bytes(written.item) <= MAX_ITEM_BYTES, name


@pytest.mark.parametrize(("version", "name"), LIVE)
def test_every_live_session_is_refreshed_and_then_once_more(
    service: Service, version: str, name: str
) -> None:
    written = put(service, version, name)
    before = service.session(sid(written))
    service.now += 60
    second = refresh(service, written, written.token)
    assert second.status == 200, second
    third = refresh(service, written, second["refresh_token"])
    assert third.status == 200, third
    after = service.session(sid(written))
    assert after.generation == before.generation + 2
    for kept in ("sub", "scopes", "resources", "claims", "auth_time", "amr", "acr", "device"):
        assert getattr(after, kept) == getattr(before, kept)
    # and what has been replaced since is still noticed
    stale = refresh(service, written, written.token)
    if written.key is not None:
        assert stale["error"] == "use_dpop_nonce"
    else:
        assert (stale.status, stale["error_reason"]) == (400, "reused")
        assert service.session(sid(written)).reason is Reason.REUSED


@pytest.mark.parametrize(("version", "name"), [pair for pair in LIVE if "rotated" in pair[1]])
def test_the_sealed_successor_of_every_version_is_opened(
    service: Service, version: str, name: str
) -> None:
    written = put(service, version, name)
    assert written.parent is not None
    # long after the leeway the key still tells who asks
    headers = {"Idempotency-Key": KEY} if name == "rotated_with_key" else {}
    service.now += HOUR if headers else 20
    again = refresh(service, written, written.parent, **headers)
    assert again.status == 200, again
    assert again["refresh_token"] == written.token


def test_every_item_is_swept_listed_and_explained(service: Service) -> None:
    for version, name in STORED:
        written = put(service, version, name)
        over = "ended_at" in written.item
        service.now = int(written.item["idle_deadline_at"]["N"]) + 1
        report = service.sweep()
        assert report["complete"]
        assert (name, report.get("ended", 0)) == (name, 0 if over else 1)
        session = service.session(sid(written))
        assert (session.ended_at is None, session.reason is None) == (False, False)
        bearer = service.operator()
        listed = service.call("GET", f"/sessions?sub={session.sub}", bearer=bearer)
        assert [one["sid"] for one in listed["sessions"]] == [session.sid]
        told = service.call("GET", f"/sessions/{session.sid}?timeline=true", bearer=bearer)
        assert "the session" in told["explanation"]["sentence"].lower()
        answer = refresh(service, written, written.token)
        assert (name, answer.status, answer["error_reason"]) == (name, 400, session.reason)
        service.delete_item(session.sid)


def test_every_live_session_is_ended_by_its_user(service: Service) -> None:
    for version, name in LIVE:
        written = put(service, version, name)
        token = {"client_id": CLIENT, "token": written.token}
        assert service.call("POST", "/oauth/revoke", form=token).status == 200
        assert service.session(sid(written)).reason is Reason.REVOKED_BY_USER, name
        assert refresh(service, written, written.token)["error_reason"] == "revoked_by_user", name


# --- the other way round: what a later version may add -------------------------------------------

LATER = {
    "invented_text": {"S": "of the next version"},
    "invented_map": {"M": {"a": {"L": [{"N": "1"}]}}},
    "invented_bytes": {"B": b"\x00\x01"},
}


def test_what_a_later_version_adds_is_tolerated_and_kept(service: Service) -> None:
    """Through a refresh, the sweep's visits, a touch and an end: nothing puts a whole item."""
    written = put(service, VERSIONS[-1], "rotated")
    service.put_item({**written.item, **LATER})
    service.now += 60
    second = refresh(service, written, written.token)
    assert second.status == 200, second
    assert LATER.items() <= service.item(sid(written)).items()
    due = int(written.item["attention_at"]["N"]) + 1
    service.now = due
    assert service.sweep()["complete"]
    assert LATER.items() <= service.item(sid(written)).items()
    assert refresh(service, written, second["refresh_token"]).status == 200
    service.call("DELETE", f"/sessions/{sid(written)}", bearer=service.operator())
    item = service.item(sid(written))
    assert LATER.items() <= item.items()
    assert "ended_at" in item


def test_a_reason_that_only_a_later_version_knows_still_ends_a_session(service: Service) -> None:
    written = put(service, VERSIONS[-1], "ended")
    service.put_item({**written.item, "reason": {"S": "of_the_next_version"}})
    answer = refresh(service, written, written.token)
    assert (answer.status, answer["error_reason"]) == (400, "revoked_by_operator")


# --- the other tables and the two secrets --------------------------------------------------------


@pytest.mark.parametrize("name", journeys.OTHERS)
def test_applications_and_users_have_the_shape_of_the_newest_fixtures(
    service: Service, name: str
) -> None:
    item = journeys.OTHERS[name](service)
    if WRITE:
        journeys.write_json(other(WRITE, name), journeys.to_json(item))
    newest = journeys.from_json(journeys.read_json(other(WRITE or VERSIONS[-1], name)))
    assert shape(item) == shape(newest)


@pytest.mark.parametrize("version", VERSIONS)
def test_applications_users_and_secrets_of_every_version_are_read(
    service: Service, version: str
) -> None:
    stored = {
        name: journeys.from_json(journeys.read_json(other(version, name)))
        for name in journeys.OTHERS
    }
    service.put_application(stored["application"])
    service._dynamodb.put_item(TableName=service.users_table, Item=stored["user"])
    try:
        application = service.parts.applications.get("fixture-shop", service.now)
        user = service.parts.users.get("grace@example.com")
    finally:
        journeys.take_away(service)
    assert application is not None
    assert user is not None
    assert application.trusted_issuers[0].subject_prefix == "idp-test:"
    assert application.era(0).policy.leeway_seconds == 10
    assert (user.sub, user.revision) == ("grace", 1)
    secrets = journeys.read_json(other(version, "secrets"))
    known = keys.peppers(json.dumps(secrets["peppers"]))
    assert (known.current, sorted(known.by_id)) == (2, [1, 2, 3])
    signing = keys.signing_keys(json.dumps(secrets["signing_keys"]))
    assert [key.kid for key in signing.published()] == secrets["kids"]


# --- the real thing: the version before, in a process of its own, on the same tables -------------


@pytest.fixture(scope="module")
def previous(engine: Any) -> Iterator[PreviousVersion]:
    with previous_version(engine) as running:
        yield running


class Both:
    """Two versions behind one address, as while a deployment replaces function by function."""

    def __init__(self, service: Service, previous: PreviousVersion) -> None:
        self.service = service
        self.previous = previous

    def refresh(self, version: str, token: str, key: str | None = None) -> dict[str, Any]:
        """The answer's body."""
        form = {"client_id": CLIENT, "refresh_token": token}
        headers = {"Idempotency-Key": key} if key else {}
        if version == "this":
            body = self.service.call("POST", "/oauth/refresh", form=form, headers=headers).body
            assert isinstance(body, dict)
            return body
        return self.previous.call(
            "RefreshFunction", "POST", "/oauth/refresh", form, headers, self.service.now
        )

    def sweep(self, version: str) -> None:
        if version == "this":
            self.service.sweep()
        else:
            self.previous.invoke("SweepFunction", {}, self.service.now)


@pytest.fixture
def both(service: Service, previous: PreviousVersion) -> Both:
    return Both(service, previous)


WAYS = [("previous", "this"), ("this", "previous")]


def test_the_version_before_is_another_one_than_this_tree(previous: PreviousVersion) -> None:
    assert previous.core.is_relative_to(previous.tree)


@pytest.mark.parametrize(("first", "then"), WAYS)
def test_a_session_goes_on_whichever_version_answers(both: Both, first: str, then: str) -> None:
    started = both.service.start()
    token = started["refresh_token"]
    for version in (first, then, first, first, then, then):
        both.service.now += HOUR
        token = both.refresh(version, token)["refresh_token"]
    assert both.service.session(started["sid"]).generation == 6


@pytest.mark.parametrize(("first", "then"), WAYS)
def test_what_one_version_has_sealed_the_other_opens(both: Both, first: str, then: str) -> None:
    token = both.service.start()["refresh_token"]
    successor = both.refresh(first, token, KEY)["refresh_token"]
    both.service.now += 10
    assert both.refresh(then, token)["refresh_token"] == successor
    both.service.now += HOUR
    assert both.refresh(then, token, KEY)["refresh_token"] == successor


@pytest.mark.parametrize(("first", "then"), WAYS)
def test_what_one_version_has_rotated_is_reuse_for_the_other(
    both: Both, first: str, then: str
) -> None:
    started = both.service.start()
    token = started["refresh_token"]
    both.refresh(first, both.refresh(first, token)["refresh_token"])
    both.service.now += HOUR
    assert both.refresh(then, token)["error_reason"] == "reused"
    assert both.refresh(first, token)["error_reason"] == "reused"
    assert both.service.session(started["sid"]).reason is Reason.REUSED


@pytest.mark.parametrize(("first", "then"), WAYS)
def test_what_one_version_has_rotated_the_other_sweeps(both: Both, first: str, then: str) -> None:
    started = both.service.start("demo-native")
    both.refresh(first, started["refresh_token"])
    session = both.service.session(started["sid"])
    assert session.attention_at is not None
    both.service.now = session.attention_at + 1
    both.sweep(then)
    assert (both.service.session(session.sid).attention_at or 0) > session.attention_at
    both.service.now = session.idle_deadline_at + 1
    both.sweep(then)
    assert both.service.session(session.sid).reason is Reason.IDLE_EXPIRED
