"""Writes what `sam local` needs to work on the state of a running `make run` (docs/local.md).

The SAM CLI (1.170) hands a container only variables that the template declares, so the built
template gets one more: where AWS is. Containers call this machine host.docker.internal. And it lets
a route for any method take the requests of one for a single method, so there is one for each of the
others instead.
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
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def template(built: Mapping[str, Any]) -> dict[str, Any]:
    """The built template, as the SAM CLI understands it."""
    local: dict[str, Any] = json.loads(json.dumps(built))
    local["Globals"]["Function"]["Environment"]["Variables"][ENDPOINT] = ""
    events = [
        properties["Events"]
        for resource in local["Resources"].values()
        if "Events" in (properties := resource.get("Properties", {}))
    ]
    single: dict[str, set[str]] = {}
    for event in [event for all_of_one in events for event in all_of_one.values()]:
        if event["Type"] == "HttpApi" and event["Properties"]["Method"] != "ANY":
            single.setdefault(event["Properties"]["Path"], set()).add(event["Properties"]["Method"])
    for all_of_one in events:
        for name, event in [*all_of_one.items()]:
            taken = single.get(event["Properties"].get("Path", ""))
            if taken and event["Properties"]["Method"] == "ANY":
                del all_of_one[name]
                for method in METHODS:
                    if method not in taken:
                        properties = {**event["Properties"], "Method": method}
                        all_of_one[name + method.title()] = {**event, "Properties": properties}
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
