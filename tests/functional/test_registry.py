"""/applications: registering applications and changing them, over the operator's HTTP API."""

from collections.abc import Iterator
from typing import Any

import pytest

from ratchet.applications import REMEMBERED_SECONDS
from ratchet.reasons import Reason
from ratchet_cli.seed import SECRETS
from tests.functional.conftest import BACKEND, START, Answer, Service

OPERATOR = ("demo-operator", SECRETS["demo-operator"])
DAY = 86400
SHOP: dict[str, Any] = {
    "client_id": "shop",
    "confidential": True,
    "grant_types": ["client_credentials", "refresh_token"],
    "scopes": ["profile", "orders:read"],
    "policy": {"preset": "browser"},
}


class Operator:
    """Whoever holds an access token of demo-operator."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.seen = 0
        self.token = ""

    def __call__(self, method: str, path: str = "", **arguments: Any) -> Answer:
        if self.service.now - self.seen > 60:
            self.seen = self.service.now
            form = {"grant_type": "client_credentials"}
            answer = self.service.call("POST", "/oauth/token", form=form, auth=OPERATOR)
            self.token = answer["access_token"]
        answer = self.service.call(method, f"/applications{path}", bearer=self.token, **arguments)
        if answer.status < 300 and answer.body and "client_secret" in answer.body:
            self.service.handed_out.add(answer["client_secret"])
        return answer


@pytest.fixture
def operator(service: Service) -> Iterator[Operator]:
    operator = Operator(service)
    yield operator
    for client_id in ("shop", "till"):
        operator("PATCH", f"/{client_id}", body={"disabled_at": service.now, "scope": None})
        operator("DELETE", f"/{client_id}")


@pytest.fixture
def till(operator: Operator) -> Operator:
    """With an application `till` that has sessions."""
    body = {**SHOP, "client_id": "till", "confidential": False, "grant_types": ["refresh_token"]}
    assert operator("POST", body=body).status == 201
    operator.service.change("demo-backend", starts_sessions_for=frozenset({"*"}))
    return operator


def sign_in(service: Service, client_id: str, secret: str) -> int:
    form = {"grant_type": "client_credentials"}
    return service.call("POST", "/oauth/token", form=form, auth=(client_id, secret)).status


def later(service: Service, seconds: int = REMEMBERED_SECONDS) -> None:
    service.now += seconds


def test_a_registered_application_works_and_its_secret_is_shown_once(
    service: Service, operator: Operator
) -> None:
    made = operator("POST", body=SHOP)
    assert made.status == 201
    assert (made["version"], made["secrets"], made["warnings"]) == (1, 1, [])
    assert made["effective_policy"]["idle_ttl_seconds"] == 14 * DAY
    assert (made.log["client_id"], made.log["application"]) == ("demo-operator", "shop")
    assert len(made["client_secret"]) == 46
    assert sign_in(service, "shop", made["client_secret"]) == 200
    shown = operator("GET", "/shop")
    assert shown.status == 200
    assert {**shown.body, "client_secret": made["client_secret"]} == made.body
    assert "secret_hashes" not in shown.body
    assert "shop" in {one["client_id"] for one in operator("GET")["applications"]}
    stored = service.parts.applications.written("shop")
    assert made["client_secret"] not in str(stored)


def test_registering_does_not_overwrite(operator: Operator) -> None:
    assert operator("POST", body=SHOP).status == 201
    again = operator("POST", body={**SHOP, "name": "another"})
    assert (again.status, again["error"]) == (409, "conflict")
    assert again.log["application"] == "shop"
    assert "name" not in operator("GET", "/shop").body
    dry = operator("POST", "?dry_run=true", body=SHOP)
    assert dry.status == 409


def test_all_problems_of_a_description_come_in_one_answer(operator: Operator) -> None:
    wrong = {
        **SHOP,
        "scope": "profile",
        "version": 7,
        "grant_types": ["password"],
        "sessions_valid_after": START + 9999,
        "policy": {"preset": "browser", "leeway_seconds": 601, "rotation": False},
    }
    answer = operator("POST", body=wrong)
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert set(answer["problems"]) == {
        "version cannot be written",
        "unknown: scope",
        "unknown grant types: password",
        "leeway_seconds must not exceed 600",
        "rotation may only be switched off with a rotation_off_reason",
    }
    future = operator("POST", body={**SHOP, "sessions_valid_after": START + 9999})
    assert future["problems"] == ["sessions_valid_after must not be in the future"]
    assert operator("GET", "/shop").status == 404


def test_a_long_access_token_is_warned_of(operator: Operator) -> None:
    policy = {"preset": "browser", "access_ttl_seconds": DAY + 1}
    answer = operator("POST", body={**SHOP, "policy": policy})
    assert answer.status == 201
    assert "24 hours" in answer["warnings"][0]


def test_a_last_deadline_that_nobody_is_warned_of_is_warned_of(operator: Operator) -> None:
    silent = {"preset": "browser", "absolute_warning_seconds": 0}
    answer = operator("POST", body={**SHOP, "policy": silent})
    assert (answer.status, len(answer["warnings"])) == (201, 1)
    assert "absolute_warning_seconds is 0" in answer["warnings"][0]
    none = {"policy": {"idle_warning_seconds": 0}}
    assert operator("PATCH", "/shop", body=none)["warnings"] == []


def test_a_change_touches_what_it_names_and_null_takes_away(operator: Operator) -> None:
    operator("POST", body={**SHOP, "name": "Shop", "policy": {"preset": "browser"}})
    patch = {"name": None, "policy": {"access_ttl_seconds": 300, "leeway_seconds": 5}}
    changed = operator("PATCH", "/shop", body=patch)
    assert (changed.status, changed["version"]) == (200, 2)
    assert "name" not in changed.body
    assert changed["policy"] == {
        "preset": "browser",
        "access_ttl_seconds": 300,
        "leeway_seconds": 5,
    }
    back = operator("PATCH", "/shop", body={"policy": {"leeway_seconds": None}})
    assert back["effective_policy"]["leeway_seconds"] == 30
    assert back["scopes"] == SHOP["scopes"]


def test_a_change_of_an_older_version_is_refused(operator: Operator) -> None:
    operator("POST", body=SHOP)
    assert operator("PATCH", "/shop?version=1", body={"name": "a"}).status == 200
    stale = operator("PATCH", "/shop?version=1", body={"name": "b"})
    assert (stale.status, stale["error"]) == (409, "conflict")
    assert operator("GET", "/shop")["name"] == "a"


def test_a_change_made_at_the_same_time_is_not_lost(
    service: Service, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operator writes between our reading and our writing."""
    operator("POST", body=SHOP)
    applications = service.parts.applications
    written = applications.written
    meanwhile = [{"name": "theirs"}]

    def read_then_overtaken(client_id: str) -> Any:
        found = written(client_id)
        if meanwhile and found is not None:
            mapping = {**found, **meanwhile.pop(), "version": found["version"] + 1}
            assert applications.replace(mapping, version=found["version"])
        return found

    monkeypatch.setattr(applications, "written", read_then_overtaken)
    ours = operator("PATCH", "/shop", body={"introspects_any": True})
    assert (ours["version"], ours["name"], ours["introspects_any"]) == (3, "theirs", True)


def test_what_must_not_be_written_is_refused(operator: Operator) -> None:
    operator("POST", body=SHOP)
    patch = {"client_id": "other", "secret_hashes": ["0" * 64], "former_policies": []}
    answer = operator("PATCH", "/shop", body=patch)
    assert answer.status == 400
    assert "client_id cannot be changed" in answer["problems"]
    assert "secret_hashes cannot be written" in answer["problems"]
    assert operator("GET", "/shop")["version"] == 1


def test_a_change_that_changes_nothing_is_not_written(operator: Operator) -> None:
    operator("POST", body=SHOP)
    patch = {"introspects_any": True, "policy": {"leeway_seconds": 5}}
    for _ in range(2):
        assert operator("PATCH", "/shop?mode=now", body=patch)["version"] == 2


def test_what_is_public_cannot_become_confidential(operator: Operator) -> None:
    operator("POST", body={**SHOP, "confidential": False, "grant_types": []})
    answer = operator("PATCH", "/shop", body={"confidential": True})
    assert "confidential cannot be changed; register another application" in answer["problems"]


def test_rotating_a_secret_is_no_outage(service: Service, operator: Operator) -> None:
    old = operator("POST", body=SHOP)["client_secret"]
    rotated = operator("POST", "/shop/secrets", body={"keep_former_seconds": 3600})
    assert rotated.status == 201
    assert (rotated["secrets"], rotated["former_secret_until_at"]) == (2, service.now + 3600)
    new = rotated["client_secret"]
    later(service)
    assert [sign_in(service, "shop", secret) for secret in (old, new)] == [200, 200]
    third = operator("POST", "/shop/secrets", body={})
    assert (third.status, third["error"]) == (409, "conflict")
    later(service, 3600)
    assert [sign_in(service, "shop", secret) for secret in (old, new)] == [401, 200]
    assert operator("GET", "/shop")["secrets"] == 1
    assert operator("POST", "/shop/secrets", body={}).status == 201


def test_a_leaked_secret_is_replaced_at_once(service: Service, operator: Operator) -> None:
    old = operator("POST", body=SHOP)["client_secret"]
    new = operator("POST", "/shop/secrets", body={"keep_former_seconds": 0})["client_secret"]
    later(service)
    assert [sign_in(service, "shop", secret) for secret in (old, new)] == [401, 200]


def test_the_former_secret_can_be_dropped_early(service: Service, operator: Operator) -> None:
    old = operator("POST", body=SHOP)["client_secret"]
    new = operator("POST", "/shop/secrets", body={})["client_secret"]
    dropped = operator("DELETE", "/shop/secrets")
    assert (dropped.status, dropped["secrets"]) == (200, 1)
    later(service)
    assert [sign_in(service, "shop", secret) for secret in (old, new)] == [401, 200]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"keep_former_seconds": -1}, 400), ({"keep_former_seconds": "1"}, 400), ({"x": 1}, 400)],
)
def test_a_wrong_rotation_changes_nothing(
    operator: Operator, body: dict[str, Any], status: int
) -> None:
    operator("POST", body=SHOP)
    assert operator("POST", "/shop/secrets", body=body).status == status
    assert operator("GET", "/shop")["version"] == 1


def test_only_a_disabled_application_is_deleted(service: Service, till: Operator) -> None:
    first = service.start("till")
    kept = till("DELETE", "/till")
    assert (kept.status, kept["error"]) == (409, "conflict")
    assert service.refresh(first["refresh_token"], "till").status == 200
    till("PATCH", "/till", body={"disabled_at": service.now})
    later(service)
    refused = service.refresh(first["refresh_token"], "till")
    assert refused["error_reason"] == "application_disabled"
    gone = till("DELETE", "/till")
    assert (gone.status, gone.log["application"]) == (204, "till")
    later(service)
    assert service.refresh(first["refresh_token"], "till")["error"] == "invalid_client"
    assert till("GET", "/till").status == till("DELETE", "/till").status == 404


def test_registering_a_client_id_again_revives_no_session_of_the_deleted_application(
    service: Service, till: Operator
) -> None:
    old = service.start("till")
    later(service)
    till("PATCH", "/till", body={"disabled_at": service.now})
    assert till("DELETE", "/till").status == 204
    body = {**SHOP, "client_id": "till", "confidential": False, "grant_types": ["refresh_token"]}
    made = till("POST", body=body)
    assert (made.status, made["sessions_valid_after"]) == (201, service.now)
    later(service)
    refused = service.refresh(old["refresh_token"], "till")
    assert (refused.status, refused["error_reason"]) == (400, "policy_cutoff")
    assert service.session(old["sid"]).rotated_at is None
    new = service.start("till")
    assert service.refresh(new["refresh_token"], "till").status == 200


# --- what somebody has written by hand, and broken -----------------------------------------------


def break_item(service: Service, client_id: str, **attributes: Any) -> dict[str, Any]:
    applications = service.parts.applications
    written = applications.written(client_id)
    assert written is not None
    assert applications.replace({**written, **attributes}, version=written["version"])
    return written


def test_mending_an_attribute_leaves_the_policies_of_older_sessions(
    service: Service, till: Operator
) -> None:
    till("PATCH", "/till", body={"policy": {"preset": "native", "access_ttl_seconds": 2 * DAY}})
    later(service)
    old = service.start("till")
    later(service)
    patch = {"policy": {"idle_ttl_seconds": 20 * DAY}}
    assert till("PATCH", "/till?mode=new-sessions", body=patch).status == 200
    before = break_item(service, "till", scope="profile")
    # Unchanged, and so in the application that is made: its former policies stay.
    mended = till("PATCH", "/till", body={"scope": None, "name": "Till"})
    assert (mended.status, "problems" in mended.body) == (200, False)
    after = service.parts.applications.written("till")
    assert after is not None
    for name in ("former_policies", "longest_absolute_ttl_seconds", "longest_access_ttl_seconds"):
        assert after[name] == before[name]
    break_item(service, "till", scope="profile")
    both: dict[str, Any] = {"scope": None, "policy": {"idle_ttl_seconds": 15 * DAY}}
    assert till("PATCH", "/till?mode=new-sessions", body=both).status == 200
    formers = till("GET", "/till")["former_policies"]
    assert [one["policy"]["idle_ttl_seconds"] for one in formers] == [90 * DAY, 20 * DAY]
    later(service)
    assert service.refresh(old["refresh_token"], "till").status == 200
    assert idle_left(service, old["sid"]) == 90 * DAY


def test_mending_a_policy_leaves_the_former_ones_and_the_longest_lifetimes(
    service: Service, till: Operator
) -> None:
    till("PATCH", "/till", body={"policy": {"preset": "native", "access_ttl_seconds": 2 * DAY}})
    patch: dict[str, Any] = {"policy": {"access_ttl_seconds": 300, "idle_ttl_seconds": 20 * DAY}}
    till("PATCH", "/till?mode=new-sessions", body=patch)
    before = break_item(service, "till", policy={"preset": "native", "leeway_seconds": 601})
    patch = {"policy": {"leeway_seconds": 5}}
    refused = till("PATCH", "/till?mode=new-sessions", body=patch)
    assert (refused.status, len(refused["problems"])) == (400, 1)
    assert "mend it first" in refused["problems"][0]
    assert till("PATCH", "/till", body=patch).status == 200
    after = service.parts.applications.written("till")
    assert after is not None
    assert after["former_policies"] == before["former_policies"] != []
    assert after["longest_absolute_ttl_seconds"] == 365 * DAY
    assert after["longest_access_ttl_seconds"] == 2 * DAY


def test_rotating_the_secret_of_a_broken_application_tells_what_is_broken(
    service: Service, operator: Operator
) -> None:
    operator("POST", body=SHOP)
    break_item(service, "shop", scope="profile")
    for method in ("POST", "DELETE"):
        body: Any = {} if method == "POST" else None
        refused = operator(method, "/shop/secrets", body=body)
        assert (refused.status, refused["problems"]) == (400, ["unknown: scope"])
    assert operator("GET", "/shop")["version"] == 1


def test_a_confidential_application_that_lost_its_secret_gets_one(
    service: Service, operator: Operator
) -> None:
    operator("POST", body=SHOP)
    break_item(service, "shop", secret_hashes=[])
    made = operator("POST", "/shop/secrets", body={})
    assert (made.status, made["secrets"]) == (201, 1)
    later(service)
    assert sign_in(service, "shop", made["client_secret"]) == 200


def test_only_an_application_with_the_scope_is_an_operator(
    service: Service, operator: Operator
) -> None:
    backend = service.operator()
    for method, path, body in (
        ("GET", "/applications", None),
        ("POST", "/applications", SHOP),
        ("GET", "/applications/shop", None),
        ("PATCH", "/applications/shop", {}),
        ("DELETE", "/applications/shop", None),
        ("POST", "/applications/shop/secrets", {}),
        ("DELETE", "/applications/shop/secrets", None),
    ):
        refused = service.call(method, path, body=body, bearer=backend)
        assert (refused.status, refused["error"]) == (403, "insufficient_scope")
        assert service.call(method, path, body=body).status == 401
    form = {"grant_type": "client_credentials", "scope": "applications:read"}
    reader = service.call("POST", "/oauth/token", form=form, auth=OPERATOR)["access_token"]
    assert service.call("GET", "/applications", bearer=reader).status == 200
    refused = service.call("POST", "/applications", body=SHOP, bearer=reader)
    assert refused["error_description"] == "This needs the scope applications:write."


def test_a_signed_in_subject_is_no_operator_whatever_its_scopes(
    service: Service, till: Operator
) -> None:
    till("PATCH", "/till", body={"scopes": ["applications:write"]})
    later(service)
    token = service.start("till", scope="applications:write")["access_token"]
    refused = service.call("POST", "/applications", body=SHOP, bearer=token)
    assert (refused.status, refused["error"]) == (403, "insufficient_scope")


def test_all_older_sessions_end_with_one_write(service: Service, till: Operator) -> None:
    old = service.start("till")
    later(service, 10)
    assert till("PATCH", "/till", body={"sessions_valid_after": service.now}).status == 200
    new = service.start("till")
    later(service)
    assert service.refresh(old["refresh_token"], "till")["error_reason"] == "policy_cutoff"
    assert service.refresh(new["refresh_token"], "till").status == 200


# --- modes ---------------------------------------------------------------------------------------


def idle_left(service: Service, sid: str) -> int:
    return service.session(sid).idle_deadline_at - service.now


def test_by_default_a_session_takes_a_new_policy_with_its_next_refresh(
    service: Service, till: Operator
) -> None:
    first = service.start("till")
    till("PATCH", "/till", body={"policy": {"idle_ttl_seconds": 7 * DAY}})
    later(service)
    assert idle_left(service, first["sid"]) > 13 * DAY
    service.refresh(first["refresh_token"], "till")
    assert idle_left(service, first["sid"]) == 7 * DAY


def test_a_policy_for_new_sessions_leaves_the_older_ones_theirs(
    service: Service, till: Operator
) -> None:
    """One write and no read, whichever policy the session has."""
    sessions = [service.start("till")]
    numbers = [14 * DAY]
    for idle in (7 * DAY, 5 * DAY):
        later(service, 3600)
        patch = {"policy": {"idle_ttl_seconds": idle, "absolute_ttl_seconds": 20 * idle}}
        assert till("PATCH", "/till?mode=new-sessions", body=patch).status == 200
        later(service)
        sessions.append(service.start("till"))
        numbers.append(idle)
    assert [len(till("GET", "/till")["former_policies"])] == [2]
    for session, idle in zip(sessions, numbers, strict=True):
        later(service, 100)
        service.calls.clear()
        assert service.refresh(session["refresh_token"], "till").status == 200
        assert [name for name in service.calls.names if name != "GetItem"] == ["UpdateItem"]
        assert idle_left(service, session["sid"]) == idle
    till("PATCH", "/till", body={"policy": {"idle_ttl_seconds": 4 * DAY}})
    assert till("GET", "/till")["former_policies"] == []


def test_a_policy_is_found_also_where_its_lifetime_misleads(
    service: Service, till: Operator
) -> None:
    """The session's absolute deadline looks as if it had started after the change."""
    first = service.start("till")
    till("PATCH", "/till", body={"policy": {"absolute_ttl_seconds": 179 * DAY}})
    later(service)
    patch = {"policy": {"idle_ttl_seconds": 5 * DAY}}
    till("PATCH", "/till?mode=new-sessions", body=patch)
    later(service)
    answer = service.refresh(first["refresh_token"], "till")
    assert answer.status == 200
    assert idle_left(service, first["sid"]) == 14 * DAY
    again = service.refresh(first["refresh_token"], "till")
    assert again["refresh_token"] == answer["refresh_token"]
    later(service, 31)
    service.refresh(answer["refresh_token"], "till")
    assert service.refresh(first["refresh_token"], "till")["error_reason"] == "reused"


def test_a_policy_is_found_also_where_another_clock_is_behind(
    service: Service, till: Operator
) -> None:
    """That instance takes the session for one that started before the change."""
    longer = {"absolute_ttl_seconds": 200 * DAY + 120}
    till("PATCH", "/till?mode=new-sessions", body={"policy": longer})
    later(service)
    numbers = {"idle_ttl_seconds": 7 * DAY, "absolute_ttl_seconds": 200 * DAY}
    till("PATCH", "/till?mode=new-sessions", body={"policy": numbers})
    later(service)
    first = service.start("till")
    service.now -= 30
    assert service.refresh(first["refresh_token"], "till").status == 200
    assert idle_left(service, first["sid"]) == 7 * DAY


def test_former_policies_are_bounded(service: Service, till: Operator) -> None:
    for number in range(8):
        later(service, 1)
        patch = {"policy": {"leeway_seconds": number}}
        assert till("PATCH", "/till?mode=new-sessions", body=patch).status == 200
    full = till("PATCH", "/till?mode=new-sessions", body={"policy": {"leeway_seconds": 99}})
    assert full.status == 400
    assert "at most 8 former policies" in full["problems"][0]
    later(service, 180 * DAY)
    patch = {"policy": {"leeway_seconds": 99}}
    assert till("PATCH", "/till?mode=new-sessions", body=patch).status == 200
    assert len(till("GET", "/till")["former_policies"]) == 1


def test_a_policy_that_holds_now_ends_what_would_have_ended_and_shortens_the_rest(
    service: Service, till: Operator
) -> None:
    idle, old = service.start("till"), service.start("till")
    later(service, DAY)
    fresh = service.start("till")
    old = service.refresh(old["refresh_token"], "till")
    later(service, 7200)
    numbers = {"idle_ttl_seconds": 10 * 3600, "absolute_ttl_seconds": 30 * 3600}
    patch = {"policy": {**numbers, "idle_warning_seconds": 0, "absolute_warning_seconds": 0}}
    dry = till("PATCH", "/till?mode=now&dry_run=true", body=patch)
    assert dry["dry_run"] is True
    assert dry["sessions"] == {
        "live": 3,
        "as_it_is": {"now": 0, "within_a_day": 0, "within_a_week": 0},
        "changed": {"now": 1, "within_a_day": 3, "within_a_week": 3},
        "at_once": {"now": 1, "within_a_day": 3, "within_a_week": 3},
        "next": None,
    }
    assert till("GET", "/till")["version"] == 1
    done = till("PATCH", "/till?mode=now", body=patch)
    assert done["sessions"] == {"ended": 1, "shortened": 2, "next": None}
    ended = service.session(idle["sid"])
    assert (ended.reason, ended.ended_at) == (Reason.IDLE_EXPIRED, service.now)
    assert service.told[-1]["reason"] == "idle_expired"
    assert service.refresh(idle["refresh_token"], "till")["error_reason"] == "idle_expired"
    assert idle_left(service, old["sid"]) == 30 * 3600 - DAY - 7200
    assert idle_left(service, fresh["sid"]) == 8 * 3600
    again = till("PATCH", "/till?mode=now", body=patch)
    assert again["sessions"] == {"ended": 0, "shortened": 0, "next": None}


def test_mode_now_leaves_older_sessions_the_policy_they_keep(
    service: Service, till: Operator
) -> None:
    old = service.start("till")
    later(service, 3600)
    patch = {"policy": {"idle_ttl_seconds": 3600, "idle_warning_seconds": 0}}
    till("PATCH", "/till?mode=new-sessions", body=patch)
    new = service.start("till")
    later(service, 7200)
    dry = till("PATCH", "/till?mode=now&dry_run=true", body={"name": "Till"})
    ends = {name: dry["sessions"][name]["now"] for name in ("as_it_is", "changed", "at_once")}
    assert (dry["sessions"]["live"], ends) == (1, {"as_it_is": 0, "changed": 0, "at_once": 0})
    patch["policy"]["leeway_seconds"] = 1
    dry = till("PATCH", "/till?mode=new-sessions&dry_run=true", body=patch)
    assert (dry["sessions"]["changed"]["now"], dry["sessions"]["at_once"]["now"]) == (0, 1)
    done = till("PATCH", "/till?mode=now", body={"name": "Till"})
    assert done["sessions"] == {"ended": 0, "shortened": 0, "next": None}
    assert service.session(old["sid"]).ended_at is None
    assert idle_left(service, old["sid"]) == 14 * DAY - 3600 - 7200
    assert service.refresh(new["refresh_token"], "till")["error_reason"] == "idle_expired"


def test_mode_now_brings_the_warnings_of_the_new_policy_forward_and_no_further_than_now(
    service: Service, till: Operator
) -> None:
    """a new lead time alone; a new absolute deadline; and one whose warning would be long past"""
    sid = service.start("till")["sid"]
    started_at = service.now

    def warned_at(lead: str, **policy: int) -> int | None:
        done = till(
            "PATCH", "/till?mode=now", body={"policy": {"idle_warning_seconds": 0, **policy}}
        )
        shortened = int("absolute_ttl_seconds" in policy)
        assert done["sessions"] == {"ended": 0, "shortened": shortened, "next": None}, lead
        return service.session(sid).attention_at

    later(service, DAY)
    assert warned_at("longer", idle_warning_seconds=5 * DAY) == started_at + 9 * DAY
    absolute = {"absolute_ttl_seconds": 14 * DAY, "absolute_warning_seconds": 8 * DAY}
    assert warned_at("absolute", **absolute) == started_at + 6 * DAY
    later(service, DAY)
    long = {"absolute_ttl_seconds": 13 * DAY, "absolute_warning_seconds": 12 * DAY}
    assert warned_at("past", idle_ttl_seconds=13 * DAY, **long) == service.now
    assert service.sweep() == {"warned": 1, "lag_seconds": 0, "complete": True}
    assert [event["deadline"] for event in service.told] == ["absolute"]


def test_the_next_page_of_mode_now_writes_no_application(
    service: Service, till: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is at another version by then, and another operator may have changed it since."""
    first, second = sorted(service.start("till")["sid"] for _ in range(2))
    live = service.parts.store.live

    def one_a_page(now: int, *, client_id: str | None, after: str | None) -> Any:
        sessions, _ = live(now, client_id=client_id)
        left = sorted(one.sid for one in sessions if one.sid > (after or ""))
        page = [one for one in sessions if one.sid in left[:1]]
        return page, left[0] if len(left) > 1 else None

    monkeypatch.setattr(service.parts.store, "live", one_a_page)
    monkeypatch.setattr("ratchet.registry.PAGES", 1)
    patch = {"policy": {"idle_ttl_seconds": 7 * DAY}}
    page = till("PATCH", "/till?mode=now&version=1", body=patch)
    assert page["sessions"] == {"ended": 0, "shortened": 1, "next": first}
    theirs = {"policy": {"idle_ttl_seconds": 5 * DAY}}
    assert till("PATCH", "/till?mode=now", body=theirs)["version"] == 3
    page = till("PATCH", f"/till?mode=now&version=1&cursor={first}", body=patch)
    assert (page.status, page["version"]) == (200, 3)
    assert page["sessions"] == {"ended": 0, "shortened": 1, "next": None}
    assert till("GET", "/till")["policy"]["idle_ttl_seconds"] == 5 * DAY
    assert [idle_left(service, sid) for sid in (first, second)] == [5 * DAY, 5 * DAY]
    wrong = till("PATCH", f"/till?cursor={first}", body=patch)
    assert (wrong.status, wrong["error"]) == (400, "invalid_request")
    assert till("GET", "/till")["version"] == 3


def test_a_shortened_absolute_deadline_holds_although_the_token_says_otherwise(
    service: Service, till: Operator
) -> None:
    first = service.start("till")
    patch = {"policy": {"absolute_ttl_seconds": 15 * DAY}}
    till("PATCH", "/till?mode=now", body=patch)
    later(service, 10 * DAY)
    second = service.refresh(first["refresh_token"], "till")
    assert second["session_expires_in"] == second["refresh_token_expires_in"] == 5 * DAY - 60 + 60
    later(service, 5 * DAY)
    refused = service.refresh(second["refresh_token"], "till")
    assert refused["error_reason"] == "absolute_expired"
    service.sweep()
    session = service.session(first["sid"])
    assert (session.reason, session.ended_at) == (
        Reason.ABSOLUTE_EXPIRED,
        session.started_at + 15 * DAY,
    )


def test_a_preview_tells_what_disabling_and_cutting_off_would_end(
    service: Service, till: Operator
) -> None:
    service.start("till")
    service.start("demo-native")
    later(service, 10)
    patch: dict[str, Any]
    for patch in ({"disabled_at": service.now}, {"sessions_valid_after": service.now}):
        dry = till("PATCH", "/till?dry_run=true", body=patch)
        assert dry["sessions"]["live"] == 1
        assert dry["sessions"]["changed"]["now"] == 1
        assert dry["sessions"]["as_it_is"]["now"] == 0
    patch = {"policy": {"idle_ttl_seconds": 5, "idle_warning_seconds": 0}}
    dry = till("PATCH", "/till?dry_run=true", body=patch)
    assert (dry["sessions"]["changed"]["now"], dry["sessions"]["at_once"]["now"]) == (0, 1)


def test_a_session_refreshed_meanwhile_is_looked_at_again(
    service: Service, till: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = service.start("till")
    later(service, DAY)
    store = service.parts.store
    live = store.live

    def seen_then_refreshed(*arguments: Any, **named: Any) -> Any:
        found = live(*arguments, **named)
        service.refresh(first["refresh_token"], "till")
        return found

    monkeypatch.setattr(store, "live", seen_then_refreshed)
    # The function that refreshes does not know of the change yet.
    service.parts.applications.get("till", service.now)
    patch = {"policy": {"idle_ttl_seconds": 3600, "idle_warning_seconds": 0}}
    done = till("PATCH", "/till?mode=now", body=patch)
    assert (done["sessions"]["ended"], done["sessions"]["shortened"]) == (0, 1)
    assert service.session(first["sid"]).ended_at is None


def test_a_refresh_that_moves_no_deadline_wins_over_mode_now_too(
    service: Service, till: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """the idle deadline is the absolute one already"""
    numbers = {"idle_ttl_seconds": 10 * DAY, "absolute_ttl_seconds": 10 * DAY}
    warnings = {"idle_warning_seconds": 0, "absolute_warning_seconds": 0}
    till("PATCH", "/till", body={"policy": numbers | warnings})
    later(service)
    first = service.start("till")
    later(service, 9 * DAY)
    store = service.parts.store
    live = store.live

    def seen_then_refreshed(*arguments: Any, **named: Any) -> Any:
        found = live(*arguments, **named)
        assert service.refresh(first["refresh_token"], "till").status == 200
        return found

    service.parts.applications.get("till", service.now)
    monkeypatch.setattr(store, "live", seen_then_refreshed)
    patch = {"policy": {"idle_ttl_seconds": 2 * DAY}}
    done = till("PATCH", "/till?mode=now", body=patch)
    assert done["sessions"] == {"ended": 0, "shortened": 0, "next": None}
    assert service.session(first["sid"]).ended_at is None


@pytest.mark.parametrize(
    "query", ["mode=later", "version=x", "dry_run=1", "cursor=x", "force=true"]
)
def test_a_wrong_query_is_refused(operator: Operator, query: str) -> None:
    assert operator("PATCH", f"/shop?{query}", body={}).status == 400


def test_a_body_that_is_no_json_object_is_refused(operator: Operator) -> None:
    for sent in (b"[]", b"", b"{", b"null", b'"x"'):
        answer = operator("POST", body=sent, headers={"Content-Type": "application/json"})
        assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert operator("POST", form=f"client_id={BACKEND[0]}").status == 400


# --- identity providers ------------------------------------------------------------------------

TENANT = {"audience": ["shop"], "subject_prefix": "auth0:"}
A = {**TENANT, "issuer": "https://a.auth0.example/"}
B = {**TENANT, "issuer": "https://b.auth0.example/"}
PUBLIC = {**SHOP, "confidential": False, "grant_types": ["refresh_token"]}


def test_the_issuer_of_another_application_can_make_no_subject_of_this_one(
    service: Service, operator: Operator
) -> None:
    """else the administrator of tenant B would make himself a user with the id of A's"""
    assert operator("POST", body={**PUBLIC, "trusted_issuers": [A]}).status == 201
    partner = {**PUBLIC, "client_id": "till"}
    for query in ("", "?dry_run=true"):
        answer = operator("POST", query, body={**partner, "trusted_issuers": [B]})
        assert (answer.status, answer["error"]) == (400, "invalid_request")
        (problem,) = answer["problems"]
        assert problem.startswith(f'subject_prefix "auth0:" of {B["issuer"]} overlaps "auth0:" of')
        assert "in the application shop; choose one" in problem
    assert service.parts.applications.written("till") is None
    # the same issuer is the same people, and a prefix of its own is a way out
    assert operator("POST", body={**partner, "trusted_issuers": [A]}).status == 201
    for trusted in ([A, {**B, "subject_prefix": "auth"}], [{**B, "subject_prefix": ""}], [B]):
        answer = operator("PATCH", "/till", body={"trusted_issuers": trusted})
        assert answer.status == 400
        assert "overlaps" in str(answer["problems"]) or "beginning" in str(answer["problems"])
    other = {"trusted_issuers": [{**B, "subject_prefix": "auth0-b:"}]}
    assert operator("PATCH", "/till", body=other)["version"] == 2
    # and now A is kept out of B's
    answer = operator("PATCH", "/shop", body={"trusted_issuers": [{**A, "subject_prefix": "auth"}]})
    assert answer.status == 400


def test_the_other_applications_are_read_only_where_an_issuer_is_new(
    service: Service, operator: Operator
) -> None:
    assert operator("POST", body={**PUBLIC, "client_id": "till"}).status == 201
    assert operator("POST", body={**PUBLIC, "trusted_issuers": [A]}).status == 201
    assert service.calls.names.count("Scan") == 1
    for patch in ({"name": "Shop"}, {"trusted_issuers": [A]}, {"trusted_issuers": None}):
        assert operator("PATCH", "/shop", body=patch).status == 200
    assert service.calls.names.count("Scan") == 1


def test_an_application_that_clashes_already_can_still_be_changed(
    service: Service, operator: Operator
) -> None:
    assert operator("POST", body={**PUBLIC, "trusted_issuers": [A]}).status == 201
    written = service.parts.applications.written("shop")
    assert written is not None
    service.parts.applications._put({**written, "client_id": "till", "trusted_issuers": [B]}, "")
    assert operator("PATCH", "/till", body={"disabled_at": service.now}).status == 200
