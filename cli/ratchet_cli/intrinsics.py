"""CloudFormation's conditions, for what depends on them here: resources, a route's authorizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Template = dict[str, Any]


class UnknownIntrinsicError(Exception):
    """Something that only CloudFormation itself can work out."""


def chosen(template: Template, parameters: Mapping[str, str]) -> Template:
    """The template with these values as its parameters' defaults, without what it leaves out then.

    Parameters that it does not have are passed over. Raises UnknownIntrinsicError.
    """
    declared = {
        name: {**described, "Default": parameters[name]} if name in parameters else described
        for name, described in template.get("Parameters", {}).items()
    }
    template = {**template, **({"Parameters": declared} if declared else {})}
    resources = {
        name: resource
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or holds(template, resource["Condition"])
    }
    return {**template, "Resources": resources}


def holds(template: Template, condition: str) -> bool:
    """Whether a condition holds with the parameters' defaults."""
    return bool(value(template, template["Conditions"][condition]))


def value(template: Template, node: Any) -> Any:
    """What an expression of parameters and conditions comes to. Lists and texts are themselves."""
    if isinstance(node, list):
        return [value(template, each) for each in node]
    if not isinstance(node, dict):
        return node
    ((name, argument),) = node.items()
    if name == "Ref" and argument in template.get("Parameters", {}):
        return template["Parameters"][argument].get("Default", "")
    if name == "Condition":
        return holds(template, argument)
    if name == "Fn::If":
        condition, then, otherwise = argument
        return value(template, then if holds(template, condition) else otherwise)
    if name == "Fn::Equals":
        first, second = value(template, argument)
        # As texts, as CloudFormation does: a parameter is one, even if its type is Number.
        return str(first) == str(second)
    if name == "Fn::Not":
        return not value(template, argument)[0]
    if name in ("Fn::And", "Fn::Or"):
        return (all if name == "Fn::And" else any)(value(template, argument))
    raise UnknownIntrinsicError(f"the local stack does not know {name} here")
