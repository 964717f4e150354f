"""A client with a key, its proofs made by joserfc, goes through RFC 9449 from end to end."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests import proofs
from tests.clients.conftest import BACKEND, Client

MACHINE = ("demo-machine", "demo-machine-secret")


class WithKey(httpx.Auth):
    """Signs every request, takes every new nonce, and repeats what lacked one (section 8.2)."""

    def __init__(self, access_token: str | None = None) -> None:
        self.key = proofs.new_key()
        self.access_token = access_token
        self.nonce: str | None = None
        self.asked = 0

    def auth_flow(self, request: httpx.Request) -> Any:
        response = yield self._signed(request)
        self.nonce = response.headers.get("DPoP-Nonce", self.nonce)
        if b"use_dpop_nonce" in response.content:
            self.asked += 1
            response = yield self._signed(request)
            self.nonce = response.headers.get("DPoP-Nonce", self.nonce)

    requires_response_body = True

    def _signed(self, request: httpx.Request) -> httpx.Request:
        if self.access_token:
            request.headers["Authorization"] = f"DPoP {self.access_token}"
        request.headers["DPoP"] = proofs.proof(
            self.key,
            request.method,
            str(request.url.copy_with(query=None)),
            now=int(time.time()),
            nonce=self.nonce,
            access_token=self.access_token,
        )
        return request


def test_a_bound_session_from_its_start_to_its_end(client: Client) -> None:
    me = WithKey()
    form = {"client_id": "demo-native", "sub": "dora", "dpop_jkt": proofs.jkt(me.key)}
    tokens = client.http.post("/sessions", data=form, auth=BACKEND).json()
    assert tokens["token_type"] == "DPoP"
    stolen = tokens["refresh_token"]
    for _ in range(3):
        form = {"client_id": "demo-native", "refresh_token": tokens["refresh_token"]}
        answer = client.http.post("/oauth/refresh", data=form, auth=me)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        assert tokens["token_type"] == "DPoP"
    # nobody but the first request was sent twice
    assert me.asked == 1

    thief = WithKey()
    form = {"client_id": "demo-native", "refresh_token": stolen}
    for refused in (
        client.http.post("/oauth/refresh", data=form),
        client.http.post("/oauth/refresh", data=form, auth=thief),
    ):
        assert refused.json()["error_reason"] == "wrong_key"

    me.access_token = thief.access_token = tokens["access_token"]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.http.get("/sessions", headers=bearer).status_code == 401
    assert client.http.get("/sessions", auth=thief).json()["error_reason"] == "wrong_key"
    listed = client.http.get("/sessions", params={"sub": "dora"}, auth=me).json()
    assert [session["status"] for session in listed["sessions"]] == ["active"]
    path = f"/sessions/{tokens['sid']}"
    assert client.http.delete(path, auth=me).status_code == 204
    assert client.http.get(path, auth=me).json()["error_reason"] == "revoked_by_user"


def test_a_machine_gets_tokens_that_are_bound_to_its_key(client: Client) -> None:
    me = WithKey()
    form = {
        "grant_type": "client_credentials",
        "client_id": MACHINE[0],
        "client_secret": MACHINE[1],
    }
    token = client.http.post("/oauth/token", data=form, auth=me).json()
    assert token["token_type"] == "DPoP"
    seen = client.http.post(
        "/oauth/introspect", data={"token": token["access_token"]}, auth=BACKEND
    ).json()
    assert (seen["token_type"], seen["cnf"]) == ("DPoP", {"jkt": proofs.jkt(me.key)})
