"""The service as it is deployed: processes, dependencies and environment of its own.

What clients see of rotation is in tests/clients, which `make stack` runs against it, too.
"""

import time
import uuid
from typing import Any

import boto3
import pytest

from ratchet_cli import running, template
from ratchet_cli.seed import ADA
from tests.clients.conftest import BACKEND, Client
from tests.deployed import artifact
from tests.deployed.deployment import PARAMETERS, REFUSED, Deployed, refused

JWT, LAMBDA = "/example/jwt", "/example/lambda"


def operator(client: Client) -> dict[str, str]:
    form = {"grant_type": "client_credentials"}
    answer = client.http.post("/oauth/token", data=form, auth=BACKEND)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


# --- what was deployed ---------------------------------------------------------------------------


def test_the_whole_template_is_deployed_but_for_what_the_emulator_refuses(stack: Deployed) -> None:
    built = template.load(artifact.FOR_HERE / "template.yaml", PARAMETERS)["Resources"]
    # SAM appends a hash to the name of a layer.
    missing = {
        name: resource["Type"]
        for name, resource in built.items()
        if not any(there.startswith(name) for there in stack.physical)
    }
    assert missing == {name: one["Type"] for name, one in built.items() if refused(one)}
    assert {*missing.values()} == {"AWS::CloudWatch::Alarm", *REFUSED}


def test_functions_have_their_environment_from_the_template(
    stack: Deployed, here: running.Running
) -> None:
    variables = stack.function("RefreshFunction")["Environment"]["Variables"]
    assert variables["RATCHET_SESSIONS_TABLE"] == stack.physical["SessionsTable"]
    assert variables["RATCHET_PEPPER_SECRET"] == stack.physical["PepperSecret"]
    assert variables["RATCHET_LOG_GROUP"] == stack.physical["LogGroup"]
    assert variables["RATCHET_ISSUER"] == here.url


def test_a_deployment_ends_with_signing_keys(client: Client) -> None:
    keys = client.http.get("/.well-known/jwks.json").json()["keys"]
    assert len(keys) == 2
    found = client.http.get("/.well-known/oauth-authorization-server").json()
    assert (found["issuer"], found["jwks_uri"]) == (
        client.url,
        f"{client.url}/.well-known/jwks.json",
    )


def test_a_rotation_too_early_is_refused_and_the_keys_stay(stack: Deployed, client: Client) -> None:
    before = client.http.get("/.well-known/jwks.json").json()
    with pytest.raises(AssertionError, match="too early"):
        stack.rotate("SigningKeysSecret")
    assert client.http.get("/.well-known/jwks.json").json() == before


# --- a session -----------------------------------------------------------------------------------


def test_a_session_from_its_sign_in_to_its_end(client: Client) -> None:
    form = {"client_id": "demo-native", "email": ADA["email"], "password": ADA["password"]}
    tokens = client.http.post("/login", data=form).json()
    tokens |= client.refresh(tokens["refresh_token"]).json()
    refresh_token = {"token": tokens["refresh_token"]}
    found = client.http.post("/oauth/introspect", data=refresh_token, auth=BACKEND).json()
    assert (found["active"], found["sub"], found["sid"]) == (True, "ada", tokens["sid"])
    mine = client.http.get("/sessions", headers=bearer(tokens)).json()["sessions"]
    assert tokens["sid"] in [session["sid"] for session in mine]

    form = {"client_id": "demo-native", **refresh_token}
    assert client.http.post("/oauth/revoke", data=form).status_code == 200
    over = client.refresh(tokens["refresh_token"])
    assert (over.status_code, over.json()["error_reason"]) == (400, "revoked_by_user")
    found = client.http.post("/oauth/introspect", data=refresh_token, auth=BACKEND).json()
    assert found["active"] is False
    shown = client.http.get(f"/sessions/{tokens['sid']}", headers=operator(client)).json()
    assert (shown["status"], shown["reason"]) == ("ended", "revoked_by_user")


def test_a_page_and_its_files_are_served(client: Client) -> None:
    page = client.http.get("/account/sessions", params={"client_id": "demo-browser"})
    assert page.headers["content-type"].startswith("text/html")
    script = page.text.partition('src="')[2].partition('"')[0]
    assert "javascript" in client.http.get(page.url.join(script)).headers["content-type"]


def test_an_application_is_registered_over_http(client: Client) -> None:
    form, client_id = {"grant_type": "client_credentials"}, uuid.uuid4().hex
    token = client.http.post(
        "/oauth/token", data=form, auth=("demo-operator", "demo-operator-secret")
    ).json()
    made = client.http.post(
        "/applications",
        json={
            "client_id": client_id,
            "confidential": False,
            "grant_types": ["refresh_token"],
            "scopes": ["profile"],
            "policy": {"preset": "native"},
        },
        headers=bearer(token),
    )
    assert made.status_code == 201, made.text
    shown = client.http.get(f"/applications/{client_id}", headers=bearer(token))
    assert shown.json()["policy"]["preset"] == "native"


# --- the schedule --------------------------------------------------------------------------------


def test_the_schedule_fires_by_itself_and_ends_what_is_due(
    client: Client, here: running.Running
) -> None:
    """Nobody calls the function: a session whose idle deadline has passed is stored as ended."""
    tokens = client.start(sub="idle")
    dynamodb, table = boto3.client("dynamodb"), here.environment["RATCHET_SESSIONS_TABLE"]

    def item() -> dict[str, Any]:
        key = {"sid": {"S": tokens["sid"]}}
        return dict(dynamodb.get_item(TableName=table, Key=key)["Item"])

    past = {"N": str(int(time.time()) - 60)}
    dynamodb.put_item(
        TableName=table, Item={**item(), "idle_deadline_at": past, "attention_at": past}
    )
    deadline = time.monotonic() + 150
    while "ended_at" not in (stored := item()):
        assert time.monotonic() < deadline, "the schedule did not fire"
        time.sleep(1)
    assert stored["reason"] == {"S": "idle_expired"}


# --- an API that accepts the tokens --------------------------------------------------------------


def test_the_jwt_authorizer_accepts_our_tokens(client: Client) -> None:
    tokens = client.start()
    told = client.http.get(JWT, headers=bearer(tokens))
    assert told.status_code == 200, told.text
    assert told.json()["jwt"]["claims"]["sid"] == tokens["sid"]


def test_the_jwt_authorizer_wants_a_token_of_ours_with_the_scope(client: Client) -> None:
    head, body, signature = client.start()["access_token"].split(".")
    forged = ".".join([head, body, signature[::-1]])
    assert client.http.get(JWT).status_code == 401
    assert client.http.get(JWT, headers=bearer({"access_token": forged})).status_code == 401
    form = {"client_id": "demo-native", "sub": "ada", "scope": "orders:read"}
    tokens = client.http.post("/sessions", data=form, auth=BACKEND).json()
    assert client.http.get(JWT, headers=bearer(tokens)).status_code == 403


def test_the_lambda_authorizer_accepts_a_token_while_its_session_lives(client: Client) -> None:
    """API Gateway answers 401 when a function raises "Unauthorized"; the emulator, 500."""
    tokens = client.start()
    told = client.http.get(LAMBDA, headers=bearer(tokens))
    assert told.json()["lambda"]["sid"] == tokens["sid"]
    tokens = client.start()
    gone = client.http.delete(f"/sessions/{tokens['sid']}", headers=bearer(tokens))
    assert gone.status_code == 204
    assert client.http.get(LAMBDA, headers=bearer(tokens)).status_code in (401, 500)
    assert client.http.get(LAMBDA).status_code == 401


# --- the log -------------------------------------------------------------------------------------


def test_every_request_leaves_a_line_in_the_log_group_and_no_token(
    client: Client, here: running.Running
) -> None:
    tokens = client.start(sub="logged")
    client.refresh(tokens["refresh_token"])
    group, client_of = here.environment["RATCHET_LOG_GROUP"], boto3.client("logs")
    deadline = time.monotonic() + 30
    lines: list[str] = []
    while tokens["sid"] not in str([line for line in lines if "refresh" in line]):
        assert time.monotonic() < deadline
        pages = client_of.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"] for page in pages for event in page["events"]]
    for line in lines:
        assert "rt1_" not in line
        assert "eyJ" not in line
