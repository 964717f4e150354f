"""The store's verbs: their conditions, and how a lost write says why (design sections 2, 3, 9).

Single-threaded, on moto with the tables of template.yaml. tests/functional has a real engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.refresh import MAX_NARROWED_SCOPES
from ratchet.request import MAX_RESOURCES
from ratchet.sender import Sender
from ratchet.session import Session
from ratchet.session_item import attention_shard, to_item
from ratchet.store import BATCH, Rotation, SessionStore
from ratchet_cli import template

NOW = 1_800_000_000
DEPLOYED = Path(__file__).parents[2] / "template.yaml"
ACCESS: dict[str, Any] = {
    "region_name": "eu-central-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}
T0, T1, T2, KEY = b"0" * 32, b"1" * 32, b"2" * 32, b"k" * 32
SEALED = bytes(106)
MakeSession = Callable[..., Session]


def dynamodb_client() -> Any:
    return boto3.Session().client("dynamodb", **ACCESS)


@pytest.fixture(scope="module")
def table() -> Iterator[str]:
    """The name of the deployed sessions table, on a moto that lasts as long as this module."""
    # Other tests of the same run may have pointed boto3 at the emulator.
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        derived = template.stack_template(template.load(DEPLOYED))
        properties = derived["Resources"]["SessionsTable"]["Properties"]
        names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        dynamodb_client().create_table(
            TableName="sessions", **{name: properties[name] for name in names}
        )
        yield "sessions"


@pytest.fixture
def client(table: str) -> Iterator[Any]:
    dynamodb = dynamodb_client()
    yield dynamodb
    for item in dynamodb.scan(TableName=table)["Items"]:
        dynamodb.delete_item(TableName=table, Key={"sid": item["sid"]})


@pytest.fixture
def store(client: Any, table: str) -> SessionStore:
    return SessionStore(client, table)


@pytest.fixture
def session(make_session: MakeSession, store: SessionStore) -> Session:
    """A stored session whose current token is T0, due at its idle deadline."""
    started = make_session(
        current_hash=T0,
        scopes=frozenset({"a", "b"}),
        resources=frozenset({"urn:a", "urn:b"}),
        idle_deadline_at=NOW + 1000,
        attention_at=NOW + 1000,
    )
    store.create(started)
    return started


def rotation(session: Session, **changes: Any) -> Rotation:
    """From T0 to T1."""
    defaults: dict[str, Any] = {
        "sid": session.sid,
        "client_id": session.client_id,
        "presented_hash": T0,
        "successor_hash": T1,
        "sealed": SEALED,
        "request_hash": KEY,
        "generation": 1,
        "scopes": frozenset(),
        "resources": frozenset(),
        "unless_granted": True,
        "idle_deadline_at": NOW + 2000,
        "expires_at": NOW + 9999,
        "leeway_seconds": 30,
        "retry_window_seconds": 86400,
        "sessions_valid_after": 0,
        "sender": Sender("203.0.113.0/24", "okhttp"),
    }
    return Rotation(**{**defaults, **changes})


def end(store: SessionStore, session: Session, **changes: Any) -> Any:
    defaults: dict[str, Any] = {
        "reason": Reason.REVOKED_BY_USER,
        "by": "app",
        "now": NOW + 10,
        "retention_seconds": 500,
    }
    return store.end(session.sid, **{**defaults, **changes})


# --- create, get ---------------------------------------------------------------------------------


def test_a_session_is_stored_as_it_is(store: SessionStore, session: Session) -> None:
    assert store.get(session.sid) == session


def test_there_is_no_session_of_an_unknown_id(store: SessionStore) -> None:
    assert store.get("B" * 22) is None


def test_a_create_that_the_sdk_repeats_is_done_once(store: SessionStore, session: Session) -> None:
    """Its first answer was lost; it took effect."""
    store.create(session)
    assert store.get(session.sid) == session


def test_a_create_never_overwrites_another_session(store: SessionStore, session: Session) -> None:
    with pytest.raises(Fault, match="taken"):
        store.create(replace(session, sub="eve", current_hash=T1))
    assert store.get(session.sid) == session


# --- rotate --------------------------------------------------------------------------------------


def test_a_rotation_moves_the_token_on_and_touches_no_index(
    store: SessionStore, session: Session
) -> None:
    outcome = store.rotate(rotation(session), NOW + 5)
    assert outcome.done
    assert outcome.session == store.get(session.sid)
    assert outcome.session == replace(
        session,
        current_hash=T1,
        parent_hash=T0,
        sealed=SEALED,
        request_hash=KEY,
        generation=1,
        rotated_at=NOW + 5,
        leeway_until_at=NOW + 35,
        retry_until_at=NOW + 86405,
        idle_deadline_at=NOW + 2000,
        expires_at=NOW + 9999,
        network="203.0.113.0/24",
        agent="okhttp",
    )


def test_a_rotation_without_a_key_forgets_the_key_of_the_one_before(
    store: SessionStore, session: Session
) -> None:
    store.rotate(rotation(session), NOW)
    second = rotation(
        session, presented_hash=T1, successor_hash=T2, request_hash=None, generation=2
    )
    rotated = store.rotate(second, NOW).session
    assert rotated
    assert (rotated.current_hash, rotated.parent_hash, rotated.request_hash) == (T2, T1, None)
    assert rotated.retry_until_at is None


def test_a_rotation_without_leeway_and_window_gives_no_right_to_its_parent(
    store: SessionStore, session: Session
) -> None:
    store.rotate(rotation(session), NOW)
    strict = rotation(session, presented_hash=T1, successor_hash=T2, generation=2)
    strict = replace(strict, leeway_seconds=0, retry_window_seconds=0)
    rotated = store.rotate(strict, NOW).session
    assert rotated
    assert (rotated.leeway_until_at, rotated.retry_until_at, rotated.request_hash) == (None,) * 3


def test_with_rotation_off_the_token_stays_and_its_parent_is_done_with(
    store: SessionStore, session: Session
) -> None:
    store.rotate(rotation(session), NOW)
    kept = rotation(session, presented_hash=T1, successor_hash=None, generation=2)
    outcome = store.rotate(kept, NOW + 7)
    assert outcome.done
    assert outcome.session
    assert (outcome.session.current_hash, outcome.session.generation) == (T1, 1)
    assert outcome.session.rotated_at == NOW + 7
    assert outcome.session.network == "203.0.113.0/24"
    assert outcome.session.parent_hash is None
    assert outcome.session.sealed is None
    assert outcome.session.request_hash is None
    assert outcome.session.leeway_until_at is None


def test_the_second_of_two_callers_gets_the_item_as_the_first_left_it(
    store: SessionStore, session: Session
) -> None:
    won = store.rotate(rotation(session), NOW)
    lost = store.rotate(rotation(session, successor_hash=T2), NOW)
    assert not lost.done
    assert lost.session == won.session
    assert lost.session
    assert (lost.session.current_hash, lost.session.parent_hash) == (T1, T0)


@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({"presented_hash": T1}, NOW),
        ({"client_id": "another"}, NOW),
        # expiry is enforced in the condition, to the second (promise 8)
        ({}, NOW + 1000),
        ({}, NOW + 1001),
        ({}, NOW + 99999),
        ({"sessions_valid_after": NOW + 1}, NOW),
        ({"scopes": frozenset({"a", "c"})}, NOW),
        ({"scopes": frozenset({"b", "", "a"})}, NOW),
        ({"resources": frozenset({"urn:c"})}, NOW),
        ({"resources": frozenset({"urn:c"}), "unless_granted": False}, NOW),
        ({"resources": frozenset({"urn:a", "urn:c"})}, NOW),
        ({"resources": frozenset({"urn:"})}, NOW),
    ],
)
def test_a_rotation_that_does_not_meet_its_condition_changes_nothing(
    store: SessionStore, session: Session, change: dict[str, Any], now: int
) -> None:
    outcome = store.rotate(rotation(session, **change), now)
    assert not outcome.done
    assert outcome.session == session
    assert store.get(session.sid) == session


@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({}, NOW + 999),
        ({"sessions_valid_after": NOW}, NOW),
        ({"scopes": frozenset({"a"})}, NOW),
        ({"scopes": frozenset({"a", "b"})}, NOW),
        ({"resources": frozenset({"urn:b"})}, NOW),
        ({"resources": frozenset({"urn:a", "urn:b"}), "unless_granted": False}, NOW),
    ],
)
def test_a_rotation_just_inside_its_condition_takes_place(
    store: SessionStore, session: Session, change: dict[str, Any], now: int
) -> None:
    assert store.rotate(rotation(session, **change), now).done


def test_a_session_without_resources_may_have_those_of_its_application(
    store: SessionStore, make_session: MakeSession
) -> None:
    session = make_session(current_hash=T0)
    store.create(session)
    asked = frozenset({"urn:a", "urn:b"})
    assert not store.rotate(rotation(session, resources=asked, unless_granted=False), NOW).done
    assert store.rotate(rotation(session, resources=asked), NOW).done


def test_the_largest_rotation_there_may_be_fits_into_a_condition(
    store: SessionStore, make_session: MakeSession
) -> None:
    """DynamoDB limits an expression to 4 KB."""
    scopes = frozenset(str(number) for number in range(MAX_NARROWED_SCOPES))
    resources = frozenset(f"urn:a:{number}" for number in range(MAX_RESOURCES))
    session = make_session(current_hash=T0, scopes=scopes, resources=resources)
    store.create(session)
    assert store.rotate(rotation(session, scopes=scopes, resources=resources), NOW).done


def test_the_absolute_deadline_is_enforced_by_itself(
    store: SessionStore, make_session: MakeSession
) -> None:
    """Even if an idle deadline was ever written beyond it."""
    session = make_session(
        current_hash=T0, idle_deadline_at=NOW + 2000, absolute_deadline_at=NOW + 100
    )
    store.create(session)
    assert not store.rotate(rotation(session), NOW + 100).done
    assert store.rotate(rotation(session), NOW + 99).done


def test_an_ended_session_is_not_rotated(store: SessionStore, session: Session) -> None:
    ended = end(store, session).session
    outcome = store.rotate(rotation(session), NOW)
    assert not outcome.done
    assert outcome.session == ended
    assert outcome.session
    assert outcome.session.dead_because(NOW) is Reason.REVOKED_BY_USER


def test_a_session_that_is_gone_is_not_brought_back(store: SessionStore, session: Session) -> None:
    outcome = store.rotate(rotation(session, sid="B" * 22), NOW)
    assert (outcome.done, outcome.session) == (False, None)
    assert store.get("B" * 22) is None


# --- end, settle ---------------------------------------------------------------------------------


def test_an_end_keeps_its_reason_for_its_time_and_is_due_at_once(
    store: SessionStore, session: Session
) -> None:
    rotated = store.rotate(rotation(session), NOW).session
    assert rotated
    outcome = end(store, session)
    assert outcome.done
    assert outcome.session == store.get(session.sid)
    assert outcome.session == replace(
        rotated,
        ended_at=NOW + 10,
        reason=Reason.REVOKED_BY_USER,
        ended_by="app",
        expires_at=NOW + 510,
        attention_at=NOW + 10,
        sealed=None,
        request_hash=None,
        leeway_until_at=None,
        retry_until_at=None,
    )


def test_the_end_of_a_reuse_keeps_its_evidence(store: SessionStore, session: Session) -> None:
    evidence = {"reuse_cause": "stale_copy", "behind": 2, "same_agent": True}
    outcome = end(store, session, reason=Reason.REUSED, by="", evidence=evidence)
    assert outcome.session.evidence == evidence
    assert store.get(session.sid) == outcome.session


def test_the_first_end_stays(store: SessionStore, session: Session) -> None:
    first = end(store, session, reason=Reason.REUSED, by="")
    second = end(store, session, reason=Reason.REVOKED_BY_OPERATOR, now=NOW + 99)
    assert not second.done
    assert second.session == first.session
    assert second.session.reason is Reason.REUSED


def test_an_end_may_lie_in_the_past(store: SessionStore, session: Session) -> None:
    ended = end(store, session, now=NOW + 1300, ended_at=NOW + 1000, seen=session).session
    assert (ended.ended_at, ended.attention_at) == (NOW + 1000, NOW + 1300)
    assert ended.expires_at == NOW + 1300 + 500


@pytest.mark.parametrize(
    ("expected", "done"),
    [
        ({"client_id": "app"}, True),
        ({"client_id": "another"}, False),
    ],
)
def test_an_end_can_expect_an_application(
    store: SessionStore, session: Session, expected: dict[str, Any], done: bool
) -> None:
    assert end(store, session, **expected).done is done
    assert (store.get(session.sid) == session) is not done


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ({}, True),
        ({"idle_deadline_at": NOW + 999}, False),
        # A refresh and a use move no deadline where the idle one is the absolute one.
        ({"rotated_at": None}, False),
        ({"rotated_at": NOW - 101}, False),
        ({"active_at": None}, False),
        ({"active_at": NOW - 51}, False),
    ],
)
def test_what_is_to_be_ended_or_shortened_must_be_as_it_was_seen(
    store: SessionStore, session: Session, seen: dict[str, Any], done: bool
) -> None:
    now = replace(session, sid="B" * 22, rotated_at=NOW - 100, active_at=NOW - 50)
    store.create(now)
    saw = replace(now, **seen)
    becomes = replace(saw, attention_at=NOW + 900)
    assert store.shorten(saw, becomes).done is done
    assert (store.get(now.sid) == now) is not done
    assert end(store, now, seen=saw).done is done


def test_a_session_that_has_expired_keeps_that_as_its_reason(
    store: SessionStore, session: Session
) -> None:
    """Whoever comes later ends nothing, whether or not the sweep has been there."""
    assert not end(store, session, now=NOW + 1000).done
    assert store.get(session.sid) == session
    assert end(store, session, now=NOW + 999).done


def test_a_refresh_wins_over_the_end_that_saw_the_old_deadline(
    store: SessionStore, session: Session
) -> None:
    store.rotate(rotation(session), NOW + 999)
    outcome = end(store, session, now=NOW + 1000, seen=session)
    assert not outcome.done
    assert outcome.session.ended_at is None


def test_a_session_that_is_not_there_is_not_ended(store: SessionStore, session: Session) -> None:
    outcome = end(store, replace(session, sid="B" * 22))
    assert (outcome.done, outcome.session) == (False, None)
    assert store.get("B" * 22) is None


def test_a_published_end_is_not_due_any_more(store: SessionStore, session: Session) -> None:
    ended = end(store, session).session
    assert due(store, session.sid, NOW + 10) == [[session.sid]]
    settled = store.settle(ended)
    assert settled.done
    assert settled.session == replace(ended, attention_at=None)
    assert due(store, session.sid, NOW + 99999) == [[]]


def test_a_live_session_is_not_settled(store: SessionStore, session: Session) -> None:
    assert not store.settle(session).done
    assert store.get(session.sid) == session


# --- rearm, due ----------------------------------------------------------------------------------


def due(store: SessionStore, sid: str, now: int) -> list[list[str]]:
    pages: list[list[str]] = []
    after = None
    while True:
        keys, after = store.due(attention_shard(sid), now, after=after)
        pages.append([key["sid"]["S"] for key in keys])
        if after is None:
            return pages


def test_a_session_is_due_from_the_exact_second_on(store: SessionStore, session: Session) -> None:
    assert due(store, session.sid, NOW + 999) == [[]]
    assert due(store, session.sid, NOW + 1000) == [[session.sid]]
    assert due(store, session.sid, NOW + 99999) == [[session.sid]]


def test_a_rearmed_session_is_due_at_its_next_instant(
    store: SessionStore, session: Session
) -> None:
    becomes = replace(session, attention_at=NOW + 2000, warned_deadline_at=NOW + 1000)
    becomes = replace(becomes, warned_absolute_deadline_at=NOW + 3000)
    outcome = store.rearm(session, becomes)
    assert outcome.done
    assert outcome.session == becomes
    assert due(store, session.sid, NOW + 1999) == [[]]
    assert due(store, session.sid, NOW + 2000) == [[session.sid]]


def test_the_second_of_two_sweeps_rearms_nothing(store: SessionStore, session: Session) -> None:
    first = replace(session, attention_at=NOW + 2000)
    store.rearm(session, first)
    again = store.rearm(session, replace(session, attention_at=NOW + 3000, warned_deadline_at=NOW))
    assert not again.done
    assert again.session == first


def test_a_session_whose_deadlines_were_brought_forward_is_not_rearmed_by_what_was_seen(
    store: SessionStore, session: Session
) -> None:
    for idle, absolute in ((NOW + 900, session.absolute_deadline_at), (NOW + 800, NOW + 800)):
        seen = store.get(session.sid)
        assert seen is not None
        becomes = replace(seen, idle_deadline_at=idle, absolute_deadline_at=absolute)
        store.shorten(seen, replace(becomes, attention_at=NOW + 1000))
        assert not store.rearm(seen, replace(seen, attention_at=NOW + 2000)).done


def test_a_session_that_was_refreshed_since_it_was_seen_is_rearmed(
    store: SessionStore, session: Session
) -> None:
    """its next visit then files it under its new instant"""
    store.rotate(rotation(session), NOW + 999)
    assert store.rearm(session, replace(session, attention_at=NOW + 2000)).done


def test_a_start_that_was_published_leaves_no_mark(store: SessionStore, session: Session) -> None:
    new = replace(session, sid="B" * 22, unannounced=True)
    assert store.create(new) == new
    assert store.get(new.sid) == new
    becomes = replace(new, unannounced=False, attention_at=NOW + 2000)
    assert store.rearm(new, becomes).session == becomes
    assert "unannounced" not in to_item(becomes)


def test_the_end_of_a_session_whose_start_is_to_be_published_keeps_that_until_it_is_settled(
    store: SessionStore, session: Session
) -> None:
    new = replace(session, sid="B" * 22, unannounced=True)
    store.create(new)
    ended = end(store, new).session
    assert ended.unannounced
    settled = store.settle(ended).session
    assert settled == replace(ended, unannounced=False, attention_at=None)


def test_an_ended_session_is_not_rearmed(store: SessionStore, session: Session) -> None:
    ended = end(store, session, now=NOW + 1000, seen=session).session
    assert ended.attention_at == session.attention_at
    assert not store.rearm(session, replace(session, attention_at=NOW + 2000)).done
    assert store.get(session.sid) == ended


def in_one_shard(count: int) -> list[str]:
    """So many session ids that share the shard of `"A" * 22`."""
    wanted, number = attention_shard("A" * 22), 0
    found: list[str] = []
    while len(found) < count:
        sid = f"{number:022d}"
        if attention_shard(sid) == wanted:
            found.append(sid)
        number += 1
    return found


def test_due_sessions_come_oldest_first_and_a_page_at_a_time(
    store: SessionStore, make_session: MakeSession
) -> None:
    sids = in_one_shard(BATCH + 5)
    for place, sid in enumerate(reversed(sids)):
        store.create(make_session(sid=sid, attention_at=NOW + place))
    pages = due(store, "A" * 22, NOW + BATCH + 1)
    assert [len(page) for page in pages] == [BATCH, 2]
    assert [sid for page in pages for sid in page] == sids[::-1][: BATCH + 2]


def test_only_the_shard_that_is_asked_for_is_looked_at(
    store: SessionStore, session: Session
) -> None:
    other = (attention_shard(session.sid) + 1) % 16
    assert store.due(other, NOW + 99999) == ([], None)


# --- of_subject, read ----------------------------------------------------------------------------


def test_a_subjects_sessions_come_newest_first_and_a_page_at_a_time(
    store: SessionStore, make_session: MakeSession
) -> None:
    for number in range(7):
        store.create(make_session(sid=f"{number:022d}", started_at=NOW + number))
    store.create(make_session(sid="C" * 22, sub="eve"))

    found: list[Session] = []
    after, pages = None, 0
    while True:
        page, after = store.of_subject("ada", limit=3, after=after)
        assert len(page) <= 3
        found, pages = found + page, pages + 1
        if after is None:
            break
    assert pages == 3
    assert [session.started_at for session in found] == [NOW + 6 - number for number in range(7)]
    assert {session.sub for session in found} == {"ada"}


def test_a_subject_without_sessions_has_one_empty_page(store: SessionStore) -> None:
    assert store.of_subject("nobody", limit=100) == ([], None)


def test_ended_sessions_are_listed_too(store: SessionStore, session: Session) -> None:
    ended = end(store, session).session
    assert store.of_subject("ada", limit=100) == ([ended], None)


@pytest.mark.parametrize("count", [0, 1, 100, 101, 205])
def test_sessions_are_read_in_batches(
    store: SessionStore, client: Any, table: str, make_session: MakeSession, count: int
) -> None:
    sessions = [make_session(sid=f"{number:022d}") for number in range(count)]
    for session in sessions:
        client.put_item(TableName=table, Item=to_item(session))
    sids = [session.sid for session in sessions]
    assert sorted(store.read([*sids]), key=lambda session: session.sid) == sessions
    assert store.read(["Z" * 22]) == []


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionConflictException",
        "ResourceNotFoundException",
        "InternalServerError",
        "ValidationException",
    ],
)
def test_whatever_else_dynamodb_says_is_a_fault_and_never_a_reuse(
    make_session: MakeSession, code: str
) -> None:
    """Promise 7: a fault signs nobody out."""
    session = make_session(ended_at=NOW, attention_at=NOW)
    dynamodb = dynamodb_client()
    store = SessionStore(dynamodb, "sessions")
    calls: dict[str, Callable[[], Any]] = {
        "put_item": lambda: store.create(session),
        "get_item": lambda: store.get(session.sid),
        "update_item": lambda: store.rotate(rotation(session), NOW),
        "query": lambda: store.due(0, NOW),
        "batch_get_item": lambda: store.read([session.sid]),
    }
    for operation, call in calls.items():
        with Stubber(dynamodb) as stubber:
            stubber.add_client_error(operation, code, "the-message")
            with pytest.raises(Fault, match=f"^dynamodb: {code}$"):
                call()
    for verb in (lambda: end(store, session), lambda: store.settle(session)):
        with Stubber(dynamodb) as stubber:
            stubber.add_client_error("update_item", code, "the-message")
            with pytest.raises(Fault, match=f"^dynamodb: {code}$"):
                verb()


class Timeout:
    """A client whose every call is lost on the way."""

    def __getattr__(self, name: str) -> Any:
        def call(**_: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="https://dynamodb.test")

        return call


def test_a_timeout_is_a_fault(make_session: MakeSession) -> None:
    client: Any = Timeout()
    with pytest.raises(Fault, match=r"^dynamodb: ReadTimeoutError$"):
        SessionStore(client, "sessions").rotate(rotation(make_session()), NOW)


class Unprocessed:
    """BatchGetItem that answers one key a call, `tries` times."""

    def __init__(self, items: list[Any], tries: int) -> None:
        self.items, self.tries, self.calls = items, tries, 0

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - boto3's name
        self.calls += 1
        keys = RequestItems["sessions"]["Keys"]
        if self.calls > self.tries:
            return {"Responses": {}, "UnprocessedKeys": RequestItems}
        found = [item for item in self.items if {"sid": item["sid"]} == keys[0]]
        rest = {"sessions": {"Keys": keys[1:]}} if keys[1:] else {}
        return {"Responses": {"sessions": found}, "UnprocessedKeys": rest}


def test_keys_that_dynamodb_left_out_are_asked_for_again(make_session: MakeSession) -> None:
    sessions = [make_session(sid=f"{number:022d}") for number in range(3)]
    client: Any = Unprocessed([to_item(session) for session in sessions], tries=3)
    assert SessionStore(client, "sessions").read([s.sid for s in sessions]) == sessions


def test_keys_that_dynamodb_keeps_leaving_out_are_a_fault(make_session: MakeSession) -> None:
    """Half a list would say that the others are gone."""
    client: Any = Unprocessed([to_item(make_session())], tries=0)
    with pytest.raises(Fault, match="unprocessed"):
        SessionStore(client, "sessions").read(["A" * 22])
    assert client.calls == 5


# --- bound to a key ------------------------------------------------------------------------------

JKT = "A" * 43
OTHER_JKT = "B" * 42 + "A"


@pytest.fixture
def bound(make_session: MakeSession, store: SessionStore) -> Session:
    """A stored session that is bound to a key, whose current token is T0."""
    started = make_session(sid="K" * 22, current_hash=T0, jkt=JKT, attention_at=NOW + 1000)
    store.create(started)
    return started


def test_a_bound_session_rotates_with_its_key_and_keeps_the_proof(
    store: SessionStore, bound: Session
) -> None:
    outcome = store.rotate(rotation(bound, jkt=JKT, proof_id=b"p" * 16), NOW)
    assert outcome.done
    assert outcome.session is not None
    assert (outcome.session.jkt, outcome.session.proof_id) == (JKT, b"p" * 16)
    again = rotation(bound, presented_hash=T1, successor_hash=b"2" * 32, jkt=JKT)
    assert not store.rotate(replace(again, proof_id=b"p" * 16), NOW).done
    assert store.get(bound.sid) == outcome.session
    assert store.rotate(replace(again, proof_id=b"q" * 16), NOW).done


def test_a_bound_session_does_not_rotate_with_another_key(
    store: SessionStore, bound: Session
) -> None:
    outcome = store.rotate(rotation(bound, jkt=OTHER_JKT, proof_id=b"p" * 16), NOW)
    assert (outcome.done, outcome.session) == (False, bound)
    assert store.get(bound.sid) == bound


def test_with_rotation_off_no_proof_is_kept(store: SessionStore, bound: Session) -> None:
    kept = rotation(bound, successor_hash=None, sealed=None, jkt=JKT, proof_id=b"p" * 16)
    for _ in range(2):
        outcome = store.rotate(kept, NOW)
        assert outcome.done
        assert outcome.session is not None
        assert outcome.session.proof_id is None
