"""AWS's command line, as far as the pages use it: the SDK's own operations and parameters, called
on the local stack of the working directory. An operation or parameter that is none fails.

    aws SERVICE OPERATION --some-parameter VALUE --flag [--query PATH] [--output text]
    aws SERVICE wait WAITER --some-parameter VALUE
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]

from ratchet_cli import aws, running


def parameters(words: list[str]) -> dict[str, Any]:
    """`--table-name x` as TableName, a text or JSON; without a value it is true."""
    found: dict[str, Any] = {}
    while words:
        name = "".join(part.capitalize() for part in words.pop(0).removeprefix("--").split("-"))
        value = words.pop(0) if words and not words[0].startswith("--") else "true"
        found[name] = json.loads(value) if value[0] in "{[" or value == "true" else value
    return found


def main(service: str, operation: str, *words: str) -> None:
    found = running.find(Path.cwd())
    assert found is not None, "no local stack runs here"
    aws.enter(found.environment)
    client: Any = boto3.client(service)  # type: ignore[call-overload] # any
    rest = list(words)
    if operation == "wait":
        client.get_waiter(rest.pop(0).replace("-", "_")).wait(**parameters(rest))
        return
    given = parameters(rest)
    query, _ = given.pop("Query", None), given.pop("Output", None)
    answer = getattr(client, operation.replace("-", "_"))(**given)
    if query:
        sys.stdout.write(f"{jmespath.search(query, answer)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
