"""GET and DELETE /sessions and /sessions/{sid}."""

from typing import Any

import pytest

from ratchet.errors import Fault
from ratchet.reasons import Reason
from tests.functional.conftest import BACKEND, MACHINE, START, Answer, Service

MINUTE, HOUR = 60, 3600
NO_WARNINGS = {"idle_warning_seconds": 0, "absolute_warning_seconds": 0}


def seen(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [session["sid"] for session in answer["sessions"]]


def test_a_subject_sees_its_own_sessions_newest_first_and_which_one_is_this(
    service: Service,
) -> None:
    old = service.start(device="phone")
    service.now += 10
    new = service.start("demo-browser", device="laptop")
    service.start(sub="eve")
    answer = service.call("GET", "/sessions", bearer=old["access_token"])
    assert seen(answer) == [new["sid"], old["sid"]]
    assert answer.headers["cache-control"] == "no-store"
    laptop, phone = answer["sessions"]
    assert (laptop["device"], laptop["client_id"], laptop["current"]) == (
        "laptop",
        "demo-browser",
        False,
    )
    assert (phone["current"], phone["status"], phone["started_at"]) == (True, "active", START)
    assert phone["idle_deadline_at"] == START + 90 * 86400
    assert phone["absolute_deadline_at"] == START + 365 * 86400


def test_a_session_shows_nothing_that_could_be_used(service: Service) -> None:
    first = service.start()
    service.refresh(first["refresh_token"])
    answer = service.call("GET", f"/sessions/{first['sid']}", bearer=first["access_token"])
    names = set(answer.body)
    assert not names & {"current_hash", "parent_hash", "sealed", "request_hash"}
    operator = service.call("GET", f"/sessions/{first['sid']}", bearer=service.operator())
    assert operator["generation"] == 1
    assert set(operator.body) - names == {"generation"}


@pytest.mark.parametrize(
    ("policy", "every"),
    [
        ({}, 48 * MINUTE),
        ({"idle_ttl_seconds": 5 * HOUR, "absolute_ttl_seconds": 7 * HOUR}, 48 * MINUTE),
        ({"access_ttl_seconds": 5 * HOUR}, 4 * HOUR),
        ({"access_ttl_seconds": 5 * MINUTE, "idle_ttl_seconds": 15 * MINUTE}, 4 * MINUTE),
    ],
    ids=["native", "near-absolute", "long-access", "sensitive"],
)
def test_a_subject_sees_nothing_change_when_its_session_is_refreshed(
    service: Service, policy: dict[str, int], every: int
) -> None:
    """A thief with a stolen access token must not learn when a stolen parent is in its leeway."""
    service.set_policy("demo-native", **{**NO_WARNINGS, **policy})
    service.now = START + 10 * MINUTE
    token = service.start()

    def shown(url: str, bearer: str) -> dict[str, Any]:
        """Without what the first refresh tells and no backend knows: where it comes from."""
        answer = service.call("GET", url, bearer=bearer)
        session = answer["sessions"][0] if url == "/sessions" else answer.body
        return {name: session[name] for name in session if name not in ("network", "agent")}

    hours: dict[int, Any] = {}
    for _ in range(8):
        service.now += every
        stolen = token["access_token"]
        urls = ("/sessions", f"/sessions/{token['sid']}")
        before = [shown(url, stolen) for url in urls]
        token = service.refresh(token["refresh_token"])
        assert [shown(url, stolen) for url in urls] == before
        assert shown(urls[1], service.operator())["refreshed_at"] == service.now
        assert hours.setdefault(service.now // HOUR, before) == before


def test_a_subject_is_told_the_last_finished_hour_and_a_deadline_that_is_not_too_late(
    service: Service,
) -> None:
    service.now = START + 10 * MINUTE
    first = service.start()
    url = f"/sessions/{first['sid']}"

    def shown() -> tuple[Any, Any, int]:
        view = service.call("GET", url, bearer=first["access_token"])
        late = service.session(first["sid"]).idle_deadline_at - view["idle_deadline_at"]
        return view["refreshed_at"], view["active_at"], late

    assert shown() == (None, service.now, 0)
    service.now += 45 * MINUTE
    first = service.refresh(first["refresh_token"])
    assert shown() == (None, START + 10 * MINUTE, 45 * MINUTE)
    service.now = START + 90 * MINUTE
    first = service.refresh(first["refresh_token"])
    service.now = START + 2 * HOUR - 1
    assert shown() == (None, START + 10 * MINUTE, 80 * MINUTE)
    service.now = START + 2 * HOUR
    assert shown() == (START + HOUR, START + HOUR, 30 * MINUTE)


@pytest.mark.parametrize(("idle", "told"), [(2 * HOUR - 1, False), (2 * HOUR, True)])
def test_an_idle_deadline_that_would_seem_past_is_not_told_to_a_subject(
    service: Service, idle: int, told: bool
) -> None:
    service.set_policy("demo-native", **NO_WARNINGS, idle_ttl_seconds=idle)
    service.now = START
    token = service.start()
    for _ in range(2):
        service.now += HOUR - 1
        token = service.refresh(token["refresh_token"])
    service.now = START + 3 * HOUR - 1
    token = service.refresh(token["refresh_token"])
    view = service.call("GET", f"/sessions/{token['sid']}", bearer=token["access_token"])
    assert view["absolute_deadline_at"] == START + 365 * 24 * HOUR
    assert view["idle_deadline_at"] == (START + 3 * HOUR if told else None)
    operator = service.call("GET", f"/sessions/{token['sid']}", bearer=service.operator())
    assert operator["idle_deadline_at"] == service.now + idle


def test_an_ended_session_tells_why_when_and_by_whom(service: Service) -> None:
    ended, witness = service.start(), service.start()
    service.now += 7
    form = {"client_id": "demo-native", "token": ended["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    answer = service.call("GET", f"/sessions/{ended['sid']}", bearer=witness["access_token"])
    assert (answer["status"], answer["reason"]) == ("ended", "revoked_by_user")
    assert (answer["ended_at"], answer["ended_by"]) == (START + 7, "demo-native")
    assert answer["description"] == Reason.REVOKED_BY_USER.description


def test_a_session_past_its_deadline_is_shown_as_ended_before_any_sweep(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.now += 900
    answer = service.call("GET", f"/sessions/{first['sid']}", bearer=service.operator())
    assert (answer["status"], answer["reason"]) == ("ended", "idle_expired")
    assert answer["ended_at"] == START + 900


def test_a_subject_neither_sees_nor_ends_anothers_session(service: Service) -> None:
    ada, eve = service.start(), service.start(sub="eve")
    for method in ("GET", "DELETE"):
        answer = service.call(method, f"/sessions/{eve['sid']}", bearer=ada["access_token"])
        assert (answer.status, answer["error"]) == (404, "not_found")
        assert answer["error_reason"] == "session_unknown"
        other = service.call(method, "/sessions?sub=eve", bearer=ada["access_token"])
        assert (other.status, other["error"]) == (403, "insufficient_scope")
    assert service.session(eve["sid"]).ended_at is None


@pytest.mark.parametrize("sid", ["nonsense", "A" * 22, "%00", "a" * 300])
def test_a_session_that_is_not_there_is_404(service: Service, sid: str) -> None:
    first = service.start()
    for method in ("GET", "DELETE"):
        answer = service.call(method, f"/sessions/{sid}", bearer=first["access_token"])
        assert answer.status == 404


def test_a_subject_ends_one_of_its_sessions(service: Service) -> None:
    here, there = service.start(), service.start()
    answer = service.call("DELETE", f"/sessions/{there['sid']}", bearer=here["access_token"])
    assert (answer.status, answer.body) == (204, None)
    session = service.session(there["sid"])
    assert (session.reason, session.ended_by) == (Reason.REVOKED_BY_USER, "demo-native")
    assert service.refresh(there["refresh_token"])["error_reason"] == "revoked_by_user"
    assert service.refresh(here["refresh_token"]).status == 200


def test_ending_an_ended_session_again_keeps_its_first_reason(service: Service) -> None:
    here, there = service.start(), service.start()
    service.call("DELETE", f"/sessions/{there['sid']}", bearer=here["access_token"])
    again = service.call("DELETE", f"/sessions/{there['sid']}", bearer=service.operator())
    assert again.status == 204
    assert service.session(there["sid"]).reason is Reason.REVOKED_BY_USER


def test_signing_out_everywhere_ends_every_session_of_the_subject_and_no_other(
    service: Service,
) -> None:
    mine = [service.start(), service.start("demo-browser"), service.start("demo-sensitive")]
    eve = service.start(sub="eve")
    answer = service.call("DELETE", "/sessions", bearer=mine[0]["access_token"])
    assert answer.body == {"ended": 3}
    for session in mine:
        assert service.session(session["sid"]).reason is Reason.REVOKED_EVERYWHERE
    assert service.refresh(eve["refresh_token"]).status == 200
    assert len(service.told) == 3


def test_an_access_token_of_an_ended_session_opens_nothing_and_says_why(service: Service) -> None:
    first = service.start()
    service.call("DELETE", "/sessions", bearer=first["access_token"])
    answer = service.call("GET", "/sessions", bearer=first["access_token"])
    assert (answer.status, answer["error"]) == (401, "invalid_token")
    assert answer["error_reason"] == "revoked_everywhere"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_an_application_with_the_scopes_sees_and_ends_any_subjects_sessions(
    service: Service,
) -> None:
    first, second = service.start(), service.start()
    bearer = service.operator()
    assert set(seen(service.call("GET", "/sessions?sub=ada", bearer=bearer))) == {
        first["sid"],
        second["sid"],
    }
    service.call("DELETE", f"/sessions/{first['sid']}", bearer=bearer)
    session = service.session(first["sid"])
    assert (session.reason, session.ended_by) == (Reason.REVOKED_BY_OPERATOR, "demo-backend")
    assert service.call("DELETE", "/sessions?sub=ada", bearer=bearer).body == {"ended": 1}
    assert service.session(second["sid"]).reason is Reason.REVOKED_EVERYWHERE


def test_an_application_has_to_say_which_subject(service: Service) -> None:
    answer = service.call("GET", "/sessions", bearer=service.operator())
    assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_an_application_without_the_scope_is_refused_with_the_scope_it_needs(
    service: Service,
) -> None:
    first = service.start()
    form = {"grant_type": "client_credentials"}
    bearer = service.call("POST", "/oauth/token", form=form, auth=MACHINE)["access_token"]
    read_only = service.call(
        "POST", "/oauth/token", form={**form, "scope": "sessions:read"}, auth=BACKEND
    )["access_token"]
    for token, method, path, scope in (
        (bearer, "GET", "/sessions?sub=ada", "sessions:read"),
        (bearer, "GET", f"/sessions/{first['sid']}", "sessions:read"),
        (read_only, "DELETE", "/sessions?sub=ada", "sessions:revoke"),
        (read_only, "DELETE", f"/sessions/{first['sid']}", "sessions:revoke"),
    ):
        answer = service.call(method, path, bearer=token)
        assert (answer.status, answer["error"]) == (403, "insufficient_scope")
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert service.session(first["sid"]).ended_at is None


@pytest.mark.parametrize("header", [None, "Basic eDp5", "Bearer", "Bearer   "])
def test_without_an_access_token_the_challenge_names_no_error(
    service: Service, header: str | None
) -> None:
    headers = {"Authorization": header} if header else {}
    answer = service.call("GET", "/sessions", headers=headers)
    assert (answer.status, "error" in answer.body) == (401, False)
    assert answer.headers["www-authenticate"] == 'Bearer realm="ratchet"'


def test_an_access_token_in_the_query_is_not_looked_at(service: Service) -> None:
    first = service.start()
    answer = service.call("GET", f"/sessions?access_token={first['access_token']}")
    assert answer.status == 401


def test_an_expired_access_token_says_so(service: Service) -> None:
    first = service.start()
    service.now += 3600
    answer = service.call("GET", "/sessions", bearer=first["access_token"])
    assert (answer.status, answer["error"]) == (401, "invalid_token")
    assert 'error_description="The access token expired"' in answer.headers["www-authenticate"]


def test_a_long_list_comes_in_pages(service: Service) -> None:
    """101 sessions: a page of 100, newest first, and one more"""
    first = service.start()
    item = service.item(first["sid"])
    for number in range(100):
        sid = f"copy{number:018d}"
        started = {"N": str(START - 1 - number)}
        service.put_item({**item, "sid": {"S": sid}, "started_at": started})
    page = service.call("GET", "/sessions", bearer=first["access_token"])
    assert len(seen(page)) == 100
    assert seen(page)[0] == first["sid"]
    rest = service.call("GET", f"/sessions?cursor={page['next']}", bearer=first["access_token"])
    assert seen(rest) == [f"copy{99:018d}"]
    assert "next" not in rest.body
    assert service.call("DELETE", "/sessions", bearer=first["access_token"]).body == {"ended": 101}


@pytest.mark.parametrize("cursor", ["x", "1.short", "99999999999.AAAAAAAAAAAAAAAAAAAAAA", "."])
def test_a_cursor_that_was_made_up_is_refused(service: Service, cursor: str) -> None:
    first = service.start()
    answer = service.call("GET", f"/sessions?cursor={cursor}", bearer=first["access_token"])
    assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_a_cursor_beyond_all_time_starts_at_the_newest(service: Service) -> None:
    first = service.start()
    url = f"/sessions?cursor=9999999999.{'A' * 22}"
    assert seen(service.call("GET", url, bearer=first["access_token"])) == [first["sid"]]


def test_a_subject_that_cannot_be_is_refused(service: Service) -> None:
    answer = service.call("GET", f"/sessions?sub={'x' * 3000}", bearer=service.operator())
    assert (answer.status, answer["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "allowed"), [("/sessions", "POST, GET, DELETE"), ("/sessions/x", "GET, DELETE")]
)
def test_a_wrong_method_is_405(service: Service, path: str, allowed: str) -> None:
    answer = service.call("PATCH", path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_a_session_that_its_application_cut_off_is_shown_as_ended_and_refused(
    service: Service,
) -> None:
    first = service.start()
    service.now += 60
    service.change("demo-native", sessions_valid_after=START + 1)
    answer = service.call("GET", f"/sessions/{first['sid']}", bearer=service.operator())
    assert (answer["status"], answer["reason"]) == ("ended", "policy_cutoff")
    assert answer["ended_at"] == START + 1
    refused = service.refresh(first["refresh_token"])
    assert (refused.status, refused["error_reason"]) == (400, "policy_cutoff")
    assert service.session(first["sid"]).generation == 0
    late = service.start()
    assert service.refresh(late["refresh_token"]).status == 200


def test_a_disabled_application_is_refused_everywhere_and_its_sessions_stay(
    service: Service,
) -> None:
    first = service.start()
    service.change("demo-native", disabled_at=START)
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert answer["error_reason"] == "application_disabled"
    answer = service.call("GET", "/sessions", bearer=first["access_token"])
    assert (answer.status, answer["error_reason"]) == (401, "application_disabled")
    form = {"client_id": "demo-native", "sub": "ada"}
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "unauthorized_client")
    assert answer["error_reason"] == "application_disabled"
    service.change("demo-native", disabled_at=None)
    assert service.refresh(first["refresh_token"]).status == 200


def test_signing_out_everywhere_ends_what_it_can_and_can_be_repeated(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """one session is damaged, and DynamoDB refuses the end of another"""
    own, damaged, stuck, other = (service.start() for _ in range(4))
    item = service.item(damaged["sid"])
    service.put_item({**item, "generation": {"S": "x"}})
    end = service.parts.store.end

    def fails_for_one(sid: str, **arguments: Any) -> Any:
        if sid == stuck["sid"]:
            raise Fault("dynamodb: ThrottlingException")
        return end(sid, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store, "end", fails_for_one)
        answer = service.call("DELETE", "/sessions?sub=ada", bearer=service.operator())
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert answer.log["fault"] == f"session {stuck['sid']}: dynamodb: ThrottlingException"
    assert service.session(own["sid"]).reason is Reason.REVOKED_EVERYWHERE
    assert service.session(other["sid"]).reason is Reason.REVOKED_EVERYWHERE
    assert service.session(stuck["sid"]).ended_at is None
    again = service.call("DELETE", "/sessions?sub=ada", bearer=service.operator())
    assert (again.status, again.body) == (200, {"ended": 1})
    assert service.session(stuck["sid"]).reason is Reason.REVOKED_EVERYWHERE
    faults = [line["fault"] for line in service.lines() if "damaged" in line.get("fault", "")]
    assert faults == [f"item {damaged['sid']} is damaged: KeyError"] * 2
    service.delete_item(damaged["sid"])


def test_with_eventbridge_away_signing_out_everywhere_tries_it_once_and_ends_all(
    service: Service,
) -> None:
    mine = [service.start() for _ in range(5)]
    publish = service.parts.bus.publish
    tries = []

    def away(happened: object) -> None:
        tries.append(happened)
        raise Fault("events: ConnectTimeoutError")

    object.__setattr__(service.parts.bus, "publish", away)
    answer = service.call("DELETE", "/sessions", bearer=mine[0]["access_token"])
    assert (answer.body, len(tries)) == ({"ended": 5}, 1)
    object.__setattr__(service.parts.bus, "publish", publish)
    assert service.sweep()["published"] == 5
