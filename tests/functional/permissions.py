"""The functions with their roles: what template.yaml does not allow is refused as IAM would.

The emulator allows everything, so a missing permission would show on AWS only.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import botocore.client
from botocore.exceptions import ClientError

from ratchet_cli.functions import Functions
from ratchet_cli.template import Template

PREFIXES = {"tagging": "tag"}
OPERATIONS = {"Invoke": "InvokeFunction"}
TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


class Roles:
    """Who is at work now, and what each may do. `refused`: what was not allowed."""

    def __init__(self, template: Template) -> None:
        self._at_work: str | None = None
        self.refused: set[str] = set()
        environment = template["Globals"]["Function"]["Environment"]["Variables"]
        self._resources = {
            variable: value["Ref"]
            for variable, value in environment.items()
            if isinstance(value, dict) and "Ref" in value
        }
        self._statements = {
            name: [
                statement["Fn::If"][1] if "Fn::If" in statement else statement
                for policy in resource["Properties"].get("Policies", ())
                for statement in policy["Statement"]
            ]
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::Serverless::Function"
        }

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
        if self._at_work is None:
            return
        for action, resource in self._asked(service, operation, arguments):
            if not self._allowed(self._at_work, action, resource):
                self.refused.add(f"{self._at_work}: {action} {resource}")
                denied = {"Error": {"Code": "AccessDeniedException", "Message": action}}
                raise ClientError(denied, operation)  # type: ignore[arg-type] # a part is enough

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
        else:
            named = next(
                (
                    arguments[name]
                    for name in ("TableName", "SecretId", "logGroupName")
                    if name in arguments
                ),
                "",
            )
            resource = self._logical(named)
            if "IndexName" in arguments:
                resource = f"${{{resource}.Arn}}/index/{arguments['IndexName']}"
            yield f"{prefix}:{OPERATIONS.get(operation, operation)}", resource

    def _logical(self, physical: str) -> str:
        logical: str
        for variable, logical in self._resources.items():
            if physical and os.environ.get(variable) == physical:
                return logical
        return ""

    def _allowed(self, function: str, action: str, resource: str) -> bool:
        for statement in self._statements[function]:
            actions = statement["Action"]
            listed = [actions] if isinstance(actions, str) else actions
            if action in listed and resource in json.dumps(statement["Resource"]):
                return True
        return False


class Employed(Functions):
    """Functions that may do what their roles say."""

    roles: Roles

    def invoke(self, name: str, event: Any) -> Any:
        with self.roles.at_work(name):
            return super().invoke(name, event)


@contextmanager
def enforced(roles: Roles) -> Iterator[None]:
    client: Any = botocore.client.BaseClient
    real = client._make_api_call

    def checked(self: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
        roles.check(self.meta.service_model.endpoint_prefix, operation, arguments)
        return real(self, operation, arguments)

    client._make_api_call = checked
    try:
        yield
    finally:
        client._make_api_call = real
