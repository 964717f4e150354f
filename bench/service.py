"""The service to measure: the real handlers, DynamoDB by Dynoxide, the rest of AWS emulated.

The functions' environment is what a measuring process is started with, so that it is as cold, and
as free of everything else, as a container of Lambda's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from bench import engine
from ratchet import wiring
from ratchet_cli import aws, payload, template
from ratchet_cli.emulator import Emulator
from ratchet_cli.provision import provision
from ratchet_cli.seed import seed

ROOT = Path(__file__).parents[1]
ISSUER = "https://id.test"
_TABLE = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@contextlib.contextmanager
def service(more: engine.Tables | None = None) -> Iterator[dict[str, str]]:
    """The environment of the functions, with empty tables and the demo applications.

    more: other tables, with what is in them.
    """
    program = engine.program()
    if program is None:
        raise click.ClickException(str(engine.__doc__))
    described = template.load(ROOT / "template.yaml")
    names = _tables(described)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ratchet-bench-")))
        emulator = stack.enter_context(Emulator(folder))
        variables = aws.environment(emulator.endpoint_url)
        aws.enter(variables)
        variables |= provision(described, issuer=ISSUER)
        variables["AWS_ENDPOINT_URL_DYNAMODB"] = stack.enter_context(
            engine.running(
                program,
                {
                    f"bench-{resource}": (table(described, resource), ())
                    for resource in names.values()
                }
                | dict(more or {}),
            )
        )
        variables |= {variable: f"bench-{resource}" for variable, resource in names.items()}
        variables |= {
            "RATCHET_LOG_GROUP": f"file:{folder / 'functions.log'}",
        }
        aws.enter({name: value for name, value in variables.items() if name.startswith("AWS_")})
        # It keeps clients for good: those of a service before this one ask its emulator.
        wiring._clients.clear()
        with _no_log_lines():
            seed(variables)
        yield variables


@contextlib.contextmanager
def _no_log_lines() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _tables(described: Mapping[str, Any]) -> dict[str, str]:
    """Environment variable to the logical id of the table it names."""
    variables = described["Globals"]["Function"]["Environment"]["Variables"]
    named = {name: value["Ref"] for name, value in variables.items() if "Ref" in value}
    return {
        name: resource
        for name, resource in named.items()
        if described["Resources"].get(resource, {}).get("Type") == "AWS::DynamoDB::Table"
    }


def table(described: Mapping[str, Any], resource: str) -> dict[str, Any]:
    """What CreateTable takes for a table of the template."""
    properties = described["Resources"][resource]["Properties"]
    return {name: properties[name] for name in _TABLE if name in properties}


def event(
    method: str,
    path: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What API Gateway hands to a function: payload format 2.0, the form in base64 as there."""
    given = {"Host": "id.test", "User-Agent": "bench/1.0", **(headers or {})}
    if form is not None:
        given["Content-Type"] = "application/x-www-form-urlencoded"
    request = payload.Request(
        method=method,
        path=path,
        query="",
        headers=list(given.items()),
        body=urlencode(form or {}).encode(),
        source_ip="192.0.2.1",
    )
    matched = payload.match(_routes(), method, path)
    if matched is None:
        raise ValueError(f"no route for {method} {path}")
    return payload.event(request, matched)


_known_routes: list[Any] = []


def _routes() -> list[Any]:
    if not _known_routes:
        _known_routes.extend(template.routes(template.load(ROOT / "template.yaml")))
    return _known_routes


def child(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Runs a module of ours in a process that has nothing but this environment.

    Its standard output is the functions' log lines, which cost what they cost and go nowhere.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"{module}: {done.stderr}")


def about() -> dict[str, str]:
    """When and where a measurement was made."""
    program = engine.program()
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "engine": engine.version(program) if program else "",
    }
