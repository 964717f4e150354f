"""Every other test here runs with the functions' roles; this one shows that they are enforced."""

from pathlib import Path
from typing import Any

import pytest

from ratchet_cli import template
from tests.functional.conftest import ROOT, Service
from tests.functional.key_fleet import Fleet
from tests.functional.permissions import Roles

TEMPLATE = template.load(Path(ROOT) / "template.yaml")
FUNCTIONS = {
    name: resource
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}


def test_what_a_role_does_not_allow_is_refused_and_nobody_is_signed_out(
    service: Service, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.start()
    monkeypatch.setitem(roles._granted, "RefreshFunction", [])
    monkeypatch.setattr(roles, "refused", set())
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert "AccessDeniedException" in answer.log["fault"]
    assert roles.refused


@pytest.mark.parametrize("name", FUNCTIONS)
def test_who_reads_a_secret_may_decrypt_it(name: str) -> None:
    """A secret under a key of our own needs both permissions."""
    actions: dict[str, Any] = {}
    for policy in FUNCTIONS[name]["Properties"].get("Policies", ()):
        for statement in policy["Statement"]:
            inner = statement["Fn::If"][1] if "Fn::If" in statement else statement
            listed = inner["Action"]
            for action in [listed] if isinstance(listed, str) else listed:
                actions[action] = inner["Resource"]
    if "secretsmanager:GetSecretValue" in actions:
        assert actions.get("kms:Decrypt") == {"Fn::GetAtt": ["SecretsKey", "Arn"]}


def test_a_key_of_another_stack_signs_nothing(
    service: Service, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conditions are held, too: the role allows keys with the tag of this stack only."""
    kms: Any = {"RATCHET_SIGNING_BACKEND": "kms", "RATCHET_SIGNING_ALGORITHM": "ES256"}
    Fleet(service, monkeypatch, **kms).rotate()
    first = service.start()
    monkeypatch.setenv("RATCHET_STACK", "another")
    monkeypatch.setattr(roles, "refused", set())
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert roles.refused == {"RefreshFunction: kms:Sign "}
    assert service.session(first["sid"]).generation == 0
