"""What an answer of the token endpoint means (RFC 6749 sections 5.1 and 5.2). No I/O, no clock."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from ratchet_client.transport import Response

# Whoever asks for longer is asked again after this all the same.
MAX_RETRY_AFTER_SECONDS = 300
# Of our server: refusals of the request (docs/reasons.md). The session goes on.
_NOT_THE_SESSION = {"wrong_client", "wrong_key", "application_disabled"}
_PASSING = {"temporarily_unavailable", "server_error", "slow_down"}
_PASSING_STATUS = {408, 425, 429}
# Of a challenge no more is read: it is any server's that the program talks to.
_MAX_CHALLENGE = 2048
_BEARER = re.compile(r"\bBearer\b", re.IGNORECASE)
_INVALID = re.compile(r"\berror ?= ?\"?invalid_token\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """expires_in_seconds, refresh_after_seconds: None if the server does not say.

    refresh_token: None if it stays as it is.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in_seconds: float | None = None
    refresh_after_seconds: float | None = None
    scope: str = ""
    sid: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Try again; after_seconds: as the server asks, None if it does not."""

    detail: str
    after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Terminal:
    """The session is over."""

    reason: str
    description: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not one that the server takes, whatever session it is about."""

    status: int
    error: str
    reason: str = ""
    description: str = ""


Answer = Tokens | Later | Terminal | Refused


def read(response: Response, *, now: float, private: Iterable[str | None] = ()) -> Answer:
    """private: what a careless server may have repeated in its description."""
    body = json_object(response.body)
    if response.status == 200:
        tokens = tokens_from(body)
        # No tokens: a portal that wants a sign-in of its own, a proxy, half an answer.
        return tokens or Later("the answer has no token")

    def said(name: str) -> str:
        value = body.get(name)
        return _harmless(value, private) if isinstance(value, str) else ""

    error, reason, retry = said("error"), said("error_reason"), said("retry")
    detail = f"the server answered {response.status} {reason or error}".rstrip()
    if (
        response.status >= 500
        or response.status in _PASSING_STATUS
        or error in _PASSING
        or retry in ("after", "now")
    ):
        return Later(detail, retry_after_seconds(response.headers, now=now))
    if error == "invalid_grant" and reason not in _NOT_THE_SESSION:
        return Terminal(reason or error, said("error_description"))
    return Refused(response.status, error, reason, said("error_description"))


def tokens_from(body: Mapping[str, Any]) -> Tokens | None:
    """None if it is no token response for bearer tokens."""
    access, refresh = body.get("access_token"), body.get("refresh_token")
    kind = body.get("token_type", "Bearer")
    if not _token(access) or not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    scope, sid = body.get("scope"), body.get("sid")
    return Tokens(
        access_token=str(access),
        refresh_token=str(refresh) if _token(refresh) else None,
        expires_in_seconds=_seconds(body.get("expires_in")),
        refresh_after_seconds=_seconds(body.get("refresh_after")),
        scope=scope if isinstance(scope, str) else "",
        sid=sid if isinstance(sid, str) else "",
    )


def json_object(body: bytes) -> dict[str, Any]:
    """{} if it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        seconds = float(value[:9])
    elif (instant := http_date(value)) is not None:
        seconds = instant - (http_date(headers.get("date", "")) or now)
    else:
        return None
    return min(max(seconds, 0), MAX_RETRY_AFTER_SECONDS)


def http_date(value: str) -> float | None:
    try:
        found = parsedate_to_datetime(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def server_ahead_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """How far the clock of whoever answered is ahead of ours; of a cache's answer not known."""
    date = None if headers.get("age") else http_date(headers.get("date", ""))
    return None if date is None else date - now


def refuses_token(status: int, www_authenticate: str, *, bare: bool = False) -> bool:
    """Whether an API says that the access token is not good (RFC 6750 section 3.1).

    bare: what a 401 without any challenge is taken for.
    """
    if status != 401:
        return False
    challenge = " ".join(www_authenticate[:_MAX_CHALLENGE].split())
    if not challenge:
        return bare
    # Two searches, one after the other: in one pattern they would be tried in all combinations.
    scheme = _BEARER.search(challenge)
    return scheme is not None and _INVALID.search(challenge, scheme.end()) is not None


def _token(value: object) -> bool:
    """RFC 6750 and RFC 6749 appendix A.12: what can be sent in a header."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _harmless(text: str, private: Iterable[str | None]) -> str:
    """Fit for a log: one line, not long, and nothing of ours in it."""
    for secret in filter(None, private):
        text = text.replace(secret, "…")
    return "".join(character for character in text if character.isprintable())[:200]
