"""Metrics as CloudWatch reads them from the log (its embedded metric format)."""

import json

Series = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name and its dimensions."""


def series(written: str) -> dict[Series, float]:
    """What standard output counts, each series with its last value."""
    found: dict[Series, float] = {}
    for text in written.splitlines():
        line = json.loads(text) if text.startswith("{") else {}
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert directive["Namespace"] == "Ratchet/ratchet"
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, line[name]) for name in names)
                for metric in directive["Metrics"]:
                    value = line[metric["Name"]]
                    name = metric["Name"]
                    found[name, dimensions] = value[0] if isinstance(value, list) else value
    return found
