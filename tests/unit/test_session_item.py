"""A session as an item: nothing is lost on the way, and it stays under 1 KB (promise 1)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.errors import Fault
from ratchet.policy import MAX_SECONDS
from ratchet.reasons import Reason
from ratchet.reuse import ReuseCause
from ratchet.session import MAX_AGENT, Session
from ratchet.session_item import (
    ATTENTION_SHARDS,
    attention_shard,
    from_item,
    item_bytes,
    largest_bytes,
    seconds,
    to_item,
)

NOW = 1_800_000_000
MakeSession = Callable[..., Session]

TEXT = st.text(max_size=20)
NAME = st.text(min_size=1, max_size=20)
HASH = st.binary(min_size=32, max_size=32)
INSTANT = st.integers(1_000_000_000, 2**32 - 1)
CLIENT_ID = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
AMR = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8), max_size=3
).map(tuple)
STARTED: dict[str, st.SearchStrategy[Any]] = {
    "sid": st.text("ABCabc012-_", min_size=22, max_size=22),
    "client_id": CLIENT_ID.filter(bool),
    "sub": NAME,
    "scopes": st.frozensets(NAME, max_size=4),
    "resources": st.frozensets(NAME, max_size=3),
    "started_at": INSTANT,
    "auth_time": INSTANT,
    "amr": AMR,
    "acr": TEXT,
    "device": TEXT,
    "network": TEXT,
    "agent": TEXT,
    "unannounced": st.booleans(),
    "active_at": st.none() | INSTANT,
    "claims": st.dictionaries(TEXT, JSON, max_size=3),
    "jkt": st.none() | HASH.map(lambda key: urlsafe_b64encode(key).decode().rstrip("=")),
    "current_hash": HASH,
    "idle_deadline_at": INSTANT,
    "absolute_deadline_at": INSTANT,
    "attention_at": INSTANT,
    "expires_at": INSTANT,
}
LATER: dict[str, st.SearchStrategy[Any]] = {
    "proof_id": st.none() | st.binary(min_size=16, max_size=16),
    "parent_hash": st.none() | HASH,
    "sealed": st.none() | st.binary(min_size=106, max_size=106),
    "request_hash": st.none() | HASH,
    "generation": st.integers(0, 2**32 - 1),
    "rotated_at": st.none() | INSTANT,
    "warned_deadline_at": st.none() | INSTANT,
    "warned_absolute_deadline_at": st.none() | INSTANT,
}
ENDED: dict[str, st.SearchStrategy[Any]] = {
    "ended_at": INSTANT,
    "reason": st.sampled_from(Reason),
    "ended_by": CLIENT_ID,
    "evidence": st.dictionaries(TEXT, st.integers() | st.booleans() | TEXT, max_size=3),
}


@given(
    session=st.builds(Session, **STARTED, **LATER)
    | st.builds(Session, **STARTED, **LATER, **ENDED)
    | st.builds(Session, **{**STARTED, "attention_at": st.none()}, **LATER, **ENDED)
)
def test_a_session_comes_back_from_its_item_as_it_was(session: Session) -> None:
    idle_deadline_at = min(session.idle_deadline_at, session.absolute_deadline_at)
    assert from_item(to_item(session)) == replace(session, idle_deadline_at=idle_deadline_at)


def test_an_absolute_deadline_that_was_moved_earlier_goes_before_an_idle_one(
    make_session: MakeSession,
) -> None:
    """A refresh caps the idle deadline at the absolute one of its token, which may be the old."""
    item = to_item(make_session(idle_deadline_at=NOW + 20, absolute_deadline_at=NOW + 10))
    session = from_item(item)
    assert session.idle_deadline_at == NOW + 10
    assert session.dead_because(NOW + 9) is None
    assert session.dead_because(NOW + 10) is Reason.ABSOLUTE_EXPIRED


def test_what_is_empty_is_left_out(make_session: MakeSession) -> None:
    """DynamoDB takes no empty set, and an absent attribute costs no room."""
    assert set(to_item(make_session(scopes=frozenset()))) == {
        "sid",
        "client_id",
        "sub",
        "started_at",
        "auth_time",
        "current_hash",
        "generation",
        "idle_deadline_at",
        "absolute_deadline_at",
        "expires_at",
    }


def test_an_attribute_of_a_later_version_is_ignored(make_session: MakeSession) -> None:
    session = make_session()
    later = {"cnf": {"M": {"jkt": {"S": "x"}}}, "risk": {"N": "1"}, "flags": {"BOOL": True}}
    assert from_item({**to_item(session), **later}) == session


def test_a_reason_of_a_later_version_still_ends_the_session(make_session: MakeSession) -> None:
    session = make_session(ended_at=NOW, reason=Reason.REUSED)
    item = {**to_item(session), "reason": {"S": "moon_phase"}}
    assert from_item(item).ended_at == NOW
    assert from_item(item).dead_because(NOW) is not None


DAMAGE: list[tuple[str, Any]] = [
    ("sid", None),
    ("client_id", None),
    ("sub", None),
    ("current_hash", None),
    ("idle_deadline_at", None),
    ("absolute_deadline_at", None),
    ("generation", {"N": "many"}),
    ("started_at", {"S": "1800000000"}),
    ("sub", {"N": "1"}),
    ("claims", {"S": "{"}),
    ("current_hash", {"NULL": True}),
    ("scopes", {"L": []}),
]


@pytest.mark.parametrize(("name", "value"), DAMAGE)
def test_a_damaged_item_is_a_fault(make_session: MakeSession, name: str, value: Any) -> None:
    """Never a session with holes, and never a refusal: nobody is signed out by our damage."""
    item = to_item(make_session())
    if value is None:
        del item[name]
    else:
        item[name] = value
    with pytest.raises(Fault, match="is damaged"):
        from_item(item)


@pytest.mark.parametrize("instant", [0, NOW, 2**32 - 1])
def test_an_instant_is_written_in_seconds(instant: int) -> None:
    assert seconds(instant) == {"N": str(instant)}


@pytest.mark.parametrize("instant", [-1, 2**32, NOW * 1000])
def test_milliseconds_are_refused(instant: int) -> None:
    with pytest.raises(ValueError, match="epoch seconds"):
        seconds(instant)


@pytest.mark.parametrize(
    "name", ["started_at", "idle_deadline_at", "absolute_deadline_at", "expires_at", "attention_at"]
)
def test_no_instant_of_a_session_can_be_milliseconds(make_session: MakeSession, name: str) -> None:
    with pytest.raises(ValueError, match="epoch seconds"):
        to_item(make_session(**{name: NOW * 1000}))


def test_only_a_session_that_needs_attention_is_in_its_index(make_session: MakeSession) -> None:
    due = to_item(make_session(attention_at=NOW))
    assert due["attention_at"] == {"N": str(NOW)}
    assert due["attention_shard"] == {"N": str(attention_shard("A" * 22))}
    assert not {"attention_at", "attention_shard"} & to_item(make_session()).keys()


def test_sessions_are_spread_evenly_over_the_shards() -> None:
    shards = [attention_shard(f"{number:022d}") for number in range(1600)]
    assert set(shards) == set(range(ATTENTION_SHARDS))
    assert max(map(shards.count, set(shards))) < 200


@pytest.mark.parametrize(
    ("item", "size"),
    [
        # "Strings are Unicode with UTF-8 binary encoding": name + value
        ({"sid": {"S": "abc"}}, 3 + 3),
        ({"sid": {"S": ""}}, 3),
        ({"sub": {"S": "é€😀"}}, 3 + 2 + 3 + 4),
        ({"é": {"S": "a"}}, 2 + 1),
        # "approximately (attribute name) + (1 byte per two significant digits) + (1 byte)"
        ({"n": {"N": "7"}}, 1 + 1 + 1),
        ({"n": {"N": "42"}}, 1 + 1 + 1),
        ({"n": {"N": "123"}}, 1 + 2 + 1),
        ({"started_at": {"N": "1800000001"}}, 10 + 5 + 1),
        # "(attribute name) + (number of raw bytes)"
        ({"hash": {"B": bytes(32)}}, 4 + 32),
        # a set: its members
        ({"scopes": {"SS": ["a", "bcd", "é"]}}, 6 + 1 + 3 + 2),
        ({"a": {"S": "b"}, "c": {"B": b"12"}, "d": {"N": "1"}}, 2 + 3 + 3),
        ({}, 0),
    ],
)
def test_an_item_takes_the_room_that_dynamodb_documents(item: dict[str, Any], size: int) -> None:
    assert item_bytes(item) == size


@given(
    session=st.builds(Session, **STARTED),
    later=st.fixed_dictionaries(LATER),
    ended=st.none() | st.fixed_dictionaries(ENDED),
    idle_deadline_at=INSTANT,
    attention_at=st.none() | INSTANT,
)
def test_a_session_never_outgrows_what_was_reckoned_when_it_started(
    session: Session,
    later: dict[str, Any],
    ended: dict[str, Any] | None,
    idle_deadline_at: int,
    attention_at: int | None,
) -> None:
    """Promise 2: one write unit for a refresh, whatever the session has been through."""
    reckoned = largest_bytes(session)
    if session.jkt is None:
        # a session that is bound to no key keeps nothing of a proof
        later = {**later, "proof_id": None}
    become = replace(session, **later, idle_deadline_at=idle_deadline_at, attention_at=attention_at)
    if ended is not None:
        # as `SessionStore.end` does; evidence has a test of its own, below
        become = replace(become, **ended | {"evidence": {}}, sealed=None, request_hash=None)
    assert item_bytes(to_item(become)) <= reckoned


# Of a session that everything has happened to.
FULL: dict[str, Any] = {
    "parent_hash": bytes(32),
    "sealed": bytes(106),
    "request_hash": bytes(32),
    "generation": 2**32 - 1,
    "rotated_at": NOW,
    "leeway_until_at": NOW,
    "retry_until_at": NOW,
    "active_at": 2**32 - 1,
    "network": "ffff:ffff:ffff::/48",
    "agent": "x" * MAX_AGENT,
    "unannounced": True,
    "warned_deadline_at": NOW,
    "warned_absolute_deadline_at": NOW,
}


def test_what_is_reckoned_is_reached(make_session: MakeSession) -> None:
    """Not a bound so wide that it refuses what would fit."""
    session = make_session(attention_at=NOW)
    assert item_bytes(to_item(replace(session, **FULL))) == largest_bytes(session)


@pytest.mark.parametrize("parent", [True, False])
def test_the_evidence_of_a_reuse_fits_into_what_its_end_sets_free(
    make_session: MakeSession, parent: bool
) -> None:
    session = make_session(attention_at=NOW)
    evidence: dict[str, Any] = {
        "reuse_cause": max(ReuseCause, key=len).value,
        # no session lives longer
        "since_rotation_seconds": MAX_SECONDS,
        "same_network": False,
        "same_agent": False,
        "key_sent": False,
    }
    evidence |= {"key_before": "other", "behind": 1} if parent else {"behind": 2**31}
    ended = {"ended_at": NOW, "reason": Reason.REUSED, "evidence": evidence}
    # as `SessionStore.end` does
    ended |= dict.fromkeys(("sealed", "request_hash", "leeway_until_at", "retry_until_at"))
    item = {**to_item(replace(session, **FULL | ended)), "ended_by": {"S": ""}}
    assert item_bytes(item) <= largest_bytes(session)
