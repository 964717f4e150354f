"""Authlib's OAuth client works unchanged, automatic refresh with a rotating token included."""

import time
from typing import Any

import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from tests.clients.conftest import BACKEND, Client

MACHINE = ("demo-machine", "demo-machine-secret")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_a_token_with_client_credentials(client: Client, method: str) -> None:
    with OAuth2Session(*MACHINE, token_endpoint_auth_method=method) as session:
        token = session.fetch_token(
            f"{client.url}/oauth/token", grant_type="client_credentials", scope="reports:read"
        )
    assert token["token_type"] == "Bearer"
    assert token["scope"] == "reports:read"
    assert token["expires_at"] > time.time()


def test_authlib_refreshes_by_itself_and_hands_the_rotated_token_on(client: Client) -> None:
    """five requests, each with an access token that has just expired"""
    kept: list[dict[str, Any]] = []

    def keep(token: dict[str, Any], **_: Any) -> None:
        kept.append(token)

    token = {**client.start(), "expires_at": 1}
    with OAuth2Session(
        "demo-native",
        token=token,
        token_endpoint=f"{client.url}/oauth/token",
        token_endpoint_auth_method="none",
        update_token=keep,
    ) as session:
        for _ in range(5):
            answer = session.get(f"{client.url}/sessions")
            assert answer.status_code == 200
            session.token = {**session.token, "expires_at": 1}
    assert len(kept) == 5
    assert len({new["refresh_token"] for new in kept} | {token["refresh_token"]}) == 6


def test_authlib_reports_an_ended_session_as_invalid_grant(client: Client) -> None:
    tokens = client.start()
    client.http.post(
        "/oauth/revoke", data={"client_id": "demo-native", "token": tokens["refresh_token"]}
    )
    with (
        OAuth2Session("demo-native", token_endpoint_auth_method="none") as session,
        pytest.raises(OAuthError, match="invalid_grant: The user signed out"),
    ):
        session.refresh_token(f"{client.url}/oauth/token", tokens["refresh_token"])


def test_authlib_revokes_and_introspects(client: Client) -> None:
    tokens = client.start()
    with OAuth2Session(*BACKEND) as session:
        url = f"{client.url}/oauth/introspect"
        assert session.introspect_token(url, tokens["refresh_token"]).json()["active"] is True
        with OAuth2Session("demo-native", token_endpoint_auth_method="none") as owner:
            revoke: Any = owner.revoke_token
            answer = revoke(f"{client.url}/oauth/revoke", tokens["refresh_token"])
            assert answer.status_code == 200
        assert session.introspect_token(url, tokens["refresh_token"]).json() == {"active": False}
