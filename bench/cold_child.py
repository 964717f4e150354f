"""Cold starts in turn: every function's first request, each in a process of its own.

python -m bench.cold_child RESULT ROUNDS     in the environment of the functions
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.service import ROOT, event
from bench.warm_child import BACKEND, CLIENT, Requests
from ratchet_cli.seed import ADA

START = Path(__file__).parent / "cold_start.py"


def first_requests(requests: Requests) -> dict[str, Callable[[], Any]]:
    """Function to what makes the event of its first request."""

    def refresh_token() -> str:
        token: str = requests.start()["refresh_token"]
        return token

    def bearer() -> dict[str, str]:
        return {"Authorization": f"Bearer {requests.start()['access_token']}"}

    login = {"client_id": CLIENT, "email": ADA["email"], "password": ADA["password"]}
    return {
        "floor": lambda: None,
        "refresh": lambda: requests.refreshing(refresh_token()),
        LEAN: lambda: requests.refreshing(refresh_token()),
        "issue": requests.starting,
        "introspect": lambda: event(
            "POST", "/oauth/introspect", {"token": refresh_token()}, BACKEND
        ),
        "revoke": lambda: event(
            "POST", "/oauth/revoke", {"client_id": CLIENT, "token": refresh_token()}
        ),
        "discovery": lambda: event("GET", "/.well-known/jwks.json"),
        "sessions": lambda: event("GET", "/sessions", None, bearer()),
        "login": lambda: event("POST", "/login", login),
    }


LEAN = "refresh, lean transport"


def cold_start(function: str, asked: Any) -> dict[str, Any]:
    """Its times, its modules and its answer. Raises RuntimeError when that is not 200."""
    with tempfile.TemporaryDirectory() as name:
        result, path = Path(name) / "result.json", Path(name) / "event.json"
        path.write_text(json.dumps(asked), encoding="utf-8")
        folder = "refresh" if function == LEAN else function
        command = [sys.executable, str(START), str(result), folder, str(path)]
        environment = {**os.environ, "RATCHET_TRANSPORT": "lean" if function == LEAN else "boto3"}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if found["answer"] and found["answer"]["statusCode"] != 200:
        raise RuntimeError(f"{function}: {found['answer']}")
    return found


def main(result: str, rounds: str) -> None:
    made = first_requests(Requests())
    times: dict[str, Any] = {name: {"cpu": [], "wall": [], "modules": 0} for name in made}
    names = list(made)
    # The first round writes bytecode, and is not measured.
    for number in range(-1, int(rounds)):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found = cold_start(name, made[name]())
            if number >= 0:
                times[name]["cpu"].append(found["cpu"])
                times[name]["wall"].append(found["wall"])
                times[name]["modules"] = len(found["modules"])
    Path(result).write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
