"""What an access token is for: RFC 8707, at every way to one."""

from typing import Any

import jwt
import pytest

from tests.functional.conftest import BACKEND, ISSUER, MACHINE, Answer, Service

ORDERS, REPORTS, BILLING = "https://orders.test", "https://reports.test/v1", "urn:test:billing"
KEY = "a-random-idempotency-key"


def audience(answer: Answer) -> Any:
    assert answer.status == 200, answer
    return jwt.decode(answer["access_token"], options={"verify_signature": False})["aud"]


def refused(answer: Answer, detail: str) -> None:
    assert (answer.status, answer["error"]) == (400, "invalid_target")
    assert answer.headers["cache-control"] == "no-store"
    assert "error_reason" not in answer.body
    assert answer.log["detail"] == detail


@pytest.fixture
def orders(service: Service) -> Service:
    """demo-native and demo-machine may have tokens for three APIs."""
    for client_id in ("demo-native", "demo-machine"):
        service.change(client_id, audience=(ORDERS, REPORTS, BILLING))
    return service


def machine(service: Service, **form: Any) -> Answer:
    form = {"grant_type": "client_credentials", **form}
    return service.call("POST", "/oauth/token", form=form, auth=MACHINE)


# --- client_credentials --------------------------------------------------------------------------


def test_a_token_is_for_the_resources_that_were_asked_for(orders: Service) -> None:
    assert audience(machine(orders, resource=ORDERS)) == ORDERS
    assert audience(machine(orders, resource=[REPORTS, ORDERS])) == [ORDERS, REPORTS]


def test_without_a_resource_a_token_is_for_all_that_its_application_may_have(
    orders: Service,
) -> None:
    assert audience(machine(orders)) == [ORDERS, REPORTS, BILLING]
    assert audience(machine(orders, resource="")) == [ORDERS, REPORTS, BILLING]


def test_an_application_without_audiences_may_name_the_issuer(service: Service) -> None:
    assert audience(machine(service, resource=ISSUER)) == ISSUER
    refused(machine(service, resource=ORDERS), "not the application's")


def test_the_issuer_is_no_resource_of_an_application_that_has_others(orders: Service) -> None:
    refused(machine(orders, resource=ISSUER), "not the application's")


@pytest.mark.parametrize("resource", [ORDERS + "/", ORDERS.upper(), ORDERS + "/v1"])
def test_a_resource_is_compared_character_by_character(orders: Service, resource: str) -> None:
    refused(machine(orders, resource=resource), "not the application's")


def test_one_resource_too_many_refuses_all(orders: Service) -> None:
    refused(machine(orders, resource=[ORDERS, "https://other.test"]), "not the application's")


def test_an_audience_that_is_no_uri_cannot_be_asked_for(service: Service) -> None:
    service.change("demo-machine", audience=("orders-api",))
    assert audience(machine(service)) == "orders-api"
    refused(machine(service, resource="orders-api"), "not an absolute URI without fragment")


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_remembers_the_resources_it_was_granted(orders: Service) -> None:
    first = orders.start(resource=[ORDERS, REPORTS])
    assert audience(first) == [ORDERS, REPORTS]
    assert orders.session(first["sid"]).resources == {ORDERS, REPORTS}
    assert audience(orders.refresh(first["refresh_token"])) == [ORDERS, REPORTS]


def test_json_takes_one_resource_or_a_list(orders: Service) -> None:
    for resource, aud in ((ORDERS, ORDERS), ([ORDERS, BILLING], [ORDERS, BILLING])):
        body = {"client_id": "demo-native", "sub": "ada", "resource": resource}
        assert audience(orders.call("POST", "/sessions", body=body, auth=BACKEND)) == aud


@pytest.mark.parametrize(
    ("resource", "detail"),
    [
        ("https://other.test", "not the application's"),
        ("orders", "not an absolute URI without fragment"),
        ([f"urn:test:{number}" for number in range(9)], "too many"),
    ],
)
def test_a_resource_beyond_the_applications_starts_no_session(
    orders: Service, resource: Any, detail: str
) -> None:
    orders.calls.clear()
    form = {"client_id": "demo-native", "sub": "ada", "resource": resource}
    refused(orders.call("POST", "/sessions", form=form, auth=BACKEND), detail)
    assert "PutItem" not in orders.calls.names


# --- refresh -------------------------------------------------------------------------------------


def test_a_refresh_may_narrow_and_the_session_keeps_its_own(orders: Service) -> None:
    """RFC 8707 section 2.2."""
    first = orders.start(resource=[ORDERS, REPORTS])
    second = orders.refresh(first["refresh_token"], resource=REPORTS)
    assert audience(second) == REPORTS
    assert orders.session(first["sid"]).resources == {ORDERS, REPORTS}
    assert audience(orders.refresh(second["refresh_token"])) == [ORDERS, REPORTS]


def test_a_refresh_never_widens_and_nothing_is_rotated(orders: Service) -> None:
    """Not even to what the application may have otherwise."""
    first = orders.start(resource=[ORDERS, REPORTS])
    for resource in (BILLING, [ORDERS, BILLING]):
        refused(orders.refresh(first["refresh_token"], resource=resource), "not the session's")
    assert orders.session(first["sid"]).generation == 0
    assert audience(orders.refresh(first["refresh_token"])) == [ORDERS, REPORTS]


def test_a_session_without_resources_follows_its_application(orders: Service) -> None:
    first = orders.start()
    assert orders.session(first["sid"]).resources == frozenset()
    second = orders.refresh(first["refresh_token"], resource=BILLING)
    assert audience(second) == BILLING
    refused(orders.refresh(second["refresh_token"], resource=ISSUER), "not the session's")
    orders.change("demo-native", audience=(ORDERS,))
    refused(orders.refresh(second["refresh_token"], resource=BILLING), "not the session's")
    assert orders.session(first["sid"]).generation == 1
    assert audience(orders.refresh(second["refresh_token"])) == ORDERS


def test_what_a_session_was_granted_stays_when_its_application_may_have_less(
    orders: Service,
) -> None:
    """As its scopes do: a change of an application is not retroactive."""
    first = orders.start(resource=[ORDERS, REPORTS])
    orders.change("demo-native", audience=(BILLING,))
    second = orders.refresh(first["refresh_token"], resource=ORDERS)
    assert audience(second) == ORDERS
    refused(orders.refresh(second["refresh_token"], resource=BILLING), "not the session's")
    assert audience(orders.refresh(second["refresh_token"])) == [ORDERS, REPORTS]


def test_a_lost_answer_may_be_asked_for_again_with_another_resource_of_the_session(
    orders: Service,
) -> None:
    first = orders.start(resource=[ORDERS, REPORTS])
    second = orders.refresh(first["refresh_token"], key=KEY, resource=ORDERS)
    replayed = orders.refresh(first["refresh_token"], key=KEY, resource=REPORTS)
    assert audience(replayed) == REPORTS
    assert replayed["refresh_token"] == second["refresh_token"]
    refused(orders.refresh(first["refresh_token"], resource=BILLING), "not the session's")
    assert orders.refresh(second["refresh_token"]).status == 200


def test_a_wrong_resource_does_not_hide_a_reuse(orders: Service) -> None:
    first = orders.start(resource=ORDERS)
    second = orders.refresh(first["refresh_token"])
    orders.refresh(second["refresh_token"])
    answer = orders.refresh(first["refresh_token"], resource=BILLING)
    assert (answer["error"], answer["error_reason"]) == ("invalid_grant", "reused")
    assert orders.session(first["sid"]).ended_at is not None


def test_a_wrong_resource_of_another_client_is_wrong_client(orders: Service) -> None:
    first = orders.start(resource=ORDERS)
    answer = orders.refresh(first["refresh_token"], "demo-browser", resource=BILLING)
    assert answer["error_reason"] == "wrong_client"


@pytest.mark.parametrize("resource", ["orders", "https://orders.test/#a", "https://a.test/\x00"])
def test_a_malformed_resource_is_refused_before_any_write(orders: Service, resource: str) -> None:
    first = orders.start(resource=ORDERS)
    orders.calls.clear()
    answer = orders.refresh(first["refresh_token"], resource=resource)
    refused(answer, "not an absolute URI without fragment")
    assert "UpdateItem" not in orders.calls.names


def test_scope_and_resource_are_narrowed_together(orders: Service) -> None:
    first = orders.start(resource=[ORDERS, REPORTS], scope="profile orders:read")
    second = orders.refresh(first["refresh_token"], resource=ORDERS, scope="orders:read")
    assert (audience(second), second["scope"]) == (ORDERS, "orders:read")
    third = orders.refresh(second["refresh_token"])
    assert (audience(third), third["scope"]) == ([ORDERS, REPORTS], "orders:read profile")


def test_the_token_endpoint_refreshes_with_a_resource_too(orders: Service) -> None:
    first = orders.start(resource=[ORDERS, REPORTS])
    form = {
        "grant_type": "refresh_token",
        "client_id": "demo-native",
        "refresh_token": first["refresh_token"],
        "resource": ORDERS,
    }
    assert audience(orders.call("POST", "/oauth/token", form=form)) == ORDERS
