"""The requests to an authorization server: refresh, revoke, and where to send them. No I/O."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote_plus, urlencode, urlsplit

from ratchet_client.errors import RefreshRefused
from ratchet_client.token_answer import json_object
from ratchet_client.transport import Request, Response

Method = Literal["none", "client_secret_basic", "client_secret_post"]


class Application:
    """An application as it authenticates (RFC 6749 section 2.3.1, RFC 8414)."""

    def __init__(
        self,
        client_id: str,
        client_secret: str | None,
        method: Method | None,
        timeout_seconds: float,
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.method = method or ("client_secret_basic" if client_secret else "none")
        self.timeout_seconds = timeout_seconds
        if self.method not in ("none", "client_secret_basic", "client_secret_post"):
            raise ValueError(f"client_authentication: {self.method} is not known")
        if (client_secret is None) != (self.method == "none"):
            raise ValueError("client_secret: belongs to every client_authentication but none")

    def refresh(self, url: str, token: str, *, key: str, parameters: Mapping[str, str]) -> Request:
        """RFC 6749 section 6; `key` becomes the Idempotency-Key."""
        form = {**parameters, "grant_type": "refresh_token", "refresh_token": token}
        return self._post(url, form, {"Idempotency-Key": key})

    def revoke(self, url: str, token: str) -> Request:
        """RFC 7009."""
        return self._post(url, {"token": token, "token_type_hint": "refresh_token"}, {})

    def _post(self, url: str, form: dict[str, str], headers: dict[str, str]) -> Request:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            **headers,
        }
        if self.method == "client_secret_basic":
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret or '')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = self.client_id
        if self.method == "client_secret_post":
            form["client_secret"] = self.client_secret or ""
        return Request("POST", url, headers, urlencode(form).encode(), self.timeout_seconds)

    def metadata(self, issuer: str) -> list[Request]:
        """RFC 8414 section 3.1, and OpenID Connect Discovery for those that have only that."""
        parts = urlsplit(issuer)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        return [
            Request("GET", url, {"Accept": "application/json"}, None, self.timeout_seconds)
            for url in (
                f"{origin}/.well-known/oauth-authorization-server{path}",
                f"{origin}{path}/.well-known/openid-configuration",
            )
        ]


def endpoints(response: Response, issuer: str) -> dict[str, str]:
    """The addresses in an issuer's metadata; raises RefreshRefused if it is not this issuer's."""
    found = json_object(response.body)
    if found.get("issuer") != issuer:
        # RFC 8414 section 3.3: MUST be identical, and MUST NOT be used if it is not.
        raise RefreshRefused(response.status, "the metadata is another issuer's")
    addresses = {
        name: value
        for name, value in found.items()
        if name in ("token_endpoint", "revocation_endpoint") and isinstance(value, str)
    }
    if "token_endpoint" not in addresses:
        raise RefreshRefused(response.status, "the metadata has no token_endpoint")
    for name, value in addresses.items():
        checked(name, value)
    return addresses


def checked(name: str, url: str) -> str:
    """RFC 6749 section 3.2: a token endpoint is never spoken to without TLS, but right here."""
    parts = urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ValueError(f"{name}: an https address is needed, or http on this machine")
    if parts.fragment or parts.username or parts.password:
        raise ValueError(f"{name}: no fragment, no user")
    return url
