"""events/: an example of every event that a function of the template gets."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "events"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
# The HTTP status of those that an HTTP API sends, with the demo applications and nobody's token.
STATUS = {
    "applications": 401,
    "discovery": 200,
    "discovery.keys": 200,
    "introspect": 200,
    "issue": 200,
    "issue.session": 200,
    "login": 200,
    "refresh": 400,
    "revoke": 200,
    "sessions": 401,
    "sessions.page": 200,
}


def function(name: str) -> str:
    """The logical id of the function that gets the event: it is named after the same folder."""
    return "".join(word.title() for word in name.split(".")[0].split("_")) + "Function"


def example(name: str, **values: str) -> Any:
    """The event. values: what stands in the place of ACCESS_TOKEN and SIGNING_KEYS_SECRET."""
    text = (FOLDER / f"{name}.json").read_text("utf-8")
    for placeholder, value in values.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    return json.loads(text)
