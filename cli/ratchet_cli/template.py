"""What template.yaml says: the only list of routes, tables and schedules is the deployed one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ratchet_cli.intrinsics import UnknownIntrinsicError, chosen, value

Template = dict[str, Any]

# The emulator runs neither our functions nor what stands around them: the gateway, the schedule's
# thread and the files under .ratchet/ do.
_NOT_EMULATED = (
    "AWS::Serverless::",
    "AWS::ApiGatewayV2::",
    "AWS::CloudWatch::",
    "AWS::IAM::ManagedPolicy",
    "AWS::Lambda::",
    "AWS::Logs::",
    "AWS::Route53::",
    "AWS::SQS::",
    "AWS::SecretsManager::RotationSchedule",
)
_PASSED_ON = ("Parameters", "Mappings", "Conditions")
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


class TemplateError(Exception):
    """The template says something that the local stack cannot do."""


@dataclass(frozen=True)
class Function:
    """One AWS::Serverless::Function, with the values of Globals filled in."""

    name: str
    code_uri: str
    handler: str
    timeout_seconds: int
    memory_mb: int


@dataclass(frozen=True)
class JwtAuthorizer:
    """API Gateway's own: access tokens of an issuer, for one of these audiences."""

    issuer: str
    audience: tuple[str, ...]


@dataclass(frozen=True)
class LambdaAuthorizer:
    """A function decides (payload format 2.0, simple responses).

    headers: without them the request is refused unasked.
    """

    function: str
    headers: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """One HttpApi event: `ANY /sessions/{sid}`, or the method `$default` with an empty path.

    authorizer: who lets requests pass, None for nobody. scopes: of which a token needs one.
    """

    method: str
    path: str
    function: str
    authorizer: JwtAuthorizer | LambdaAuthorizer | None = None
    scopes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The route key as API Gateway writes it."""
        return f"{self.method} {self.path}".strip()


@dataclass(frozen=True)
class Schedule:
    """One ScheduleV2 event. `input` is the JSON text the function gets, None if none is given."""

    function: str
    seconds: float
    input: str | None


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags (`!Ref x`) as their long form (`{"Ref": "x"}`)."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)
# An unquoted 2012-10-17 is the version of a policy, not a date.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def load(path: Path, parameters: Mapping[str, str] | None = None) -> Template:
    """Read a template file, for these values of its parameters and else their defaults.

    What a condition leaves out then is not there. Raises TemplateError where it is none.
    """
    try:
        template = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path} is not YAML: {error}") from error
    if not isinstance(template, dict) or "Resources" not in template:
        raise TemplateError(f"{path} is not a CloudFormation template: it has no Resources")
    try:
        return chosen(template, parameters or {})
    except UnknownIntrinsicError as error:
        raise TemplateError(f"{path}: {error}") from error


def functions(template: Template) -> dict[str, Function]:
    """Return the functions by their logical id."""
    defaults = template.get("Globals", {}).get("Function", {})
    found = {}
    for name, own in _functions(template).items():
        properties = {"Timeout": 3, "MemorySize": 128, **defaults, **own}
        found[name] = Function(
            name=name,
            code_uri=properties["CodeUri"],
            handler=properties["Handler"],
            timeout_seconds=properties["Timeout"],
            memory_mb=properties["MemorySize"],
        )
    return found


def routes(template: Template) -> list[Route]:
    """Return one route for every HttpApi event of a function. Raises TemplateError."""
    found = []
    for function, event in _events(template, "HttpApi"):
        # SAM makes an event that names neither a path nor a method the catch-all route.
        path, method = event.get("Path", ""), str(event.get("Method", "ANY")).upper()
        if not path:
            method = "$default"
        elif method in ("*", "X-AMAZON-APIGATEWAY-ANY-METHOD"):
            method = "ANY"
        found.append(Route(method, path, function, *_protection(template, event)))
    return found


def _protection(
    template: Template, event: Template
) -> tuple[JwtAuthorizer | LambdaAuthorizer | None, tuple[str, ...]]:
    named = event.get("Auth", {})
    if "Authorizer" not in named:
        return None, ()
    scopes = tuple(named.get("AuthorizationScopes", ()))
    api = template["Resources"][event["ApiId"]["Ref"]]["Properties"]
    described = api["Auth"]["Authorizers"][named["Authorizer"]]
    if "FunctionArn" in described:
        headers = tuple(described.get("Identity", {}).get("Headers", ()))
        function = described["FunctionArn"].get("Fn::GetAtt")
        if not function:
            raise TemplateError("the local stack knows authorizers of the same template only")
        return LambdaAuthorizer(function[0], headers), scopes
    jwt = described["JwtConfiguration"]
    try:
        issuer, audience = value(template, jwt["issuer"]), value(template, jwt["audience"])
    except UnknownIntrinsicError:
        # Of a deployment that names no issuer: only AWS knows its address.
        issuer, audience = "", []
    return JwtAuthorizer(issuer, tuple(audience)), scopes


def schedules(template: Template) -> list[Schedule]:
    """Return one schedule for every ScheduleV2 event. Raises TemplateError unless it is a rate."""
    found = []
    for function, event in _events(template, "ScheduleV2"):
        expression = _default(template, event["ScheduleExpression"])
        rate = _RATE.fullmatch(str(expression))
        if not rate:
            raise TemplateError(f"{function}: the local stack knows rate(...), not {expression}")
        found.append(Schedule(function, int(rate[1]) * _SECONDS[rate[2]], event.get("Input")))
    return found


def stack_template(template: Template) -> Template:
    """Return the plain CloudFormation template of the state behind the functions.

    It has one output for every environment variable of the functions, so that CloudFormation
    itself resolves what they refer to; the output's description is the variable's name. Raises
    TemplateError if two functions want different values of a variable: they share one process.
    What is not emulated has its logical id for a name.
    """
    derived = {key: template[key] for key in _PASSED_ON if key in template}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        **derived,
        "Resources": {
            name: resource
            for name, resource in template["Resources"].items()
            if not resource["Type"].startswith(_NOT_EMULATED)
        },
        "Outputs": {
            # An output's name is alphanumeric, a variable's is not.
            f"Variable{number}": {"Description": variable, "Value": _named(template, value)}
            for number, (variable, value) in enumerate(_environment(template).items())
        },
    }


def _environment(template: Template) -> dict[str, Any]:
    merged = _variables(template.get("Globals", {}).get("Function", {}))
    for name, properties in _functions(template).items():
        for variable, wanted in _variables(properties).items():
            if not _same(template, merged.setdefault(variable, wanted), wanted):
                raise TemplateError(f"{name}: {variable} has another value elsewhere")
    return merged


def _same(template: Template, one: Any, other: Any) -> bool:
    try:
        return bool(one == other or value(template, one) == value(template, other))
    except UnknownIntrinsicError:
        return False


def _named(template: Template, variable: Any) -> Any:
    if not isinstance(variable, dict):
        return variable
    emulated = {
        name: not resource["Type"].startswith(_NOT_EMULATED)
        for name, resource in template["Resources"].items()
    }
    if not emulated.get(variable.get("Ref", ""), True):
        return variable["Ref"]
    if isinstance(text := variable.get("Fn::Sub"), str):
        shown = re.sub(r"\$\{(\w+)\}", lambda m: m[0] if emulated.get(m[1], True) else m[1], text)
        return {"Fn::Sub": shown}
    return variable


def _variables(properties: Template) -> dict[str, Any]:
    variables = properties.get("Environment", {}).get("Variables", {})
    return {
        name: value if isinstance(value, str | dict) else json.dumps(value)
        for name, value in variables.items()
    }


def _functions(template: Template) -> dict[str, Template]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def _events(template: Template, kind: str) -> list[tuple[str, Template]]:
    return [
        (name, event.get("Properties", {}))
        for name, properties in _functions(template).items()
        for event in properties.get("Events", {}).values()
        if event["Type"] == kind
    ]


def _default(template: Template, value: Any) -> Any:
    """Return a value, or the default of the parameter that it refers to."""
    if isinstance(value, dict):
        return template["Parameters"][value["Ref"]]["Default"]
    return value
