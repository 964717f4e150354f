"""JSON over HTTPS, from addresses that were configured. With the standard library alone."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0
"""To connect, for each piece of an answer, and for all pieces together."""
MAX_BYTES = 256 * 1024
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class FetchFailed(Exception):
    """There is no answer of use. The message is for a log."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Keys come from the address that was configured, or not at all."""


_opener = urllib.request.build_opener(_NoRedirects)


def get_json(
    url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Any:
    """What this address answers, a POST if there is data. Raises FetchFailed."""
    asked = {"Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(checked(url), data=data, headers=asked)  # noqa: S310 - checked
    try:
        with _opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            body = _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise FetchFailed(f"HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        raise FetchFailed(type(error).__name__) from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FetchFailed("no JSON") from None


def _read(answer: HTTPResponse) -> bytes:
    until = time.monotonic() + TIMEOUT_SECONDS
    body = b""
    while piece := answer.read1(65536):
        body += piece
        if len(body) > MAX_BYTES:
            raise FetchFailed("too long")
        # Piece by piece an answer could take for ever.
        if time.monotonic() > until:
            raise FetchFailed("too slow")
    return body


def checked(url: str) -> str:
    """The URL, if it is https, or http on this machine. Raises ValueError."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or plain) or "@" in parts.netloc:
        raise ValueError(f"{url} is no https URL")
    return url
