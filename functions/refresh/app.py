"""POST /oauth/refresh: RFC 6749 section 6 with a role, a concurrency and alarms of its own."""

from ratchet import endpoint, wiring
from ratchet.grants import refresh_token

handler = endpoint.handler(
    "refresh",
    {"POST /oauth/refresh": refresh_token.respond},
    wiring.parts,
    nonces=True,
    pages=True,
)
