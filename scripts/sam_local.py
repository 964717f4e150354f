"""Writes what `sam local` needs to work on the state of a running `make run` (docs/local.md).

The SAM CLI hands a container only variables that the template declares, so the built template gets
one more: where AWS is. Containers call this machine host.docker.internal.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ratchet_cli import running

ROOT = Path(__file__).parents[1]
ENDPOINT = "AWS_ENDPOINT_URL"


def template(built: Mapping[str, Any]) -> dict[str, Any]:
    """The built template, with a variable for the endpoint in every function."""
    local: dict[str, Any] = json.loads(json.dumps(built))
    local["Globals"]["Function"]["Environment"]["Variables"][ENDPOINT] = ""
    return local


def env_vars(found: running.Running) -> dict[str, dict[str, str]]:
    """For the option --env-vars."""
    variables = {
        name: value.replace("127.0.0.1", "host.docker.internal") if name == ENDPOINT else value
        for name, value in found.environment.items()
        if name == ENDPOINT or name.startswith("RATCHET_")
    }
    # A file of this machine, which no container sees.
    variables["RATCHET_LOG_GROUP"] = ""
    return {"Parameters": variables}


def main() -> int:
    """Returns the exit status."""
    build, found = ROOT / ".aws-sam" / "build", running.find(ROOT)
    if found is None or not (build / "template.yaml").is_file():
        sys.stderr.write("First `sam build`, then `make run` in another terminal.\n")
        return 1
    built = yaml.safe_load((build / "template.yaml").read_text("utf-8"))
    (build / "local.yaml").write_text(yaml.safe_dump(template(built), sort_keys=False), "utf-8")
    (build / "env.json").write_text(json.dumps(env_vars(found), indent=2), "utf-8")
    port = found.endpoint_url.rpartition(":")[2]
    sys.stdout.write(
        "sam local start-api --template .aws-sam/build/local.yaml"
        " --env-vars .aws-sam/build/env.json\n"
        f"On Linux, let containers reach the emulator at port {port}: see docs/local.md.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
