"""A session as a DynamoDB item: attribute names and types, and how much room it takes."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.session import MAX_AGENT, MAX_NETWORK, Session

Item = dict[str, Any]
"""Attribute values by name, in DynamoDB's own notation: `{"sid": {"S": "…"}}`."""

MAX_ITEM_BYTES = 1024
"""One write unit: what keeps a refresh at one, whatever the session went through."""

ATTENTION_SHARDS = 16
"""Partitions of the attention index, each good for 330 session starts a second: of its 1,000 write
units a start takes 3, one as it is put there and two as it is moved once it has been published."""

LAST_SECOND = 2**32 - 1
OPTIONAL_INSTANTS = (
    *("rotated_at", "leeway_until_at", "retry_until_at", "active_at"),
    *("ended_at", "attention_at", "warned_deadline_at", "warned_absolute_deadline_at"),
)


def seconds(instant: int) -> dict[str, str]:
    """An instant as a number. Milliseconds would be the year 50,000: refuses what is past 2106."""
    if not 0 <= instant <= LAST_SECOND:
        raise ValueError(f"{instant} is not an instant in epoch seconds")
    return {"N": str(instant)}


def attention_shard(sid: str) -> int:
    return crc32(sid.encode()) % ATTENTION_SHARDS


def to_item(session: Session) -> Item:
    """Optional values that are empty are left out."""
    item: Item = {
        "sid": {"S": session.sid},
        "client_id": {"S": session.client_id},
        "sub": {"S": session.sub},
        "started_at": seconds(session.started_at),
        "auth_time": seconds(session.auth_time),
        "current_hash": {"B": session.current_hash},
        "generation": {"N": str(session.generation)},
        "idle_deadline_at": seconds(session.idle_deadline_at),
        "absolute_deadline_at": seconds(session.absolute_deadline_at),
        "expires_at": seconds(session.expires_at),
    }
    if session.scopes:
        item["scopes"] = {"SS": sorted(session.scopes)}
    if session.resources:
        item["resources"] = {"SS": sorted(session.resources)}
    texts = {
        "amr": " ".join(session.amr),
        "acr": session.acr,
        "device": session.device,
        "network": session.network,
        "agent": session.agent,
        "claims": json_text(session.claims),
        "evidence": json_text(session.evidence),
        "ended_by": session.ended_by,
        "reason": session.reason.value if session.reason else "",
    }
    item |= {name: {"S": text} for name, text in texts.items() if text}
    if session.jkt is not None:
        item["jkt"] = {"B": jkt_bytes(session.jkt)}
    for name in ("parent_hash", "sealed", "request_hash", "proof_id"):
        if (value := getattr(session, name)) is not None:
            item[name] = {"B": value}
    for name in OPTIONAL_INSTANTS:
        if (instant := getattr(session, name)) is not None:
            item[name] = seconds(instant)
    if session.unannounced:
        item["unannounced"] = {"BOOL": True}
    if session.attention_at is not None:
        item["attention_shard"] = {"N": str(attention_shard(session.sid))}
    return item


def from_item(item: Mapping[str, Any]) -> Session:
    """The session of an item; attributes that a later version may add are ignored.

    Raises Fault for an item that is damaged.
    """
    try:
        return _from_item(item)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sid = item.get("sid", {}).get("S")
        raise Fault(f"item {sid} is damaged: {type(error).__name__}") from None


def _from_item(item: Mapping[str, Any]) -> Session:
    def required(name: str) -> int:
        value = int(item[name]["N"])
        seconds(value)
        return value

    def instant(name: str) -> int | None:
        return required(name) if name in item else None

    def binary(name: str) -> bytes | None:
        return bytes(item[name]["B"]) if name in item else None

    def texts(name: str) -> frozenset[str]:
        return frozenset(item[name]["SS"]) if name in item else frozenset()

    def text(name: str) -> str:
        return str(item[name]["S"]) if name in item else ""

    def mapping(name: str) -> Mapping[str, Any]:
        return dict(json.loads(text(name)).items()) if name in item else {}

    absolute_deadline_at = required("absolute_deadline_at")
    return Session(
        sid=item["sid"]["S"],
        client_id=item["client_id"]["S"],
        sub=item["sub"]["S"],
        scopes=texts("scopes"),
        resources=texts("resources"),
        started_at=required("started_at"),
        auth_time=required("auth_time"),
        amr=tuple(text("amr").split()),
        acr=text("acr"),
        device=text("device"),
        network=text("network"),
        agent=text("agent"),
        claims=mapping("claims"),
        jkt=_jkt(bytes(item["jkt"]["B"])) if "jkt" in item else None,
        proof_id=binary("proof_id"),
        current_hash=bytes(item["current_hash"]["B"]),
        parent_hash=binary("parent_hash"),
        sealed=binary("sealed"),
        request_hash=binary("request_hash"),
        generation=int(item["generation"]["N"]),
        rotated_at=instant("rotated_at"),
        leeway_until_at=instant("leeway_until_at"),
        retry_until_at=instant("retry_until_at"),
        active_at=instant("active_at"),
        # A refresh caps it at the token's absolute deadline; the item's may have moved earlier.
        idle_deadline_at=min(required("idle_deadline_at"), absolute_deadline_at),
        absolute_deadline_at=absolute_deadline_at,
        ended_at=instant("ended_at"),
        reason=_reason(text("reason")),
        ended_by=text("ended_by"),
        evidence=mapping("evidence"),
        unannounced="unannounced" in item,
        attention_at=instant("attention_at"),
        warned_deadline_at=instant("warned_deadline_at"),
        warned_absolute_deadline_at=instant("warned_absolute_deadline_at"),
        expires_at=required("expires_at"),
    )


def json_text(value: Mapping[str, Any]) -> str:
    """Claims and evidence as the table has them, "" for none."""
    return json.dumps(value, separators=(",", ":")) if value else ""


def jkt_bytes(jkt: str) -> bytes:
    """A thumbprint as the table has it: 32 bytes instead of 43 characters."""
    return urlsafe_b64decode(jkt + "=")


def _jkt(stored: bytes) -> str:
    return urlsafe_b64encode(stored).decode().rstrip("=")


def _reason(text: str) -> Reason | None:
    try:
        return Reason(text) if text else None
    except ValueError:
        # one that only a later version knows: ended_at alone says that it is over
        return None


def item_bytes(item: Mapping[str, Any]) -> int:
    """DynamoDB's own arithmetic: names and values in UTF-8, a number at half a byte a digit."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    if kind == "BOOL":
        return 1
    if kind == "SS":
        return sum(len(text.encode()) for text in content)
    return len(content.encode() if kind == "S" else content)


def largest_bytes(session: Session) -> int:
    """The most room this session can ever take: rotated and warned of. Its end makes it smaller."""
    largest = replace(
        session,
        parent_hash=bytes(32),
        sealed=bytes(106),
        request_hash=bytes(32),
        generation=2**32 - 1,
        rotated_at=LAST_SECOND,
        leeway_until_at=LAST_SECOND,
        retry_until_at=LAST_SECOND,
        active_at=LAST_SECOND,
        network="x" * MAX_NETWORK,
        agent="x" * MAX_AGENT,
        unannounced=True,
        warned_deadline_at=LAST_SECOND,
        warned_absolute_deadline_at=LAST_SECOND,
        attention_at=LAST_SECOND,
        proof_id=None if session.jkt is None else bytes(16),
    )
    return item_bytes(to_item(largest))
