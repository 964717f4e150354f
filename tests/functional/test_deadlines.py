"""Deadlines in the open: every token response has all of them, and asking moves none."""

from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from tests.functional import test_id_tokens
from tests.functional.conftest import BACKEND, Answer, Service
from tests.functional.test_refresh_cookie import ASKING, in_cookie
from tests.functional.test_refresh_cookie import refresh as refresh_cookie
from tests.identity_provider import identity_provider

DAY = 86_400
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture
def shop(service: Service) -> Iterator[test_id_tokens.Shop]:
    with identity_provider() as provider:
        yield test_id_tokens.Shop(service, provider)


Way = Callable[[Service, test_id_tokens.Shop], Answer]


def by_refresh(service: Service, _shop: test_id_tokens.Shop) -> Answer:
    return service.refresh(service.start()["refresh_token"])


def by_replay(service: Service, _shop: test_id_tokens.Shop) -> Answer:
    token = service.start()["refresh_token"]
    service.refresh(token)
    return service.refresh(token)


def by_token_endpoint(service: Service, _shop: test_id_tokens.Shop) -> Answer:
    token = service.start()["refresh_token"]
    form = {"grant_type": "refresh_token", "client_id": "demo-native", "refresh_token": token}
    return service.call("POST", "/oauth/token", form=form)


def by_cookie(service: Service, _shop: test_id_tokens.Shop) -> Answer:
    return refresh_cookie(service, in_cookie(service)[1])


def by_login_with_a_cookie(service: Service, _shop: test_id_tokens.Shop) -> Answer:
    form = {"client_id": "demo-browser", "email": "ada@example.com"}
    form["password"] = "correct-horse-battery-staple"
    return service.call("POST", "/login", form=form, headers=ASKING)


WAYS: dict[str, Way] = {
    "POST /sessions": lambda service, _: service.start(),
    "POST /login": lambda service, _: service.login(),
    "POST /login, cookie": by_login_with_a_cookie,
    "POST /oauth/refresh": by_refresh,
    "POST /oauth/refresh, replayed": by_replay,
    "POST /oauth/refresh, cookie": by_cookie,
    "POST /oauth/token": by_token_endpoint,
    "ID token": lambda _, shop: shop.bearer(shop.id_token()),
    "token exchange": lambda _, shop: shop.exchange(shop.id_token()),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_token_response_has_both_deadlines_and_when_to_refresh(
    service: Service, shop: test_id_tokens.Shop, way: str
) -> None:
    answer = WAYS[way](service, shop)
    assert answer.status == 200, answer
    session = service.session(answer["sid"])
    assert answer["refresh_token_expires_in"] == session.idle_deadline_at - service.now
    assert answer["session_expires_in"] == session.absolute_deadline_at - service.now
    assert 0.75 <= answer["refresh_after"] / answer["expires_in"] <= 0.8
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["sid"] == answer["sid"]


def test_a_client_is_not_told_to_refresh_when_it_is_too_late(service: Service) -> None:
    """an access token may be made to last longer than the idle time"""
    service.set_policy("demo-native", idle_ttl_seconds=1800, idle_warning_seconds=0)
    first = service.start()
    assert (first["expires_in"], first["refresh_token_expires_in"]) == (3600, 1800)
    assert 1350 <= first["refresh_after"] <= 1440
    service.now += first["refresh_after"]
    assert service.refresh(first["refresh_token"]).status == 200


def test_asking_is_no_activity(service: Service) -> None:
    """idle time counts from the last refresh, and nobody who asks writes anything"""
    first = service.start()
    service.now += 10 * DAY
    second = service.refresh(first["refresh_token"])
    before, idle_deadline_at = service.item(first["sid"]), service.now + 90 * DAY
    service.now += 31
    bearer = second["access_token"]
    service.calls.clear()
    asked: list[Any] = [
        service.call("POST", "/oauth/introspect", form={"token": token}, auth=BACKEND)
        for token in (second["refresh_token"], second["access_token"])
    ]
    asked.append(service.call("GET", f"/sessions/{first['sid']}", bearer=service.operator()))
    assert [answer["idle_deadline_at"] for answer in asked] == [idle_deadline_at] * 3
    absolute = [answer["absolute_deadline_at"] for answer in asked]
    assert absolute == [service.now - 31 - 10 * DAY + 365 * DAY] * 3
    assert service.call("GET", "/sessions", bearer=bearer).status == 200
    assert not {"UpdateItem", "PutItem"} & set(service.calls.names)
    assert service.item(first["sid"]) == before
