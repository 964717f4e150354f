"""The scheduled sweep: ends, warns, publishes what is due."""

from typing import Any

from ratchet import endpoint, wiring
from ratchet.sweep import sweep


def handler(_event: dict[str, Any], context: Any) -> dict[str, Any]:
    parts = wiring.parts()
    return sweep(
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=endpoint.clock(),
        remaining_ms=context.get_remaining_time_in_millis,
    ).to_dict()
