"""What a version writes: journeys that leave one item each in every shape there is.

tests/fixtures/items/vN holds what they left when schema version N began, written by
`make item-fixtures VERSION=vN`; docs/upgrading.md says when a new one is due.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ratchet import dpop, keys
from ratchet.application import JWT_BEARER
from ratchet.errors import Fault
from ratchet.policy import DAY, HOUR
from ratchet.signing import SecretPeppers
from ratchet.users import User
from ratchet_cli.seed import SECRETS
from tests import proofs
from tests.functional.conftest import ISSUER, ROOT, START, Service

FIXTURES = ROOT / "tests" / "fixtures" / "items"
KEY = "a-random-idempotency-key"
AGENT = {"User-Agent": "Firefox/131.0"}
CLIENT = "demo-native"
USE = {"touch_interval_seconds": 300, "idle_ttl_seconds": 900, "idle_warning_seconds": 0}
PEPPERS = json.dumps(
    {
        "current": 2,
        "1": "the first pepper, of the fixtures only",
        "2": "the second pepper, of the fixtures only",
        "3": "the third pepper, of the fixtures only",
        "retired_at": {"1": START - 1},
        "made_from": "a-version",
    }
)
"""As a rotation leaves the secret."""
FULL = {
    "client_id": "fixture-shop",
    "name": "Shop",
    "confidential": True,
    "grant_types": ["client_credentials", "refresh_token", JWT_BEARER],
    "scopes": ["profile", "orders:read"],
    "audience": ["https://orders.test"],
    "starts_sessions_for": ["demo-native"],
    "allowed_origins": ["https://shop.test"],
    "trusted_issuers": [
        {"issuer": "https://idp.test", "audience": ["shop"], "subject_prefix": "idp-test:"}
    ],
    "policy": {"preset": "browser", "leeway_seconds": 10},
}


class FixedSecret:
    """A secret that is not asked for."""

    def __init__(self, text: str) -> None:
        self._peppers = keys.peppers(text)

    def get(self, now: int) -> keys.PepperSet:
        return self._peppers


def with_peppers(service: Service, text: str) -> None:
    peppers = SecretPeppers(FixedSecret(text))  # type: ignore[arg-type] # it only gets
    object.__setattr__(service.parts, "peppers", peppers)


@dataclass(frozen=True, kw_only=True)
class Written:
    """An item, and what its client had at that moment.

    token: the current one. parent: the one it replaced. key: a private JWK, for one that is bound.
    """

    now: int
    item: Mapping[str, Any]
    token: str
    parent: str | None = None
    key: Mapping[str, Any] | None = None


Journey = Callable[[Service], Written]


def _left(service: Service, token: str, sid: str, **more: Any) -> Written:
    return Written(now=service.now, item=service.item(sid), token=token, **more)


def fresh(service: Service) -> Written:
    first = service.start()
    return _left(service, first["refresh_token"], first["sid"])


def unannounced(service: Service) -> Written:
    """EventBridge was away when it started."""
    publish = service.parts.bus.publish

    def away(_: object) -> None:
        raise Fault("events: away")

    object.__setattr__(service.parts.bus, "publish", away)
    try:
        return fresh(service)
    finally:
        object.__setattr__(service.parts.bus, "publish", publish)


def full(service: Service) -> Written:
    """With all that a backend may say of a sign-in."""
    service.change(CLIENT, audience=("https://orders.test", "https://reports.test"))
    first = service.start(
        scope="orders:read profile",
        resource="https://orders.test",
        device="Ada's phone",
        auth_time=str(START - HOUR),
        amr="pwd otp",
        acr="urn:example:gold",
        claims='{"tenant":"acme","roles":["admin"]}',
    )
    return _left(service, first["refresh_token"], first["sid"])


def rotated(service: Service) -> Written:
    first = service.start()
    service.now += HOUR
    second = _refreshed(service, first["refresh_token"])
    return _left(service, second, first["sid"], parent=first["refresh_token"])


def rotated_with_key(service: Service) -> Written:
    first = service.start()
    service.now += HOUR
    second = _refreshed(service, first["refresh_token"], **{"Idempotency-Key": KEY})
    return _left(service, second, first["sid"], parent=first["refresh_token"])


def bound(service: Service) -> Written:
    """With a DPoP key, and rotated with a proof."""
    key = proofs.new_key()
    first = service.start(dpop_jkt=proofs.jkt(key))
    service.now += HOUR
    second = _refreshed(service, first["refresh_token"], DPoP=fresh_proof(service, key))
    told = key.as_dict(private=True)
    return _left(service, second, first["sid"], parent=first["refresh_token"], key=told)


def used(service: Service) -> Written:
    """API use counts as activity."""
    service.set_policy(CLIENT, **USE)
    first = service.start()
    service.now += 600
    bearer = service.operator()
    service.call("POST", "/sessions/touch", body={"sids": [first["sid"]]}, bearer=bearer)
    return _left(service, first["refresh_token"], first["sid"])


def warned(service: Service) -> Written:
    """Of both deadlines, and refreshed since."""
    service.set_policy(
        CLIENT,
        idle_ttl_seconds=2 * DAY,
        absolute_ttl_seconds=3 * DAY,
        idle_warning_seconds=DAY,
        absolute_warning_seconds=2 * DAY,
    )
    first = service.start()
    service.now += DAY + HOUR
    service.sweep()
    second = _refreshed(service, first["refresh_token"])
    return _left(service, second, first["sid"], parent=first["refresh_token"])


def ended(service: Service) -> Written:
    first = service.start()
    service.now += HOUR
    second = _refreshed(service, first["refresh_token"])
    service.call("DELETE", f"/sessions/{first['sid']}", bearer=service.operator())
    return _left(service, second, first["sid"], parent=first["refresh_token"])


def reused(service: Service) -> Written:
    first = service.start()
    service.now += HOUR
    second = _refreshed(service, first["refresh_token"])
    third = _refreshed(service, second)
    service.now += HOUR
    service.refresh(first["refresh_token"])
    return _left(service, third, first["sid"], parent=second)


def oldest(service: Service) -> Written:
    """Only what every session has: how it looks where an optional attribute came later."""
    written = fresh(service)
    optional = {"network", "agent", "active_at", "scopes", "unannounced"}
    item = {name: value for name, value in written.item.items() if name not in optional}
    return replace(written, item=item)


JOURNEYS: Mapping[str, Journey] = {
    journey.__name__: journey
    for journey in (
        fresh,
        unannounced,
        full,
        rotated,
        rotated_with_key,
        bound,
        used,
        warned,
        ended,
        reused,
        oldest,
    )
}


def fresh_proof(service: Service, key: Any) -> str:
    nonce = dpop.nonce(service.parts.peppers, service.now)
    return proofs.proof(key, "POST", f"{ISSUER}/oauth/refresh", now=service.now, nonce=nonce)


def _refreshed(service: Service, token: str, **headers: str) -> str:
    answer = service.call(
        "POST",
        "/oauth/refresh",
        form={"client_id": CLIENT, "refresh_token": token},
        headers={**AGENT, **headers},
    )
    assert answer.status == 200, answer
    return str(answer["refresh_token"])


# --- as files ------------------------------------------------------------------------------------


def application(service: Service) -> Mapping[str, Any]:
    """One with all that an operator may say of it, and with a former policy and secret."""
    client_id = FULL["client_id"]
    token = service.call(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials"},
        auth=("demo-operator", SECRETS["demo-operator"]),
    )["access_token"]
    made = service.call("POST", "/applications", body=FULL, bearer=token)
    assert made.status == 201, made
    path = f"/applications/{client_id}"
    changed = service.call("PATCH", path, body={"policy": {"preset": "native"}}, bearer=token)
    assert changed.status == 200, changed
    other = service.call("POST", f"{path}/secrets", body={}, bearer=token)
    assert other.status in (200, 201), other
    service.handed_out |= {made["client_secret"], other["client_secret"]}
    return _item(service, "applications", {"client_id": {"S": client_id}})


def user(service: Service) -> Mapping[str, Any]:
    email = "grace@example.com"
    service.parts.users.add(
        User(
            email=email,
            sub="grace",
            password_hash="$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA",
            created_at=service.now,
            password_changed_at=service.now,
        )
    )
    service.parts.users.disable(email, service.now)
    _item(service, "users", {"id": {"S": "sub:grace"}})
    return _item(service, "users", {"id": {"S": f"email:{email}"}})


OTHERS = {"application": application, "user": user}
"""In the other tables."""


def take_away(service: Service) -> None:
    """What was put into the other tables."""
    _item(service, "applications", {"client_id": {"S": FULL["client_id"]}})
    _item(service, "users", {"id": {"S": "email:grace@example.com"}})


def _item(service: Service, table: str, key: Mapping[str, Any]) -> Mapping[str, Any]:
    """It is deleted again."""
    name = {"applications": service._applications_table, "users": service.users_table}[table]
    answer = service._dynamodb.delete_item(TableName=name, Key=key, ReturnValues="ALL_OLD")
    return answer["Attributes"]


def shape(item: Mapping[str, Any]) -> dict[str, str]:
    """Names and DynamoDB types."""
    return {name: next(iter(value)) for name, value in sorted(item.items())}


def to_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes as base64, as DynamoDB's own JSON has them."""
    return {
        name: {kind: b64encode(value).decode() if kind == "B" else value}
        for name, typed in sorted(item.items())
        for kind, value in typed.items()
    }


def from_json(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {kind: b64decode(value) if kind == "B" else value}
        for name, typed in item.items()
        for kind, value in typed.items()
    }


def versions() -> list[str]:
    """Oldest first."""
    return sorted((folder.name for folder in FIXTURES.glob("v*")), key=lambda name: int(name[1:]))


def stored(version: str, name: str) -> Written:
    read = read_json(FIXTURES / version / f"{name}.json")
    return Written(**{**read, "item": from_json(read["item"])})


def names(version: str) -> list[str]:
    return sorted(path.stem for path in (FIXTURES / version).glob("*.json"))


def write(folder: Path, name: str, written: Written) -> None:
    kept = {key: value for key, value in vars(written).items() if value is not None}
    write_json(folder / f"{name}.json", {**kept, "item": to_json(written.item)})


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
