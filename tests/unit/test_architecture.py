"""The house plan (design section 4): arrows go down, handlers are thin, imports touch nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "layers" / "ratchet" / "ratchet"
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))

# From the ground up. A module imports only what stands on a line above its own.
LAYERS = [
    {"attributes", "grants"},
    {"reasons", "policy", "response", "jwk_set", "email_address", "throttle"},
    {"errors", "trusted_issuer", "session", "assertion", "instants"},
    {"application", "sender", "timeline"},
    {"dead_sessions", "keys", "refresh_token", "session_item", "request", "secret_versions"},
    {"password"},
    {"access_token", "key_rotation", "kms_keys", "reuse", "store", "events", "settings"},
    {"lean_client"},
    {"applications"},
    {"sweep_positions", "sweep_page"},
    {"attention"},
    {"custom_claims", "hook", "outbound", "provider_keys", "single_use", "users", "attempts"},
    {"sdk"},
    {"client_assertion", "claims_hook", "dpop"},
    {"seen_proofs", "cors", "refresh_cookie"},
    {"advice", "session_log"},
    {"explain"},
    {"secret_cache", "key_age", "client_authentication", "token_response"},
    {"session_start", "session_end"},
    {"signing", "proof", "sign_out"},
    {"issue", "refresh", "revoke", "introspect", "sessions", "sweep", "discovery", "rotate_keys"},
    {"live_sessions", "registration", "account", "touch"},
    {"registry", "authorizer"},
    {"verifier"},
    {"login", "id_token"},
    {"parts"},
    {"protected_resource"},
    {"grants.client_credentials", "grants.refresh_token"},
    {"grants.jwt_bearer", "grants.token_exchange"},
    {"token_endpoint"},
    {"endpoint", "wiring"},
]
HEIGHT = {module: height for height, layer in enumerate(LAYERS) for module in layer}
AWS = {"boto3", "botocore"}
# Pure rules and words: no I/O, no clock.
PURE = {"reasons", "errors", "policy", "application", "session", "session_item", "keys", "settings"}
PURE |= {"key_rotation", "refresh_token", "access_token", "request", "response", "token_response"}
PURE |= {"attributes", "jwk_set", "trusted_issuer", "assertion", "custom_claims"}
PURE |= {"email_address", "password", "throttle"}
PURE |= {"dpop"}
PURE |= {"cors", "refresh_cookie"}
PURE |= {"sender", "reuse"}
PURE |= {"timeline", "advice", "explain"}


def modules() -> dict[str, ast.Module]:
    """The core's modules by their dotted name inside the package."""
    found = {}
    for path in CORE.rglob("*.py"):
        name = ".".join(path.relative_to(CORE).with_suffix("").parts).removesuffix("__init__")
        found[name.rstrip(".")] = ast.parse(path.read_text(encoding="utf-8"))
    del found[""]
    return found


MODULES = modules()


def imported(tree: ast.Module) -> Iterator[str]:
    """Everything a module imports, also inside functions and for type checking only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.Module) -> set[str]:
    """The core's modules among them."""
    found = set()
    for name in imported(tree):
        parts = name.split(".")
        if parts[0] == "ratchet":
            inside = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            found.add(next(module for module in inside if module in MODULES))
    return found


def roots(tree: ast.Module) -> set[str]:
    return {name.partition(".")[0] for name in imported(tree)}


def test_every_module_has_its_place() -> None:
    assert set(HEIGHT) == set(MODULES)
    assert len(HEIGHT) == sum(map(len, LAYERS))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_only_go_down(module: str) -> None:
    up = {other for other in ours(MODULES[module]) if HEIGHT[other] >= HEIGHT[module]}
    assert not up


def test_only_the_adapters_know_the_sdk() -> None:
    known = {module for module, tree in MODULES.items() if roots(tree) & AWS}
    adapters = {"store", "single_use", "applications", "secret_cache", "events", "hook", "kms_keys"}
    adapters |= {"users", "attempts", "sweep_positions", "key_age", "session_log"}
    assert known == adapters | {"sdk", "lean_client"}


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_rules_have_no_clock_and_no_io(module: str) -> None:
    """`now` is an argument."""
    banned = {"time", "datetime", "os", "socket", "urllib", "threading", "logging", "subprocess"}
    names = set(imported(MODULES[module])) - {
        f"urllib.parse.{name}" for name in ("parse_qsl", "quote", "urlsplit")
    }
    assert not {name.partition(".")[0] for name in names} & (banned | AWS)


def test_only_the_endpoint_reads_the_clock() -> None:
    clocks = {name for name, tree in MODULES.items() if roots(tree) & {"time", "datetime"}}
    # instants writes them down; session_log waits for an answer, for so long and no longer; events
    # says when a metric was written; lean_client signs requests with their instant, and waits.
    assert clocks == {"endpoint", "events", "instants", "session_log", "lean_client"}


def test_only_wiring_reads_the_environment() -> None:
    readers = {
        name
        for name, tree in MODULES.items()
        if "os" in roots(tree)
        or any(
            isinstance(node, ast.Attribute) and node.attr == "environ" for node in ast.walk(tree)
        )
    }
    assert readers == {"wiring"}


def test_nobody_imports_what_makes_a_cold_start_slow_or_stores_answers() -> None:
    for name, tree in MODULES.items():
        for dependency in imported(tree):
            assert dependency.partition(".")[0] not in {"pydantic", "aws_xray_sdk"}, name
            for banned in ("Tracer", "tracing", "idempotency", "parser"):
                assert banned not in dependency.split("."), name


# --- handlers ------------------------------------------------------------------------------------


def handler_name(path: Path) -> str:
    return path.parent.name


def test_the_functions_are_those_of_the_house_plan() -> None:
    assert {"issue", "refresh", "revoke", "introspect", "discovery", "sessions", "sweep"} <= {
        handler_name(path) for path in HANDLERS
    }


@pytest.mark.parametrize("path", HANDLERS, ids=handler_name)
def test_a_handler_is_thin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not roots(tree) & {"os", "boto3", "botocore", "json", "time", "ratchet_cli"}
    assert not any(isinstance(node, ast.Try | ast.TryStar) for node in ast.walk(tree))
    assert len([line for line in text.splitlines() if line.strip()]) <= 70


@pytest.mark.parametrize("path", HANDLERS, ids=handler_name)
def test_a_handler_imports_the_layers_and_no_other_handler(path: Path) -> None:
    assert roots(ast.parse(path.read_text(encoding="utf-8"))) <= {"ratchet", "typing"}


# Runs in a fresh interpreter: what an import does is seen only the first time.
PROBE = """
import importlib.util, json, os, sys

sent, read, wanted = [], [], set()

class Witness:
    # Sees every module that is asked for, also one that is not installed here.
    def find_spec(self, name, path=None, target=None):
        wanted.add(name)

def audit(event, arguments):
    # To bind is how urllib3 finds out whether there is IPv6; it reaches nobody.
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        sent.append(event)

class Environment(dict):
    def __getitem__(self, name):
        read.append(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        read.append(name)
        return super().get(name, default)
    def __contains__(self, name):
        read.append(name)
        return super().__contains__(name)

sys.meta_path.insert(0, Witness())
sys.addaudithook(audit)
os.environ = Environment(os.environ)
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"app{number}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.handler)
print(json.dumps({"sent": sent, "read": read, "modules": sorted(wanted)}))
"""


def probe(*paths: Path) -> dict[str, Any]:
    """What importing these handlers does, with an empty environment."""
    arguments = [sys.executable, "-c", PROBE, *map(str, paths)]
    done = subprocess.run(arguments, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_importing_the_handlers_touches_neither_environment_nor_network() -> None:
    """They are imported before anything is configured, and tests import them all."""
    seen = probe(*HANDLERS)
    assert not seen["sent"]
    settings = ("RATCHET_", "AWS_ACCESS", "AWS_SECRET", "AWS_REGION", "AWS_DEFAULT", "AWS_ENDPOINT")
    assert not [name for name in seen["read"] if name.startswith(settings)]


@pytest.mark.parametrize("path", HANDLERS, ids=handler_name)
def test_a_handler_loads_nothing_heavy(path: Path) -> None:
    """Cold start: the X-Ray SDK costs 220 ms, pydantic 70, Powertools 25."""
    loaded = probe(path)["modules"]
    banned = {
        "pydantic",
        "aws_xray_sdk",
        "aws_lambda_powertools",
        "ratchet_cli",
        "moto",
    }
    if path.parent.name != "login":
        # Passwords and domain names are the business of sign-ins alone.
        banned |= {"argon2", "idna"}
    assert not banned.intersection(loaded)
    # The example of an API is nobody's function of ours, and only one has the layer for APIs.
    assert ("ratchet.wiring" in loaded) is (path.parent.name != "example")
    assert "ratchet_verify" not in loaded


def test_only_the_authorizer_needs_what_the_other_functions_have_no_layer_for() -> None:
    known = {name for name, tree in MODULES.items() if "ratchet_verify" in roots(tree)}
    assert known == {"authorizer", "wiring"}
    importers = [name for name, tree in MODULES.items() if "authorizer" in ours(tree)]
    assert importers == ["wiring"]
