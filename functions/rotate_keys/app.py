"""One step of rotating a secret, as Secrets Manager calls it."""

from typing import Any

from ratchet import endpoint, wiring
from ratchet.rotate_keys import rotate


def handler(event: dict[str, Any], _context: Any) -> None:
    parts, now = wiring.parts(), endpoint.clock()
    rotate(
        event["Step"],
        event["ClientRequestToken"],
        wiring.rotation(wiring.settings(), event["SecretId"]),
        longest_access_ttl_seconds=parts.applications.longest_access_ttl_seconds(),
        now=now,
    )
