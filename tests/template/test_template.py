"""template.yaml against the tree that it deploys."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cfnlint.api
import pytest

from ratchet import events, outbound, sdk, wiring
from ratchet.session import ANNOUNCED_WITHIN_SECONDS
from ratchet.sweep import MARGIN_MS
from ratchet_cli import template
from ratchet_verify import fetch

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"


WHOLE = {
    "ProtectedExample": "yes",
    "DomainName": "id.example.com",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1",
    "HostedZoneId": "Z1",
}


def functions() -> dict[str, dict[str, Any]]:
    """The properties of every function, with what all functions share filled in."""
    parsed = template.load(TEMPLATE, WHOLE)
    return {
        name: parsed["Globals"]["Function"] | resource["Properties"]
        for name, resource in parsed["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def references(node: Any) -> Iterator[str]:
    """The names that !Ref, !GetAtt and !Sub stand for, anywhere below a node of the template."""
    if isinstance(node, list):
        for child in node:
            yield from references(child)
    elif isinstance(node, dict):
        for key, child in node.items():
            if key == "Ref":
                yield child
            elif key == "Fn::GetAtt":
                yield child[0]
            elif key == "Fn::Sub":
                yield from re.findall(r"\$\{([\w:]+)", child)
            else:
                yield from references(child)


def test_every_function_folder_is_deployed_once_and_every_function_has_its_folder() -> None:
    deployed = sorted(function["CodeUri"] for function in functions().values())
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("functions/*/*.py")}
    assert deployed == sorted(folder.as_posix() for folder in folders)


@pytest.mark.parametrize("name", functions())
def test_a_function_is_named_after_its_folder(name: str) -> None:
    words = Path(functions()[name]["CodeUri"]).name.split("_")
    assert name == "".join(word.title() for word in words) + "Function"


@pytest.mark.parametrize("name", functions())
def test_the_handler_of_a_function_is_in_its_folder(name: str) -> None:
    function = functions()[name]
    module, _, attribute = function["Handler"].rpartition(".")
    package = function["CodeUri"].replace("/", ".")
    assert callable(getattr(importlib.import_module(f"{package}.{module}"), attribute))


@pytest.mark.parametrize("name", functions())
def test_a_function_runs_on_python_3_13_on_arm64(name: str) -> None:
    function = functions()[name]
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])


@pytest.mark.parametrize("name", ["RatchetLayer", "VerifyLayer", "ClientLayer"])
def test_a_layer_is_built_for_what_the_functions_run_on(name: str) -> None:
    layer = template.load(TEMPLATE)["Resources"][name]
    makefile = ROOT / layer["Properties"]["ContentUri"] / "Makefile"
    assert f"\nbuild-{name}:\n" in makefile.read_text(encoding="utf-8")
    assert layer["Metadata"]["BuildArchitecture"] == "arm64"
    assert "arm64" in layer["Properties"]["CompatibleArchitectures"]
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.13"]


def test_cfn_lint_finds_nothing_to_say() -> None:
    assert cfnlint.api.lint_file(TEMPLATE) == []


def test_every_reference_names_something_that_the_template_declares() -> None:
    # cfn-lint does not look for these inside of functions.
    parsed = template.load(TEMPLATE, WHOLE)
    declared = parsed["Resources"].keys() | parsed["Parameters"].keys()
    # SAM's own: the stage that it makes for an API.
    declared |= {"HttpApi.Stage"}
    named = {name for name in references(parsed) if not name.startswith("AWS::")}
    assert named
    assert named <= declared


def test_at_most_one_sweep_is_at_work_and_one_that_fails_is_not_forgotten() -> None:
    resources = template.load(TEMPLATE)["Resources"]
    sweep = functions()["SweepFunction"]
    assert sweep["ReservedConcurrentExecutions"]["Fn::If"][1] == {"Ref": "SweepConcurrency"}
    parameter = template.load(TEMPLATE)["Parameters"]["SweepConcurrency"]
    assert (parameter["Default"], parameter["AllowedValues"]) == (1, [0, 1])
    queue = {"Fn::GetAtt": ["SweepFailures", "Arn"]}
    # What the schedule cannot hand over, and what Lambda then has tried in vain.
    (schedule,) = (event["Properties"] for event in sweep["Events"].values())
    assert schedule["DeadLetterConfig"] == {"Arn": queue}
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] >= 1
    on_failure = sweep["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert on_failure == {"Type": "SQS", "Destination": queue}
    failures = resources["SweepFailures"]["Properties"]
    assert failures["SqsManagedSseEnabled"] is True
    assert failures["MessageRetentionPeriod"] == 14 * 86400


def test_a_rotation_is_begun_by_secrets_manager_of_this_account_only() -> None:
    """Else a secret in another account could have our function called (the confused deputy)."""
    permission = template.load(TEMPLATE)["Resources"]["RotateKeysPermission"]["Properties"]
    assert permission == {
        "FunctionName": {"Ref": "RotateKeysFunction"},
        "Action": "lambda:InvokeFunction",
        "Principal": "secretsmanager.amazonaws.com",
        "SourceAccount": {"Ref": "AWS::AccountId"},
    }


def test_a_sweep_stops_before_lambda_stops_it() -> None:
    """Its slowest call and the one that keeps its position fit into what is left then."""
    config = sdk.CONFIG
    waits = config.connect_timeout + config.read_timeout  # type: ignore[attr-defined] # it has them
    # three tries, and up to a second and two between them
    assert (
        2 * (3 * waits + 3) * 1000 < MARGIN_MS < functions()["SweepFunction"]["Timeout"] * 1000 / 4
    )


def test_a_function_outlasts_what_it_waits_for() -> None:
    """Else Lambda kills it, and nobody is told a reason. API Gateway waits for 30 seconds."""
    timeouts = {name: properties["Timeout"] for name, properties in functions().items()}
    hook, verifier, call, event = (
        config.connect_timeout + config.read_timeout  # type: ignore[attr-defined] # it has them
        for config in (
            sdk.HOOK_CONFIG,
            sdk.VERIFIER_CONFIG,
            sdk.CONFIG,
            sdk.EVENTS_CONFIG,
        )
    )
    tries = 3 * call
    # Each waits for DynamoDB at least; two pauses of a second and two come between the tries.
    assert all(tries + 3 < seconds for seconds in timeouts.values())
    keys = 3 * outbound.OVERALL_SECONDS
    assert keys + hook + event + 2 * tries < timeouts["IssueFunction"] < 30
    assert verifier + hook + event + 3 * tries < timeouts["LoginFunction"] < 30
    log = sdk.LOG_CONFIG.connect_timeout + sdk.LOG_CONFIG.read_timeout  # type: ignore[attr-defined] # it has them
    assert 3 * tries + wiring.LOG_SECONDS + log < timeouts["SessionsFunction"] < 30
    # Metadata and keys; two looks at the session, its application, a touch.
    assert 2 * fetch.TIMEOUT_SECONDS + 4 * tries < timeouts["AuthorizerFunction"]


def test_the_sweep_leaves_a_start_to_its_function_for_as_long_as_that_runs() -> None:
    """else most starts that a sweep meets would be published twice"""
    starting = {"IssueFunction", "LoginFunction"}
    timeouts = [functions()[name]["Timeout"] for name in starting]
    assert max(timeouts) < ANNOUNCED_WITHIN_SECONDS


def test_nobody_who_signs_in_waits_for_eventbridge_for_more_than_two_seconds() -> None:
    config = sdk.EVENTS_CONFIG
    assert config.connect_timeout + config.read_timeout <= 2  # type: ignore[attr-defined]
    assert config.retries["total_max_attempts"] == 1  # type: ignore[attr-defined]


def test_the_authorizer_may_read_two_tables_and_write_one_and_nothing_else() -> None:
    """Least of all the secret that it would have to have, if it did not ask for published keys."""
    (policy,) = functions()["AuthorizerFunction"]["Policies"]
    assert [(each["Action"], each["Resource"]) for each in policy["Statement"]] == [
        (["dynamodb:GetItem", "dynamodb:UpdateItem"], {"Fn::GetAtt": ["SessionsTable", "Arn"]}),
        ("dynamodb:GetItem", {"Fn::GetAtt": ["ApplicationsTable", "Arn"]}),
    ]
    others = {name: each for name, each in functions().items() if name != "AuthorizerFunction"}
    assert {"Ref": "VerifyLayer"} not in [
        layer for each in others.values() for layer in each["Layers"]
    ]


def test_api_gateway_remembers_no_verdict_of_the_authorizer() -> None:
    """It would outlive the token, and a token bound to a key would pass without its proof."""
    api = template.load(TEMPLATE, WHOLE)["Resources"]["ExampleApi"]["Properties"]
    assert api["Auth"]["Authorizers"]["Ratchet"]["Identity"]["ReauthorizeEvery"] == 0


def test_nothing_of_the_example_is_deployed_unasked() -> None:
    """API Gateway asks the issuer when it makes a JWT authorizer: no first deployment has one."""
    names = template.load(TEMPLATE)["Resources"].keys()
    more = template.load(TEMPLATE, {"ProtectedExample": "yes"})["Resources"].keys() - names
    assert more == {"ExampleApi", "ExampleFunction"}
    assert not {route.function for route in template.routes(template.load(TEMPLATE))} & more


def test_the_template_that_the_docs_show_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "apis.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "template.yaml"
    path.write_text(shown, encoding="utf-8")
    assert cfnlint.api.lint_file(path) == []
    api = template.load(path)["Resources"]["Api"]["Properties"]["Auth"]["Authorizers"]
    ours = template.load(TEMPLATE, WHOLE)["Resources"]["ExampleApi"]["Properties"]["Auth"]
    reference = {"FunctionArn": {"Ref": "AuthorizerFunctionArn"}}
    assert api["Ratchet"] == ours["Authorizers"]["Ratchet"] | reference


@pytest.mark.parametrize(
    "level", template.load(TEMPLATE)["Parameters"]["LogLevel"]["AllowedValues"]
)
def test_a_log_level_is_one_to_lambda_and_to_our_logger(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda knows no WARNING: a deployment with it would fail."""
    model = boto3.client("lambda", region_name="eu-central-1").meta.service_model
    assert level in model.shape_for("ApplicationLogLevel").enum  # type: ignore[attr-defined]
    monkeypatch.setattr(events.logger, "level", logging.NOTSET)
    monkeypatch.setattr(events, "_namespace", "")
    events.start(stack="x", level=level)
    assert events.logger.level == getattr(logging, level)
