"""Where an authorization server has its endpoints, given or from its metadata (RFC 8414)."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from ratchet_client.errors import RefreshRefused, RefreshUnavailable
from ratchet_client.token_answer import Later, json_object, read
from ratchet_client.transport import Request, Response, Send


class AuthorizationServer:
    """token_endpoint or issuer: one of the two; the metadata are asked for once.

    All that asks raises ConnectionFailed, RefreshUnavailable or RefreshRefused.
    """

    def __init__(
        self,
        issuer: str | None,
        token_endpoint: str | None,
        revocation_endpoint: str | None,
        timeout_seconds: float,
    ) -> None:
        if (issuer is None) == (token_endpoint is None):
            raise ValueError("issuer or token_endpoint: one of the two")
        self._issuer = checked("issuer", issuer) if issuer else None
        given = {"token_endpoint": token_endpoint, "revocation_endpoint": revocation_endpoint}
        self._endpoints = {name: checked(name, url) for name, url in given.items() if url}
        self._timeout_seconds = timeout_seconds

    def endpoint(self, name: str, send: Send, *, now: float) -> str:
        """name: token_endpoint or revocation_endpoint. now: epoch seconds, for Retry-After."""
        if name not in self._endpoints and self._issuer:
            response = self._metadata(self._issuer, send, now)
            try:
                self._endpoints = {**_endpoints(response, self._issuer), **self._endpoints}
            except ValueError as problem:
                raise RefreshRefused(response.status, str(problem)) from None
        if name not in self._endpoints:
            raise RefreshRefused(0, f"no {name} is known")
        return self._endpoints[name]

    def _metadata(self, issuer: str, send: Send, now: float) -> Response:
        """RFC 8414 section 3.1, and OpenID Connect Discovery for those that have only that."""
        parts = urlsplit(issuer)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        for url in (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        ):
            accept = {"Accept": "application/json"}
            response = send(Request("GET", url, accept, None, self._timeout_seconds))
            if response.status == 200:
                return response
            if response.status >= 500 or response.status == 429:
                break
        check(response, now=now)
        raise RefreshRefused(response.status, "no metadata")


def check(response: Response, *, now: float, private: Iterable[str | None] = ()) -> None:
    """Raises what stands for an answer other than 200. private: as in `read`."""
    if response.status == 200:
        return
    answer = read(response, now=now, private=private)
    if isinstance(answer, Later):
        raise RefreshUnavailable(answer.detail, retry_after_seconds=answer.after_seconds or 0)
    raise RefreshRefused(response.status, getattr(answer, "error", ""))


def checked(name: str, url: str) -> str:
    """RFC 6749 section 3.2: a token endpoint is never spoken to without TLS, but right here."""
    parts = urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ValueError(f"{name}: an https address is needed, or http on this machine")
    if parts.fragment or parts.username or parts.password:
        raise ValueError(f"{name}: no fragment, no user")
    return url


def _endpoints(response: Response, issuer: str) -> dict[str, str]:
    """The addresses in an issuer's metadata."""
    found = json_object(response.body)
    if found.get("issuer") != issuer:
        # RFC 8414 section 3.3: MUST be identical, and MUST NOT be used if it is not.
        raise RefreshRefused(response.status, "the metadata is another issuer's")
    addresses = {
        name: checked(name, value)
        for name, value in found.items()
        if name in ("token_endpoint", "revocation_endpoint") and isinstance(value, str)
    }
    if "token_endpoint" not in addresses:
        raise RefreshRefused(response.status, "the metadata has no token_endpoint")
    return addresses
