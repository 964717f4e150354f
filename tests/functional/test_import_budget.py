"""Cold start: what a function has imported after its first request, counted in modules.

Milliseconds depend on the machine; modules do not. A new import on a hot path shows here.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.service import event
from tests.functional.conftest import BACKEND, Service

ROOT = Path(__file__).parents[2]
START = ROOT / "bench" / "cold_start.py"
# Of its own standard library each Python has a few more or less; the rest is exact.
BUDGETS = {"refresh": 530, "lean": 306, "introspect": 525, "revoke": 530, "discovery": 540}
BUDGETS |= {"issue": 540}
SDK = {"boto3", "botocore.session", "botocore.client", "botocore.auth", "urllib3", "s3transfer"}
# Of others: the people who sign in, the browser's pages, the keys' rotation, and what only tests.
ELSEWHERE = {"argon2", "idna", "ratchet.rotate_keys", "ratchet.sweep", "ratchet_cli", "moto"}
ELSEWHERE |= {"ratchet.login", "ratchet.registry", "ratchet.account"}
# Of the other grants and of new sessions: not for refreshes.
STARTS = {"ratchet.token_endpoint", "ratchet.issue", "ratchet.id_token", "ratchet.session_start"}


def first_request(
    function: str, asked: Mapping[str, Any], folder: Path, **more: str
) -> tuple[dict[str, Any], set[str]]:
    """The answer, and the modules there are then, of a process of its own."""
    result, path = folder / "result.json", folder / "event.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    command = [sys.executable, str(START), str(result), function, str(path)]
    environment = {**os.environ, **more}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    found = json.loads(result.read_text(encoding="utf-8"))
    return found["answer"], set(found["modules"])


@pytest.mark.parametrize("name", BUDGETS)
def test_a_function_imports_no_more_than_it_needs(
    service: Service, name: str, tmp_path: Path
) -> None:
    # Those processes read the true clock.
    service.now = int(time.time())
    token = service.start()["refresh_token"]
    form = {"client_id": "demo-native", "refresh_token": token, "token": token}
    auth = {"Authorization": "Basic " + _base64(":".join(BACKEND))}
    events = {
        "introspect": lambda: event("POST", "/oauth/introspect", {"token": token}, auth),
        "revoke": lambda: event("POST", "/oauth/revoke", form),
        "discovery": lambda: event("GET", "/.well-known/jwks.json"),
        "issue": lambda: event("POST", "/sessions", {"client_id": "demo-native", "sub": "a"}, auth),
    }
    asked = events.get(name, lambda: event("POST", "/oauth/refresh", form))()
    function, transport = ("refresh", "lean") if name == "lean" else (name, "boto3")
    answer, modules = first_request(function, asked, tmp_path, RATCHET_TRANSPORT=transport)
    assert answer["statusCode"] == 200, answer
    assert sorted(ELSEWHERE & modules) == []
    if name in ("refresh", "lean"):
        assert sorted(STARTS & modules) == []
    if name == "lean":
        assert not SDK & modules
    assert len(modules) <= BUDGETS[name], len(modules)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
