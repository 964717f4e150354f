"""ratchet_client: what it sends, to whom, and how it reads challenges."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest

from ratchet_client import MemoryStore, RefreshRefused, RefreshUnavailable, Session
from ratchet_client.token_answer import refuses_token
from ratchet_client.transport import Request, Response

ISSUER = "https://id.test/tenant"
TOKENS = {"access_token": "a2", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r2"}


class Server:
    """Answers by address; what it does not know is 404."""

    def __init__(self, **metadata: Any) -> None:
        self.requests: list[Request] = []
        self.now = 0.0
        self.answers: dict[str, Response] = {
            "https://id.test/token": self.json(TOKENS),
            "https://id.test/.well-known/oauth-authorization-server/tenant": self.json(
                {"issuer": ISSUER, "token_endpoint": "https://id.test/token", **metadata}
            ),
        }

    @staticmethod
    def json(body: Any) -> Response:
        return Response(200, {}, json.dumps(body).encode())

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answers.get(request.url, Response(404, {}, b"{}"))

    def session(self, **settings: Any) -> Session:
        session = Session(
            MemoryStore(),
            **{"client_id": "app", "give_up_after_seconds": 0, **settings},
            send=self.send,
            clock=lambda: self.now,
        )
        session.start({**TOKENS, "access_token": "a1", "refresh_token": "r1"})
        self.now += 3600
        return session

    def form(self) -> dict[str, list[str]]:
        return parse_qs((self.requests[-1].body or b"").decode())


def test_a_public_application_sends_its_id_and_nothing_else() -> None:
    server = Server()
    server.session(token_endpoint="https://id.test/token").access_token()
    (request,) = server.requests
    assert server.form() == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["r1"],
        "client_id": ["app"],
    }
    assert "Authorization" not in request.headers
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_client_secret_basic_encodes_both_halves() -> None:
    """RFC 6749 section 2.3.1"""
    server = Server()
    server.session(
        token_endpoint="https://id.test/token", client_id="a:b", client_secret="p+%41: ä"
    ).access_token()
    scheme, _, value = server.requests[0].headers["Authorization"].partition(" ")
    client_id, _, secret = b64decode(value).decode().partition(":")
    assert scheme == "Basic"
    assert (unquote_plus(client_id), unquote_plus(secret)) == ("a:b", "p+%41: ä")
    assert server.form().keys() == {"grant_type", "refresh_token"}


def test_client_secret_post_puts_both_into_the_body() -> None:
    server = Server()
    server.session(
        token_endpoint="https://id.test/token",
        client_secret="s",
        client_authentication="client_secret_post",
    ).access_token()
    assert server.form()["client_id"] == ["app"]
    assert server.form()["client_secret"] == ["s"]


def test_parameters_are_sent_with_every_refresh() -> None:
    server = Server()
    server.session(
        token_endpoint="https://id.test/token", parameters={"resource": "https://api.test"}
    ).access_token()
    assert server.form()["resource"] == ["https://api.test"]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "one of the two"),
        ({"issuer": ISSUER, "token_endpoint": "https://id.test/token"}, "one of the two"),
        ({"token_endpoint": "http://id.test/token"}, "https"),
        ({"token_endpoint": "http://127.0.0.1.evil.test/token"}, "https"),
        ({"token_endpoint": "id.test/token"}, "https"),
        ({"token_endpoint": "https://u:p@id.test/token"}, "no user"),
        ({"issuer": "ftp://id.test"}, "https"),
        ({"issuer": ISSUER, "client_authentication": "client_secret_basic"}, "client_secret"),
        ({"issuer": ISSUER, "client_secret": "s", "client_authentication": "none"}, "client_se"),
        ({"issuer": ISSUER, "client_authentication": "private_key_jwt"}, "not known"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Session(MemoryStore(), client_id="app", **settings)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8787/t", "http://[::1]/t", "http://localhost/t"])
def test_http_is_for_this_machine_only(url: str) -> None:
    Session(MemoryStore(), client_id="app", token_endpoint=url)


# --- discovery -----------------------------------------------------------------------------------


def test_the_token_endpoint_is_found_by_the_issuer_once() -> None:
    server = Server()
    session = server.session(issuer=ISSUER)
    assert session.access_token() == "a2"
    session.access_token(refused="a2")
    asked = [request.url for request in server.requests]
    assert asked == [
        "https://id.test/.well-known/oauth-authorization-server/tenant",
        "https://id.test/token",
        "https://id.test/token",
    ]


def test_an_issuer_that_only_knows_openid_is_found_too() -> None:
    server = Server()
    found = server.answers.pop("https://id.test/.well-known/oauth-authorization-server/tenant")
    server.answers["https://id.test/tenant/.well-known/openid-configuration"] = found
    assert server.session(issuer=ISSUER).access_token() == "a2"


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"issuer": "https://id.test"}, "another issuer"),
        ({"token_endpoint": None}, "no token_endpoint"),
        ({"token_endpoint": "http://id.test/token"}, "https"),
    ],
)
def test_metadata_that_are_not_to_be_trusted_are_not_used(
    metadata: dict[str, Any], match: str
) -> None:
    server = Server(**metadata)
    with pytest.raises(RefreshRefused, match=match):
        server.session(issuer=ISSUER).access_token()
    assert all(request.method == "GET" for request in server.requests)


@pytest.mark.parametrize(("status", "error"), [(503, RefreshUnavailable), (404, RefreshRefused)])
def test_metadata_that_cannot_be_had_are_like_a_token_endpoint_that_fails(
    status: int, error: type[Exception]
) -> None:
    server = Server()
    server.answers = {
        "https://id.test/.well-known/oauth-authorization-server/tenant": Response(status, {}, b"")
    }
    with pytest.raises(error, match=str(status)):
        server.session(issuer=ISSUER).access_token()


def test_signing_out_finds_its_endpoint_too() -> None:
    server = Server(revocation_endpoint="https://id.test/revoke")
    server.answers["https://id.test/revoke"] = Response(200, {}, b"")
    server.session(issuer=ISSUER).sign_out()
    assert server.requests[-1].url == "https://id.test/revoke"
    assert server.form()["token"] == ["r1"]


# --- challenges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "challenge", "refused"),
    [
        (401, 'Bearer realm="ratchet", error="invalid_token", error_description="x"', True),
        # of API Gateway's own authorizer
        (401, 'Bearer scope="" error="invalid_token" error_description="the token expired"', True),
        (401, "bearer error=invalid_token", True),
        (401, 'Basic realm="x", Bearer error="invalid_token"', True),
        (401, 'Bearer realm="ratchet"', False),
        (401, 'Bearer error="insufficient_scope"', False),
        (401, 'Basic realm="x"', False),
        (401, "", False),
        (401, 'Bearer error  =  "invalid_token"', True),
        (401, 'Basic error="invalid_token", Bearer realm="x"', False),
        # what comes after 2 kB is not read
        (401, f'Bearer realm="{"x" * 2048}", error="invalid_token"', False),
        (403, 'Bearer error="invalid_token"', False),
        (200, 'Bearer error="invalid_token"', False),
    ],
)
def test_only_a_401_that_says_invalid_token_is_about_the_token(
    status: int, challenge: str, refused: bool
) -> None:
    assert refuses_token(status, challenge) is refused


@pytest.mark.parametrize("part", ["Bearer ", "Bearer error=", "Bearer error" + " " * 1000, "\t "])
def test_a_challenge_made_to_be_slow_to_read_is_not(part: str) -> None:
    began_at = time.process_time()
    assert not refuses_token(401, part * (63_000 // len(part)))
    assert time.process_time() - began_at < 0.1
