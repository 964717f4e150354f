"""The refresh token in a cookie (docs/browser.md): who gets it, who may use it, what ends it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet_cli.seed import APPLICATIONS
from tests.functional.conftest import BACKEND, MACHINE, Answer, Service, cookie_value

PAGE = "http://localhost:3000"
ASKING = {"Ratchet-Refresh-Token": "cookie", "Origin": PAGE}
NAME = "__Host-Http-ratchet-demo-browser"
KEY = "a-random-idempotency-key"
DAY = 86_400
IDLE, RETENTION = 14 * DAY, 30 * DAY


def call(
    service: Service,
    path: str,
    cookie: str | None = None,
    headers: Mapping[str, str] = ASKING,
    **form: str,
) -> Answer:
    """What a page sends. headers: other than Cookie and Content-Type."""
    sent = {**headers} if cookie is None else {**headers, "Cookie": f"a=b; {NAME}={cookie}"}
    return service.call("POST", path, form={"client_id": "demo-browser", **form}, headers=sent)


def refresh(service: Service, cookie: str | None = None, **form: str) -> Answer:
    return call(service, "/oauth/refresh", cookie, ASKING, **form)


def in_cookie(service: Service) -> tuple[str, str]:
    """A session whose refresh token is in the cookie: its sid, the cookie's value."""
    answer = refresh(service, refresh_token=service.start("demo-browser")["refresh_token"])
    assert answer.status == 200, answer
    return answer["sid"], cookie_value(answer.cookies[0])


def refused(answer: Answer, status: int, error: str, detail: str | None = None) -> None:
    """By a rule, not by the session: so the cookie stays. detail: what only the log says."""
    if error == "invalid_request" and detail is None:
        detail = answer["error_description"]
    assert (answer.status, answer["error"], answer.log.get("detail")) == (status, error, detail)
    assert answer.cookies == []


def over(answer: Answer, reason: str) -> None:
    """The session is over, and the cookie with it."""
    assert (answer.status, answer["error"]) == (400, "invalid_grant")
    assert (answer["error_reason"], answer["retry"]) == (reason, "never")
    assert answer.log["error_reason"] == reason
    assert answer.cookies == [f"{NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"]


# --- getting it ----------------------------------------------------------------------------------


def test_a_page_gets_the_refresh_token_in_a_cookie_and_nowhere_else(service: Service) -> None:
    first = service.start("demo-browser")
    answer = refresh(service, refresh_token=first["refresh_token"])
    assert answer.status == 200
    (cookie,) = answer.cookies
    value = cookie_value(cookie)
    assert value.startswith("rt1_")
    assert cookie == (
        f"{NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={IDLE + RETENTION}"
    )
    assert value not in str(answer.body)
    without = set(first.body) - {"refresh_token"}
    assert set(answer.body) == without
    assert answer["refresh_token_expires_in"] == IDLE
    assert answer.log["outcome"] == "rotated"
    assert service.session(first["sid"]).generation == 1


def test_the_cookie_is_rotated_and_answers_like_a_token_in_the_body(service: Service) -> None:
    sid, cookie = in_cookie(service)
    answer = refresh(service, cookie, scope="profile")
    assert (answer.status, answer["scope"], answer["sid"]) == (200, "profile", sid)
    assert "refresh_token" not in answer.body
    assert cookie_value(answer.cookies[0]) != cookie
    assert service.session(sid).generation == 2


def test_the_token_endpoint_takes_the_cookie_too(service: Service) -> None:
    sid, cookie = in_cookie(service)
    answer = call(service, "/oauth/token", cookie, grant_type="refresh_token")
    assert (answer.status, answer["sid"], len(answer.cookies)) == (200, sid, 1)


def test_without_the_header_the_body_counts_and_the_cookie_is_not_looked_at(
    service: Service,
) -> None:
    sid, cookie = in_cookie(service)
    other = service.start("demo-browser")
    answer = call(
        service, "/oauth/refresh", cookie, {"Origin": PAGE}, refresh_token=other["refresh_token"]
    )
    assert (answer["sid"], answer.cookies) == (other["sid"], [])
    assert answer["refresh_token"].startswith("rt1_")
    assert service.session(sid).generation == 1


def test_a_token_in_the_body_moves_into_the_cookie_and_wins_over_one_that_is_there(
    service: Service,
) -> None:
    sid, cookie = in_cookie(service)
    other = service.start("demo-browser")
    answer = refresh(service, cookie, refresh_token=other["refresh_token"])
    assert answer["sid"] == other["sid"]
    assert cookie_value(answer.cookies[0]).startswith("rt1_")
    assert service.session(sid).generation == 1


ADA = {"email": "ada@example.com", "password": "correct-horse-battery-staple"}


def test_a_sign_in_with_a_password_gets_the_cookie(service: Service) -> None:
    answer = call(service, "/login", None, ASKING, **ADA)
    assert (answer.status, "refresh_token" in answer.body) == (200, False)
    (cookie,) = answer.cookies
    assert cookie.startswith(f"{NAME}=rt1_")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert refresh(service, cookie_value(cookie))["sid"] == answer["sid"]


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example"])
def test_a_page_of_another_origin_cannot_sign_anyone_in(
    service: Service, origin: str | None
) -> None:
    headers = {"Ratchet-Refresh-Token": "cookie"} | ({"Origin": origin} if origin else {})
    answer = call(service, "/login", None, headers, **ADA)
    refused(answer, 403, "invalid_request", ORIGINS[origin])
    assert service._dynamodb.scan(TableName=service._sessions_table)["Items"] == []


def test_a_refused_sign_in_leaves_the_cookie_of_whoever_is_signed_in(service: Service) -> None:
    sid, cookie = in_cookie(service)
    answer = call(service, "/login", cookie, ASKING, **{**ADA, "password": "wrong-horse"})
    assert (answer.status, answer["error_reason"], answer.cookies) == (400, "wrong_credentials", [])
    assert refresh(service, cookie)["sid"] == sid


def test_a_backend_has_no_cookie(service: Service) -> None:
    answer = service.call(
        "POST",
        "/sessions",
        form={"client_id": "demo-browser", "sub": "ada"},
        auth=BACKEND,
        headers=ASKING,
    )
    refused(answer, 400, "invalid_request")
    assert service._dynamodb.scan(TableName=service._sessions_table)["Items"] == []


@pytest.mark.parametrize(
    ("client_id", "name"),
    [
        ("demo-browser", "__Host-Http-ratchet-demo-browser"),
        ("https://shop.example/app?a=1;b", "__Host-Http-ratchet-https%3A%2F%2Fshop.example%2F"
         "app%3Fa%3D1%3Bb"),
    ],
)  # fmt: skip
def test_each_application_has_a_cookie_of_its_own(
    service: Service, client_id: str, name: str
) -> None:
    application = service.parts.applications.get("demo-browser", service.now)
    assert application is not None
    other = dataclasses.replace(application, client_id=client_id, version=0)
    service.parts.applications._remembered[client_id] = other, service.now
    backend = service.parts.applications.get("demo-backend", service.now)
    assert backend is not None
    every = dataclasses.replace(backend, starts_sessions_for=frozenset({"*"}))
    service.parts.applications._remembered["demo-backend"] = every, service.now
    first = service.start(client_id)
    sent = {"client_id": client_id, "refresh_token": first["refresh_token"]}
    answer = service.call("POST", "/oauth/refresh", form=sent, headers=ASKING)
    (cookie,) = answer.cookies
    assert cookie.partition("=")[0] == name
    # and it is the one that is read
    sent = {"client_id": client_id}
    headers = {**ASKING, "Cookie": f"{NAME}x=rt1_other; {cookie.partition(';')[0]}"}
    assert service.call("POST", "/oauth/refresh", form=sent, headers=headers).status == 200


# --- who may use it ------------------------------------------------------------------------------


ORIGINS = {
    None: "no Origin",
    "null": "odd",
    "https://evil.example": "https://evil.example",
    "https://localhost:3000": "https://localhost:3000",
    "http://localhost:3000.evil.example": "http://localhost:3000.evil.example",
    "http://rt1_secret": "odd",
}


@pytest.mark.parametrize("path", ["/oauth/refresh", "/oauth/revoke"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_only_a_page_of_an_allowed_origin_may_use_the_cookie(
    service: Service, path: str, origin: str | None
) -> None:
    sid, cookie = in_cookie(service)
    before = service.item(sid)
    headers = {"Ratchet-Refresh-Token": "cookie"} | ({"Origin": origin} if origin else {})
    answer = call(service, path, cookie, headers)
    refused(answer, 403, "invalid_request", ORIGINS[origin])
    assert "access-control-allow-origin" not in answer.headers
    assert service.item(sid) == before


def test_another_origin_cannot_move_a_session_into_the_cookie_either(service: Service) -> None:
    """Else a page could sign a person in as somebody else."""
    first = service.start("demo-browser")
    headers = {**ASKING, "Origin": "https://evil.example"}
    answer = call(service, "/oauth/refresh", None, headers, refresh_token=first["refresh_token"])
    refused(answer, 403, "invalid_request", "https://evil.example")
    assert service.session(first["sid"]).generation == 0


@pytest.mark.parametrize("path", ["/oauth/refresh", "/oauth/revoke"])
@pytest.mark.parametrize("asked", [None, "", "1", "Cookie", "body"])
def test_the_cookie_alone_does_nothing_without_the_header(
    service: Service, path: str, asked: str | None
) -> None:
    """What a form of another site could send."""
    sid, cookie = in_cookie(service)
    before = service.item(sid)
    headers = {"Origin": PAGE} | ({} if asked is None else {"Ratchet-Refresh-Token": asked})
    refused(call(service, path, cookie, headers), 400, "invalid_request")
    assert service.item(sid) == before


def test_an_application_that_has_not_opted_in_gets_no_cookie(service: Service) -> None:
    first = service.start("demo-native")
    sent = {"client_id": "demo-native", "refresh_token": first["refresh_token"]}
    answer = service.call("POST", "/oauth/refresh", form=sent, headers=ASKING)
    refused(answer, 400, "unauthorized_client", "refresh_cookie is off")
    assert service.session(first["sid"]).generation == 0


def test_opting_out_leaves_the_cookie_unused_and_the_session_alive(service: Service) -> None:
    sid, cookie = in_cookie(service)
    service.change("demo-browser", refresh_cookie=False)
    refused(refresh(service, cookie), 400, "unauthorized_client", "refresh_cookie is off")
    assert service.session(sid).generation == 1
    service.change("demo-browser", refresh_cookie=True)
    assert refresh(service, cookie).status == 200


def test_one_applications_cookie_is_of_no_use_to_another(service: Service) -> None:
    sid, _ = in_cookie(service)
    other = service.start("demo-native")["refresh_token"]
    answer = refresh(service, other)
    assert (answer.status, answer["error_reason"], answer.cookies) == (400, "wrong_client", [])
    assert service.session(sid).generation == 1


def test_two_cookies_of_the_same_name_are_refused(service: Service) -> None:
    sid, cookie = in_cookie(service)
    headers = {**ASKING, "Cookie": f"{NAME}={cookie}; {NAME}=other"}
    refused(call(service, "/oauth/refresh", None, headers), 400, "invalid_request")
    assert service.session(sid).generation == 1


# --- what keeps it -------------------------------------------------------------------------------


def test_two_tabs_get_the_same_successor_and_keep_the_cookie(service: Service) -> None:
    sid, cookie = in_cookie(service)
    first, second = refresh(service, cookie), refresh(service, cookie)
    assert (first.status, second.status) == (200, 200)
    assert first.cookies == second.cookies
    assert second.log["outcome"] == "replayed_leeway"
    assert service.session(sid).generation == 2


def test_a_lost_answer_is_asked_for_again_with_the_same_key_hours_later(service: Service) -> None:
    sid, cookie = in_cookie(service)
    headers = {**ASKING, "Idempotency-Key": KEY}
    lost = call(service, "/oauth/refresh", cookie, headers)
    service.now += 23 * 3600
    again = call(service, "/oauth/refresh", cookie, headers)
    assert again.log["outcome"] == "replayed_idempotency_key"
    assert cookie_value(again.cookies[0]) == cookie_value(lost.cookies[0])
    assert service.session(sid).generation == 2


def test_a_lost_answer_may_be_asked_for_again_beyond_the_idle_deadline(service: Service) -> None:
    """So the cookie has to outlive that deadline."""
    sid, cookie = in_cookie(service)
    service.now += IDLE - 1
    headers = {**ASKING, "Idempotency-Key": KEY}
    call(service, "/oauth/refresh", cookie, headers)
    service.now += 3600
    assert call(service, "/oauth/refresh", cookie, headers).status == 200
    assert service.session(sid).generation == 2


def throttled() -> Exception:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "x"}}, "UpdateItem")


@pytest.mark.parametrize("path", ["/oauth/refresh", "/oauth/revoke"])
def test_a_fault_keeps_the_cookie(
    service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    sid, cookie = in_cookie(service)
    before = service.item(sid)
    client = cast(Any, service.parts.store._client)
    works: Callable[..., Any] = client._make_api_call

    def fail(*_: Any) -> Any:
        raise throttled()

    monkeypatch.setattr(client, "_make_api_call", fail)
    answer = call(service, path, cookie)
    refused(answer, 503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["access-control-allow-origin"] == PAGE
    monkeypatch.setattr(client, "_make_api_call", works)
    assert service.item(sid) == before
    assert call(service, path, cookie).status == 200


def test_no_refusal_that_is_not_the_sessions_end_takes_the_cookie_away(service: Service) -> None:
    sid, cookie = in_cookie(service)
    refused(refresh(service, cookie, scope="admin"), 400, "invalid_scope", "not the session's")
    refused(
        refresh(service, cookie, client_id="nobody"), 401, "invalid_client", "unknown application"
    )
    service.change("demo-browser", disabled_at=service.now)
    answer = refresh(service, cookie)
    refused(answer, 401, "invalid_client", "disabled")
    assert answer["error_reason"] == "application_disabled"
    service.change("demo-browser", disabled_at=None)
    assert service.session(sid).generation == 1
    assert refresh(service, cookie).status == 200


def test_a_request_without_its_proof_takes_no_cookie_away(service: Service) -> None:
    """DPoP: the session is bound to a key, and untouched by whoever does not have it."""
    service.change("demo-browser", dpop="optional")
    cookie = service.start("demo-browser", dpop_jkt="A" * 43)["refresh_token"]
    answer = refresh(service, cookie)
    assert (answer.status, answer["error_reason"], answer.cookies) == (400, "wrong_key", [])
    assert answer.log["detail"] == "no proof"
    assert service.session(answer.log["sid"]).generation == 0
    service.change("demo-browser", dpop="off")


def test_a_token_in_the_body_that_is_over_says_nothing_about_the_cookie(service: Service) -> None:
    sid, cookie = in_cookie(service)
    answer = refresh(service, cookie, refresh_token="rt1_garbage")
    assert (answer.status, answer["error_reason"], answer.cookies) == (400, "malformed", [])
    assert refresh(service, cookie)["sid"] == sid


def kept(answer: Answer, reason: str, detail: str) -> None:
    """Refused, but not for ever: the cookie stays."""
    assert (answer.status, answer["error"]) == (400, "invalid_grant")
    assert (answer["error_reason"], answer.log["detail"]) == (reason, detail)
    assert answer.cookies == []


def test_a_cutoff_that_is_taken_back_has_taken_no_cookie_away(service: Service) -> None:
    sid, cookie = in_cookie(service)
    service.change("demo-browser", sessions_valid_after=service.now + 1)
    kept(refresh(service, cookie), "policy_cutoff", "the session is over")
    service.change("demo-browser", sessions_valid_after=0)
    assert refresh(service, cookie)["sid"] == sid


def test_a_clock_that_is_fast_takes_no_cookie_away(service: Service) -> None:
    sid, cookie = in_cookie(service)
    service.now += IDLE
    kept(refresh(service, cookie), "idle_expired", "the session is over")
    service.now -= 60
    assert refresh(service, cookie)["sid"] == sid


def test_a_table_that_was_restored_takes_no_cookie_away(service: Service) -> None:
    sid, cookie = in_cookie(service)
    old = service.item(sid)
    for _ in range(2):
        cookie = cookie_value(refresh(service, cookie).cookies[0])
    new = service.item(sid)
    service.put_item(old)
    kept(refresh(service, cookie), "session_unknown", "newer than the item")
    service.delete_item(sid)
    kept(refresh(service, cookie), "session_unknown", "no item")
    service.put_item(new)
    assert refresh(service, cookie)["sid"] == sid


def test_a_pepper_that_is_missing_takes_no_cookie_away(service: Service) -> None:
    answer = refresh(service, "rt1_" + "A" * 104)
    kept(answer, "unknown_pepper", "pepper 0")


# --- what takes it away --------------------------------------------------------------------------


def test_who_was_never_here_is_told_that_there_is_no_cookie(service: Service) -> None:
    answer = refresh(service)
    assert (answer.status, answer["error_reason"], answer["retry"]) == (400, "no_cookie", "never")
    assert (answer.log["error_reason"], answer.log["client_id"]) == ("no_cookie", "demo-browser")
    assert answer.cookies == []


def test_a_cookie_that_is_no_token_is_taken_away(service: Service) -> None:
    over(refresh(service, "rt1_garbage"), "malformed")


def test_a_reused_cookie_ends_the_session(service: Service) -> None:
    sid, cookie = in_cookie(service)
    following = cookie_value(refresh(service, cookie).cookies[0])
    refresh(service, following)
    over(refresh(service, cookie), "reused")
    assert service.session(sid).reason is Reason.REUSED


def test_a_session_that_was_ended_is_over_for_the_cookie_too(service: Service) -> None:
    sid, cookie = in_cookie(service)
    service.call("DELETE", f"/sessions/{sid}", bearer=service.operator())
    over(refresh(service, cookie), "revoked_by_operator")
    again = refresh(service, cookie)
    assert again.log["detail"] == "known"
    over(again, "revoked_by_operator")
    assert service.session(sid).reason is Reason.REVOKED_BY_OPERATOR


def test_who_comes_after_the_idle_deadline_is_told_so(service: Service) -> None:
    """Not `no_cookie`: it outlives the session by as long as an ended session keeps its reason."""
    _, cookie = in_cookie(service)
    service.now += IDLE + RETENTION - 1
    over(refresh(service, cookie), "idle_expired")


def test_signing_out_ends_the_session_and_takes_the_cookie_away(service: Service) -> None:
    sid, cookie = in_cookie(service)
    answer = call(service, "/oauth/revoke", cookie)
    assert (answer.status, answer.body, answer.log["outcome"]) == (200, None, "revoked")
    assert answer.cookies == [f"{NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"]
    assert answer.headers["access-control-allow-origin"] == PAGE
    session = service.session(sid)
    assert (session.reason, session.ended_by) == (Reason.REVOKED_BY_USER, "demo-browser")
    over(refresh(service, cookie), "revoked_by_user")


def test_signing_out_twice_is_no_error(service: Service) -> None:
    answer = call(service, "/oauth/revoke")
    assert (answer.status, answer.log["outcome"]) == (200, "ignored")
    assert len(answer.cookies) == 1


def test_a_token_and_the_cookie_at_once_are_not_revoked(service: Service) -> None:
    sid, cookie = in_cookie(service)
    other = service.start("demo-browser")
    refused(
        call(service, "/oauth/revoke", cookie, token=other["refresh_token"]),
        400,
        "invalid_request",
    )
    assert service.session(sid).reason is None
    assert service.session(other["sid"]).reason is None


def test_an_application_without_refresh_tokens_needs_no_cookie(service: Service) -> None:
    answer = service.call(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials"},
        auth=MACHINE,
        headers=ASKING,
    )
    assert (answer.status, answer.cookies) == (200, [])


def test_the_demo_takes_pages_of_this_machine_only() -> None:
    assert APPLICATIONS["demo-browser"]["allowed_origins"] == {
        "http://localhost:*",
        "http://127.0.0.1:*",
    }
    assert [name for name, made in APPLICATIONS.items() if "allowed_origins" in made] == [
        "demo-browser"
    ]


def test_a_refresh_with_the_cookie_is_one_write_and_no_read(service: Service) -> None:
    _, cookie = in_cookie(service)
    service.calls.clear()
    assert refresh(service, cookie).status == 200
    assert service.calls.names == ["UpdateItem"]


def test_a_fault_of_the_applications_table_keeps_the_cookie(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cookie = in_cookie(service)

    def fail(*_: Any) -> Any:
        raise Fault("dynamodb: down")

    with monkeypatch.context() as broken:
        broken.setattr(type(service.parts.applications), "get", fail)
        refused(refresh(service, cookie), 503, "temporarily_unavailable")
    assert refresh(service, cookie).status == 200
