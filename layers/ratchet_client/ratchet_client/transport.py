"""One HTTP request and its answer, and how they are sent where there is no HTTP library."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ratchet_client.errors import ConnectionFailed

MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """Its headers and its body hold secrets, so neither is in its repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 10


@dataclass(frozen=True, slots=True)
class Response:
    """headers: names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


# Sends a request, follows no redirect, and raises ConnectionFailed if there is no whole answer.
Send = Callable[[Request], Response]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A refresh token is for the address that was configured, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def send(request: Request) -> Response:
    """With the standard library. Takes the proxies of the environment, as urllib does."""
    prepared = urllib.request.Request(  # noqa: S310 - authorization_server.py looks at the scheme
        request.url, request.body, dict(request.headers), method=request.method
    )
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        try:
            answer = opener.open(prepared, timeout=request.timeout_seconds)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            body = answer.read(MAX_ANSWER_BYTES)
            # Of Content-Length, what has not come: `read` with a limit is silent about it.
            if answer.length:
                raise http.client.IncompleteRead(body)
            return Response(answer.status, headers, body)
    except (OSError, http.client.HTTPException) as failure:
        raise ConnectionFailed(f"{type(failure).__name__}: {failure}") from None
