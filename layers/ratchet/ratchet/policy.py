"""How long an application's tokens and sessions live: presets, and the rules a policy must keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from ratchet.attributes import Invalid, Rule, broken

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# The longest time a lost answer may be asked for again. A constant of the protocol: a refresh token
# is looked at until its idle deadline plus this, whatever its application's policy says by then.
MAX_RETRY_WINDOW_SECONDS = DAY
MAX_LEEWAY_SECONDS = 10 * MINUTE
MAX_SECONDS = 3650 * DAY
MIN_RETENTION_SECONDS = DAY
MIN_TOUCH_INTERVAL_SECONDS = MINUTE
LONG_ACCESS_SECONDS = DAY


class InvalidPolicy(Invalid):
    """The message lists every problem at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Durations in seconds.

    idle_ttl_seconds: 0 means that the application gets no refresh tokens (preset machine).
    leeway_seconds: how long after a rotation the direct parent is answered with its successor.
    retry_window_seconds: the same for a request repeated with its Idempotency-Key.
    idle_warning_seconds, absolute_warning_seconds: how long before these deadlines to publish
    `session.expiring`, 0: not.
    touch_interval_seconds: API use counts as activity, written down at most this often; 0: only a
    refresh counts.
    retention_seconds: how long an ended session keeps its reason.
    """

    access_ttl_seconds: int
    idle_ttl_seconds: int
    absolute_ttl_seconds: int
    leeway_seconds: int = 30
    retry_window_seconds: int = MAX_RETRY_WINDOW_SECONDS
    rotation: bool = True
    rotation_off_reason: str = ""
    idle_warning_seconds: int = 0
    absolute_warning_seconds: int = 0
    touch_interval_seconds: int = 0
    retention_seconds: int = 30 * DAY

    def __post_init__(self) -> None:
        mistyped = broken(self._types())
        for rule in mistyped:
            # This policy is refused in any case; its other numbers can be looked at this way.
            object.__setattr__(self, rule.about, 0)
        if problems := mistyped + broken(self._rules(), {rule.about for rule in mistyped}):
            raise InvalidPolicy(problems)

    def _types(self) -> list[Rule]:
        rules = [
            Rule(
                field.name,
                type(value := getattr(self, field.name)) is int and 0 <= value <= MAX_SECONDS,
                f"{field.name} must be a whole number of seconds from 0 to {MAX_SECONDS}",
            )
            for field in fields(self)
            if field.name.endswith("_seconds")
        ]
        off, why = self.rotation, self.rotation_off_reason
        return [
            *rules,
            Rule("rotation", isinstance(off, bool), "rotation must be true or false"),
            Rule("rotation_off_reason", isinstance(why, str), "rotation_off_reason must be a text"),
        ]

    def _rules(self) -> list[Rule]:
        return [
            Rule(
                "access_ttl_seconds",
                self.access_ttl_seconds > 0,
                "access_ttl_seconds must not be 0",
            ),
            Rule(
                "idle_ttl_seconds absolute_ttl_seconds",
                self.idle_ttl_seconds <= self.absolute_ttl_seconds,
                "idle_ttl_seconds must not exceed absolute_ttl_seconds",
            ),
            Rule(
                "leeway_seconds",
                self.leeway_seconds <= MAX_LEEWAY_SECONDS,
                f"leeway_seconds must not exceed {MAX_LEEWAY_SECONDS}",
            ),
            Rule(
                "retry_window_seconds",
                self.retry_window_seconds <= MAX_RETRY_WINDOW_SECONDS,
                f"retry_window_seconds must not exceed {MAX_RETRY_WINDOW_SECONDS}",
            ),
            Rule(
                "idle_warning_seconds idle_ttl_seconds",
                not self.refresh_tokens or self.idle_warning_seconds < self.idle_ttl_seconds,
                "idle_warning_seconds must be less than idle_ttl_seconds",
            ),
            Rule(
                "absolute_warning_seconds absolute_ttl_seconds",
                not self.refresh_tokens
                or self.absolute_warning_seconds < self.absolute_ttl_seconds,
                "absolute_warning_seconds must be less than absolute_ttl_seconds",
            ),
            Rule(
                "touch_interval_seconds idle_ttl_seconds",
                self.touch_interval_seconds == 0
                or MIN_TOUCH_INTERVAL_SECONDS
                <= self.touch_interval_seconds
                < self.idle_ttl_seconds,
                f"touch_interval_seconds must be 0, or at least {MIN_TOUCH_INTERVAL_SECONDS} and"
                " less than idle_ttl_seconds",
            ),
            Rule(
                "retention_seconds",
                self.retention_seconds >= MIN_RETENTION_SECONDS,
                f"retention_seconds must be at least {MIN_RETENTION_SECONDS}",
            ),
            Rule(
                "rotation rotation_off_reason",
                self.rotation or bool(str(self.rotation_off_reason).strip()),
                "rotation may only be switched off with a rotation_off_reason",
            ),
        ]

    def warnings(self) -> list[str]:
        """What is allowed, and most likely not meant."""
        found = []
        if self.access_ttl_seconds > LONG_ACCESS_SECONDS:
            found.append(
                "access_ttl_seconds is more than 24 hours: an access token stays good for that long"
                " at every API that does not ask whether its session has ended"
            )
        if self.refresh_tokens and self.idle_warning_seconds and not self.absolute_warning_seconds:
            found.append(
                "absolute_warning_seconds is 0 although idle_warning_seconds is not: nobody is"
                " warned of a session's last deadline, which no refresh moves"
            )
        return found

    @property
    def refresh_tokens(self) -> bool:
        return self.idle_ttl_seconds > 0

    @property
    def lasting_tokens(self) -> bool:
        """Whether a refresh token has to last as long as its session may.

        Because it is never replaced, or because API use may keep its session alive (`touch`).
        """
        return not self.rotation or self.touch_interval_seconds > 0

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> "Policy":
        """From `{"preset": name, field: number, …}`; raises InvalidPolicy."""
        overrides = dict(value)
        preset = overrides.pop("preset", None)
        known = {field.name for field in fields(cls)}
        unknown = sorted(map(str, overrides.keys() - known))
        known_preset = isinstance(preset, str) and preset in PRESETS
        problems = broken(
            [
                Rule("preset", known_preset, f"preset must be one of {', '.join(PRESETS)}"),
                Rule("", not unknown, f"unknown: {', '.join(unknown)} (in the policy)"),
            ]
        )
        written = {name: number for name, number in overrides.items() if name in known}
        try:
            policy = replace(PRESETS[preset if known_preset else "browser"], **written)
        except InvalidPolicy as invalid:
            # Without its preset only what was written can be judged.
            problems += broken(invalid.broken, () if known_preset else known - written.keys())
        if problems:
            raise InvalidPolicy(problems)
        return policy


PRESETS: Mapping[str, Policy] = MappingProxyType(
    {
        "browser": Policy(
            access_ttl_seconds=HOUR,
            idle_ttl_seconds=14 * DAY,
            absolute_ttl_seconds=180 * DAY,
            idle_warning_seconds=2 * DAY,
            absolute_warning_seconds=7 * DAY,
        ),
        "native": Policy(
            access_ttl_seconds=HOUR,
            idle_ttl_seconds=90 * DAY,
            absolute_ttl_seconds=365 * DAY,
            idle_warning_seconds=7 * DAY,
            absolute_warning_seconds=14 * DAY,
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
            idle_warning_seconds=7 * DAY,
            absolute_warning_seconds=14 * DAY,
        ),
        "machine": Policy(access_ttl_seconds=HOUR, idle_ttl_seconds=0, absolute_ttl_seconds=0),
    }
)
