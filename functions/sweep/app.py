"""The scheduled sweep: ends, warns, publishes what is due."""

from typing import Any

from ratchet import endpoint, key_age, wiring
from ratchet.sweep import sweep


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """event: `{"dry_run": true}` asks what would be done."""
    parts, now = wiring.parts(), endpoint.clock()
    dry_run = bool(event.get("dry_run"))
    if not dry_run:
        key_age.report(wiring.key_secrets(), now)
    report = sweep(
        applications=parts.applications,
        store=parts.store,
        positions=parts.sweep_positions,
        bus=parts.bus,
        now=now,
        remaining_ms=context.get_remaining_time_in_millis,
        dry_run=dry_run,
    )
    return {**report.to_dict(), "dry_run": True} if dry_run else report.to_dict()
