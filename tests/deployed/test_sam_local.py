"""What `sam local` would start in its containers, by the SAM CLI's own reckoning."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet_cli import running, template
from scripts import sam_local
from tests.deployed import artifact

ROUTES = template.routes(template.load(artifact.ROOT / "template.yaml"))
# Run with the packages of the SAM CLI: as invoke_context.py does, but for the look at Docker.
PLAN = """
import json, sys
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.providers.api_provider import ApiProvider
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
template, env_vars = sys.argv[1:]
stacks, _ = SamLocalStackProvider.get_stacks(template)
provider = SamFunctionProvider(stacks)
values = json.load(open(env_vars))
runner = LocalLambdaRunner(None, provider, ".", real_path=None, env_vars_values=values)
functions = {f.name: runner._make_env_vars(f).resolve() for f in provider.get_all()}
routes = [[r.path, r.function_name, r.methods] for r in ApiProvider(stacks).api.routes]
print(json.dumps({"functions": functions, "routes": routes}))
"""


@pytest.fixture(scope="module")
def plan(here: running.Running, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sam-local")
    built = yaml.safe_load((artifact.FOR_HERE / "template.yaml").read_text("utf-8"))
    # Beside the built one, whose CodeUri are relative to it.
    local, env_vars = artifact.FOR_HERE / "local.yaml", folder / "env.json"
    local.write_text(yaml.safe_dump(sam_local.template(built), sort_keys=False), "utf-8")
    env_vars.write_text(json.dumps(sam_local.env_vars(here)), "utf-8")
    done = subprocess.run(
        [artifact.SAM.with_name("python"), "-c", PLAN, local, env_vars],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_DEFAULT_REGION": "eu-central-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_function_finds_the_state_and_the_emulator(plan: Any, here: running.Running) -> None:
    port = here.endpoint_url.rpartition(":")[2]
    for name, variables in plan["functions"].items():
        assert variables["AWS_ENDPOINT_URL"] == f"http://host.docker.internal:{port}", name
        for variable in ("RATCHET_SESSIONS_TABLE", "RATCHET_PEPPER_SECRET", "RATCHET_ISSUER"):
            assert variables[variable] == here.environment[variable]


def test_start_api_has_every_route(plan: Any) -> None:
    served = {(path, function): methods for path, function, methods in plan["routes"]}
    assert {(route.path, route.function) for route in ROUTES} <= served.keys()
    assert served["/sessions", "IssueFunction"] == ["POST"]
    assert "POST" not in served["/sessions", "SessionsFunction"]


def test_sam_validates_the_template(tmp_path: Path) -> None:
    options = ("--template", artifact.ROOT / "template.yaml", "--region", "eu-central-1")
    artifact.run("validate", "--lint", *options, cwd=tmp_path)
