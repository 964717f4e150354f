"""docs/scale.md, "Moving users in": nobody signs in again, whatever is lost on the way."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.functional.conftest import Answer, Service
from tests.functional.test_id_tokens import CLIENT, Shop
from tests.identity_provider import IdentityProvider, identity_provider

HOUR, DAY = 3600, 86_400


@pytest.fixture
def shop(service: Service) -> Iterator[Shop]:
    with identity_provider() as provider:
        yield Shop(service, provider)


class OldProvider:
    """Opaque refresh tokens of another service, one a user; the ID token of a refresh says when the
    user signed in, as Cognito's does."""

    def __init__(self, shop: Shop, played: IdentityProvider) -> None:
        self.shop = shop
        self._played = played
        self._users: dict[str, tuple[str, int]] = {}

    def signed_in(self, sub: str, at: int) -> str:
        token = secrets.token_urlsafe()
        self._users[token] = sub, at
        return token

    def refresh(self, token: str) -> str:
        """An ID token. The refresh token stays, as Cognito's does."""
        sub, at = self._users[token]
        return self._played.id_token(
            now=self.shop.service.now, sub=sub, auth_time=at, jti=secrets.token_urlsafe()
        )

    def switch_off(self) -> None:
        self._users.clear()


class App:
    """A new version of a client, which finds the refresh token of the old provider."""

    def __init__(self, old: OldProvider, old_token: str) -> None:
        self.old = old
        self.old_token: str | None = old_token
        self.token: str | None = None

    def exchanged(self, id_token: str, key: str) -> Answer:
        answer = self.old.shop.bearer(id_token, key)
        assert answer.status == 200, answer
        return answer

    def start(self, *, answer_lost: bool = False, dies: bool = False) -> None:
        if self.token is None:
            assert self.old_token is not None
            id_token, key = self.old.refresh(self.old_token), secrets.token_urlsafe()
            if answer_lost:
                self.exchanged(id_token, key)
            answer = self.exchanged(id_token, key)
            if dies:
                return
            self.token = answer["refresh_token"]
            self.old_token = None
        answer = self.old.shop.service.refresh(self.token, CLIENT)
        assert answer.status == 200, answer
        self.token = answer["refresh_token"]


@pytest.fixture
def old(shop: Shop) -> OldProvider:
    return OldProvider(shop, shop.provider)


def test_every_user_goes_on_after_the_old_provider_is_gone(shop: Shop, old: OldProvider) -> None:
    now = shop.service.now
    apps = {
        f"user-{number}": App(old, old.signed_in(f"user-{number}", now - number * DAY))
        for number in range(12)
    }
    for number, app in enumerate(apps.values()):
        app.start(answer_lost=number % 3 == 0)
        shop.service.now += 30
    old.switch_off()
    shop.service.now += DAY
    for app in apps.values():
        app.start()
    sessions = [shop.service.session(item["sid"]["S"]) for item in items(shop.service)]
    found = {session.sub: session.auth_time for session in sessions}
    assert found == {f"idp:user-{number}": now - number * DAY for number in range(12)}
    # a lost answer has left no second session
    assert len(sessions) == len(apps)


def test_an_app_that_dies_half_way_begins_again(shop: Shop, old: OldProvider) -> None:
    app = App(old, old.signed_in("ada", shop.service.now - DAY))
    app.start(dies=True)
    shop.service.now += HOUR
    app.start()
    left, used = sorted(items(shop.service), key=lambda item: int(item["generation"]["N"]))
    assert (left["generation"]["N"], used["generation"]["N"]) == ("0", "1")
    # what it left behind expires by itself
    shop.service.now = int(left["idle_deadline_at"]["N"]) + 1
    shop.service.sweep()
    assert shop.service.session(left["sid"]["S"]).reason == "idle_expired"


def test_a_backend_that_has_sessions_of_its_own_moves_them_one_by_one(service: Service) -> None:
    signed_in_at = service.now - 9 * DAY
    answer = service.start(sub="ada", auth_time=str(signed_in_at), amr="pwd")
    assert service.session(answer["sid"]).auth_time == signed_in_at
    assert service.refresh(answer["refresh_token"]).status == 200


def items(service: Service) -> list[dict[str, dict[str, str]]]:
    return service.scan(service._sessions_table)
