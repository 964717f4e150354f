"""One HTTP answer, and how it becomes API Gateway's payload format 2.0."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# RFC 6749 section 5.1: no-store and no-cache on everything with tokens or credentials. Here it is
# the default and discovery, which has neither, says otherwise.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
ALWAYS = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """body: a JSON object, or None for an empty answer. log: fields of the log line."""

    status: int = 200
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: NO_STORE)
    log: Mapping[str, Any] = field(default_factory=dict)

    def to_payload(self) -> dict[str, Any]:
        headers = {**ALWAYS, **self.headers}
        if self.body is None:
            return {"statusCode": self.status, "headers": headers, "body": ""}
        headers["Content-Type"] = "application/json"
        return {
            "statusCode": self.status,
            "headers": headers,
            "body": json.dumps(self.body, separators=(",", ":")),
        }
