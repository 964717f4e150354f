"""The built artifact, deployed with `sam deploy` into the emulator, through CloudFormation.

What the emulator (ministack 1.5.33) does not do is done here and in routes.py, and nowhere else:

- it refuses some resources: they are left out of the template (`deployable`);
- it has no address of the kind that AWS gives an HTTP API: that is replaced by ours, too;
- it does not call functions to rotate secrets: their steps are called one by one (`rotate`);
- it starts the instances of a function on this machine: they have more time for it, and those that
  work beside each other in a test are started before (`warm`).
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import yaml

from ratchet_cli import aws, running
from ratchet_cli.emulator import Emulator
from ratchet_cli.seed import SECRETS, seed
from tests.deployed import artifact
from tests.deployed.front import serving
from tests.deployed.routes import Routes, processed

STACK = "ratchet"
# The schedule is to fire while the tests run.
PARAMETERS = {"ProtectedExample": "yes", "SweepSchedule": "rate(1 minute)"}
REFUSED = ("AWS::Logs::QueryDefinition", "AWS::SecretsManager::RotationSchedule")
AWS_ADDRESS = "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"
TIMEOUT_SECONDS = 120
CALLERS = 16
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def refused(resource: Mapping[str, Any]) -> bool:
    """Whether the emulator knows no such resource: by its type, or because an alarm reckons."""
    alarm = resource["Type"] == "AWS::CloudWatch::Alarm"
    return resource["Type"] in REFUSED or (alarm and "Metrics" in resource["Properties"])


def deployable(built: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The built template without what the emulator refuses, for a service that answers at `url`."""
    here: dict[str, Any] = json.loads(json.dumps(built).replace(AWS_ADDRESS, url))
    resources = {name: one for name, one in here["Resources"].items() if not refused(one)}
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["Timeout"] = TIMEOUT_SECONDS
    return {**here, "Resources": resources}


@dataclass(frozen=True)
class Deployed:
    """A deployed stack, at the endpoint that this process is bound to.

    physical: the names of its resources by their logical ids.
    """

    physical: Mapping[str, str]

    def function(self, name: str) -> dict[str, Any]:
        """The configuration of a function."""
        client = boto3.client("lambda")
        return dict(client.get_function_configuration(FunctionName=self.physical[name]))

    def invoke(self, name: str, event: Any) -> Any:
        """What a function answers to an event. An error of its own fails the test."""
        answer = boto3.client("lambda").invoke(
            FunctionName=self.physical[name], Payload=json.dumps(event).encode()
        )
        text = answer["Payload"].read().decode()
        assert not answer.get("FunctionError"), text
        return json.loads(text or "null")

    def rotate(self, secret: str) -> None:
        """What Secrets Manager does when a rotation is due."""
        client = boto3.client("secretsmanager")
        # Its ARN on AWS; here CloudFormation has its name for it.
        secret_id, token = self.physical[secret], str(uuid.uuid4())
        if not client.describe_secret(SecretId=secret_id).get("RotationEnabled"):
            function = self.function("RotateKeysFunction")["FunctionArn"]
            client.rotate_secret(
                SecretId=secret_id, RotationLambdaARN=function, RotateImmediately=False
            )
        client.put_secret_value(
            SecretId=secret_id, ClientRequestToken=token, VersionStages=["AWSPENDING"]
        )
        for step in STEPS:
            event = {"Step": step, "SecretId": secret_id, "ClientRequestToken": token}
            self.invoke("RotateKeysFunction", event)


def deployed() -> Deployed:
    """The stack that is deployed at the endpoint that this process is bound to."""
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources")
    listed = [
        one for page in pages.paginate(StackName=STACK) for one in page["StackResourceSummaries"]
    ]
    return Deployed({one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed})


def warm(url: str) -> None:
    """Until CALLERS requests at once are all answered, of the two kinds that the suites have."""
    backend = ("demo-backend", SECRETS["demo-backend"])
    form = {"client_id": "demo-native", "sub": "warm"}
    with (
        httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as http,
        ThreadPoolExecutor(CALLERS) as callers,
    ):

        def refresh(tokens: dict[str, str]) -> int:
            again = {"client_id": "demo-native", "refresh_token": tokens["refresh_token"]}
            return http.post("/oauth/refresh", data=again).status_code

        def sessions(tokens: dict[str, str]) -> int:
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            return http.get("/sessions", headers=bearer).status_code

        for request in (refresh, sessions):
            for _ in range(5):
                tokens = http.post("/sessions", data=form, auth=backend).json()
                if {*callers.map(request, [tokens] * CALLERS)} == {200}:
                    break


@contextlib.contextmanager
def deploying(tree: Path) -> Iterator[str]:
    """Deploys what is built for here, until the end. Returns where it answers.

    The commands of `ratchet`, started in `tree`, take it for their local stack. From here on this
    process is bound to its endpoint.
    """
    folder = tree / running.FOLDER
    with (
        running.claimed(folder),
        serving() as front,
        Emulator(folder, functions_python=artifact.LAMBDA_PYTHON) as emulator,
    ):
        front.endpoint_url = emulator.endpoint_url
        variables = aws.environment(emulator.endpoint_url)
        aws.enter(variables)
        parameters = {**PARAMETERS, "Issuer": front.url}
        _sam_deploy(front.url, parameters)
        stack = deployed()
        functions = [name for name in stack.physical if name.endswith("Function")]
        arns = {name: stack.function(name)["FunctionArn"] for name in functions}
        front.apis = Routes(processed(STACK), parameters, stack.physical, arns).make()
        for secret in ("SigningKeysSecret", "PepperSecret"):
            stack.rotate(secret)
        variables |= stack.function("IssueFunction")["Environment"]["Variables"]
        os.environ.update(variables)
        seed(variables)
        warm(front.url)
        published = running.Running(
            url=front.url,
            endpoint_url=emulator.endpoint_url,
            region=aws.REGION,
            pid=os.getpid(),
            template=str(artifact.FOR_HERE / "template.yaml"),
            environment=variables,
        )
        with running.published(folder, published):
            yield front.url


def _sam_deploy(url: str, parameters: Mapping[str, str]) -> None:
    built = yaml.safe_load((artifact.FOR_HERE / "template.yaml").read_text("utf-8"))
    # Beside the built one, whose CodeUri are relative to it.
    template = artifact.FOR_HERE / "emulator.yaml"
    template.write_text(yaml.safe_dump(deployable(built, url), sort_keys=False), "utf-8")
    overrides = [
        f'ParameterKey={name},ParameterValue="{text}"' for name, text in parameters.items()
    ]
    artifact.run(
        "deploy",
        f"--template-file={template}",
        f"--stack-name={STACK}",
        "--resolve-s3",
        "--capabilities=CAPABILITY_IAM",
        "--no-confirm-changeset",
        "--no-progressbar",
        "--parameter-overrides",
        *overrides,
        # Not the project's own folder: there may be an operator's samconfig.toml.
        cwd=artifact.FOR_HERE,
    )
