"""POST /oauth/introspect: RFC 7662."""

import pytest

from tests.functional.conftest import BACKEND, ISSUER, MACHINE, START, Answer, Service

DAY = 86400
INACTIVE = {"active": False}


def introspect(
    service: Service, token: str, auth: tuple[str, str] | None = BACKEND, **form: str
) -> Answer:
    return service.call("POST", "/oauth/introspect", form={"token": token, **form}, auth=auth)


def test_a_refresh_token_tells_both_deadlines_and_nothing_changes(service: Service) -> None:
    first = service.start(scope="profile")
    before = service.item(first["sid"])
    service.now += 100
    for _ in range(3):
        answer = introspect(service, first["refresh_token"])
    assert answer.body == {
        "active": True,
        "token_type": "refresh_token",
        "client_id": "demo-native",
        "sub": "ada",
        "scope": "profile",
        "sid": first["sid"],
        "auth_time": START,
        "iss": ISSUER,
        "iat": START,
        "exp": START + 90 * DAY,
        "idle_deadline_at": START + 90 * DAY,
        "absolute_deadline_at": START + 365 * DAY,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert service.item(first["sid"]) == before


def test_an_access_token_tells_its_claims_and_the_deadlines_of_its_session(
    service: Service,
) -> None:
    first = service.start(scope="profile")
    answer = introspect(service, first["access_token"])
    assert (answer["active"], answer["token_type"]) == (True, "Bearer")
    assert (answer["sub"], answer["sid"], answer["scope"]) == ("ada", first["sid"], "profile")
    assert answer["exp"] == START + 3600
    assert answer["idle_deadline_at"] == START + 90 * DAY


def test_an_access_token_is_inactive_as_soon_as_its_session_ended(service: Service) -> None:
    first = service.start()
    form = {"client_id": "demo-native", "token": first["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    answer = introspect(service, first["access_token"])
    assert answer.body == INACTIVE
    assert answer.log["detail"] == "revoked_by_user"


def test_a_replaced_refresh_token_is_active_only_as_long_as_a_refresh_would_take_it(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    assert introspect(service, first["refresh_token"])["active"] is True
    service.now += 31
    assert introspect(service, first["refresh_token"]).body == INACTIVE
    assert introspect(service, second["refresh_token"])["active"] is True
    assert service.session(first["sid"]).ended_at is None


def test_an_expired_token_is_inactive(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.now += 300
    assert introspect(service, first["access_token"]).body == INACTIVE
    assert introspect(service, first["refresh_token"])["active"] is True
    service.now += 600
    answer = introspect(service, first["refresh_token"])
    assert answer.body == INACTIVE
    assert answer.log["detail"] == "idle_expired"


@pytest.mark.parametrize("token", ["nonsense", "rt1_" + "A" * 104, "a.b.c", "x" * 9000])
def test_what_is_not_ours_is_inactive_and_nothing_more(service: Service, token: str) -> None:
    answer = introspect(service, token)
    assert (answer.status, answer.body) == (200, INACTIVE)


def test_a_token_of_an_application_itself_is_active(service: Service) -> None:
    answer = introspect(service, service.operator())
    assert (answer["active"], answer["sub"]) == (True, "demo-backend")
    assert "idle_deadline_at" not in answer.body


def test_an_application_sees_its_own_tokens_only_unless_it_may_see_all(service: Service) -> None:
    first = service.start()
    answer = introspect(service, first["refresh_token"], MACHINE)
    assert answer.body == INACTIVE
    assert answer.log["detail"] == "of another application"


@pytest.mark.parametrize("auth", [None, ("demo-backend", "wrong"), ("demo-native", "")])
def test_a_caller_must_authenticate(service: Service, auth: tuple[str, str] | None) -> None:
    first = service.start()
    answer = introspect(service, first["refresh_token"], auth)
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert "www-authenticate" in answer.headers


def test_a_public_application_cannot_introspect(service: Service) -> None:
    first = service.start()
    answer = introspect(service, first["refresh_token"], None, client_id="demo-native")
    assert (answer.status, answer["error"]) == (401, "invalid_client")


def test_the_token_is_required(service: Service) -> None:
    answer = service.call("POST", "/oauth/introspect", form={}, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_custom_claims_cannot_say_what_introspection_says(service: Service) -> None:
    for name in ("active", "username", "token_type", "idle_deadline_at"):
        body = {"client_id": "demo-native", "sub": "ada", "claims": {name: False}}
        answer = service.call("POST", "/sessions", body=body, auth=BACKEND)
        assert (answer.status, answer["error"]) == (400, "invalid_request")
