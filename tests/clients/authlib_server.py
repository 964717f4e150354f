"""A token endpoint that is not ours: Authlib's, as RFC 6749 has it and nothing besides."""

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request, grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator

ACCESS_SECONDS = 3600
SECRET = "authlib-secret"


@dataclass
class Client:
    """Of the id "app"; its secret is SECRET."""

    method: str

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "refresh_token"


@dataclass
class Token:
    """What the server keeps of a refresh token."""

    revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return True

    def get_scope(self) -> str:
        return "profile"


@dataclass
class Provider:
    """rotates: hands out a new refresh token each time, and takes the old one no more."""

    method: str = "none"
    rotates: bool = True
    url: str = ""
    tokens: dict[str, Token] = field(default_factory=dict)
    issued: int = 0

    def sign_in(self) -> dict[str, Any]:
        refresh_token = secrets.token_urlsafe(16)
        self.tokens[refresh_token] = Token()
        return {
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "refresh_token": refresh_token,
        }


def _server(provider: Provider) -> Any:
    base: Any = AuthorizationServer

    class Server(base):  # type: ignore[misc]
        def query_client(self, client_id: str) -> Client | None:
            return Client(provider.method) if client_id == "app" else None

        def save_token(self, token: dict[str, Any], request: Any) -> None:
            provider.issued += 1
            if "refresh_token" in token:
                provider.tokens[token["refresh_token"]] = Token()

        def create_oauth2_request(self, request: Any) -> Any:
            return request

        def handle_response(self, status: int, body: Any, headers: Any) -> Any:
            return status, body, dict(headers)

        def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
            """Nobody listens."""

    class Refresh(cast("Any", grants.RefreshTokenGrant)):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")
        INCLUDE_NEW_REFRESH_TOKEN = provider.rotates

        def authenticate_refresh_token(self, token: str) -> Token | None:
            found = provider.tokens.get(token)
            return found if found and not found.revoked else None

        def authenticate_user(self, token: Token) -> str:
            return "ada"

        def revoke_old_credential(self, token: Token) -> None:
            token.revoked = provider.rotates

    def bearer(**_: Any) -> str:
        return secrets.token_urlsafe(16)

    server = Server()
    generator: Any = BearerTokenGenerator
    server.register_token_generator("default", generator(bearer, bearer, lambda *_: ACCESS_SECONDS))
    server.register_grant(Refresh)
    return server


class _Request(OAuth2Request):
    def __init__(self, headers: Any, form: dict[str, str]) -> None:
        # TLS is somebody else's business here, and Authlib looks at the scheme.
        super().__init__("POST", "https://127.0.0.1/token", headers=headers)
        self.payload: Any = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> dict[str, str]:
        return self._form


@contextlib.contextmanager
def provider(**settings: Any) -> Iterator[Provider]:
    """It answers at `url`."""
    made = Provider(**settings)
    server = _server(made)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            status, body, headers = server.create_token_response(_Request(self.headers, form))
            answer = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's
            """Says nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{http.server_port}/token"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
