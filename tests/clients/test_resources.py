"""Authlib asks for one API's token, and for fewer scopes, and gets no more (RFC 8707)."""

from collections.abc import Iterator
from typing import Any

import boto3
import jwt
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session

from ratchet.application import Application, hash_secret
from ratchet.applications import Applications
from ratchet.policy import PRESETS
from ratchet_cli import running
from tests.clients.conftest import Client
from tests.local_stack import LocalStack

ORDERS, REPORTS = "https://orders.test/v1", "https://reports.test/v1"
BACKEND = ("shop-backend", "shop-backend-secret")


@pytest.fixture(scope="module", autouse=True)
def shop(stack: LocalStack) -> None:
    """shop-app, whose tokens may be for two APIs, and the backend that starts its sessions."""
    found = running.find(stack.tree)
    assert found is not None
    client = boto3.client(
        "dynamodb",
        endpoint_url=found.endpoint_url,
        region_name=found.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    applications = Applications(client, found.environment["RATCHET_APPLICATIONS_TABLE"])
    shared: dict[str, Any] = {
        "scopes": frozenset({"orders:read", "orders:write"}),
        "audience": (ORDERS, REPORTS),
    }
    app = Application(
        client_id="shop-app",
        confidential=False,
        grant_types=frozenset({"refresh_token"}),
        policy=PRESETS["native"],
        **shared,
    )
    backend = Application(
        client_id=BACKEND[0],
        confidential=True,
        secret_hashes=(hash_secret(BACKEND[1]),),
        grant_types=frozenset({"client_credentials"}),
        starts_sessions_for=frozenset({"shop-app"}),
        policy=PRESETS["machine"],
        **shared,
    )
    applications.put(app, {"preset": "native"})
    applications.put(backend, {"preset": "machine"})


@pytest.fixture
def app() -> Iterator[OAuth2Session]:
    with OAuth2Session("shop-app", token_endpoint_auth_method="none") as session:
        yield session


def audience(token: dict[str, Any]) -> Any:
    return jwt.decode(token["access_token"], options={"verify_signature": False})["aud"]


def start(client: Client, **parameters: Any) -> dict[str, Any]:
    form = {"client_id": "shop-app", "sub": "ada", **parameters}
    answer = client.http.post("/sessions", data=form, auth=BACKEND)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def test_authlib_asks_for_a_token_for_one_api(client: Client) -> None:
    with OAuth2Session(*BACKEND) as session:
        token = session.fetch_token(
            f"{client.url}/oauth/token",
            grant_type="client_credentials",
            scope="orders:read",
            resource=ORDERS,
        )
    assert (audience(token), token["scope"]) == (ORDERS, "orders:read")


def test_authlib_narrows_a_refresh_and_gets_everything_back_with_the_next(
    client: Client, app: OAuth2Session
) -> None:
    url = f"{client.url}/oauth/token"
    token = start(client, resource=[ORDERS, REPORTS])
    narrowed = app.refresh_token(url, token["refresh_token"], resource=ORDERS, scope="orders:read")
    assert (audience(narrowed), narrowed["scope"]) == (ORDERS, "orders:read")
    whole = app.refresh_token(url, narrowed["refresh_token"])
    assert (audience(whole), whole["scope"]) == ([ORDERS, REPORTS], "orders:read orders:write")


def test_authlib_reports_what_a_session_was_not_granted(client: Client, app: OAuth2Session) -> None:
    url = f"{client.url}/oauth/token"
    token = start(client, resource=ORDERS, scope="orders:read")
    with pytest.raises(OAuthError, match="invalid_target"):
        app.refresh_token(url, token["refresh_token"], resource=REPORTS)
    with pytest.raises(OAuthError, match="invalid_scope"):
        app.refresh_token(url, token["refresh_token"], scope="orders:write")
    assert audience(app.refresh_token(url, token["refresh_token"])) == ORDERS
