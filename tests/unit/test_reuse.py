"""The rule of `reuse`, row by row, and the evidence that it goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratchet.refresh_token import RefreshToken, mint
from ratchet.reuse import AT_ONCE_SECONDS, ReuseCause, cause_of, evidence
from ratchet.sender import UNKNOWN, Sender
from ratchet.session import Session

NOW = 1_800_000_000
SOON, LATER = AT_ONCE_SECONDS, AT_ONCE_SECONDS + 1
KEY = b"k" * 31 + b"l"
PHONE = Sender("203.0.113.0/24", "okhttp")
MakeSession = Callable[..., Session]


@pytest.mark.parametrize(
    ("parent", "since", "same_agent", "same_network", "cause"),
    [
        (True, 0, True, True, "concurrent"),
        (True, SOON, True, True, "concurrent"),
        (True, SOON, True, False, "concurrent"),
        (True, SOON, True, None, "concurrent"),
        (True, LATER, True, True, "lost_response"),
        (True, 86400 * 90, True, True, "lost_response"),
        # a phone that changed networks is no thief
        (True, LATER, True, False, "lost_response"),
        (True, LATER, True, None, "lost_response"),
        (True, SOON, False, True, "theft_like"),
        (True, LATER, False, True, "theft_like"),
        (True, LATER, False, False, "theft_like"),
        (False, SOON, True, True, "stale_copy"),
        (False, LATER, True, True, "stale_copy"),
        (False, LATER, True, None, "stale_copy"),
        (False, SOON, True, False, "theft_like"),
        (False, LATER, True, False, "theft_like"),
        (False, LATER, False, True, "theft_like"),
        (False, LATER, False, False, "theft_like"),
        (True, SOON, None, None, "unknown"),
        (False, LATER, None, None, "unknown"),
    ],
)
def test_each_row_of_the_rule(
    parent: bool, since: int, same_agent: bool | None, same_network: bool | None, cause: str
) -> None:
    found = cause_of(
        parent=parent,
        since_rotation_seconds=since,
        same_network=same_network,
        same_agent=same_agent,
    )
    assert found is ReuseCause(cause)


@pytest.fixture
def token(peppers: Any) -> RefreshToken:
    """Of generation 4."""
    return mint(
        session_bytes=bytes(16),
        generation=4,
        idle_deadline_at=NOW + 1000,
        absolute_deadline_at=NOW + 1000,
        peppers=peppers,
        now=NOW,
    )


@pytest.fixture
def rotated(make_session: MakeSession, token: RefreshToken) -> Callable[..., Session]:
    """A session that the phone has moved on from `token` at NOW."""

    def make(**changes: Any) -> Session:
        last = {"parent_hash": token.hash(), "generation": 5, "rotated_at": NOW}
        where = {"network": PHONE.network, "agent": PHONE.agent}
        return make_session(**{**last, **where, **changes})

    return make


def seen(token: RefreshToken, session: Session, sender: Sender = PHONE) -> dict[str, Any]:
    return dict(evidence(token, session, sender, request_hash=KEY, now=NOW + 47))


def test_the_evidence_says_what_the_cause_was_told_by(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    assert seen(token, rotated()) == {
        "reuse_cause": "lost_response",
        "behind": 1,
        "since_rotation_seconds": 47,
        "same_network": True,
        "same_agent": True,
        "key_sent": True,
        "key_before": "none",
    }


@pytest.mark.parametrize(
    ("before", "sent", "told"),
    [
        (None, None, {"key_sent": False, "key_before": "none"}),
        (None, KEY, {"key_sent": True, "key_before": "none"}),
        (KEY, None, {"key_sent": False, "key_before": "other"}),
        (KEY, KEY, {"key_sent": True, "key_before": "same"}),
        (KEY, KEY[::-1], {"key_sent": True, "key_before": "other"}),
    ],
)
def test_of_the_direct_parent_the_keys_of_both_requests_are_known(
    token: RefreshToken,
    rotated: Callable[..., Session],
    before: bytes | None,
    sent: bytes | None,
    told: dict[str, Any],
) -> None:
    session = rotated(request_hash=before)
    found = evidence(token, session, PHONE, request_hash=sent, now=NOW + 47)
    assert {name: value for name, value in found.items() if name.startswith("key_")} == told


def test_of_an_older_token_nothing_is_known_of_the_key_before(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    found = seen(token, rotated(parent_hash=b"another" * 4, generation=9, request_hash=KEY))
    assert {name for name in found if name.startswith("key_")} == {"key_sent"}


def test_an_older_token_is_so_many_generations_behind(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    found = seen(token, rotated(parent_hash=b"another" * 4, generation=9))
    assert (found["reuse_cause"], found["behind"]) == ("stale_copy", 5)


def test_with_rotation_off_the_parent_of_a_token_that_was_used_is_an_older_one(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    found = seen(token, rotated(parent_hash=None))
    assert (found["reuse_cause"], found["behind"]) == ("stale_copy", 1)


@pytest.mark.parametrize("then", [PHONE, UNKNOWN])
def test_of_a_session_from_before_nothing_is_known(
    token: RefreshToken, rotated: Callable[..., Session], then: Sender
) -> None:
    """stored by an older version; or the request has no source address"""
    now = UNKNOWN if then is PHONE else PHONE
    found = seen(token, rotated(network=then.network, agent=then.agent), now)
    assert found["reuse_cause"] == "unknown"
    assert not {"same_network", "same_agent"} & found.keys()


def test_a_client_without_a_name_is_the_same_as_itself_only(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    nameless = Sender(PHONE.network, "")
    assert seen(token, rotated(agent=""), nameless)["same_agent"] is True
    assert seen(token, rotated(), nameless)["same_agent"] is False


def test_an_ipv4_and_an_ipv6_network_may_be_the_same_line(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    older = rotated(parent_hash=b"another" * 4, generation=9)
    found = seen(token, older, Sender("2001:db8:1::/48", PHONE.agent))
    assert found["reuse_cause"] == "stale_copy"
    assert "same_network" not in found
    other = seen(token, older, Sender("198.51.100.0/24", PHONE.agent))
    assert (other["reuse_cause"], other["same_network"]) == ("theft_like", False)


def test_another_instance_whose_clock_is_behind_sees_no_time_before_the_rotation(
    token: RefreshToken, rotated: Callable[..., Session]
) -> None:
    found = seen(token, rotated(rotated_at=NOW + 60))
    assert (found["since_rotation_seconds"], found["reuse_cause"]) == (0, "concurrent")
