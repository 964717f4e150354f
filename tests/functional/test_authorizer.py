"""The Lambda authorizer: who may pass to an API of the deployment's own, and what that costs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import botocore.client
import pytest
from botocore.exceptions import ClientError

from ratchet import authorizer
from ratchet.authorizer import KEPT_SECONDS, SessionCheck
from ratchet.endpoint import NoAnswer, Unauthorized
from ratchet_cli import authorizers, payload
from ratchet_cli.template import Route
from ratchet_verify import claims as claim_set
from ratchet_verify import fetch
from ratchet_verify.verifier import CLOCK_SKEW_SECONDS
from tests import proofs
from tests.embedded_metrics import series
from tests.functional.conftest import MACHINE, Service
from tests.functional.test_dpop import KEY, bound, claims

ORDER = Route("GET", "/orders/{id}", "Orders")
URL = "https://api.test/orders/7"
SESSIONS, APPLICATIONS = "sessions", "applications"


@dataclass
class Asked:
    """What the authorizer asks: of tables (name, consistent), and of the issuer (paths)."""

    tables: list[tuple[str, str, bool | None]] = field(default_factory=list)
    issuer: list[str] = field(default_factory=list)
    table_away: bool = False
    issuer_away: bool = False
    lagging: bool = False


@pytest.fixture
def asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    at_work: list[bool] = []
    client: Any = botocore.client.BaseClient
    real = client._make_api_call

    def call(self: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
        if not at_work:
            return real(self, operation, arguments)
        kind = SESSIONS if arguments["TableName"] == service._sessions_table else APPLICATIONS
        consistent = arguments.get("ConsistentRead")
        asked.tables.append((operation, kind, consistent))
        if asked.table_away:
            raise ClientError({"Error": {"Code": "InternalServerError"}}, operation)
        if asked.lagging and kind == SESSIONS and not consistent:
            return {}
        return real(self, operation, arguments)

    class Issuer:
        def open(self, request: Any, timeout: float) -> io.BytesIO:
            path = urlsplit(request.full_url).path
            asked.issuer.append(path)
            if asked.issuer_away:
                raise OSError
            working, at_work[:] = list(at_work), []
            body = service.call("GET", path).body
            at_work[:] = working
            return io.BytesIO(json.dumps(body).encode())

    invoke = service._functions.invoke

    def watched(name: str, event: Any) -> Any:
        at_work[:] = [True] if name == "AuthorizerFunction" else []
        try:
            return invoke(name, event)
        finally:
            at_work.clear()

    monkeypatch.setattr(client, "_make_api_call", call)
    monkeypatch.setattr(fetch, "_opener", Issuer())
    monkeypatch.setattr(service._functions, "invoke", watched)
    return asked


def ask(service: Service, token: str, scheme: str = "Bearer", **headers: str) -> Any:
    """The context that the API would get. Raises what API Gateway turns into a status."""
    sent = {"Host": "api.test", "X-Forwarded-Proto": "https", "User-Agent": "curl/8.5.0"}
    sent |= {"Authorization": f"{scheme} {token}", **headers}
    request = payload.Request("GET", "/orders/7", "", list(sent.items()), b"", "192.0.2.1")
    event = payload.event(request, payload.Match(ORDER, {"id": "7"}))
    event["headers"]["x-forwarded-proto"] = "https"
    source = [event["headers"]["authorization"]]
    answer = service._functions.invoke(
        "AuthorizerFunction", authorizers.request_event(event, source)
    )
    assert answer["isAuthorized"] is True
    return answer["context"]


def refused(service: Service, token: str, scheme: str = "Bearer", **headers: str) -> dict[str, Any]:
    """The log line of a request that is answered with 401."""
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        ask(service, token, scheme, **headers)
    line = service.lines()[-1]
    assert (line["message"], line["level"], line["status"]) == ("authorizer", "INFO", 401)
    return line


def failed(service: Service, token: str) -> dict[str, Any]:
    """The log line of a request that is answered with 500."""
    with pytest.raises(NoAnswer):
        ask(service, token)
    line = service.lines()[-1]
    assert (line["level"], line["error_reason"]) == ("ERROR", "unavailable")
    return line


def end(service: Service, sid: str, token: str) -> None:
    assert service.call("DELETE", f"/sessions/{sid}", bearer=token).status == 204


# --- who passes ----------------------------------------------------------------------------------


def test_a_good_token_passes_and_the_api_is_told_its_claims(service: Service, asked: Asked) -> None:
    started = service.start()
    token = started["access_token"]
    context = ask(service, token)
    assert context == claims(token)
    assert (context["sub"], context["client_id"]) == ("ada", "demo-native")
    assert (context["sid"], context["scope"]) == (started["sid"], started["scope"])
    line = service.lines()[-1]
    assert (line["message"], line["level"], line["status"]) == ("authorizer", "INFO", 200)
    # the route, not the address: that may have somebody's number in it
    assert line["route"] == "GET /orders/{id}"
    assert (line["sub"], line["sid"]) == ("ada", started["sid"])
    assert (line["network"], line["agent"]) == ("192.0.2.0/24", "curl")
    assert "touched" not in line


def test_the_keys_are_those_that_the_issuer_publishes_and_are_asked_for_once(
    service: Service, asked: Asked
) -> None:
    for _ in range(3):
        ask(service, service.start()["access_token"])
    assert asked.issuer == ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json"]


def test_an_application_s_own_token_passes_without_a_session(
    service: Service, asked: Asked
) -> None:
    form = {"grant_type": "client_credentials"}
    token = service.call("POST", "/oauth/token", form=form, auth=MACHINE)["access_token"]
    assert ask(service, token)["sub"] == "demo-machine"
    assert asked.tables == [("GetItem", APPLICATIONS, None)]
    service.change("demo-machine", disabled_at=service.now)
    assert refused(service, token)["error_reason"] == "application_disabled"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda token: token[:-9] + ("A" if token[-9] == "B" else "B") + token[-8:], "signature"),
        (lambda token: "garbage", "parts"),
        (lambda token: token + " x", "invalid_request: not a scheme and one token"),
    ],
    ids=["changed", "garbage", "two"],
)
def test_a_token_that_is_not_ours_is_refused_without_a_look_into_a_table(
    service: Service, asked: Asked, change: Any, detail: str
) -> None:
    line = refused(service, change(service.start()["access_token"]))
    assert line["error"] == "invalid_token"
    assert line["detail"].endswith(detail)
    assert asked.tables == []


def test_a_token_for_another_api_is_refused(
    service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTHORIZER_AUDIENCE", "https://orders.test, https://reports.test")
    token = service.start()["access_token"]
    assert refused(service, token)["detail"] == "invalid_token: audience"


def test_no_verdict_outlives_its_token(service: Service, asked: Asked) -> None:
    token = service.start()["access_token"]
    service.now = claims(token)["exp"] + CLOCK_SKEW_SECONDS - 1
    ask(service, token)
    asked.tables.clear()
    service.now += 1
    line = refused(service, token)
    assert (line["error"], line["detail"]) == ("invalid_token", "expired")
    assert asked.tables == []


# --- the session ---------------------------------------------------------------------------------


def test_one_look_at_a_session_is_enough_for_ten_seconds(service: Service, asked: Asked) -> None:
    token = service.start()["access_token"]
    ask(service, token)
    look = ("GetItem", SESSIONS, False)
    assert asked.tables == [look, ("GetItem", APPLICATIONS, None)]
    service.now += KEPT_SECONDS - 1
    ask(service, token)
    assert len(asked.tables) == 2
    service.now += 1
    ask(service, token)
    assert asked.tables[2:] == [look]


def test_an_ended_session_is_refused_at_once_or_once_the_last_look_is_ten_seconds_old(
    service: Service, asked: Asked
) -> None:
    seen, unseen = service.start(), service.start()
    ask(service, seen["access_token"])
    for started in (seen, unseen):
        end(service, started["sid"], started["access_token"])
    line = refused(service, unseen["access_token"])
    assert (line["error_reason"], line["sid"]) == ("revoked_by_user", unseen["sid"])
    service.now += KEPT_SECONDS - 1
    ask(service, seen["access_token"])
    service.now += 1
    assert refused(service, seen["access_token"])["error_reason"] == "revoked_by_user"
    asked.tables.clear()
    assert refused(service, seen["access_token"])["error_reason"] == "revoked_by_user"
    assert asked.tables == []


def test_a_session_is_looked_at_again_when_its_deadline_has_passed(
    service: Service, asked: Asked
) -> None:
    service.set_policy("demo-native", idle_ttl_seconds=65, idle_warning_seconds=0)
    token = service.start()["access_token"]
    service.now += 62
    ask(service, token)
    service.now += 3
    assert refused(service, token)["error_reason"] == "idle_expired"


def test_nobody_who_has_just_signed_in_is_refused_for_a_copy_that_lags(
    service: Service, asked: Asked
) -> None:
    asked.lagging = True
    ask(service, service.start()["access_token"])
    assert [look for look in asked.tables if look[1] == SESSIONS] == [
        ("GetItem", SESSIONS, False),
        ("GetItem", SESSIONS, True),
    ]


def test_a_session_that_is_gone_is_over(service: Service, asked: Asked) -> None:
    started = service.start()
    service.delete_item(started["sid"])
    assert refused(service, started["access_token"])["error_reason"] == "session_unknown"


def test_a_disabled_application_is_refused_a_minute_later(service: Service, asked: Asked) -> None:
    token = service.start()["access_token"]
    ask(service, token)
    service.change("demo-native", disabled_at=service.now)
    assert refused(service, token)["error_reason"] == "application_disabled"


def test_without_the_session_check_nothing_is_asked_of_a_table(
    service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTHORIZER_SESSION_CHECK", "no")
    started = service.start()
    end(service, started["sid"], started["access_token"])
    ask(service, started["access_token"])
    assert asked.tables == []


def test_where_api_use_counts_a_request_is_a_touch(service: Service, asked: Asked) -> None:
    service.set_policy(
        "demo-native", idle_ttl_seconds=900, idle_warning_seconds=0, touch_interval_seconds=60
    )
    started = service.start()
    service.now += 100
    ask(service, started["access_token"])
    session = service.session(started["sid"])
    assert (session.active_at, session.idle_deadline_at) == (service.now, service.now + 900)
    assert service.lines()[-1]["touched"] == 1
    service.now += KEPT_SECONDS
    ask(service, started["access_token"])
    assert "touched" not in service.lines()[-1]
    assert [look[0] for look in asked.tables].count("UpdateItem") == 1


def test_verdicts_take_no_more_room_than_they_may(service: Service, asked: Asked) -> None:
    parts = service.parts
    check = SessionCheck(parts.applications, parts.store, max_kept=2)
    tokens = [claim_set.read(claims(service.start()["access_token"])) for _ in range(5)]
    for token in tokens:
        check.check(token, service.now)
    assert list(check._kept) == [token.sid for token in tokens[-2:]]


# --- faults --------------------------------------------------------------------------------------


def test_no_keys_say_nothing_about_a_token(service: Service, asked: Asked) -> None:
    token = service.start()["access_token"]
    asked.issuer_away = True
    assert failed(service, token)["fault"] == "issuer: the key set cannot be fetched"
    asked.issuer_away = False
    service.now += 31
    ask(service, token)


def test_a_table_that_is_away_says_nothing_about_a_session(service: Service, asked: Asked) -> None:
    token = service.start()["access_token"]
    asked.table_away = True
    assert failed(service, token)["fault"] == "dynamodb: InternalServerError"
    asked.table_away = False
    ask(service, token)


def test_a_defect_refuses_nobody(
    service: Service, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorizer, "authenticate", None)
    assert failed(service, service.start()["access_token"])["fault"] == "TypeError"


def test_refusals_ring_no_alarm_of_ours_and_faults_do(
    service: Service, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    token = service.start()["access_token"]
    capsys.readouterr()
    refused(service, "x")
    asked.issuer_away = True
    failed(service, token)
    names = {
        frozenset(dimensions) - {("service", "ratchet")}
        for name, dimensions in series(capsys.readouterr().out)
        if name == "Requests"
    }
    own = ("function", "authorizer")
    assert names == {
        frozenset({own, ("result", "invalid_token")}),
        frozenset({own, ("result", "unavailable")}),
        frozenset({("result", "unavailable")}),
        frozenset({("status", "503")}),
    }


# --- tokens that are bound to a key --------------------------------------------------------------


def test_a_bound_token_needs_a_proof_each_time_however_good_its_session_is(
    service: Service, asked: Asked
) -> None:
    token = bound(service)["access_token"]

    def proof() -> str:
        return proofs.proof(KEY, "GET", URL, now=service.now, access_token=token)

    used = proof()
    assert ask(service, token, "DPoP", DPoP=used)["cnf"]["jkt"] == proofs.jkt(KEY)
    ask(service, token, "DPoP", DPoP=proof())
    asked.tables.clear()
    for scheme, headers, detail in (
        ("Bearer", {}, "invalid_token: the scheme does not fit the token"),
        ("DPoP", {}, "invalid_dpop_proof: no proof"),
        ("DPoP", {"DPoP": used}, "invalid_dpop_proof: used before"),
    ):
        assert refused(service, token, scheme, **headers)["detail"] == detail
    assert asked.tables == []
