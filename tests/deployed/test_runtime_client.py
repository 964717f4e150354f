"""The built artifact of every function under AWS's own runtime client, far from this tree."""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from ratchet_cli import running
from tests.clients.conftest import Client
from tests.deployed import artifact, runtime_api
from tests.deployed.deployment import STEPS, Deployed
from tests.example_events import NAMES, STATUS, example, function

TEMPLATE = artifact.FOR_HERE / "template.yaml"


def properties(name: str) -> dict[str, Any]:
    """Of a function of the built template, with what all functions share."""
    built = yaml.safe_load(TEMPLATE.read_text("utf-8"))
    shared, own = built["Globals"]["Function"], built["Resources"][name]["Properties"]
    return {**shared, **own, "Layers": [*shared["Layers"], *own.get("Layers", [])]}


def functions() -> list[str]:
    return sorted({function(name) for name in NAMES})


@pytest.fixture
def start(tmp_path: Path, stack: Deployed, here: running.Running) -> Iterator[Any]:
    """Starts a function of the artifact, with the environment that it has as it is deployed."""
    with ExitStack() as running_functions:

        def start(name: str, **changed: str) -> runtime_api.RuntimeApi:
            described = properties(name)
            runtime_api.unpacked(tmp_path, name, [layer["Ref"] for layer in described["Layers"]])
            variables = {
                name: text for name, text in here.environment.items() if name.startswith("AWS_")
            }
            variables |= {**stack.function(name)["Environment"]["Variables"], **changed}
            return running_functions.enter_context(
                runtime_api.started(
                    tmp_path,
                    described["Handler"],
                    variables,
                    timeout_seconds=described.get("Timeout", 3),
                )
            )

        yield start


def test_no_function_is_without_an_event() -> None:
    built = yaml.safe_load(TEMPLATE.read_text("utf-8"))["Resources"]
    kinds = {name: resource["Type"] for name, resource in built.items()}
    assert functions() == sorted(
        name for name, kind in kinds.items() if kind == "AWS::Serverless::Function"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name in STATUS])
def test_a_function_answers_what_the_http_api_sends(start: Any, name: str) -> None:
    answer = start(function(name)).invoke(example(name))
    assert answer["statusCode"] == STATUS[name], answer


def test_the_authorizer_lets_one_of_our_tokens_pass(start: Any, client: Client) -> None:
    event = example("authorizer", ACCESS_TOKEN=client.start()["access_token"])
    answer = start("AuthorizerFunction").invoke(event)
    assert (answer["isAuthorized"], answer["context"]["sub"]) == (True, "ada")


def test_the_example_tells_who_calls(start: Any) -> None:
    answer = start("ExampleFunction").invoke(example("example"))
    assert answer["jwt"]["claims"]["sub"] == "ada"


def test_the_sweep_sweeps(start: Any) -> None:
    sweep = start("SweepFunction")
    assert sweep.invoke(example("sweep.dry_run"))["dry_run"] is True
    assert sweep.invoke(example("sweep"))["complete"] is True


def test_a_rotation_makes_signing_keys(start: Any) -> None:
    """In a secret of its own: that of the stack has just been rotated, and has to settle."""
    client, token = boto3.client("secretsmanager"), str(uuid.uuid4())
    slots = '{"next": null, "current": null, "previous": null}'
    secret = client.create_secret(Name=token, SecretString=slots)["ARN"]
    client.rotate_secret(SecretId=secret, RotationLambdaARN="x" * 20, RotateImmediately=False)
    client.put_secret_value(SecretId=secret, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    rotate = start("RotateKeysFunction", RATCHET_SIGNING_KEYS_SECRET=secret)
    event = example("rotate_keys", SIGNING_KEYS_SECRET=secret)
    for step in STEPS:
        assert rotate.invoke({**event, "Step": step, "ClientRequestToken": token}) is None
    made = json.loads(client.get_secret_value(SecretId=secret)["SecretString"])
    assert made["current"]["kty"] == "RSA"


def test_a_refused_token_is_the_error_that_api_gateway_makes_a_401_of(start: Any) -> None:
    api = start("AuthorizerFunction")
    with pytest.raises(runtime_api.FunctionError, match=r"Unauthorized$"):
        api.invoke(example("authorizer"))
