"""Durations as people write them: 5m, 12h, 14d, 1h30m, or seconds."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PARTS = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)


class Duration(click.ParamType[int]):
    """An option's value, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        if re.fullmatch(r"[0-9]{1,9}", text):
            return int(text)
        found = _PARTS.fullmatch(text)
        if not text or found is None:
            self.fail(f"{value!r} is no duration such as 5m, 12h, 14d or 1h30m", param, ctx)
        numbers = zip(found.groups(), UNITS.values(), strict=True)
        return sum(int(number) * seconds for number, seconds in numbers if number)


def shown(seconds: int) -> str:
    """The same the other way round: 1209600 is 14d."""
    parts = []
    for unit, length in UNITS.items():
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0"
