"""docs/openapi.yaml against the service: its routes, its reasons, and the file that is served."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import validator_for

from functions.discovery.app import discovery
from ratchet.reasons import Reason, Retry
from ratchet_cli import template

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
            request = payload.Request("PATCH", route.path, "", [("host", "x")], b"", "192.0.2.1")
            event = payload.event(request, payload.Match(route, {}))
            answer = loaded.invoke(route.function, event)
            assert answer["statusCode"] == 405, route
            methods = set(answer["headers"]["Allow"].split(", "))
        found.setdefault(route.path, set()).update(methods)
    return found


def resolved(node: Any) -> Any:
    """A node of the document with all that it refers to in its place."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node
