"""Browsers (A), NIST (N), PCI (P), ASVS (V), the tensions (T): a test for each line that is ours.

They are the short form, over the wire; the page names the tests that go deeper.
"""

from __future__ import annotations

from typing import Any

import pytest

from ratchet import events, policy
from ratchet.errors import Fault
from ratchet.keys import ALGORITHMS
from ratchet.policy import PRESETS
from ratchet.reasons import Reason
from ratchet_cli import template
from tests.functional.conftest import BACKEND, MACHINE, ROOT, START, Answer, Service
from tests.functional.permissions import granted
from tests.functional.test_dpop import Client, bound, claims

PAGE = "http://127.0.0.1:5173"
ASKING = {"Origin": PAGE, "Ratchet-Refresh-Token": "cookie"}
NAME = "__Host-Http-ratchet-demo-browser"
TEMPLATE = template.load(ROOT / "template.yaml")
HOUR, DAY = 3600, 86400


def in_cookie(service: Service, **form: str) -> tuple[Answer, str]:
    """A session of a page: the answer, and the whole Set-Cookie."""
    form = form or {"refresh_token": service.start("demo-browser")["refresh_token"]}
    answer = service.call(
        "POST", "/oauth/refresh", form={"client_id": "demo-browser", **form}, headers=ASKING
    )
    assert answer.status == 200, answer
    return answer, answer.cookies[0]


def by_cookie(service: Service, cookie: str, **headers: str) -> Answer:
    sent = {"Cookie": cookie.partition(";")[0], **ASKING, **headers}
    return service.call("POST", "/oauth/refresh", form={"client_id": "demo-browser"}, headers=sent)


def sign_out(service: Service, first: Answer) -> None:
    path = f"/sessions/{first['sid']}"
    assert service.call("DELETE", path, bearer=first["access_token"]).status == 204


def test_a1_a_rotated_token_does_not_outlive_the_session_and_signing_out_ends_it(
    service: Service,
) -> None:
    first = service.start("demo-sensitive")
    last_at, answer = START + first["session_expires_in"], first
    while service.now + 800 < last_at:
        service.now += 800
        answer = service.refresh(answer["refresh_token"], "demo-sensitive")
        assert service.now + answer["refresh_token_expires_in"] <= last_at
        assert service.now + answer["session_expires_in"] == last_at
    service.now = last_at
    gone = service.refresh(answer["refresh_token"], "demo-sensitive")
    assert gone["error_reason"] in ("absolute_expired", "idle_expired")
    other = service.start()
    sign_out(service, other)
    assert service.refresh(other["refresh_token"])["error_reason"] == "revoked_by_user"


def test_a2_a_page_needs_no_secret_and_reads_answers_where_its_origin_is_allowed(
    service: Service,
) -> None:
    answer, _ = in_cookie(service)
    assert answer.headers["access-control-allow-origin"] == PAGE
    evil = {**ASKING, "Origin": "https://evil.example"}
    form = {"client_id": "demo-browser"}
    refused = service.call("POST", "/oauth/refresh", form=form, headers=evil)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers


def test_a3_the_cookie_is_hardened_and_the_header_is_checked_on_every_request(
    service: Service,
) -> None:
    first, cookie = in_cookie(service)
    assert cookie.startswith(f"{NAME}=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    sent = {"Cookie": cookie.partition(";")[0], "Origin": PAGE}
    without = service.call(
        "POST", "/oauth/refresh", form={"client_id": "demo-browser"}, headers=sent
    )
    assert without.status == 400
    assert service.session(first["sid"]).generation == 1
    assert by_cookie(service, cookie).status == 200


def test_a4_every_token_has_the_scope_that_was_asked_for_and_no_more(service: Service) -> None:
    first = service.start(scope="profile orders:read")
    narrow = service.refresh(first["refresh_token"], scope="profile")
    again = service.refresh(first["refresh_token"], scope="profile")
    for answer in (narrow, again):
        assert claims(answer["access_token"])["scope"] == "profile"
    assert narrow["access_token"] != again["access_token"]


def test_n1_both_timeouts_exist_activity_moves_one_of_them_and_they_are_documented(
    service: Service,
) -> None:
    for name, preset in PRESETS.items():
        assert preset.absolute_ttl_seconds > 0 or name == "machine"
        assert preset.idle_ttl_seconds <= preset.absolute_ttl_seconds
    strict = PRESETS["sensitive"]
    assert (strict.idle_ttl_seconds, strict.absolute_ttl_seconds) == (15 * 60, 12 * HOUR)
    first = service.start()
    service.now += DAY
    second = service.refresh(first["refresh_token"])
    assert second["refresh_token_expires_in"] == first["refresh_token_expires_in"]
    assert second["session_expires_in"] == first["session_expires_in"] - DAY
    assert "absolute_ttl_seconds" in (ROOT / "docs" / "applications.md").read_text("utf-8")


def test_n2_the_secret_is_refused_after_sign_out_and_after_either_timeout(
    service: Service,
) -> None:
    out, idle = service.start("demo-sensitive"), service.start("demo-sensitive")
    sign_out(service, out)
    refused = service.refresh(out["refresh_token"], "demo-sensitive")
    assert refused["error_reason"] == "revoked_by_user"
    service.now += 15 * 60
    refused = service.refresh(idle["refresh_token"], "demo-sensitive")
    assert refused["error_reason"] == "idle_expired"


def test_n3_the_cookie_is_opaque_and_its_age_is_not_the_enforcement(service: Service) -> None:
    _, cookie = in_cookie(service)
    assert "ada" not in cookie
    assert cookie.startswith(f"{NAME}=rt1_")
    # The cookie lasts longer than the session, so that a page is told why it is over.
    service.now += 14 * DAY
    assert by_cookie(service, cookie)["error_reason"] == "idle_expired"


def test_n4_a_refresh_does_not_say_that_the_user_was_there(service: Service) -> None:
    first = service.start()
    service.now += 10 * DAY
    second = service.refresh(first["refresh_token"])
    assert claims(second["access_token"])["auth_time"] == START
    assert claims(second["access_token"])["iat"] == START + 10 * DAY


def test_p1_a_preset_ends_sessions_that_were_idle_for_15_minutes(service: Service) -> None:
    assert PRESETS["sensitive"].idle_ttl_seconds == 900
    first = service.start("demo-sensitive")
    service.now += 899
    assert service.refresh(first["refresh_token"], "demo-sensitive").status == 200


def test_v10_4_a_reuse_ends_all_there_is_the_end_is_fixed_and_people_can_end_it(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.refresh(second["refresh_token"])
    assert service.refresh(first["refresh_token"])["error_reason"] == "reused"
    assert service.call("GET", "/sessions", bearer=second["access_token"]).status == 401
    other = service.start()
    assert other["session_expires_in"] == 365 * DAY
    sign_out(service, other)
    secret = {"token": other["refresh_token"], "client_id": "demo-machine"}
    assert service.call("POST", "/oauth/revoke", form=secret).status == 401


def test_v7_signing_out_ends_use_and_users_and_operators_can_do_it(service: Service) -> None:
    first, second, third = (service.start() for _ in range(3))
    listed = service.call("GET", "/sessions", bearer=first["access_token"])["sessions"]
    assert {each["sid"] for each in listed} == {each["sid"] for each in (first, second, third)}
    sign_out(service, first)
    # at once, not when it expires
    introspected = service.call(
        "POST", "/oauth/introspect", form={"token": first["access_token"]}, auth=BACKEND
    )
    assert introspected.body == {"active": False}
    operator = service.operator()
    assert service.call("DELETE", f"/sessions/{second['sid']}", bearer=operator).status == 204
    assert service.session(second["sid"]).reason is Reason.REVOKED_BY_OPERATOR
    everywhere = service.call("DELETE", "/sessions", bearer=third["access_token"])
    assert everywhere.status == 200
    assert service.session(third["sid"]).reason is Reason.REVOKED_EVERYWHERE
    assert service.start()["refresh_token"] != first["refresh_token"]


def test_v3_answers_have_strict_headers_cookies_are_small_and_methods_are_checked(
    service: Service,
) -> None:
    answer, cookie = in_cookie(service)
    assert "max-age=63072000" in answer.headers["strict-transport-security"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(cookie) < 4096
    page = service.call("GET", "/account/sessions?client_id=demo-browser")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for method in ("GET", "PUT", "DELETE", "TRACE"):
        assert service.call(method, "/oauth/refresh").status == 405


def test_v11_keys_have_128_bits_of_security_where_asked_and_algorithms_can_change() -> None:
    """RSA of 2048 bits, the default, has 112: docs/decisions.md says why."""
    parameters = TEMPLATE["Parameters"]
    assert 3072 in parameters["SigningRsaBits"]["AllowedValues"]
    assert set(parameters["SigningAlgorithm"]["AllowedValues"]) == set(ALGORITHMS)
    assert {"RS256", "PS256", "ES256"} <= set(ALGORITHMS)
    assert "3072" in (ROOT / "docs" / "decisions.md").read_text("utf-8")


def test_v13_secrets_are_in_a_manager_rotated_and_for_those_who_need_them(
    service: Service,
) -> None:
    resources = TEMPLATE["Resources"]
    rotated = {
        resource["Properties"]["SecretId"]["Ref"]
        for resource in resources.values()
        if resource["Type"] == "AWS::SecretsManager::RotationSchedule"
    }
    secrets = {n for n, r in resources.items() if r["Type"] == "AWS::SecretsManager::Secret"}
    assert rotated == secrets
    grants = granted(TEMPLATE)
    for name in ("AuthorizerFunction", "SweepFunction"):
        assert "secretsmanager:GetSecretValue" not in {each.action for each in grants[name]}
    service.start()
    answer = service.call("POST", "/oauth/token?client_secret=x", form={}, auth=MACHINE)
    assert answer.headers["cache-control"] == "no-store"


def test_v16_tokens_are_in_no_log_and_failures_of_ours_refuse_without_a_cause(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.start()
    assert service.lines()[-1]["status"] == 200
    service.login(password="wrong wrong wrong")
    assert service.lines()[-1]["error_reason"] == "wrong_credentials"
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    service.refresh(first["refresh_token"])
    assert service.lines()[-1]["error_reason"] == "reused"
    assert first["refresh_token"] not in service.log.getvalue()
    assert events.FIELDS

    def away(*_: Any, **__: Any) -> Any:
        raise Fault("dynamodb: InternalServerError")

    other = service.start()
    monkeypatch.setattr(service.parts.store, "rotate", away)
    refused = service.refresh(other["refresh_token"])
    assert (refused.status, refused["error_reason"]) == (503, "unavailable")
    assert "dynamodb" not in str(refused.body)


def test_t1_inside_the_leeway_the_direct_parent_gets_the_one_successor_until_that_is_used(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.now += 30
    assert service.refresh(first["refresh_token"])["refresh_token"] == second["refresh_token"]
    assert service.refresh(first["refresh_token"], "demo-browser")["error_reason"] == "wrong_client"
    service.refresh(second["refresh_token"])
    assert service.refresh(first["refresh_token"])["error_reason"] == "reused"
    assert PRESETS["sensitive"].leeway_seconds == 0
    assert "deliberate deviation" in (ROOT / "README.md").read_text("utf-8")


def test_t2_an_old_token_alone_signs_nobody_out(service: Service) -> None:
    """Who cannot authenticate, or lacks the key, does not get as far as reuse."""
    client = Client(service)
    client.learn()
    first = bound(service)
    second = client.refresh(first["refresh_token"])
    client.refresh(second["refresh_token"])
    service.now += 60
    assert service.refresh(first["refresh_token"])["error_reason"] == "wrong_key"
    assert service.refresh(first["refresh_token"], "demo-browser").status == 400
    assert service.session(first["sid"]).ended_at is None


def test_t3_nothing_moves_the_absolute_deadline(service: Service) -> None:
    first = service.start("demo-sensitive")
    deadline = service.session(first["sid"]).absolute_deadline_at
    service.now += 600
    service.refresh(first["refresh_token"], "demo-sensitive")
    service.set_policy("demo-sensitive", absolute_ttl_seconds=30 * DAY)
    answer = service.start("demo-sensitive")
    service.refresh(answer["refresh_token"], "demo-sensitive")
    assert service.session(first["sid"]).absolute_deadline_at == deadline


def test_t4_access_ends_before_exp_where_an_api_asks(service: Service) -> None:
    first = service.start()
    service.change("demo-native", sessions_valid_after=service.now + 1)
    introspected = service.call(
        "POST", "/oauth/introspect", form={"token": first["access_token"]}, auth=BACKEND
    )
    assert introspected.body == {"active": False}
    assert service.call("GET", "/sessions", bearer=first["access_token"]).status == 401


def test_t5_the_size_of_rsa_keys_is_a_setting_with_a_default_that_has_its_reason() -> None:
    assert TEMPLATE["Parameters"]["SigningRsaBits"]["Default"] == 2048
    decisions = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    assert "2048" in decisions
    assert policy.MAX_LEEWAY_SECONDS == 600
