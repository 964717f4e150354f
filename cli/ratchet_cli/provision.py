"""Creates the tables, secrets and buses of the template on the local endpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from ratchet_cli.template import Template, stack_template

STACK = "ratchet"
_WAIT_SECONDS = 60


class ProvisionError(Exception):
    """CloudFormation refused the stack."""


def provision(
    template: Template, *, issuer: str, parameters: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Create the stack, or bring one from a kept state up to date.

    parameters: values of the template's parameters, where they differ from its defaults.
    Returns the environment variables of the functions, name to value. The AWS settings are those
    of this process. Raises ProvisionError with CloudFormation's reason.
    """
    cloudformation = boto3.client("cloudformation")
    derived = stack_template(template)
    arguments: dict[str, Any] = {
        "StackName": STACK,
        "TemplateBody": json.dumps(derived),
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in {"Issuer": issuer, **(parameters or {})}.items()
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    }
    try:
        if _exists(cloudformation):
            cloudformation.update_stack(**arguments)
        else:
            cloudformation.create_stack(**arguments)
    except ClientError as error:
        if "No updates" not in str(error):
            raise ProvisionError(f"CloudFormation refused the stack: {error}") from error
    stack = _finished(cloudformation)
    _enable_time_to_live(cloudformation, derived)
    return {output["Description"]: output["OutputValue"] for output in stack["Outputs"]}


def _exists(cloudformation: Any) -> bool:
    try:
        cloudformation.describe_stacks(StackName=STACK)
    except ClientError:
        return False
    return True


def _finished(cloudformation: Any) -> dict[str, Any]:
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        status = stack["StackStatus"]
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return stack
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            reason = stack.get("StackStatusReason", "no reason given")
            raise ProvisionError(f"the stack is in {status}: {reason}")
        time.sleep(0.05)


def _enable_time_to_live(cloudformation: Any, derived: Template) -> None:
    # CloudFormation on the emulator (1.5.33) ignores TimeToLiveSpecification.
    dynamodb = boto3.client("dynamodb")
    for name, resource in derived["Resources"].items():
        specification = resource.get("Properties", {}).get("TimeToLiveSpecification")
        if resource["Type"] != "AWS::DynamoDB::Table" or not specification:
            continue
        detail = cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId=name)
        table = detail["StackResourceDetail"]["PhysicalResourceId"]
        now = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if now["TimeToLiveStatus"] != "ENABLED":
            dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=specification)
