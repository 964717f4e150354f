"""OAuth 2.1 (O) and RFC 9700 (B): one test for each line of docs/security.md that is ours to keep.

They are the short form, over the wire; the page names the tests that go deeper.
"""

from __future__ import annotations

import re
from typing import Any

from ratchet.reasons import Reason
from ratchet.registration import new_secret
from ratchet_cli import template
from ratchet_cli.seed import SECRETS
from tests.functional.conftest import BACKEND, ISSUER, MACHINE, ROOT, Answer, Service
from tests.functional.test_dpop import Client, bound, claims

GRANT = {"grant_type": "client_credentials"}
PARAMETERS = template.load(ROOT / "template.yaml")["Parameters"]


def token(service: Service, form: Any, **sent: Any) -> Answer:
    return service.call("POST", "/oauth/token", form=form, **sent)


def refreshing(first: Answer, **form: str) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "client_id": "demo-native",
        "refresh_token": first["refresh_token"],
        **form,
    }


def refused(answer: Answer, error: str, status: int = 400) -> None:
    assert (answer.status, answer["error"]) == (status, error), answer


def metadata(service: Service) -> Answer:
    return service.call("GET", "/.well-known/oauth-authorization-server")


def test_o1_every_address_is_https_and_an_issuer_that_is_not_is_refused(service: Service) -> None:
    answer = metadata(service)
    addresses = [text for text in answer.body.values() if "://" in str(text)]
    assert len(addresses) >= 5
    assert all(address.startswith("https://") for address in addresses)
    assert answer.headers["strict-transport-security"]
    allowed = PARAMETERS["Issuer"]["AllowedPattern"]
    assert re.search(allowed, "https://id.example.com")
    assert not re.search(allowed, "http://id.example.com")


def test_o2_one_way_of_client_authentication_a_request(service: Service) -> None:
    name, secret = BACKEND
    refused(token(service, {**GRANT, "client_secret": secret}, auth=BACKEND), "invalid_request")
    assert "private_key_jwt" in metadata(service)["token_endpoint_auth_methods_supported"]
    assert token(service, {**GRANT, "client_id": name, "client_secret": secret}).status == 200


def test_o3_a_secret_comes_in_the_body_never_in_the_address_and_cannot_be_guessed(
    service: Service,
) -> None:
    name, secret = BACKEND
    query = f"/oauth/token?client_id={name}&client_secret={secret}"
    refused(service.call("POST", query, form=GRANT), "invalid_client", 401)
    # Nobody can choose one, so however often one may guess, it takes 2^255 tries.
    assert len(new_secret()) == 46
    assert len({new_secret() for _ in range(50)}) == 50


def test_o4_the_token_endpoint_takes_post_and_no_parameter_twice(service: Service) -> None:
    address = metadata(service)["token_endpoint"]
    assert "#" not in address
    got = service.call("GET", "/oauth/token")
    assert (got.status, got.headers["allow"]) == (405, "POST")
    assert token(service, {**GRANT, "unknown": "x", "scope": ""}, auth=MACHINE).status == 200
    twice = {"grant_type": ["client_credentials", "client_credentials"]}
    refused(token(service, twice, auth=MACHINE), "invalid_request")


def test_o5_a_confidential_client_authenticates_and_credentials_are_checked_where_not_needed(
    service: Service,
) -> None:
    refused(token(service, {**GRANT, "client_id": "demo-machine"}), "invalid_client", 401)
    first = service.start()
    answer = token(service, refreshing(first, client_secret="made-up"))
    refused(answer, "invalid_client", 401)
    assert service.session(first["sid"]).generation == 0


def test_o6_a_token_response_has_its_members_and_is_not_stored(service: Service) -> None:
    first = service.start(scope="profile")
    answers = [
        first,
        service.login(),
        token(service, refreshing(first)),
        token(service, GRANT, auth=MACHINE),
    ]
    for answer in answers:
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert {"access_token", "token_type", "expires_in", "scope"} <= answer.body.keys()
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pragma"] == "no-cache"
    page = (ROOT / "docs" / "http-api.md").read_text("utf-8")
    assert f"A refresh token has {len(first['refresh_token'])} characters" in page


def test_o7_a_refresh_token_is_bound_to_the_scope_and_the_resources(service: Service) -> None:
    service.change("demo-native", audience=("https://a.test", "https://b.test"))
    first = service.start(scope="profile", resource="https://a.test")
    other = token(service, refreshing(first, resource="https://b.test"))
    refused(other, "invalid_target")
    refused(token(service, refreshing(first, scope="orders:write")), "invalid_scope")
    assert claims(token(service, refreshing(first))["access_token"])["aud"] == "https://a.test"


def test_o8_every_refused_refresh_is_invalid_grant_and_invalid_client_challenges(
    service: Service,
) -> None:
    used, revoked, idle, other = (service.start() for _ in range(4))
    service.refresh(service.refresh(used["refresh_token"])["refresh_token"])
    form = {"client_id": "demo-native", "token": revoked["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    gone = service.start()
    service.delete_item(gone["sid"])
    expected = {Reason.REUSED: used, Reason.REVOKED_BY_USER: revoked, Reason.SESSION_UNKNOWN: gone}
    answers = {reason: token(service, refreshing(first)) for reason, first in expected.items()}
    wrong = refreshing(other) | {"client_id": "demo-browser"}
    answers[Reason.WRONG_CLIENT] = token(service, wrong)
    answers[Reason.MALFORMED] = token(service, refreshing(other) | {"refresh_token": "rt1_x"})
    service.now += 91 * 86400
    answers[Reason.IDLE_EXPIRED] = token(service, refreshing(idle))
    for reason, answer in answers.items():
        refused(answer, "invalid_grant")
        assert answer["error_reason"] == reason
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", answer["error_description"])
    wrong_secret = token(service, GRANT, auth=("demo-machine", "wrong"))
    refused(wrong_secret, "invalid_client", 401)
    assert wrong_secret.headers["www-authenticate"].startswith("Basic ")


def test_o10_client_credentials_are_for_confidential_clients(service: Service) -> None:
    refused(token(service, {**GRANT, "client_id": "demo-native"}), "unauthorized_client")


def test_o11_a_refresh_token_is_not_stored_readable_and_is_bound_to_its_client(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    stored = str(service.item(first["sid"]))
    assert first["refresh_token"] not in stored
    assert second["refresh_token"] not in stored
    refused(service.refresh(second["refresh_token"], "demo-browser"), "invalid_grant")
    changed = second["refresh_token"][:-1] + ("A" if second["refresh_token"][-1] != "A" else "B")
    answer = service.refresh(changed)
    assert answer["error_reason"] == "malformed"
    assert service.session(first["sid"]).ended_at is None


def test_o12_a_refresh_asks_whether_the_grant_is_active_and_never_widens_it(
    service: Service,
) -> None:
    first = service.start(scope="profile orders:read")
    narrow = token(service, refreshing(first, scope="profile"))
    assert narrow["scope"] == "profile"
    assert token(service, refreshing(narrow))["scope"] == "orders:read profile"
    refused(token(service, refreshing(narrow, scope="orders:write")), "invalid_scope")
    other = service.start()
    service.call("DELETE", f"/sessions/{other['sid']}", bearer=other["access_token"])
    refused(token(service, refreshing(other)), "invalid_grant")


def test_o13_a_reused_token_ends_the_grant_and_the_token_that_replaced_it(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    third = service.refresh(second["refresh_token"])
    assert service.refresh(first["refresh_token"])["error_reason"] == "reused"
    assert service.refresh(third["refresh_token"])["error_reason"] == "reused"
    assert service.session(first["sid"]).reason is Reason.REUSED
    assert service.call("GET", "/sessions", bearer=third["access_token"]).status == 401


def test_o14_a_rotated_token_has_the_same_scope_and_expires_when_it_is_not_used(
    service: Service,
) -> None:
    first = service.start(scope="profile orders:read")
    second = service.refresh(first["refresh_token"], scope="profile")
    assert service.refresh(second["refresh_token"])["scope"] == first["scope"]
    idle = service.start()
    service.now += idle["refresh_token_expires_in"]
    assert service.refresh(idle["refresh_token"])["error_reason"] == "idle_expired"


def test_o17_no_token_comes_from_an_address_and_a_cookie_needs_its_header(
    service: Service,
) -> None:
    first = service.start("demo-browser")
    query = f"/sessions?access_token={first['access_token']}"
    assert service.call("GET", query).status == 401
    form = {"client_id": "demo-browser", "refresh_token": first["refresh_token"]}
    page = {"Origin": "http://127.0.0.1:5173", "Ratchet-Refresh-Token": "cookie"}
    (cookie,) = service.call("POST", "/oauth/refresh", form=form, headers=page).cookies
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    # What a form of another page would send: the cookie, and no header of its own.
    sent = {"Cookie": cookie.partition(";")[0], "Origin": "http://127.0.0.1:5173"}
    form = {"client_id": "demo-browser"}
    refused(service.call("POST", "/oauth/refresh", form=form, headers=sent), "invalid_request")
    assert service.session(first["sid"]).generation == 1


def test_o18_a_refresh_token_has_256_random_bits(service: Service) -> None:
    """Two of one session differ everywhere but in what names the session."""
    first = service.start()["refresh_token"]
    tokens = {service.start()["refresh_token"] for _ in range(20)} | {first}
    assert len({each[54:97] for each in tokens}) == 21
    assert len(first) == 108


def test_o19_no_answer_is_a_redirect() -> None:
    described = (ROOT / "docs" / "openapi.yaml").read_text("utf-8")
    assert re.findall(r"^ +\"?'?(\d\d\d)\"?'?:", described, re.M)
    assert not re.findall(r"^ +\"?'?3\d\d\"?'?:", described, re.M)


# --- RFC 9700 ------------------------------------------------------------------------------------


def test_b1_there_is_neither_a_password_grant_nor_an_implicit_one(service: Service) -> None:
    known = metadata(service).body
    assert known["response_types_supported"] == []
    assert not {"password", "implicit", "authorization_code"} & set(known["grant_types_supported"])
    assert "authorization_endpoint" not in known
    form = {"grant_type": "password", "username": "ada", "password": "x", "client_id": "demo-cli"}
    refused(token(service, form), "unsupported_grant_type")


def test_b2_a_session_can_be_bound_to_a_key_and_else_its_tokens_are_rotated(
    service: Service,
) -> None:
    client = Client(service)
    client.learn()
    first = bound(service)
    assert claims(first["access_token"])["cnf"]
    assert service.refresh(first["refresh_token"])["error_reason"] == "wrong_key"
    second = client.refresh(first["refresh_token"])
    assert (second.status, second["token_type"]) == (200, "DPoP")
    plain = service.start()
    assert service.refresh(plain["refresh_token"])["refresh_token"] != plain["refresh_token"]


def test_b3_a_token_is_for_one_resource_and_for_few_scopes_where_asked(service: Service) -> None:
    service.change("demo-native", audience=("https://a.test", "https://b.test"))
    said = claims(service.start(scope="profile", resource="https://a.test")["access_token"])
    assert (said["aud"], said["scope"]) == ("https://a.test", "profile")


def test_b4_keys_may_stand_in_for_secrets_and_a_client_without_either_is_nobody(
    service: Service,
) -> None:
    known = metadata(service).body
    for endpoint in ("token", "revocation", "introspection"):
        assert "private_key_jwt" in known[f"{endpoint}_endpoint_auth_methods_supported"]
    assert "none" not in known["introspection_endpoint_auth_methods_supported"]
    form = {"token": service.start()["access_token"], "client_id": "demo-native"}
    refused(service.call("POST", "/oauth/introspect", form=form), "invalid_client", 401)


def test_b5_there_is_metadata_and_no_user_has_the_id_of_an_application(service: Service) -> None:
    assert metadata(service)["issuer"] == ISSUER
    form = {"client_id": "demo-native", "sub": "demo-machine"}
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    refused(answer, "invalid_request")
    page = {"Origin": "https://evil.example"}
    other = service.call("POST", "/oauth/token", form={"client_id": "demo-browser"}, headers=page)
    assert "access-control-allow-origin" not in other.headers


def test_b7_no_header_says_where_a_request_comes_from(service: Service) -> None:
    """X-Forwarded-For and its kind are the caller's to write."""
    first = service.start()
    form = {"client_id": "demo-native", "refresh_token": first["refresh_token"]}
    headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    answer = service.call("POST", "/oauth/refresh", form=form, headers=headers)
    assert answer.log["network"] == "192.0.2.0/24"


def test_b8_each_client_has_refresh_tokens_or_none_by_decision(service: Service) -> None:
    assert "refresh_token" not in token(service, GRANT, auth=MACHINE).body
    form = {"client_id": "demo-machine", "sub": "ada"}
    service.change("demo-backend", starts_sessions_for=frozenset({"demo-machine"}))
    assert service.call("POST", "/sessions", form=form, auth=BACKEND).status == 400


def test_b9_what_an_application_gets_for_itself_cannot_pass_for_a_users(service: Service) -> None:
    own = claims(token(service, GRANT, auth=MACHINE)["access_token"])
    users = claims(service.start()["access_token"])
    assert (own["sub"], own.get("sid"), own.get("auth_time")) == ("demo-machine", None, None)
    assert users["sid"]
    assert users["auth_time"]
    bearer = token(service, GRANT, auth=MACHINE)["access_token"]
    assert service.call("GET", "/sessions", bearer=bearer).status in (400, 403)
    assert "demo-machine" in SECRETS
