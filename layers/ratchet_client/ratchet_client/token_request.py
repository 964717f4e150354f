"""The requests of an application to an authorization server: refresh and revoke. No I/O."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote_plus, urlencode

from ratchet_client.transport import Request

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
