"""The events on the bus, held against their schemas in docs/events."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft4Validator

FOLDER = Path(__file__).parents[1] / "docs" / "events"


@cache
def schema(event_type: str) -> dict[str, Any]:
    path = FOLDER / f"{event_type}.json"
    assert path.is_file(), f"no schema: {path.name}"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def _validator(event_type: str) -> Draft4Validator:
    return Draft4Validator(schema(event_type), validate_formats=True)


def delivered(event_type: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """An event as EventBridge hands it to a target."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": event_type,
        "source": "ratchet",
        "account": "111122223333",
        "time": "2026-11-21T12:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": dict(detail),
    }


def problems(event: Mapping[str, Any]) -> list[str]:
    """What is wrong with an event, as a target gets it.

    The schemas are open, so that a later version may say more; this one says what they have.
    """
    event_type = str(event["detail-type"])
    described = schema(event_type)["properties"]["detail"]["properties"]
    undocumented = sorted(event["detail"].keys() - described.keys())
    found = [f"{event_type}: {name} is not in the schema" for name in undocumented]
    errors = _validator(event_type).iter_errors(event)
    return found + [f"{event_type}: {error.message} at {error.instance_path}" for error in errors]
