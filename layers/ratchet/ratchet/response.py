"""One HTTP answer, and how it becomes API Gateway's payload format 2.0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# RFC 6749 section 5.1: no-store and no-cache on everything with tokens or credentials. Here it is
# the default and discovery, which has neither, says otherwise.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
ALWAYS = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}
# json.dumps would make one anew each time: a quarter of what it takes.
_to_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """body: a JSON object, or None for an empty answer. log: fields of the log line.

    text: instead of a body, what is no JSON; its Content-Type is among the headers.
    cookies: the text of each Set-Cookie, which is no header here because it may repeat.
    """

    status: int = 200
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: NO_STORE)
    cookies: Sequence[str] = field(default=(), repr=False)
    log: Mapping[str, Any] = field(default_factory=dict)

    def to_payload(self, shared: Mapping[str, str]) -> dict[str, Any]:
        """shared: headers that it has besides."""
        payload: dict[str, Any] = {
            "statusCode": self.status,
            "headers": {**ALWAYS, **self.headers, **shared},
            "body": self.text,
        }
        if self.cookies:
            payload["cookies"] = list(self.cookies)
        if self.body is not None:
            payload["headers"]["Content-Type"] = "application/json"
            payload["body"] = _to_json(self.body)
        return payload
