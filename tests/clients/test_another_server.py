"""ratchet_client with a server that is not ours: Authlib's, which knows RFC 6749 and no more."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ratchet_client import RefreshRefused, Session, SessionEnded
from tests.clients import authlib_server, quick

METHODS = ["none", "client_secret_basic", "client_secret_post"]


def session(provider: authlib_server.Provider, store: quick.Kept, **settings: Any) -> Session:
    secret = None if provider.method == "none" else authlib_server.SECRET
    given: dict[str, Any] = {
        "client_id": "app",
        "client_secret": secret,
        "token_endpoint": provider.url,
    }
    given |= {"give_up_after_seconds": 5}
    made = Session(store, **{**given, "client_authentication": provider.method, **settings})
    made.start(provider.sign_in())
    return made


@pytest.mark.parametrize("method", METHODS)
def test_it_refreshes_however_the_application_authenticates(store: quick.Kept, method: str) -> None:
    with authlib_server.provider(method=method) as provider:
        mine = session(provider, store)
        before = store.content["refresh_token"]
        for number in range(1, 4):
            quick.age(mine, store)
            token = mine.access_token()
            assert token == store.content["access_token"]
            assert provider.issued == number
        life = store.content["expires_at"] - store.content["issued_at"]
        due = store.content["refresh_at"] - store.content["issued_at"]
    assert store.content["refresh_token"] != before
    assert life == authlib_server.ACCESS_SECONDS
    # it does not say when
    assert 0.75 <= due / life <= 0.8


def test_without_rotation_the_refresh_token_stays(store: quick.Kept) -> None:
    with authlib_server.provider(rotates=False) as provider:
        mine = session(provider, store)
        before = store.content["refresh_token"]
        for _ in range(3):
            quick.age(mine, store)
            mine.access_token()
    assert provider.issued == 3
    assert store.content["refresh_token"] == before


@pytest.mark.parametrize("wrong", [{"client_id": "nobody"}, {"client_secret": "wrong"}])
def test_a_wrong_client_is_refused_and_the_session_kept(
    store: quick.Kept, wrong: dict[str, str]
) -> None:
    with authlib_server.provider(method="client_secret_basic") as provider:
        mine = session(provider, store, **wrong)
        quick.age(mine, store)
        with pytest.raises(RefreshRefused, match="invalid_client"):
            mine.access_token()
        assert session(provider, store).access_token()


def test_a_revoked_refresh_token_ends_the_session(store: quick.Kept) -> None:
    with authlib_server.provider() as provider:
        mine = session(provider, store)
        provider.tokens[store.content["refresh_token"]].revoked = True
        quick.age(mine, store)
        for _ in range(2):
            with pytest.raises(SessionEnded, match="invalid_grant"):
                mine.access_token()
    assert store.content["refresh_token"] is None


def test_many_at_once_present_a_token_that_is_good_once_only_once(store: quick.Kept) -> None:
    """strict rotation without any leeway: a second presentation would be refused"""
    with authlib_server.provider() as provider:
        sessions = [session(provider, store)]
        sessions += [
            Session(store, client_id="app", token_endpoint=provider.url, give_up_after_seconds=5)
            for _ in range(7)
        ]
        for number in range(1, 6):
            for one in sessions:
                quick.age(one, store)
            with ThreadPoolExecutor(8) as pool:
                assert len(set(pool.map(Session.access_token, sessions))) == 1
            assert provider.issued == number
