"""Applications as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ratchet_cli.duration import shown

# What `details` shows in its own way, or that says nothing when it is empty.
_SPECIAL = {"client_id", "policy", "effective_policy", "former_policies", "warnings", "problems"}
HORIZONS = {"now": "now", "within_a_day": "within a day", "within_a_week": "within a week"}


def instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def table(views: Sequence[Mapping[str, Any]]) -> str:
    """One line for each application."""
    header = ("CLIENT ID", "PRESET", "KIND", "ACCESS", "IDLE", "ABSOLUTE", "STATE", "NAME")
    rows: list[Sequence[str]] = [header]
    for view in views:
        numbers = view.get("effective_policy", {})
        kind = "confidential" if view.get("confidential") is True else "public"
        durations = (
            shown(numbers[f"{name}_ttl_seconds"]) if numbers else "?"
            for name in ("access", "idle", "absolute")
        )
        state = "disabled" if view.get("disabled_at") else "on"
        preset = str((view.get("policy") or {}).get("preset", "?"))
        state = "NOT VALID" if view.get("problems") else state
        name = str(view.get("name", ""))
        rows.append((str(view["client_id"]), preset, kind, *durations, state, name))
    return _aligned(rows)


def details(view: Mapping[str, Any]) -> str:
    """Everything about one application, the overridden numbers of its policy marked."""
    rows = [("client_id", str(view["client_id"]))]
    for name, value in sorted(view.items()):
        if name not in _SPECIAL and value not in (None, [], {}, "", 0):
            rows.append((name, _text(name, value)))
    written = view.get("policy") or {}
    for name, value in view.get("effective_policy", {}).items():
        if value == "":
            continue
        text = shown(value) if name.endswith("_seconds") else _text(name, value)
        origin = "" if name in written else f"   (preset {written.get('preset')})"
        rows.append((f"policy.{name.removesuffix('_seconds')}", text + origin))
    for former in view.get("former_policies", []):
        told = f"for sessions that started before {instant(former['until_at'])}"
        rows.append(("former policy", told))
    lines = [_aligned(rows)]
    lines += [f"WARNING: {text}" for text in view.get("warnings", [])]
    lines += [f"PROBLEM: {text}" for text in view.get("problems", [])]
    return "\n".join(lines)


def preview(sessions: Mapping[str, Any]) -> str:
    """How many of the live sessions end by when."""
    titles = {
        "as_it_is": "as it is",
        "changed": "with this change",
        "at_once": "with --mode now",
    }
    rows = [("", *HORIZONS.values())]
    rows += [
        (title, *(str(sessions[name][horizon]) for horizon in HORIZONS))
        for name, title in titles.items()
    ]
    return f"Of {sessions['live']} live sessions end, if nobody refreshes them:\n" + _aligned(rows)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(("_at", "_after")):
        return instant(value) if value else "-"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
