"""Why a replaced refresh token came back: told apart as far as the evidence allows.

    the token          its sender, compared with that of the last rotation     cause
    ---------          ---------------------------------------------------     -----
    the direct parent  the same agent, within 10 s of the rotation             concurrent
                       the same agent, later, from whatever network            lost_response
                       another agent                                           theft_like
    an older one       the same agent and network                              stale_copy
                       another agent or another network                        theft_like
    any                nothing is known of one of the two                      unknown

Of the direct parent the successor has never been used: whoever rotated has most likely never got
it. That is what a lost answer looks like, and what two callers with one token look like, who differ
by coming at the same time. A phone that changes networks between the two is no thief, so here the
network says nothing. The successor of an older token has been used, so its holder had the newer one
and went back, as a restored backup does; or they never had it, as a second copy of the program or a
thief. Then another network counts. Another agent always does: one client does not change its name
between two refreshes, and no version is part of the name.

It is a likelihood, for whoever has to decide what to do next. Whatever the cause, the session ends,
and the client learns nothing of it: a thief could try out what passes.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ratchet.refresh_token import RefreshToken
from ratchet.sender import Sender
from ratchet.session import Session

AT_ONCE_SECONDS = 10
"""Two tabs that noticed the same expiry, one of which met a cold start or tried twice."""


class ReuseCause(StrEnum):
    LOST_RESPONSE = "lost_response"
    CONCURRENT = "concurrent"
    STALE_COPY = "stale_copy"
    THEFT_LIKE = "theft_like"
    UNKNOWN = "unknown"


def cause_of(
    *,
    parent: bool,
    since_rotation_seconds: int,
    same_network: bool | None,
    same_agent: bool | None,
) -> ReuseCause:
    """The table above. None: not known."""
    if same_agent is None:
        return ReuseCause.UNKNOWN
    if not same_agent:
        return ReuseCause.THEFT_LIKE
    if parent:
        at_once = since_rotation_seconds <= AT_ONCE_SECONDS
        return ReuseCause.CONCURRENT if at_once else ReuseCause.LOST_RESPONSE
    return ReuseCause.THEFT_LIKE if same_network is False else ReuseCause.STALE_COPY


def evidence(
    token: RefreshToken,
    session: Session,
    sender: Sender,
    *,
    request_hash: bytes | None,
    now: int,
) -> Mapping[str, Any]:
    """The cause and what speaks for it, of a token that `session` has replaced.

    behind: generations. since_rotation_seconds: since the last rotation. same_network, same_agent:
    as the last rotation's, left out if not known. key_sent: an Idempotency-Key came, and did not
    allow it. key_before: what the rotation itself came with, of the direct parent only: "same",
    that one (now it is too late), "other", or "none" that counts. One word and not two facts: with
    its evidence a session is no larger than before.

    request_hash: of the request's Idempotency-Key, None without one.
    """
    then = Sender(session.network, session.agent)
    # Without an address nothing at all was noted; a client may well have no User-Agent.
    known = bool(then.network and sender.network)
    # A line has networks of both kinds, and a device takes now one, now the other.
    comparable = known and (":" in then.network) == (":" in sender.network)
    same_network = sender.network == then.network if comparable else None
    same_agent = sender.agent == then.agent if known else None
    since_rotation_seconds = max(0, now - (session.rotated_at or now))
    parent = session.parent_hash == token.hash()
    cause = cause_of(
        parent=parent,
        since_rotation_seconds=since_rotation_seconds,
        same_network=same_network,
        same_agent=same_agent,
    )
    found = {
        "reuse_cause": cause.value,
        "behind": session.generation - token.generation,
        "since_rotation_seconds": since_rotation_seconds,
        "same_network": same_network,
        "same_agent": same_agent,
        "key_sent": request_hash is not None,
        # That of an older token's rotation is gone.
        "key_before": _key_before(session, request_hash) if parent else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _key_before(session: Session, request_hash: bytes | None) -> str:
    if session.request_hash is None:
        return "none"
    return "same" if session.request_hash == request_hash else "other"
