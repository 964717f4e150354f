"""What template.yaml says: the only list of routes, tables and schedules is the deployed one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Template = dict[str, Any]

# The emulator runs neither our functions nor what stands behind them: the gateway, the schedule's
# thread and the files under .ratchet/ do.
_NOT_EMULATED = (
    "AWS::Serverless::",
    "AWS::Logs::",
    "AWS::CloudWatch::",
    "AWS::Lambda::",
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
class Route:
    """One HttpApi event: `ANY /sessions/{sid}`, or the method `$default` with an empty path."""

    method: str
    path: str
    function: str

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


def load(path: Path) -> Template:
    """Read a template file. Raises TemplateError where it is none."""
    try:
        template = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path} is not YAML: {error}") from error
    if not isinstance(template, dict) or "Resources" not in template:
        raise TemplateError(f"{path} is not a CloudFormation template: it has no Resources")
    return template


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
    """Return one route for every HttpApi event of a function."""
    found = []
    for function, event in _events(template, "HttpApi"):
        # SAM makes an event that names neither a path nor a method the catch-all route.
        path, method = event.get("Path", ""), str(event.get("Method", "ANY")).upper()
        if not path:
            method = "$default"
        elif method in ("*", "X-AMAZON-APIGATEWAY-ANY-METHOD"):
            method = "ANY"
        found.append(Route(method, path, function))
    return found


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
        for variable, value in _variables(properties).items():
            if merged.setdefault(variable, value) != value:
                raise TemplateError(f"{name}: {variable} has another value elsewhere")
    return merged


def _named(template: Template, value: Any) -> Any:
    name = value.get("Ref") if isinstance(value, dict) else None
    resource = template["Resources"].get(name, {})
    return name if resource.get("Type", "").startswith(_NOT_EMULATED) else value


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
