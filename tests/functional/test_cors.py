"""CORS: a page may read the answers of an application that allows its origin, and no others."""

from typing import Any

import pytest

from ratchet.applications import REMEMBERED_SECONDS
from ratchet.errors import Fault
from tests.functional.conftest import MACHINE, Answer, Service

PAGE = "http://127.0.0.1:5173"
EVIL = "https://evil.example"
ADDRESSES = {
    "/login": "POST",
    "/oauth/token": "POST",
    "/oauth/refresh": "POST",
    "/oauth/revoke": "POST",
    "/sessions": "POST, GET, DELETE",
    "/sessions/AAAAAAAAAAAAAAAAAAAAAA": "GET, DELETE",
}
HEADERS = "Authorization, Content-Type, DPoP, Idempotency-Key, Ratchet-Refresh-Token"


def shared(answer: Answer) -> set[str]:
    """The names of the CORS headers of an answer."""
    return {name for name in answer.headers if name.startswith("access-control-")}


def preflight(service: Service, url: str, origin: str = PAGE) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "ratchet-refresh-token",
    }
    return service.call("OPTIONS", url, headers=headers)


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_preflight_names_its_application_in_the_address(service: Service, path: str) -> None:
    answer = preflight(service, f"{path}?client_id=demo-browser")
    assert (answer.status, answer.body) == (204, None)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == ADDRESSES[path]
    assert answer.headers["access-control-allow-headers"] == HEADERS
    assert answer.headers["access-control-max-age"] == "600"
    assert answer.headers["vary"] == "Origin"
    assert (answer.log["client_id"], answer.log["outcome"]) == ("demo-browser", "preflight")


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize(
    ("query", "origin", "detail"),
    [
        ("", PAGE, None),
        ("?client_id=nobody", PAGE, None),
        ("?client_id=demo-browser", EVIL, EVIL),
        ("?client_id=demo-browser", "null", "odd"),
        ("?client_id=demo-native", PAGE, PAGE),
        ("?client_id=demo-browser&client_id=demo-browser", PAGE, None),
    ],
)
def test_a_preflight_is_refused_unless_the_application_allows_the_origin(
    service: Service, path: str, query: str, origin: str, detail: str | None
) -> None:
    answer = preflight(service, path + query, origin)
    assert (answer.status, answer["error"]) == (403, "invalid_request")
    assert (shared(answer), answer.headers["vary"]) == (set(), "Origin")
    assert answer.log["detail"] == (detail or answer["error_description"])


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": PAGE}, {"Access-Control-Request-Method": "POST"}]
)
def test_options_that_is_no_preflight_is_not_allowed(
    service: Service, headers: dict[str, str]
) -> None:
    answer = service.call("OPTIONS", "/oauth/refresh?client_id=demo-browser", headers=headers)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_nobody_else_gets_preflights_answered(service: Service) -> None:
    answer = preflight(service, "/oauth/introspect?client_id=demo-browser")
    assert (answer.status, shared(answer)) == (405, set())
    assert "vary" not in answer.headers


@pytest.mark.parametrize("query", ["", "?client_id=demo-browser"])
def test_an_answer_may_be_read_by_the_applications_own_pages(service: Service, query: str) -> None:
    form = {
        "client_id": "demo-browser",
        "refresh_token": service.start("demo-browser")["refresh_token"],
    }
    answer = service.call("POST", f"/oauth/refresh{query}", form=form, headers={"Origin": PAGE})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == (
        "DPoP-Nonce, Retry-After, WWW-Authenticate"
    )
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("query", "client_id", "origin"),
    [
        ("", "demo-browser", EVIL),
        ("", "demo-browser", "null"),
        ("", "demo-browser", None),
        ("", "demo-native", PAGE),
        ("?client_id=demo-browser", "demo-native", PAGE),
        ("", "nobody", PAGE),
    ],
)
def test_an_answer_may_be_read_by_no_other_page(
    service: Service, query: str, client_id: str, origin: str | None
) -> None:
    """The request is answered all the same: CORS is about who may read it."""
    first = service.start(client_id if client_id.startswith("demo-") else "demo-native")
    form = {"client_id": client_id, "refresh_token": first["refresh_token"]}
    headers = {"Origin": origin} if origin else {}
    answer = service.call("POST", f"/oauth/refresh{query}", form=form, headers=headers)
    assert answer.status == (401 if client_id == "nobody" else 200)
    assert (shared(answer), answer.headers["vary"]) == (set(), "Origin")


def test_an_application_without_the_cookie_gets_no_credentials(service: Service) -> None:
    service.change("demo-browser", refresh_cookie=False)
    answer = preflight(service, "/sessions?client_id=demo-browser")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    service.change("demo-browser", refresh_cookie=True)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("POST", "/oauth/token", 400),
        ("PUT", "/oauth/refresh", 405),
        ("POST", "/oauth/refresh", 400),
        ("POST", "/oauth/revoke", 401),
        ("POST", "/login", 400),
        ("GET", "/sessions", 401),
        ("DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", 401),
    ],
)
def test_a_page_may_read_every_refusal(
    service: Service, method: str, url: str, status: int
) -> None:
    answer = service.call(
        method,
        f"{url}?client_id=demo-browser",
        form={"grant_type": "x", "refresh_token": "garbage"},
        headers={"Origin": PAGE},
    )
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", [PAGE, EVIL])
def test_a_page_may_read_a_503_where_its_application_is_remembered(
    service: Service, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """as it was, however long ago: else an outage looks to the page as if nobody answered"""

    def call() -> Answer:
        form = {"client_id": "demo-browser", "refresh_token": "rt1_garbage"}
        return service.call("POST", "/oauth/refresh", form=form, headers={"Origin": origin})

    def fail(*_: Any) -> Any:
        raise Fault("dynamodb: down")

    with monkeypatch.context() as broken:
        broken.setattr(service.parts.applications, "_read", fail)
        cold = call()
    assert (cold.status, shared(cold), cold.headers["vary"]) == (503, set(), "Origin")
    assert call().status == 400
    service.now += 10 * REMEMBERED_SECONDS
    monkeypatch.setattr(service.parts.applications, "_read", fail)
    answer = call()
    assert (answer.status, answer["error"]) == (503, "temporarily_unavailable")
    assert answer.headers.get("access-control-allow-origin") == (PAGE if origin == PAGE else None)
    assert ("access-control-allow-credentials" in answer.headers) == (origin == PAGE)


def test_a_page_may_read_a_session(service: Service) -> None:
    first = service.start("demo-browser")
    answer = service.call(
        "GET",
        f"/sessions/{first['sid']}?client_id=demo-browser",
        bearer=first["access_token"],
        headers={"Origin": PAGE},
    )
    assert (answer.status, answer["current"]) == (200, True)
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_without_an_origin_no_application_is_looked_up(service: Service) -> None:
    """Garbage that no page sends is refused before any call, as ever."""
    service.calls.clear()
    answer = service.call(
        "POST",
        "/oauth/refresh?client_id=demo-browser",
        form={"client_id": "demo-browser", "refresh_token": "rt1_garbage"},
    )
    assert (answer["error_reason"], service.calls.names) == ("malformed", [])


def test_a_machine_is_answered_as_before(service: Service) -> None:
    answer = service.call(
        "POST", "/oauth/token", form={"grant_type": "client_credentials"}, auth=MACHINE
    )
    assert (answer.status, shared(answer)) == (200, set())
