"""The routes of the HTTP APIs, made of what `sam deploy` handed to CloudFormation.

Of the OpenAPI body that SAM's transform writes for an API, AWS makes routes, integrations and
authorizers. The emulator (1.5.33) makes the API, and nothing of these.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import boto3

from ratchet_cli import intrinsics

# What stands where a template says AWS::NoValue.
_NOTHING = object()


class Routes:
    """Makes those of a deployed stack: its processed template, and the ARNs of its functions."""

    def __init__(
        self,
        processed: Mapping[str, Any],
        parameters: Mapping[str, str],
        physical: Mapping[str, str],
        arns: Mapping[str, str],
    ) -> None:
        self._template = intrinsics.chosen(dict(processed), parameters)
        self._physical = physical
        self._arns = arns
        self._client = boto3.client("apigatewayv2")

    def make(self) -> dict[str, str]:
        """Returns the id of the API of every path."""
        apis: dict[str, str] = {}
        for name, resource in self._template["Resources"].items():
            if resource["Type"] == "AWS::ApiGatewayV2::Api":
                body = self._value(resource["Properties"]["Body"])
                self._make(self._physical[name], body)
                apis |= dict.fromkeys(body["paths"], self._physical[name])
        return apis

    def _make(self, api_id: str, body: Mapping[str, Any]) -> None:
        schemes = body.get("components", {}).get("securitySchemes", {})
        authorizers = {name: self._authorizer(api_id, name, schemes[name]) for name in schemes}
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                described = operation["x-amazon-apigateway-integration"]
                integration = self._client.create_integration(
                    ApiId=api_id,
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=described["uri"],
                    PayloadFormatVersion=described["payloadFormatVersion"],
                )
                verb = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                self._client.create_route(
                    ApiId=api_id,
                    RouteKey=f"{verb} {path}",
                    Target=f"integrations/{integration['IntegrationId']}",
                    **_protection(operation, authorizers),
                )

    def _authorizer(self, api_id: str, name: str, scheme: Mapping[str, Any]) -> dict[str, Any]:
        """Makes an authorizer. Returns what a route that it protects is made with."""
        described = scheme["x-amazon-apigateway-authorizer"]
        sources = described["identitySource"]
        settings: dict[str, Any] = {
            "IdentitySource": sources if isinstance(sources, list) else [sources]
        }
        if described["type"] == "jwt":
            kind = "JWT"
            wanted = described["jwtConfiguration"]
            settings["JwtConfiguration"] = {
                "Issuer": wanted["issuer"],
                "Audience": wanted["audience"],
            }
        else:
            kind = "REQUEST"
            settings |= {
                "AuthorizerUri": described["authorizerUri"],
                "AuthorizerPayloadFormatVersion": described["authorizerPayloadFormatVersion"],
                "AuthorizerResultTtlInSeconds": described["authorizerResultTtlInSeconds"],
                "EnableSimpleResponses": described["enableSimpleResponses"],
            }
        made = self._client.create_authorizer(
            ApiId=api_id, Name=name, AuthorizerType=kind, **settings
        )
        protects = "JWT" if kind == "JWT" else "CUSTOM"
        return {"AuthorizationType": protects, "AuthorizerId": made["AuthorizerId"]}

    def _value(self, node: Any) -> Any:
        """What CloudFormation would make of it."""
        if isinstance(node, list):
            return [found for each in node if (found := self._value(each)) is not _NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self._reference(argument)
            if name == "Fn::GetAtt":
                return self._reference(".".join(argument))
            if name == "Fn::If":
                condition, then, otherwise = argument
                holds = intrinsics.holds(self._template, condition)
                return self._value(then if holds else otherwise)
            if name == "Fn::Sub":
                text, more = argument if isinstance(argument, list) else (argument, {})
                return re.sub(r"\$\{([\w.:]+)\}", lambda m: self._sub(m[1], more), text)
        pairs = {name: self._value(each) for name, each in node.items()}
        return {name: found for name, found in pairs.items() if found is not _NOTHING}

    def _sub(self, name: str, more: Mapping[str, Any]) -> str:
        return str(self._value(more[name]) if name in more else self._reference(name))

    def _reference(self, name: str) -> Any:
        pseudo = {
            "AWS::NoValue": _NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": self._client.meta.region_name,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self._template["Parameters"]:
            return self._template["Parameters"][name].get("Default", "")
        if name.endswith(".Arn"):
            return self._arns[name.removesuffix(".Arn")]
        return self._physical.get(name, name)


def _protection(
    operation: Mapping[str, Any], authorizers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    for requirement in operation.get("security", []):
        for name, scopes in requirement.items():
            return {**authorizers[name], **({"AuthorizationScopes": scopes} if scopes else {})}
    return {}


def processed(stack: str) -> dict[str, Any]:
    """The template of a stack after its transforms."""
    answer = boto3.client("cloudformation").get_template(StackName=stack, TemplateStage="Processed")
    body: Any = answer["TemplateBody"]
    return dict(body) if isinstance(body, dict) else dict(json.loads(body))
