"""Instants and durations as people read them. No clock: the instant is an argument."""

from datetime import UTC, datetime

UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def utc(at: int) -> str:
    """Epoch seconds as `2026-11-21 18:33:07 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def epoch_seconds(text: str) -> int:
    """The other way round: ISO 8601, UTC if it names no zone. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def duration(seconds: int) -> str:
    """Its two largest units: `20 days 3 hours`."""
    parts = []
    for name, length in UNITS:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number} {name}{'' if number == 1 else 's'}")
    return " ".join(parts[:2]) or "0 seconds"


def option(seconds: int) -> str:
    """As an option of `ratchet apps update` takes it: `28d`, `90m`."""
    for name, length in UNITS:
        if seconds % length == 0:
            return f"{seconds // length}{name[0]}"
    return f"{seconds}s"
