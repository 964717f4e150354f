"""docs/events: a schema, an example and a line for each event, and a rule that works."""

import json
import re
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest
from jsonschema_rs import meta
from moto.events.models import EventPattern

from ratchet_cli import template
from tests.event_schemas import FOLDER, delivered, problems, schema

PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
TYPES = sorted(path.stem for path in FOLDER.glob("*.json"))
EXAMPLES: dict[str, Any] = {
    (event := json.loads(text))["detail-type"]: event
    for text in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
(RULE,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_has_a_line_and_an_example_of_each_event() -> None:
    assert sorted(EXAMPLES) == TYPES
    linked = re.findall(r"^\| \[`(session\.\w+)`\]\((session\.\w+\.json)\)", PAGE, re.MULTILINE)
    assert sorted(linked) == [(name, f"{name}.json") for name in TYPES]


@pytest.mark.parametrize("name", TYPES)
def test_a_schema_is_one_of_draft_4_and_its_example_keeps_to_it(name: str) -> None:
    meta.validate(schema(name))
    assert schema(name)["$schema"] == "http://json-schema.org/draft-04/schema#"
    assert problems(EXAMPLES[name]) == []


@pytest.mark.parametrize("name", TYPES)
def test_what_the_schema_names_is_explained_on_the_page_and_there(name: str) -> None:
    for field, about in schema(name)["properties"]["detail"]["properties"].items():
        assert f"`{field}`" in PAGE, field
        assert about["description"], field


def test_what_every_event_has_is_described_alike() -> None:
    """but for what at, reason and id are of each"""
    every = set.intersection(
        *(set(schema(name)["properties"]["detail"]["properties"]) for name in TYPES)
    )
    assert every == {
        *("id", "sid", "client_id", "sub", "reason", "at"),
        *("generation", "idle_deadline_at", "absolute_deadline_at"),
    }
    for field in every - {"id", "at", "reason"}:
        described = [schema(name)["properties"]["detail"]["properties"][field] for name in TYPES]
        assert described == described[:1] * len(TYPES)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("session.expiring", {"deadline": "soon"}),
        ("session.expiring", {"deadline_at": "2026-11-21"}),
        ("session.started", {"reason": "reused"}),
        ("session.expired", {"reason": "revoked_by_user"}),
        ("session.revoked", {"refresh_token": "rt1_"}),
        ("session.revoked", {"sid": None}),
        ("session.reuse_detected", {"reuse_cause": None}),
        ("session.reuse_detected", {"behind": -1}),
    ],
)
def test_an_event_that_is_otherwise_is_noticed(name: str, changes: dict[str, Any]) -> None:
    assert problems(delivered(name, EXAMPLES[name]["detail"] | changes))


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "rule.yaml"
    path.write_text(RULE, encoding="utf-8")
    return path


def test_the_rule_is_one_that_cloudformation_takes(rule: Path) -> None:
    assert cfnlint.api.lint_file(rule) == []


def test_the_rule_matches_what_the_page_says(rule: Path) -> None:
    pattern = template.load(rule)["Resources"]["Warnings"]["Properties"]["EventPattern"]
    matches: Any = EventPattern.load(json.dumps(pattern)).matches_event
    assert {name for name, event in EXAMPLES.items() if matches(event)} == {"session.expiring"}
    warning = EXAMPLES["session.expiring"]["detail"]
    assert not matches(delivered("session.expiring", warning | {"deadline": "absolute"}))
    assert not matches(delivered("session.expiring", warning | {"client_id": "other"}))
