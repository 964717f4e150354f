"""The functions with their roles: what template.yaml does not allow is refused as IAM would.

The emulator allows everything, so a missing permission would show on AWS only. What is used of the
roles is noted, too: test_least_privilege.py looks for permissions that nobody needs.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.client
from botocore.exceptions import ClientError

from ratchet.lean_client import LeanClient
from ratchet_cli.functions import Functions
from ratchet_cli.template import Template

PREFIXES = {"tagging": "tag"}
OPERATIONS = {"Invoke": "InvokeFunction"}
TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
# What AWS asks for besides the permission for the call itself.
KEY = "SecretsKey"
IMPLIED = {
    # Secrets Manager uses the secret's key on behalf of its caller.
    "secretsmanager:GetSecretValue": [("kms:Decrypt", KEY)],
    "secretsmanager:PutSecretValue": [("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY)],
}
# A resource that stands for several: "*", "key/*".
ANY = "*"


@dataclass(frozen=True)
class Grant:
    """An action that a role allows on one resource, named by its logical id."""

    action: str
    resource: str
    condition: Any = field(default=None, compare=False)

    def covers(self, action: str, resource: str) -> bool:
        return self.action == action and (self.resource == resource or self.resource.endswith(ANY))


def granted(template: Template) -> dict[str, list[Grant]]:
    """What each function's role allows, conditional statements included."""
    return {
        name: [
            Grant(action, _short(resource), statement.get("Condition"))
            for policy in resources["Properties"].get("Policies", ())
            for statement in map(_chosen, policy["Statement"])
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
        ]
        for name, resources in template["Resources"].items()
        if resources["Type"] == "AWS::Serverless::Function"
    }


def _chosen(statement: Any) -> Any:
    return statement["Fn::If"][1] if "Fn::If" in statement else statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _short(resource: Any) -> str:
    """The logical id that a Resource names: `SessionsTable`, `SessionsTable/index/subject`, `*`."""
    if isinstance(resource, str):
        return resource
    if "Ref" in resource:
        return str(resource["Ref"])
    if "Fn::GetAtt" in resource:
        return str(resource["Fn::GetAtt"][0])
    text = re.sub(r"\$\{(\w+)(\.Arn)?\}", r"\1", resource["Fn::Sub"])
    return text.rpartition(":")[2]


class Roles:
    """Who is at work now, and what each may do. `refused`: what was not allowed.

    used: by function, the permissions that AWS asked it for.
    """

    def __init__(self, template: Template) -> None:
        self._at_work: str | None = None
        self.refused: set[str] = set()
        self.used: dict[str, set[Grant]] = {}
        environment = template["Globals"]["Function"]["Environment"]["Variables"]
        self._resources = {
            variable: value["Ref"]
            for variable, value in environment.items()
            if isinstance(value, dict) and "Ref" in value
        }
        self._granted = granted(template)

    @contextmanager
    def at_work(self, function: str | None) -> Iterator[None]:
        """None: somebody who may do everything, such as an operator."""
        before, self._at_work = self._at_work, function
        try:
            yield
        finally:
            self._at_work = before

    def check(self, service: str, operation: str, arguments: Mapping[str, Any]) -> None:
        """Raises AccessDeniedException, as AWS would."""
        function = self._at_work
        if function is None:
            return
        for action, resource in self._asked(service, operation, arguments):
            covering = [each for each in self._granted[function] if each.covers(action, resource)]
            with self.at_work(None):
                allowing = [each for each in covering if _holds(each.condition, arguments)]
            if not allowing:
                self.refused.add(f"{function}: {action} {resource}")
                denied = {"Error": {"Code": "AccessDeniedException", "Message": action}}
                raise ClientError(denied, operation)  # type: ignore[arg-type] # a part is enough
            self.used.setdefault(function, set()).update(allowing)

    def _asked(
        self, service: str, operation: str, arguments: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        prefix = PREFIXES.get(service, service)
        if operation == "TransactWriteItems":
            for item in arguments["TransactItems"]:
                ((kind, inner),) = item.items()
                yield f"dynamodb:{TRANSACTED[kind]}", self._logical(inner["TableName"])
        elif operation == "BatchGetItem":
            for table in arguments["RequestItems"]:
                yield "dynamodb:BatchGetItem", self._logical(table)
        elif operation == "PutEvents":
            for entry in arguments["Entries"]:
                yield "events:PutEvents", self._logical(entry["EventBusName"])
        else:
            named = ("TableName", "SecretId", "logGroupName")
            resource = next((self._logical(arguments[n]) for n in named if n in arguments), "")
            if operation == "Invoke":
                # Functions of a deployment's own, which the tests name after what they do.
                name = arguments["FunctionName"].rpartition(":")[2]
                resource = "VerifierFunction" if name == "verifier" else "ClaimsFunction"
            if "IndexName" in arguments:
                resource = f"{resource}/index/{arguments['IndexName']}"
            action = f"{prefix}:{OPERATIONS.get(operation, operation)}"
            yield action, resource
            # To make something with tags takes the permission to tag.
            if "Tags" in arguments and operation != "TagResource":
                yield f"{prefix}:TagResource", resource
            yield from IMPLIED.get(action, ())

    def _logical(self, physical: str) -> str:
        logical: str
        for variable, logical in self._resources.items():
            if physical and os.environ.get(variable) == physical:
                return logical
        return ""


def _holds(condition: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a statement's Condition holds for this call. Only KMS is asked about what it has."""
    if condition is None:
        return True
    ((operator, wanted),) = condition.items()
    assert operator == "StringEquals", operator
    return all(
        _value(key, arguments)
        in ([os.environ["RATCHET_STACK"]] if "Ref" in value else _listed(value))
        for key, value in wanted.items()
    )


def _value(key: str, arguments: Mapping[str, Any]) -> str | None:
    kind, _, name = key.partition("/")
    if kind == "aws:RequestTag":
        return _tag(arguments.get("Tags", ()), name)
    if key.removeprefix("kms:") in arguments:
        # What the call itself says: KeySpec, KeyUsage, MessageType, SigningAlgorithm.
        return str(arguments[key.removeprefix("kms:")])
    kms = boto3.client("kms")
    if kind == "aws:ResourceTag":
        return _tag(kms.list_resource_tags(KeyId=arguments["KeyId"])["Tags"], name)
    assert key == "kms:KeyUsage", key
    usage: str = kms.describe_key(KeyId=arguments["KeyId"])["KeyMetadata"]["KeyUsage"]
    return usage


def _tag(tags: Any, name: str) -> str | None:
    return next((tag["TagValue"] for tag in tags if tag["TagKey"] == name), None)


class Employed(Functions):
    """Functions that may do what their roles say."""

    roles: Roles

    def invoke(self, name: str, event: Any) -> Any:
        with self.roles.at_work(name):
            return super().invoke(name, event)


@contextmanager
def enforced(roles: Roles) -> Iterator[None]:
    client: Any = botocore.client.BaseClient
    real, lean = client._make_api_call, LeanClient._make_api_call

    def checked(self: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
        roles.check(self.meta.service_model.endpoint_prefix, operation, arguments)
        return real(self, operation, arguments)

    def checked_too(self: LeanClient, operation: str, arguments: Mapping[str, Any]) -> Any:
        roles.check(self.service, operation, arguments)
        return lean(self, operation, arguments)

    client._make_api_call = checked
    LeanClient._make_api_call = checked_too  # type: ignore[method-assign] # for a while
    try:
        yield
    finally:
        client._make_api_call = real
        LeanClient._make_api_call = lean  # type: ignore[method-assign] # as it was
