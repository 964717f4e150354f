"""A Lambda authorizer for HTTP APIs: payload format 2.0, simple responses (docs/apis.md)."""

from typing import Any

from ratchet import endpoint, wiring
from ratchet.response import Response


def respond(event: dict[str, Any], now: int) -> Response:
    return wiring.authorize(endpoint.clock)(event, now)


handler = endpoint.authorizer(respond)
