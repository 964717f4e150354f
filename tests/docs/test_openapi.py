"""docs/openapi.yaml against the service: its routes, its reasons, and the file that is served."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ratchet import wiring
from ratchet.reasons import Reason, Retry
from ratchet_cli import payload, template
from ratchet_cli.functions import Functions

ROOT = Path(__file__).parents[2]
SERVED = ROOT / "layers" / "ratchet" / "ratchet" / "openapi.json"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def described() -> dict[str, set[str]]:
    """Every path with its methods, as the document has them."""
    return {
        path: {method.upper() for method in item.keys() & METHODS}
        for path, item in DOCUMENT["paths"].items()
    }


def served() -> dict[str, set[str]]:
    """Every path of template.yaml, with the methods that its functions name in `Allow`."""
    found: dict[str, set[str]] = {}
    parsed = template.load(ROOT / "template.yaml")
    loaded = Functions(ROOT, template.functions(parsed))
    for route in template.routes(parsed):
        methods = {route.method}
        if route.method == "ANY":
            request = payload.Request("PUT", route.path, "", [("host", "x")], b"", "192.0.2.1")
            event = payload.event(request, payload.Match(route, {}))
            answer = loaded.invoke(route.function, event)
            assert answer["statusCode"] == 405, route
            methods = set(answer["headers"]["Allow"].split(", "))
        found.setdefault(route.path, set()).update(methods)
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (text for name, text in node.items() if name == "$ref")
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_the_document_names_exactly_the_routes_and_methods_of_the_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A wrong method is answered before anything is asked of AWS.
    monkeypatch.setattr(wiring, "_parts", SimpleNamespace(issuer="https://id.test"))
    assert described() == served()


def test_the_document_has_exactly_the_reasons_of_the_code_in_their_order() -> None:
    assert SCHEMAS["Reason"]["enum"] == [reason.value for reason in Reason]
    assert SCHEMAS["Retry"]["enum"] == [retry.value for retry in Retry]


def test_every_refusal_has_known_reasons_and_every_reason_is_in_a_refusal() -> None:
    named: set[str] = set()
    for name, schema in SCHEMAS.items():
        reason = schema.get("properties", {}).get("error_reason") or {}
        found = set(reason.get("enum", [])) | ({reason["const"]} if "const" in reason else set())
        retries = {Reason(value).retry.value for value in found}
        assert not found or retries == {schema["properties"]["retry"]["const"]}, name
        named |= found
    assert named == {reason.value for reason in Reason}


def test_every_reference_leads_somewhere_and_every_component_is_referred_to() -> None:
    named = set(references(DOCUMENT))
    components = {
        f"#/components/{kind}/{name}"
        for kind, parts in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in parts
    }
    assert named == components


def test_what_is_served_is_the_document_as_make_openapi_writes_it() -> None:
    assert SERVED.read_text("utf-8") == json.dumps(DOCUMENT, indent=1) + "\n"
