"""How long an application's tokens and sessions live: presets, and the rules a policy must keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# The longest time a lost answer may be asked for again. A constant of the protocol: a refresh token
# is looked at until its idle deadline plus this, whatever its application's policy says by then.
MAX_RETRY_WINDOW_SECONDS = DAY
MAX_LEEWAY_SECONDS = 10 * MINUTE
MAX_SECONDS = 3650 * DAY
MIN_RETENTION_SECONDS = DAY


class InvalidPolicy(ValueError):
    """The message lists every problem at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Durations in seconds.

    idle_ttl_seconds: 0 means that the application gets no refresh tokens (preset machine).
    leeway_seconds: how long after a rotation the direct parent is answered with its successor.
    retry_window_seconds: the same for a request repeated with its Idempotency-Key.
    expiry_warning_seconds: how long before the idle deadline to publish `session.expiring`, 0: not.
    retention_seconds: how long an ended session keeps its reason.
    """

    access_ttl_seconds: int
    idle_ttl_seconds: int
    absolute_ttl_seconds: int
    leeway_seconds: int = 30
    retry_window_seconds: int = MAX_RETRY_WINDOW_SECONDS
    rotation: bool = True
    rotation_off_reason: str = ""
    expiry_warning_seconds: int = 0
    retention_seconds: int = 30 * DAY

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise InvalidPolicy("; ".join(problems))

    def _problems(self) -> list[str]:
        problems = [
            f"{field.name} must be a whole number of seconds from 0 to {MAX_SECONDS}"
            for field in fields(self)
            if field.name.endswith("_seconds")
            and not (type(value := getattr(self, field.name)) is int and 0 <= value <= MAX_SECONDS)
        ]
        types: dict[str, type] = {"rotation": bool, "rotation_off_reason": str}
        problems += [
            f"{name} must be a {kind.__name__}"
            for name, kind in types.items()
            if not isinstance(getattr(self, name), kind)
        ]
        if problems:
            return problems
        if self.access_ttl_seconds == 0:
            problems.append("access_ttl_seconds must not be 0")
        if self.idle_ttl_seconds > self.absolute_ttl_seconds:
            problems.append("idle_ttl_seconds must not exceed absolute_ttl_seconds")
        if self.leeway_seconds > MAX_LEEWAY_SECONDS:
            problems.append(f"leeway_seconds must not exceed {MAX_LEEWAY_SECONDS}")
        if self.retry_window_seconds > MAX_RETRY_WINDOW_SECONDS:
            problems.append(f"retry_window_seconds must not exceed {MAX_RETRY_WINDOW_SECONDS}")
        if self.refresh_tokens and self.expiry_warning_seconds >= self.idle_ttl_seconds:
            problems.append("expiry_warning_seconds must be less than idle_ttl_seconds")
        if self.retention_seconds < MIN_RETENTION_SECONDS:
            problems.append(f"retention_seconds must be at least {MIN_RETENTION_SECONDS}")
        if not self.rotation and not self.rotation_off_reason.strip():
            problems.append("rotation may only be switched off with a rotation_off_reason")
        return problems

    @property
    def refresh_tokens(self) -> bool:
        return self.idle_ttl_seconds > 0

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> "Policy":
        """From `{"preset": name, field: number, …}`; raises InvalidPolicy."""
        overrides = dict(value)
        preset = overrides.pop("preset", None)
        if not isinstance(preset, str) or preset not in PRESETS:
            raise InvalidPolicy(f"preset must be one of {', '.join(PRESETS)}")
        unknown = overrides.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise InvalidPolicy(f"unknown: {', '.join(sorted(unknown))}")
        return replace(PRESETS[preset], **overrides)


PRESETS: Mapping[str, Policy] = MappingProxyType(
    {
        "browser": Policy(
            access_ttl_seconds=HOUR,
            idle_ttl_seconds=14 * DAY,
            absolute_ttl_seconds=180 * DAY,
            expiry_warning_seconds=2 * DAY,
        ),
        "native": Policy(
            access_ttl_seconds=HOUR,
            idle_ttl_seconds=90 * DAY,
            absolute_ttl_seconds=365 * DAY,
            expiry_warning_seconds=7 * DAY,
        ),
        # NIST SP 800-63B-4, AAL3: inactivity 15 minutes, overall 12 hours.
        "sensitive": Policy(
            access_ttl_seconds=5 * MINUTE,
            idle_ttl_seconds=15 * MINUTE,
            absolute_ttl_seconds=12 * HOUR,
            leeway_seconds=0,
        ),
        "kiosk": Policy(
            access_ttl_seconds=15 * MINUTE,
            idle_ttl_seconds=8 * HOUR,
            absolute_ttl_seconds=8 * HOUR,
        ),
        "cli": Policy(
            access_ttl_seconds=HOUR,
            idle_ttl_seconds=90 * DAY,
            absolute_ttl_seconds=365 * DAY,
            expiry_warning_seconds=7 * DAY,
        ),
        "machine": Policy(access_ttl_seconds=HOUR, idle_ttl_seconds=0, absolute_ttl_seconds=0),
    }
)
