"""The whole loop with the example of a protected API: sign in, call, expire, refresh, call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import boto3
import httpx
import pytest

from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.policy import PRESETS
from ratchet_cli.running import find
from ratchet_cli.seed import ADA
from ratchet_client.httpx_auth import SessionAuth
from tests.clients import quick
from tests.local_stack import LocalStack, started

ACCESS_SECONDS = 6
JWT, LAMBDA = "/example/jwt", "/example/lambda"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        quick.register(running)
        shop = Application(
            client_id="shop",
            confidential=False,
            grant_types=frozenset({"refresh_token"}),
            scopes=frozenset({"profile"}),
            policy=replace(PRESETS["native"], access_ttl_seconds=ACCESS_SECONDS),
            password_login=True,
        )
        found = find(running.tree)
        assert found is not None
        table = found.environment["RATCHET_APPLICATIONS_TABLE"]
        applications = Applications(boto3.client("dynamodb", **quick.aws(running)), table)
        written = {"preset": "native", "access_ttl_seconds": ACCESS_SECONDS}
        applications.put(shop, written)
        yield running


@pytest.fixture
def http(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        yield http


def call(http: httpx.Client, path: str, token: str) -> httpx.Response:
    return http.get(path, headers={"Authorization": f"Bearer {token}"})


def test_sign_in_call_expire_refresh_call(http: httpx.Client) -> None:
    form = {"client_id": "shop", "email": ADA["email"], "password": ADA["password"]}
    tokens = http.post("/login", data=form).json()
    first = tokens["access_token"]
    jwt = call(http, JWT, first).json()["jwt"]
    assert jwt["scopes"] == ["profile"]
    assert jwt["claims"]["sub"] == "ada"
    assert jwt["claims"]["exp"].isdigit()
    context = call(http, LAMBDA, first).json()["lambda"]
    assert (context["sub"], context["sid"]) == ("ada", tokens["sid"])
    assert context["exp"] == int(jwt["claims"]["exp"])

    time.sleep(max(0, context["exp"] - time.time()))
    late = call(http, JWT, first)
    assert (late.status_code, late.json()) == (401, {"message": "Unauthorized"})
    assert 'error="invalid_token"' in late.headers["www-authenticate"]
    form = {"client_id": "shop", "refresh_token": tokens["refresh_token"]}
    second = http.post("/oauth/refresh", data=form).json()["access_token"]
    assert call(http, JWT, second).status_code == 200
    assert call(http, LAMBDA, second).status_code == 200


def test_a_session_that_is_ended_is_ended_for_the_api_that_asks(http: httpx.Client) -> None:
    form = {"client_id": "demo-native", "sub": "ada"}
    tokens = http.post("/sessions", data=form, auth=("demo-backend", "demo-backend-secret")).json()
    token = tokens["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert http.delete(f"/sessions/{tokens['sid']}", headers=headers).status_code == 204
    over = call(http, LAMBDA, token)
    assert (over.status_code, over.json()) == (401, {"message": "Unauthorized"})
    assert "www-authenticate" not in over.headers
    # The other one goes by the token alone.
    assert call(http, JWT, token).status_code == 200


def test_a_token_that_lacks_the_scope_is_forbidden(http: httpx.Client) -> None:
    form = {"client_id": "demo-native", "sub": "ada", "scope": "orders:read"}
    tokens = http.post("/sessions", data=form, auth=("demo-backend", "demo-backend-secret")).json()
    assert call(http, JWT, tokens["access_token"]).status_code == 403
    assert http.get(LAMBDA).status_code == http.get(JWT).status_code == 401


def test_a_program_with_ratchet_client_notices_nothing_of_it(stack: LocalStack) -> None:
    session = quick.session(stack.url, quick.Kept())
    session.start(quick.start(stack, "eve"))
    with httpx.Client(base_url=stack.url, auth=SessionAuth(session), timeout=30) as http:
        for _ in range(4):
            assert http.get(JWT).status_code == http.get(LAMBDA).status_code == 200
            time.sleep(0.8)
