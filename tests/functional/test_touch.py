"""POST /sessions/touch: API use as activity, where an application has `touch_interval_seconds`."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from ratchet.application import FormerPolicy
from ratchet.live_sessions import apply_now, deadlines
from ratchet.policy import Policy
from ratchet.session import Session
from ratchet.touch import Touched, touch
from tests.functional.conftest import MACHINE, ROOT, Answer, Service
from tests.functional.test_refresh_cookie import IDLE, RETENTION, in_cookie
from tests.functional.test_refresh_cookie import refresh as refresh_cookie

MINUTE, HOUR, DAY = 60, 3600, 86_400
TTL, INTERVAL, ABSOLUTE = 15 * MINUTE, 5 * MINUTE, 12 * HOUR
NATIVE = "demo-native"
PAGE = ROOT / "docs" / "activity.md"
POLICY: dict[str, Any] = {
    "idle_ttl_seconds": TTL,
    "absolute_ttl_seconds": ABSOLUTE,
    "touch_interval_seconds": INTERVAL,
    "idle_warning_seconds": 0,
    "absolute_warning_seconds": 0,
}


def switch_on(service: Service, **changes: Any) -> None:
    service.set_policy(NATIVE, **{**POLICY, **changes})


def switch_off(service: Service, **changes: Any) -> None:
    switch_on(service, touch_interval_seconds=0, **changes)


def touches(service: Service, *sids: Any, bearer: str | None = None) -> Answer:
    bearer = bearer or service.operator()
    return service.call("POST", "/sessions/touch", body={"sids": list(sids)}, bearer=bearer)


def touch_one(service: Service, sid: str, bearer: str | None = None) -> dict[str, Any]:
    answer = touches(service, sid, bearer=bearer)
    assert answer.status == 200, answer
    (found,) = answer["sessions"]
    assert found.pop("sid") == sid
    return dict(found)


def asked(service: Service) -> Counter[str]:
    """Of the sessions table; applications are read anew once a minute."""
    return Counter(name for name in service.calls.names if name != "GetItem")


def alive(outcome: str, session: Session) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "idle_deadline_at": session.idle_deadline_at,
        "absolute_deadline_at": session.absolute_deadline_at,
    }


def by_a_copy(service: Service, copy: Session, now: int | None = None) -> Touched:
    """What another instance does with what it read some time ago, by its own clock."""
    parts = service.parts
    now = service.now if now is None else now
    return touch(copy, applications=parts.applications, store=parts.store, now=now)


# --- what it does --------------------------------------------------------------------------------


def test_a_touch_moves_the_idle_deadline_and_nothing_else(service: Service) -> None:
    switch_on(service)
    sid, start = service.start()["sid"], service.now
    before = service.item(sid)
    service.now += 10 * MINUTE
    answer = touches(service, sid)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.body == {
        "sessions": [
            {
                "sid": sid,
                "outcome": "touched",
                "idle_deadline_at": service.now + TTL,
                "absolute_deadline_at": start + ABSOLUTE,
            }
        ]
    }
    after = service.item(sid)
    assert {name for name in after if after[name] != before.get(name)} == {
        "idle_deadline_at",
        "expires_at",
        "active_at",
    }
    assert after.keys() == before.keys()
    session = service.session(sid)
    assert session.active_at == service.now
    assert session.expires_at == service.now + TTL + 30 * DAY
    assert (answer.log["client_id"], answer.log["touched"]) == ("demo-backend", 1)


def test_within_the_interval_a_session_is_fresh_and_nothing_is_written(service: Service) -> None:
    switch_on(service)
    first = service.start()
    bearer = service.operator()
    for seconds in (0, INTERVAL - 1):
        service.now += seconds
        before = service.item(first["sid"])
        service.calls.clear()
        assert touch_one(service, first["sid"], bearer) == alive(
            "fresh", service.session(first["sid"])
        )
        assert asked(service) == {"BatchGetItem": 1}
        assert service.item(first["sid"]) == before
    service.now += 1
    assert touch_one(service, first["sid"], bearer)["outcome"] == "touched"
    service.now += INTERVAL - 1
    assert touch_one(service, first["sid"], bearer)["outcome"] == "fresh"


def test_a_refresh_counts_as_activity_too(service: Service) -> None:
    switch_on(service)
    first = service.start()
    service.now += INTERVAL
    service.refresh(first["refresh_token"])
    service.now += INTERVAL - 1
    assert touch_one(service, first["sid"])["outcome"] == "fresh"


def test_of_many_callers_at_once_one_write_takes_effect(service: Service) -> None:
    """each has read the session before any of them writes, and their clocks differ"""
    switch_on(service)
    sid = service.start()["sid"]
    for _ in range(3):
        service.now += INTERVAL + 5
        copy, now = service.session(sid), service.now
        with ThreadPoolExecutor(16) as callers:
            clocks = [now + number % 5 for number in range(32)]
            done = list(callers.map(by_a_copy, [service] * 32, [copy] * 32, clocks))
        assert Counter(one.outcome for one in done) == {"touched": 1, "fresh": 31}
        session = service.session(sid)
        assert all(one.session == session for one in done)
        assert session.idle_deadline_at == (session.active_at or 0) + TTL
        assert now <= session.idle_deadline_at - TTL < now + 5


def test_an_answer_has_each_session_once_in_the_order_they_were_named(service: Service) -> None:
    switch_on(service)
    live, ended = service.start()["sid"], service.start()["sid"]
    uncounted = service.start("demo-browser")["sid"]
    service.call("DELETE", f"/sessions/{ended}", bearer=service.operator())
    service.now += INTERVAL
    unknown = ["A" * 22, "", "x", "é" * 22, "x" * 2000]
    answer = touches(service, uncounted, *unknown, live, ended, live)
    found = [(one["sid"], one["outcome"]) for one in answer["sessions"]]
    assert found == [
        (uncounted, "not_counted"),
        *((sid, "unknown") for sid in unknown),
        (live, "touched"),
        (ended, "ended"),
    ]
    assert answer["sessions"][-1] == {
        "sid": ended,
        "outcome": "ended",
        "reason": "revoked_by_operator",
    }
    assert answer["sessions"][1] == {"sid": "A" * 22, "outcome": "unknown"}


def test_a_hundred_sessions_are_touched_in_one_request(service: Service) -> None:
    switch_on(service)
    sids = [service.start()["sid"] for _ in range(100)]
    service.now += INTERVAL
    bearer = service.operator()
    service.calls.clear()
    answer = touches(service, *sids, bearer=bearer)
    assert Counter(one["outcome"] for one in answer["sessions"]) == {"touched": 100}
    assert asked(service) == {"BatchGetItem": 1, "UpdateItem": 100}
    assert answer.log["touched"] == 100


# --- what it never does --------------------------------------------------------------------------


def test_a_touch_never_moves_the_absolute_deadline(service: Service) -> None:
    ttl = 4 * HOUR
    switch_on(service, idle_ttl_seconds=ttl, touch_interval_seconds=HOUR)
    sid, over_at = service.start()["sid"], service.now + ABSOLUTE
    while service.now + ttl < over_at:
        service.now += ttl - HOUR
        assert touch_one(service, sid)["outcome"] == "touched"
    assert service.session(sid).idle_deadline_at == over_at
    for _ in range(2):
        service.now += HOUR
        bearer = service.operator()
        service.calls.clear()
        # A changed policy in mode `now` counts from the last use.
        assert touch_one(service, sid, bearer)["outcome"] == "touched"
        assert touch_one(service, sid, bearer)["outcome"] == "fresh"
        assert asked(service) == {"BatchGetItem": 2, "UpdateItem": 1}
        session = service.session(sid)
        assert (session.active_at, session.idle_deadline_at) == (service.now, over_at)
    service.now = over_at
    assert touch_one(service, sid) == {"outcome": "ended", "reason": "absolute_expired"}


@pytest.mark.parametrize("ended", [True, False])
def test_nothing_revives_a_session_that_is_over(service: Service, ended: bool) -> None:
    """not even an API that has read it while it was alive"""
    switch_on(service)
    first = service.start()
    service.now += INTERVAL
    copy = service.session(first["sid"])
    if ended:
        form = {"client_id": NATIVE, "token": first["refresh_token"]}
        assert service.call("POST", "/oauth/revoke", form=form).status == 200
    else:
        service.now = copy.idle_deadline_at
    before, reason = service.item(first["sid"]), "revoked_by_user" if ended else "idle_expired"
    told = touch_one(service, first["sid"])
    assert told == {"outcome": "ended", "reason": reason}
    late = dataclasses.replace(copy, idle_deadline_at=service.now + 1)
    assert by_a_copy(service, late).to_dict() == {"sid": first["sid"], **told}
    assert service.item(first["sid"]) == before


def test_the_write_itself_shortens_nothing_and_comes_too_early_for_nobody(
    service: Service,
) -> None:
    """whatever its caller had read, and by whichever policy"""
    switch_on(service)
    sid = service.start()["sid"]
    service.now += INTERVAL
    before, store = service.item(sid), service.parts.store
    deadline = service.session(sid).idle_deadline_at
    for moved, active_before in ((-1, 0), (60, -INTERVAL - 1)):
        outcome = store.touch(
            sid,
            idle_deadline_at=deadline + moved,
            expires_at=deadline + moved,
            active_before=service.now + active_before,
            now=service.now,
        )
        assert not outcome.done
        assert outcome.session == service.session(sid)
    assert service.item(sid) == before


def test_a_use_counts_also_where_a_refresh_left_the_idle_deadline_past_the_absolute_one(
    service: Service,
) -> None:
    """which mode `now` has brought forward, and the refresh token does not know"""
    switch_on(service)
    first, over_at = service.start(), service.now + HOUR
    switch_on(service, absolute_ttl_seconds=HOUR)
    application = service.parts.applications.get(NATIVE, service.now)
    assert application is not None
    apply_now(application, store=service.parts.store, bus=service.parts.bus, now=service.now)
    token = first["refresh_token"]
    while service.now + TTL <= over_at:
        service.now += 10 * MINUTE
        token = service.refresh(token)["refresh_token"]
    assert int(service.item(first["sid"])["idle_deadline_at"]["N"]) > over_at
    service.now += INTERVAL
    assert touch_one(service, first["sid"])["outcome"] == "touched"
    session = service.session(first["sid"])
    assert (session.active_at, session.idle_deadline_at) == (service.now, over_at)


def test_a_session_shows_its_last_use_to_its_subject_when_its_hour_is_over(
    service: Service,
) -> None:
    switch_on(service, idle_ttl_seconds=3 * HOUR)
    first = service.start()
    started_at = service.now
    service.now += HOUR
    touch_one(service, first["sid"])
    url = f"/sessions/{first['sid']}"
    shown = service.call("GET", url, bearer=service.operator())
    assert (shown["active_at"], shown["refreshed_at"]) == (service.now, None)
    used_at = service.now
    access_token = service.start()["access_token"]

    def shown_of(now: int) -> tuple[Any, Any, Any]:
        service.now = now
        shown = service.call("GET", url, bearer=access_token)
        return shown["active_at"], shown["refreshed_at"], shown["idle_deadline_at"]

    over = used_at - used_at % HOUR + HOUR
    for now in (used_at, over - 1):
        assert shown_of(now) == (started_at, None, started_at + 3 * HOUR)
    assert shown_of(over) == (over - HOUR, None, over + 2 * HOUR)


def test_a_session_of_a_disabled_application_or_of_before_a_cut_off_is_not_touched(
    service: Service,
) -> None:
    switch_on(service)
    sid = service.start()["sid"]
    service.now += INTERVAL
    before = service.item(sid)
    service.change(NATIVE, sessions_valid_after=service.now)
    assert touch_one(service, sid) == {"outcome": "ended", "reason": "policy_cutoff"}
    service.change(NATIVE, disabled_at=service.now)
    assert touch_one(service, sid) == {"outcome": "ended", "reason": "application_disabled"}
    assert service.item(sid) == before


def test_a_shorter_idle_time_shortens_nothing_by_a_touch_which_counts_all_the_same(
    service: Service,
) -> None:
    """it holds from the next refresh on, or in mode `now` from the last use"""
    switch_on(service)
    first = service.start()
    deadline = service.session(first["sid"]).idle_deadline_at
    switch_on(service, idle_ttl_seconds=6 * MINUTE)
    service.now += INTERVAL
    assert touch_one(service, first["sid"])["outcome"] == "touched"
    session = service.session(first["sid"])
    assert (session.active_at, session.idle_deadline_at) == (service.now, deadline)
    assert service.refresh(first["refresh_token"])["refresh_token_expires_in"] == 6 * MINUTE


# --- what its token can keep ---------------------------------------------------------------------


def test_a_session_that_lives_by_touches_alone_can_still_be_refreshed(service: Service) -> None:
    """for longer than a token is good for whose session nobody may touch: idle time and a day"""
    ttl = 6 * HOUR
    switch_on(service, idle_ttl_seconds=ttl, absolute_ttl_seconds=30 * DAY)
    started = service.start()
    rotated = service.refresh(service.start()["refresh_token"])
    since = service.now
    while service.now <= since + ttl + DAY:
        service.now += ttl - 1
        answer = touches(service, started["sid"], rotated["sid"])
        assert [one["outcome"] for one in answer["sessions"]] == ["touched"] * 2
    for tokens in (started, rotated):
        again = service.refresh(tokens["refresh_token"])
        assert (again.status, again.log["outcome"]) == (200, "rotated")
        assert service.refresh(again["refresh_token"]).status == 200


def test_one_whose_token_is_of_before_is_not_touched_until_its_next_refresh(
    service: Service,
) -> None:
    switch_off(service)
    idle, busy = service.start(), service.start()
    promised = service.now + idle["refresh_token_expires_in"]
    before = service.item(idle["sid"])
    assert touch_one(service, idle["sid"])["outcome"] == "not_counted"
    switch_on(service)
    service.now += INTERVAL
    copy = service.session(busy["sid"])
    assert touch_one(service, idle["sid"]) == alive("not_counted", service.session(idle["sid"]))
    after = service.refresh(busy["refresh_token"])
    service.now += INTERVAL
    assert by_a_copy(service, copy).outcome == "not_counted"
    assert touch_one(service, busy["sid"])["outcome"] == "touched"
    service.now = promised
    assert touch_one(service, idle["sid"]) == {"outcome": "ended", "reason": "idle_expired"}
    assert service.refresh(idle["refresh_token"])["error_reason"] == "idle_expired"
    assert service.refresh(after["refresh_token"]).status == 200
    assert service.item(idle["sid"]) == before


def test_a_rotation_with_touch_off_makes_a_short_token_and_takes_the_mark_away(
    service: Service,
) -> None:
    switch_on(service)
    first = service.start()
    switch_off(service)
    service.now += INTERVAL
    # promised, and so kept
    assert touch_one(service, first["sid"])["outcome"] == "not_counted"
    second = service.refresh(first["refresh_token"])
    assert "active_at" not in service.item(first["sid"])
    switch_on(service)
    service.now += INTERVAL
    assert touch_one(service, first["sid"])["outcome"] == "not_counted"
    service.now += DAY + TTL
    service.calls.clear()
    assert service.refresh(second["refresh_token"])["error_reason"] == "idle_expired"
    assert service.calls.names == []


def test_with_rotation_off_the_token_that_stays_is_touched_too(service: Service) -> None:
    off = {"rotation": False, "rotation_off_reason": "a test"}
    switch_off(service)
    first = service.start()
    switch_on(service, **off, absolute_ttl_seconds=30 * DAY)
    second = service.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    kept = service.refresh(second["refresh_token"])
    assert (kept["refresh_token"], kept.log["outcome"]) == (second["refresh_token"], "kept")
    service.now += INTERVAL
    assert touch_one(service, first["sid"])["outcome"] == "touched"
    service.now += TTL - 1
    assert service.refresh(second["refresh_token"]).status == 200


def test_sessions_that_keep_a_former_policy_are_touched_by_that_one(service: Service) -> None:
    switch_off(service)
    old = service.start()
    service.now += 1
    former = FormerPolicy(
        until_at=service.now,
        over_at=service.now + ABSOLUTE,
        policy=Policy.from_mapping({"preset": "native", **POLICY, "touch_interval_seconds": 0}),
    )
    switch_on(service)
    service.change(NATIVE, former_policies=(former,))
    new = service.start()
    service.now += INTERVAL
    answer = touches(service, old["sid"], new["sid"])
    assert [one["outcome"] for one in answer["sessions"]] == ["not_counted", "touched"]
    refreshed = service.refresh(old["refresh_token"])
    service.now += INTERVAL
    assert touch_one(service, old["sid"])["outcome"] == "not_counted"
    assert service.refresh(refreshed["refresh_token"])["refresh_token_expires_in"] == TTL


def test_the_cookie_lasts_as_long_as_touches_may_keep_its_session(service: Service) -> None:
    """no browser learns of a touch, so the cookie cannot follow the idle deadline"""
    service.set_policy("demo-browser", touch_interval_seconds=INTERVAL)
    _, cookie = in_cookie(service)
    answer = refresh_cookie(service, cookie)
    assert answer["refresh_token_expires_in"] == IDLE
    assert answer.cookies[0].endswith(f"Max-Age={180 * DAY + RETENTION}")


# --- the page ------------------------------------------------------------------------------------


class Http:
    """The part of httpx.Client that the page's API uses, on the handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.sent: list[int] = []
        self.away = False

    def post(self, path: str, *, json: Any, headers: Any) -> Any:
        self.sent.append(len(json["sids"]))
        if self.away:
            return httpx.Response(503)
        answer = self._service.call("POST", path, body=json, headers=headers)
        request = httpx.Request("POST", "https://id.test")
        return httpx.Response(answer.status, json=answer.body, request=request)


def test_the_api_of_the_page_tells_each_use_once_and_loses_none(service: Service) -> None:
    (source,) = re.findall("```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(source, "activity.md", "exec"), module)  # noqa: S102 - it is our own page
    http = Http(service)
    uses = module["Uses"](http, service.operator)
    switch_on(service)
    live, ended = service.start()["sid"], service.start()["sid"]
    service.call("DELETE", f"/sessions/{ended}", bearer=service.operator())
    service.now += INTERVAL
    for sid in (live, ended, live, *(f"{number:022}" for number in range(118))):
        uses.note({"sid": sid})
    uses.note({"sub": "an application"})
    http.away = True
    assert uses.tell() == {}
    http.away = False
    assert uses.tell() == {ended: "revoked_by_operator"}
    assert http.sent == [100, 20, 100, 20]
    assert service.session(live).active_at == service.now
    assert uses.tell() == {}
    assert len(http.sent) == 4


# --- a touch and others at the same moment -------------------------------------------------------


def test_a_late_touch_takes_nothing_back_that_a_refresh_has_given(service: Service) -> None:
    """The API read the session, then a refresh came; its clock may be behind besides."""
    switch_on(service)
    first = service.start()
    service.now += INTERVAL
    copy = service.session(first["sid"])
    service.now += INTERVAL
    second = service.refresh(first["refresh_token"])
    before = service.item(first["sid"])
    for clock in (service.now - INTERVAL, service.now, service.now + INTERVAL - 1):
        assert by_a_copy(service, copy, clock).outcome == "fresh"
    assert service.item(first["sid"]) == before
    assert service.refresh(second["refresh_token"]).status == 200


def test_a_refresh_after_a_touch_is_a_refresh_as_ever(service: Service) -> None:
    switch_on(service)
    first = service.start()
    service.now += INTERVAL
    assert by_a_copy(service, service.session(first["sid"])).outcome == "touched"
    second = service.refresh(first["refresh_token"])
    assert second.log["outcome"] == "rotated"
    service.now += 10
    touched = service.session(first["sid"])
    by_a_copy(service, touched)
    replayed = service.refresh(first["refresh_token"])
    assert replayed["refresh_token"] == second["refresh_token"]
    assert (replayed.log["outcome"], replayed.log["generation"]) == ("replayed_leeway", 1)
    service.now += 31
    assert service.refresh(first["refresh_token"])["error_reason"] == "reused"


def test_a_touch_at_the_same_moment_wins_over_the_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_on(service)
    sid = service.start()["sid"]
    deadline = service.session(sid).idle_deadline_at
    store = service.parts.store
    end = store.end

    def touch_first(*arguments: Any, **named: Any) -> Any:
        assert by_a_copy(service, copy, deadline - 1).outcome == "touched"
        return end(*arguments, **named)

    copy = service.session(sid)
    monkeypatch.setattr(store, "end", touch_first)
    service.now = deadline
    assert service.sweep()["overtaken"] == 1
    assert service.session(sid).ended_at is None


def test_the_sweep_files_a_touched_session_anew_and_ends_it_at_its_last_deadline(
    service: Service,
) -> None:
    switch_on(service)
    first = service.start()
    service.now += 10 * MINUTE
    touch_one(service, first["sid"])
    deadline = service.now + TTL
    service.now += 5 * MINUTE
    assert service.sweep()["rearmed"] == 1
    assert service.session(first["sid"]).attention_at == deadline
    service.now = deadline
    assert service.sweep()["ended"] == 1
    session = service.session(first["sid"])
    assert (session.reason, session.ended_at) == ("idle_expired", deadline)


def test_a_changed_policy_counts_from_the_last_use(service: Service) -> None:
    """mode `now` must not end a session that was used a minute ago, long after its last refresh"""
    switch_on(service, idle_ttl_seconds=HOUR)
    sid = service.start()["sid"]
    for _ in range(4):
        service.now += 30 * MINUTE
        touch_one(service, sid)
    policy = Policy.from_mapping({"preset": "native", **POLICY})
    assert deadlines(service.session(sid), policy)[0] == service.now + TTL


# --- who may, and with what ----------------------------------------------------------------------


def test_only_an_application_with_the_scope_may(service: Service) -> None:
    switch_on(service)
    service.change(NATIVE, scopes=frozenset({"profile", "sessions:touch"}))
    first = service.start(scope="sessions:touch")
    service.now += INTERVAL
    before = service.item(first["sid"])
    form = {"grant_type": "client_credentials"}
    machine = service.call("POST", "/oauth/token", form=form, auth=MACHINE)["access_token"]
    for bearer in (first["access_token"], machine):
        answer = touches(service, first["sid"], bearer=bearer)
        assert (answer.status, answer["error"]) == (403, "insufficient_scope")
        assert 'scope="sessions:touch"' in answer.headers["www-authenticate"]
        assert answer.log["detail"] == "needs sessions:touch"
    answer = service.call("POST", "/sessions/touch", body={"sids": [first["sid"]]})
    assert (answer.status, "error" in answer.body) == (401, False)
    assert service.item(first["sid"]) == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sids": None},
        {"sids": []},
        {"sids": "A" * 22},
        {"sids": {"sid": "A" * 22}},
        {"sids": ["A" * 22, 1]},
        {"sids": ["A" * 22, ["A" * 22]]},
        {"sids": [f"{number:022}" for number in range(101)]},
        {"sids": ["A" * 22], "sid": "A" * 22},
    ],
)
def test_what_is_no_list_of_sids_is_400_and_says_what_to_send(
    service: Service, body: dict[str, Any]
) -> None:
    answer = service.call("POST", "/sessions/touch", body=body, bearer=service.operator())
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert "sids" in answer["error_description"]


def test_a_form_or_another_method_is_refused(service: Service) -> None:
    bearer = service.operator()
    form = service.call("POST", "/sessions/touch", form={"sids": "x"}, bearer=bearer)
    assert (form.status, form["error"]) == (400, "invalid_request")
    answer = service.call("GET", "/sessions/touch", bearer=bearer)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# --- faults --------------------------------------------------------------------------------------


def refused(_self: Any, *_: Any, **__: Any) -> Any:
    error = {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}
    raise ClientError(error, "UpdateItem")  # type: ignore[arg-type] # a part is enough


@pytest.mark.parametrize("operation", ["batch_get_item", "update_item"])
def test_when_dynamodb_fails_it_is_503_and_the_next_try_succeeds(
    service: Service, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    switch_on(service)
    sid = service.start()["sid"]
    service.now += INTERVAL
    bearer, before = service.operator(), service.item(sid)
    with monkeypatch.context() as patch:
        patch.setattr(service.parts.store._client, operation, refused.__get__(service))
        answer = touches(service, sid, bearer=bearer)
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    assert answer.log["fault"] == "dynamodb: ProvisionedThroughputExceededException"
    assert service.item(sid) == before
    assert touch_one(service, sid, bearer)["outcome"] == "touched"


def damaged_item(service: Service, sid: str) -> None:
    item = service.item(sid)
    del item["generation"]
    service.put_item(item)


def damaged_application(service: Service, _sid: str) -> None:
    item = {"client_id": {"S": "demo-browser"}, "policy": {"M": {}}}
    service._written("demo-browser")
    service.put_application(item)
    service.now += MINUTE


@pytest.mark.parametrize(
    ("damage", "told"),
    [(damaged_item, "is damaged: KeyError"), (damaged_application, "demo-browser")],
)
def test_what_is_damaged_stops_no_other(
    service: Service, damage: Callable[[Service, str], None], told: str
) -> None:
    """the answer is 503, but the others have been touched by then"""
    switch_on(service)
    bad, good = service.start("demo-browser")["sid"], service.start()["sid"]
    damage(service, bad)
    service.now += INTERVAL
    answer = touches(service, bad, good)
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert told in answer.log["fault"]
    assert service.session(good).active_at == service.now
