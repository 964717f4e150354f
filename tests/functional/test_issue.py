"""POST /oauth/token with client_credentials, POST /sessions, and what both refuse."""

import json

import pytest

from tests.functional.conftest import BACKEND, ISSUER, MACHINE, START, Service

CLIENT_CREDENTIALS = {"grant_type": "client_credentials"}


def test_client_credentials_get_an_access_token_and_no_refresh_token(service: Service) -> None:
    answer = service.call("POST", "/oauth/token", form=CLIENT_CREDENTIALS, auth=MACHINE)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3600
    assert answer["scope"] == "reports:read reports:write"
    assert "refresh_token" not in answer.body
    assert "sid" not in answer.body
    assert answer.log["outcome"] == "issued"


def test_client_credentials_may_ask_for_a_part_of_their_scopes(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "scope": "reports:read"}
    assert service.call("POST", "/oauth/token", form=form, auth=MACHINE)["scope"] == "reports:read"


def test_client_secret_post_is_as_good_as_basic(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "client_id": MACHINE[0], "client_secret": MACHINE[1]}
    assert service.call("POST", "/oauth/token", form=form).status == 200


def test_a_scope_that_is_not_the_applications_is_invalid_scope(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "scope": "reports:read admin"}
    answer = service.call("POST", "/oauth/token", form=form, auth=MACHINE)
    assert (answer.status, answer["error"]) == (400, "invalid_scope")


def test_client_credentials_are_not_for_public_applications(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "client_id": "demo-native"}
    answer = service.call("POST", "/oauth/token", form=form)
    assert (answer.status, answer["error"]) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    "auth", [("demo-machine", "wrong"), ("demo-machine", ""), ("nobody", "wrong")]
)
def test_a_wrong_client_is_401_with_a_challenge_and_one_text_for_every_cause(
    service: Service, auth: tuple[str, str]
) -> None:
    answer = service.call("POST", "/oauth/token", form=CLIENT_CREDENTIALS, auth=auth)
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert answer["error_description"] == "Client authentication failed."
    assert answer.headers["www-authenticate"].startswith('Basic realm="ratchet"')
    assert answer.log["detail"] in ("wrong secret", "no secret", "unknown application")


def test_an_unknown_grant_type_is_named_with_those_that_are_supported(service: Service) -> None:
    answer = service.call("POST", "/oauth/token", form={"grant_type": "password"}, auth=MACHINE)
    assert (answer.status, answer["error"]) == (400, "unsupported_grant_type")
    assert "client_credentials, refresh_token" in answer["error_description"]


@pytest.mark.parametrize(
    ("form", "body", "headers", "status", "says"),
    [
        ("", None, {}, 400, "grant_type is missing"),
        ("grant_type=", None, {}, 400, "grant_type is missing"),
        ("grant_type=refresh_token", None, {}, 400, "refresh_token is missing"),
        ("grant_type=a&grant_type=a", None, {}, 400, "grant_type is there more than once"),
        ("grant_type=%ff", None, {}, 400, "not UTF-8"),
        (None, b"grant_type=\xff", {"Content-Type": "application/x-www-form-urlencoded"}, 400,
         "not UTF-8"),
        (None, {"grant_type": "client_credentials"}, {}, 400, "application/x-www-form-urlencoded"),
        ('{"grant_type":"client_credentials"}', None, {}, 400, "The body is JSON"),
        (None, b"", {}, 400, "application/x-www-form-urlencoded"),
        ("a=" + "x" * 16384, None, {}, 413, "16384 bytes"),
        ("&".join(f"p{number}=1" for number in range(65)), None, {}, 400, "64 parameters"),
        ("grant_type=client_credentials", None, {"Authorization": "Basic !"}, 401, "failed"),
        ("grant_type=client_credentials", None, {"Authorization": "Digest x"}, 401, "failed"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_a_clear_4xx(
    service: Service,
    form: str | None,
    body: object,
    headers: dict[str, str],
    status: int,
    says: str,
) -> None:
    answer = service.call("POST", "/oauth/token", form=form, body=body, headers=headers)
    assert answer.status == status
    assert answer["error"] == ("invalid_client" if status == 401 else "invalid_request")
    assert says in answer["error_description"]
    assert answer.headers["cache-control"] == "no-store"


def test_two_ways_of_client_authentication_at_once_are_refused(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "client_id": MACHINE[0], "client_secret": MACHINE[1]}
    answer = service.call("POST", "/oauth/token", form=form, auth=MACHINE)
    assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_a_secret_in_the_query_is_not_looked_at(service: Service) -> None:
    query = f"client_id={MACHINE[0]}&client_secret={MACHINE[1]}"
    answer = service.call("POST", f"/oauth/token?{query}", form=CLIENT_CREDENTIALS)
    assert (answer.status, answer["error"]) == (401, "invalid_client")


def test_unknown_parameters_are_ignored(service: Service) -> None:
    form = {**CLIENT_CREDENTIALS, "something": "else"}
    assert service.call("POST", "/oauth/token", form=form, auth=MACHINE).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/oauth/token", "/oauth/refresh", "/oauth/revoke", "/oauth/introspect"]
)
def test_a_wrong_method_is_405_and_names_the_right_one(
    service: Service, method: str, path: str
) -> None:
    answer = service.call(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# --- POST /sessions ----------------------------------------------------------------------------


def test_a_backend_starts_a_session_for_a_subject_it_has_signed_in(service: Service) -> None:
    answer = service.call(
        "POST",
        "/sessions",
        form={
            "sub": "ada",
            "client_id": "demo-native",
            "scope": "profile orders:read",
            "auth_time": str(START - 5),
            "amr": "pwd otp",
            "acr": "urn:test:silver",
            "device": "Ada's phone",
            "claims": json.dumps({"tenant": "acme"}),
        },
        auth=BACKEND,
    )
    assert answer.status == 200
    assert answer["refresh_token"].startswith("rt1_")
    assert answer["refresh_token_expires_in"] == 90 * 86400
    assert answer["session_expires_in"] == 365 * 86400
    session = service.session(answer["sid"])
    assert (session.client_id, session.sub, session.scope) == (
        "demo-native",
        "ada",
        "orders:read profile",
    )
    assert (session.auth_time, session.amr) == (START - 5, ("pwd", "otp"))
    assert session.acr == "urn:test:silver"
    assert (session.device, session.claims) == ("Ada's phone", {"tenant": "acme"})
    assert session.generation == 0
    claims = introspected(service, answer["access_token"])
    assert (claims["iss"], claims["aud"], claims["tenant"]) == (ISSUER, ISSUER, "acme")


def introspected(service: Service, token: str) -> dict[str, object]:
    answer = service.call("POST", "/oauth/introspect", form={"token": token}, auth=BACKEND)
    assert answer["active"] is True
    return dict(answer.body)


def test_json_is_as_good_as_a_form(service: Service) -> None:
    answer = service.call(
        "POST",
        "/sessions",
        body={
            "sub": "ada",
            "client_id": "demo-browser",
            "auth_time": START,
            "amr": ["hwk"],
            "claims": {"roles_at_work": ["a", "b"]},
        },
        auth=BACKEND,
    )
    assert answer.status == 200
    session = service.session(answer["sid"])
    assert (session.amr, session.claims) == (("hwk",), {"roles_at_work": ["a", "b"]})
    assert session.scope == "orders:read orders:write profile"


def test_a_subject_in_any_script_is_kept_as_it_is(service: Service) -> None:
    answer = service.start(sub="Åsa Öberg 李")
    assert service.session(answer["sid"]).sub == "Åsa Öberg 李"
    assert service.refresh(answer["refresh_token"]).status == 200


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sub": ""}, "sub is missing"),
        ({"scopes": "profile"}, "takes only client_id, sub, scope"),
        ({"client_secret": "demo-backend-secret"}, "takes only client_id, sub, scope"),
        ({"sub": " ada"}, "sub must be"),
        ({"sub": "a" * 129}, "sub must be"),
        ({"sub": "a\nb"}, "sub must be"),
        ({"sub": "demo-machine"}, "id of an application"),
        ({"sub": 7}, "sub is not a text"),
        ({"client_id": ""}, "client_id is missing"),
        ({"device": "x" * 65}, "device must be"),
        ({"amr": [1]}, "amr must be"),
        ({"amr": "päss"}, "amr must be"),
        ({"acr": "a b"}, "acr must be"),
        ({"acr": "é"}, "acr must be"),
        ({"acr": "a" * 129}, "acr must be"),
        ({"acr": ["a"]}, "acr is not a text"),
        ({"auth_time": START + 61}, "auth_time must be"),
        ({"auth_time": START * 1000}, "auth_time must be"),
        ({"auth_time": "yesterday"}, "auth_time must be"),
        ({"auth_time": True}, "auth_time must be"),
        ({"auth_time": -1}, "auth_time must be"),
        ({"claims": "[" * 900 + "]" * 900}, "claims may have 50"),
        ({"claims": {"sub": "eve"}}, "claims must not have sub"),
        ({"claims": "[1]"}, "claims must be a JSON object"),
        ({"claims": "{"}, "claims must be a JSON object"),
        ({"claims": {"long": "x" * 1000}}, "too long"),
        ({"claims": {"nan": float("nan")}}, "claims must be a JSON object"),
    ],
)
def test_a_sign_in_that_makes_no_sense_is_refused_and_nothing_is_stored(
    service: Service, changes: dict[str, object], says: str
) -> None:
    body = {"sub": "ada", "client_id": "demo-native", **changes}
    service.calls.clear()
    answer = service.call("POST", "/sessions", body=body, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert says in answer["error_description"]
    assert "PutItem" not in service.calls.names


@pytest.mark.parametrize(
    ("auth", "client_id", "status", "error"),
    [
        (None, "demo-native", 401, "invalid_client"),
        (("demo-backend", "wrong"), "demo-native", 401, "invalid_client"),
        (("demo-native", ""), "demo-native", 401, "invalid_client"),
        (MACHINE, "demo-native", 400, "unauthorized_client"),
        (BACKEND, "demo-machine", 400, "unauthorized_client"),
        (BACKEND, "nobody", 400, "unauthorized_client"),
    ],
)
def test_only_a_backend_that_may_starts_sessions_and_only_for_applications_with_refresh_tokens(
    service: Service, auth: tuple[str, str] | None, client_id: str, status: int, error: str
) -> None:
    form = {"sub": "ada", "client_id": client_id}
    answer = service.call("POST", "/sessions", form=form, auth=auth)
    assert (answer.status, answer["error"]) == (status, error)
    assert "PutItem" not in service.calls.names


def test_a_scope_beyond_the_applications_starts_no_session(service: Service) -> None:
    form = {"sub": "ada", "client_id": "demo-native", "scope": "admin"}
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_scope")


def test_what_stands_in_the_wrong_field_does_not_get_into_the_log(service: Service) -> None:
    token = service.start()["access_token"]
    for field in ("client_id", "sub"):
        body = {"client_id": "nobody", "sub": "ada", field: token}
        assert service.call("POST", "/sessions", body=body, auth=BACKEND).status == 400
    assert token[:20] not in service.log.getvalue()
