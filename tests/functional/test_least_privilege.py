"""Every permission in template.yaml is used: what a function never does, its role does not allow.

That nothing is missing is what all tests of this folder show, because they run with the roles. Here
each function does everything that it has a permission for, with its keys in KMS, and what AWS asked
its role for is compared with what the role grants, action by action and resource by resource.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from argon2 import PasswordHasher

from ratchet import password, wiring
from ratchet.kms_keys import STACK_TAG
from ratchet.sweep import MARGIN_MS
from ratchet_cli import template
from ratchet_cli.functions import Context
from ratchet_cli.seed import ADA
from tests.functional import test_authorizer
from tests.functional.conftest import ROOT, START, Service
from tests.functional.key_fleet import Fleet
from tests.functional.permissions import ANY, Roles, granted
from tests.functional.test_client_assertions import CLIENT, assertion, proved, register
from tests.functional.test_dpop import Client, bound
from tests.functional.test_registry import OPERATOR, SHOP
from tests.functional.test_rotate_keys import SETTLED
from tests.functional.test_sweep import put_in_shard
from tests.functional.test_touch import NATIVE, switch_on

TEMPLATE = template.load(Path(ROOT) / "template.yaml")
GRANTED = {name: grants for name, grants in granted(TEMPLATE).items() if grants}
HOOK = "arn:aws:lambda:eu-central-1:000000000000:function:"

asked = test_authorizer.asked


class Scene:
    """A service with its keys in KMS. `cold` is where the part of a function begins."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service
        self.monkeypatch = monkeypatch
        kms: Any = {"RATCHET_SIGNING_BACKEND": "kms", "RATCHET_SIGNING_ALGORITHM": "ES256"}
        self.fleet = Fleet(service, monkeypatch, **kms)
        self.fleet.rotate()
        register(service, password_login=True, claims_hook="optional")

    def cold(self, **settings: str) -> None:
        # With empty caches.
        for name, value in settings.items():
            self.monkeypatch.setenv(name, value)
        self.fleet.containers.append(wiring.build(wiring.settings()))
        self.fleet.enter(len(self.fleet.containers) - 1)

    def keyed(self, path: str, **form: str) -> Any:
        """A request whose client assertion is remembered, so that it counts once."""
        form = proved(assertion(self.service), **form)
        return self.service.call("POST", path, form=form)


def issue(scene: Scene) -> None:
    scene.cold(RATCHET_CLAIMS_FUNCTION=HOOK + "claims")
    first = scene.keyed("/sessions", client_id=CLIENT, sub="ada")
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert scene.keyed("/oauth/token", **form).status == 200


def login(scene: Scene) -> None:
    service, person = scene.service, {"email": ADA["email"], "password": ADA["password"]}
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
    # With a hash of other parameters, which the sign-in makes anew.
    prepared = password.prepare(person["password"])
    service.parts.users.set_password(person["email"], weak.hash(prepared), START)
    scene.cold(RATCHET_CLAIMS_FUNCTION=HOOK + "claims")
    assert scene.keyed("/login", **person).status == 200
    # Of a device's own request it counts from where it comes.
    assert service.login().status == 200
    # A verifier that is not there: what counts is that it is asked.
    scene.cold(RATCHET_VERIFIER_FUNCTION=HOOK + "verifier")
    assert scene.keyed("/login", **person).status == 503


def refresh(scene: Scene) -> None:
    first = scene.keyed("/sessions", client_id=CLIENT, sub="ada")
    scene.cold()
    again = {"refresh_token": first["refresh_token"]}
    second = scene.keyed("/oauth/refresh", **again)
    assert scene.keyed("/oauth/refresh", refresh_token=second["refresh_token"]).status == 200
    # The first one now is a reuse, of which an event tells.
    assert scene.keyed("/oauth/refresh", **again)["error_reason"] == "reused"


def revoke(scene: Scene) -> None:
    first = scene.keyed("/sessions", client_id=CLIENT, sub="ada")
    scene.cold()
    assert scene.keyed("/oauth/revoke", token=first["access_token"]).status == 200
    assert scene.keyed("/oauth/revoke", token=first["refresh_token"]).status == 200


def introspect(scene: Scene) -> None:
    first = scene.keyed("/sessions", client_id=CLIENT, sub="ada")
    scene.cold()
    assert scene.keyed("/oauth/introspect", token=first["access_token"])["active"] is True
    assert scene.keyed("/oauth/introspect", token=first["refresh_token"])["active"] is True


def discovery(scene: Scene) -> None:
    scene.cold()
    assert scene.service.call("GET", "/.well-known/jwks.json").status == 200


def sessions(scene: Scene) -> None:
    service = scene.service
    client = Client(service)
    client.learn()
    first, token = bound(service), service.operator()
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="LogGroup")
    scene.cold(RATCHET_LOG_GROUP="LogGroup")
    # With a bound token there are nonces, which the pepper makes.
    assert client.resource("GET", "/sessions", first["access_token"]).status == 200
    touched = {"sids": [first["sid"]]}
    assert service.call("POST", "/sessions/touch", body=touched, bearer=token).status == 200
    try:
        service.call("GET", f"/sessions/{first['sid']}?timeline=true", bearer=token)
        # A query that takes too long is stopped.
        slow = wiring.session_log(wiring.settings(), limit_seconds=-1)
        real = slow.client()  # type: ignore[attr-defined] # not the one that reads a file
        running = {"status": "Running"}
        scene.monkeypatch.setattr(real, "get_query_results", lambda **_: running, raising=False)
        object.__setattr__(service.parts, "session_log", lambda: slow)
        service.call("GET", f"/sessions/{first['sid']}?timeline=true", bearer=token)
    finally:
        logs.delete_log_group(logGroupName="LogGroup")
    assert service.call("DELETE", f"/sessions/{first['sid']}", bearer=token).status == 204


def applications(scene: Scene) -> None:
    service = scene.service
    service.change("demo-backend", starts_sessions_for=frozenset({"*"}))
    service.change("demo-operator", dpop="optional")
    client, form = Client(service), {"grant_type": "client_credentials"}
    client.learn()
    token = client.post("/oauth/token", form, auth=OPERATOR)["access_token"]
    scene.cold()
    # A bound token, so that there are nonces, which the pepper makes.
    assert client.resource("GET", "/applications", token).status == 200
    bearer = service.call("POST", "/oauth/token", form=form, auth=OPERATOR)["access_token"]

    def till(method: str, path: str = "/till", **arguments: Any) -> int:
        answer = service.call(method, f"/applications{path}", bearer=bearer, **arguments)
        return answer.status

    body = {**SHOP, "client_id": "till", "confidential": False, "grant_types": ["refresh_token"]}
    assert till("POST", "", body=body) == 201
    # An access token of a session: it is looked at before its owner is told to go.
    signed_in = service.start("till")["access_token"]
    assert service.call("GET", "/applications", bearer=signed_in).status == 403
    # Long enough for the session to be ended by the shorter idle time.
    service.now += 2 * 3600
    bearer = service.call("POST", "/oauth/token", form=form, auth=OPERATOR)["access_token"]
    policy = {"idle_ttl_seconds": 3600, "idle_warning_seconds": 0}
    assert till("PATCH", "/till?mode=now", body={"policy": policy}) == 200
    assert till("PATCH", body={"disabled_at": service.now}) == 200
    assert till("DELETE") == 204


def sweep(scene: Scene) -> None:
    service = scene.service
    scene.monkeypatch.setattr("ratchet.sweep.ATTENTION_SHARDS", 1)
    scene.monkeypatch.setattr("ratchet.store.BATCH", 2)
    scene.cold()
    put_in_shard(service, 0, 5)
    service.now += 1000
    # Out of time in its second page, so it keeps its position; the next one has time for the rest.
    service.calls.watch(service.parts.store._client, "dynamodb")
    pages, names = 2, service.calls.names
    left = lambda _: MARGIN_MS + (names.count("BatchGetItem") < pages)  # noqa: E731 - shorter here
    scene.monkeypatch.setattr(Context, "get_remaining_time_in_millis", left)
    assert service.sweep()["complete"] is False
    pages = 9
    assert service.sweep()["complete"] is True


def rotate_keys(scene: Scene) -> None:
    fleet = scene.fleet
    scene.cold()
    for secret_id in (fleet.keys_id, fleet.pepper_id):
        # After three rotations the first key has no slot any more, and is given up.
        for _ in range(3):
            fleet.service.now += SETTLED
            fleet.rotate(secret_id)


def authorizer(scene: Scene) -> None:
    service = scene.service
    switch_on(service)
    first = service.start(NATIVE)
    scene.cold()
    service.now += 600
    test_authorizer.ask(service, first["access_token"])


SCENES: Mapping[str, Callable[[Scene], None]] = {
    "IssueFunction": issue,
    "LoginFunction": login,
    "RefreshFunction": refresh,
    "RevokeFunction": revoke,
    "IntrospectFunction": introspect,
    "DiscoveryFunction": discovery,
    "SessionsFunction": sessions,
    "ApplicationsFunction": applications,
    "SweepFunction": sweep,
    "RotateKeysFunction": rotate_keys,
    "AuthorizerFunction": authorizer,
}


# Resources that a statement cannot name, and what keeps the permission narrow instead.
ANYWHERE = {
    "kms:Sign": "a key's tag with the name of this stack",
    "kms:ScheduleKeyDeletion": "that tag, and that the key is one for signatures",
    "kms:CreateKey": "that tag, which the new key has to get; a new key has no name yet",
    "kms:TagResource": "that tag; it comes with CreateKey",
    "kms:DescribeKey": "nothing secret; a new key's tags count after minutes only",
    "kms:GetPublicKey": "public keys; a new key's tags count after minutes only",
    "tag:GetResources": "knows no resources, and answers with the ARNs of what has a tag",
    "logs:GetQueryResults": "knows no resources; needs the id of a query, which nobody can guess",
    "logs:StopQuery": "as before",
}
UNCONDITIONAL = ("kms:DescribeKey", "kms:GetPublicKey", "tag:", "logs:")


def test_every_function_with_permissions_has_its_scene() -> None:
    assert SCENES.keys() == GRANTED.keys()


@pytest.fixture
def scene(service: Service, roles: Roles, monkeypatch: pytest.MonkeyPatch, asked: object) -> Scene:
    monkeypatch.setattr(roles, "used", {})
    return Scene(service, monkeypatch)


@pytest.mark.parametrize("name", SCENES)
def test_a_function_needs_every_permission_that_it_has(
    scene: Scene, roles: Roles, name: str
) -> None:
    SCENES[name](scene)
    assert set(GRANTED[name]) - roles.used[name] == set()


def test_a_permission_names_its_resource_or_has_a_reason_not_to() -> None:
    wide = {each for grants in GRANTED.values() for each in grants if each.resource.endswith(ANY)}
    assert {each.action for each in wide} == ANYWHERE.keys()
    for each in wide:
        if not each.action.startswith(UNCONDITIONAL):
            told = each.condition["StringEquals"]
            where = "Request" if each.action in ("kms:CreateKey", "kms:TagResource") else "Resource"
            assert told[f"aws:{where}Tag/{STACK_TAG}"] == {"Ref": "AWS::StackName"}, each
            if each.action in ("kms:CreateKey", "kms:ScheduleKeyDeletion"):
                assert told["kms:KeyUsage"] == "SIGN_VERIFY"
    assert not any(ANY in each.action for grants in GRANTED.values() for each in grants)


def test_a_function_has_no_role_or_policy_but_the_statements_that_are_looked_at_here() -> None:
    for name, resource in TEMPLATE["Resources"].items():
        # A boundary grants nothing: tests/template/test_deployment.py looks at what it leaves.
        assert not resource["Type"].startswith("AWS::IAM::") or name == "RoleBoundary"
        if resource["Type"] == "AWS::Serverless::Function":
            properties = TEMPLATE["Globals"]["Function"] | resource["Properties"]
            assert not {"Role", "ManagedPolicyArns", "VpcConfig", "Tracing"} & properties.keys()
            for policy in properties.get("Policies", ()):
                assert policy.keys() == {"Version", "Statement"}, name
