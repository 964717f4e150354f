"""Refreshing and rotation: RFC 6749 section 6, design sections 2 and 3."""

import pytest

from ratchet.reasons import Reason
from tests.functional.conftest import BACKEND, START, Answer, Service

KEY = "a-random-idempotency-key"
DAY = 24 * 3600


def refused(answer: Answer, reason: Reason) -> None:
    """Every refusal of a refresh token, on the wire and in the log."""
    assert answer.status == 400
    assert answer["error"] == "invalid_grant"
    assert answer["error_reason"] == reason.value
    assert answer["error_description"] == reason.description
    assert answer["retry"] == "never"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.log["error_reason"] == reason.value


def test_a_refresh_answers_with_a_successor_and_both_deadlines(service: Service) -> None:
    first = service.start(scope="profile orders:read")
    service.now += 60
    second = service.refresh(first["refresh_token"])
    assert second.status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert second["token_type"] == "Bearer"
    assert second["expires_in"] == 3600
    assert 2700 <= second["refresh_after"] <= 2880
    assert second["refresh_token_expires_in"] == 90 * DAY
    assert second["session_expires_in"] == 365 * DAY - 60
    assert second["scope"] == "orders:read profile"
    assert second["sid"] == first["sid"]
    assert second.headers["cache-control"] == "no-store"
    assert second.headers["pragma"] == "no-cache"
    assert second.log["outcome"] == "rotated"
    session = service.session(first["sid"])
    assert (session.generation, session.rotated_at) == (1, START + 60)


def test_the_token_endpoint_refreshes_in_the_same_way(service: Service) -> None:
    first = service.start()
    form = {"grant_type": "refresh_token", "client_id": "demo-native"}
    second = service.call(
        "POST", "/oauth/token", form={**form, "refresh_token": first["refresh_token"]}
    )
    assert second.status == 200
    assert service.refresh(second["refresh_token"]).status == 200


def test_inside_the_leeway_the_direct_parent_is_answered_with_the_same_successor(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.now += 30
    again = service.refresh(first["refresh_token"])
    assert again.status == 200
    assert again["refresh_token"] == second["refresh_token"]
    assert again.log["outcome"] == "replayed_leeway"
    assert service.session(first["sid"]).generation == 1
    assert service.refresh(again["refresh_token"]).status == 200


def test_after_the_leeway_the_parent_is_reuse_and_ends_the_session(service: Service) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.now += 31
    refused(service.refresh(first["refresh_token"]), Reason.REUSED)
    session = service.session(first["sid"])
    assert (session.reason, session.ended_at) == (Reason.REUSED, service.now)
    refused(service.refresh(second["refresh_token"]), Reason.REUSED)


def test_once_its_successor_was_used_the_parent_is_reuse_even_inside_the_leeway(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    third = service.refresh(second["refresh_token"])
    refused(service.refresh(first["refresh_token"]), Reason.REUSED)
    refused(service.refresh(second["refresh_token"]), Reason.REUSED)
    refused(service.refresh(third["refresh_token"]), Reason.REUSED)
    assert service.session(first["sid"]).reason is Reason.REUSED


def test_reuse_ends_that_session_only_and_tells(service: Service) -> None:
    stolen, other = service.start(), service.start()
    service.refresh(service.refresh(stolen["refresh_token"])["refresh_token"])
    service.refresh(stolen["refresh_token"])
    assert service.refresh(other["refresh_token"]).status == 200
    assert [event["type"] for event in service.told] == [
        "session.revoked",
        "session.reuse_detected",
    ]
    for event in service.told:
        assert event["sid"] == stolen["sid"]
        assert event["reason"] == "reused"
        assert event["id"].startswith(stolen["sid"])
    assert service.session(stolen["sid"]).attention_at is None


def test_a_second_reuse_publishes_nothing_more_and_keeps_the_first_end(service: Service) -> None:
    first = service.start()
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    service.refresh(first["refresh_token"])
    ended_at = service.now
    service.now += 5
    refused(service.refresh(first["refresh_token"]), Reason.REUSED)
    assert service.session(first["sid"]).ended_at == ended_at
    assert len(service.told) == 2


def test_an_application_with_leeway_0_takes_a_parent_at_no_time(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.refresh(first["refresh_token"], "demo-sensitive")
    refused(service.refresh(first["refresh_token"], "demo-sensitive"), Reason.REUSED)


@pytest.mark.parametrize("application", ["demo-native", "demo-sensitive"])
def test_the_same_request_with_its_idempotency_key_is_answered_long_after_the_leeway(
    service: Service, application: str
) -> None:
    first = service.start(application)
    service.now += 600
    lost = service.refresh(first["refresh_token"], application, key=KEY)
    service.now += 800
    again = service.refresh(first["refresh_token"], application, key=KEY)
    assert again.status == 200
    assert again["refresh_token"] == lost["refresh_token"]
    assert again.log["outcome"] == "replayed_idempotency_key"
    assert service.refresh(again["refresh_token"], application).status == 200


def test_the_key_still_works_after_the_parents_own_idle_deadline(service: Service) -> None:
    """refreshed 5 s before the deadline, answer lost, asked again 10 s after it"""
    first = service.start("demo-sensitive")
    service.now += 15 * 60 - 5
    lost = service.refresh(first["refresh_token"], "demo-sensitive", key=KEY)
    service.now += 15
    again = service.refresh(first["refresh_token"], "demo-sensitive", key=KEY)
    assert again["refresh_token"] == lost["refresh_token"]


def test_the_key_works_for_a_day_and_no_longer(service: Service) -> None:
    first = service.start()
    service.refresh(first["refresh_token"], key=KEY)
    service.now += DAY
    assert service.refresh(first["refresh_token"], key=KEY).status == 200
    service.now += 1
    refused(service.refresh(first["refresh_token"], key=KEY), Reason.REUSED)


def test_another_key_or_none_is_reuse_after_the_leeway(service: Service) -> None:
    for key in ("another-random-key-of-a-thief", None):
        first = service.start()
        service.refresh(first["refresh_token"], key=KEY)
        service.now += 31
        refused(service.refresh(first["refresh_token"], key=key), Reason.REUSED)


def test_a_key_does_not_outlive_the_use_of_the_successor(service: Service) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"], key=KEY)
    service.refresh(second["refresh_token"])
    refused(service.refresh(first["refresh_token"], key=KEY), Reason.REUSED)


def test_a_key_that_can_be_guessed_is_refused_and_nothing_is_rotated(service: Service) -> None:
    first = service.start()
    answer = service.refresh(first["refresh_token"], key="1")
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert "Idempotency-Key" in answer["error_description"]
    assert service.session(first["sid"]).generation == 0


def test_a_session_that_is_not_refreshed_in_time_is_idle_expired(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.now += 15 * 60 - 1
    second = service.refresh(first["refresh_token"], "demo-sensitive")
    assert second.status == 200
    service.now += 15 * 60
    refused(service.refresh(second["refresh_token"], "demo-sensitive"), Reason.IDLE_EXPIRED)


def test_no_refresh_moves_the_absolute_deadline(service: Service) -> None:
    answer = service.start("demo-sensitive")
    while service.now < START + 12 * 3600 - 600:
        service.now += 600
        answer = service.refresh(answer["refresh_token"], "demo-sensitive")
        assert answer.status == 200
        assert answer["session_expires_in"] == START + 12 * 3600 - service.now
        assert answer["refresh_token_expires_in"] <= answer["session_expires_in"]
    service.now = START + 12 * 3600 - 1
    answer = service.refresh(answer["refresh_token"], "demo-sensitive")
    assert (answer["expires_in"], answer["refresh_token_expires_in"]) == (1, 1)
    service.now += 1
    refused(service.refresh(answer["refresh_token"], "demo-sensitive"), Reason.ABSOLUTE_EXPIRED)


def test_another_applications_token_is_refused_without_touching_the_session(
    service: Service,
) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    for token in (first["refresh_token"], second["refresh_token"]):
        service.now += 60
        refused(service.refresh(token, "demo-browser"), Reason.WRONG_CLIENT)
    session = service.session(first["sid"])
    assert (session.generation, session.ended_at) == (1, None)
    assert service.refresh(second["refresh_token"]).status == 200


def test_a_deleted_session_is_unknown(service: Service) -> None:
    first = service.start()
    service.delete_item(first["sid"])
    refused(service.refresh(first["refresh_token"]), Reason.SESSION_UNKNOWN)
    assert service.item(first["sid"]) == {}


def test_a_token_that_is_newer_than_a_restored_table_ends_nothing(service: Service) -> None:
    first = service.start()
    old = service.item(first["sid"])
    newest = service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    service.put_item(old)
    refused(service.refresh(newest["refresh_token"]), Reason.SESSION_UNKNOWN)
    assert service.session(first["sid"]).ended_at is None
    assert service.refresh(first["refresh_token"]).status == 200


def test_scope_may_be_narrowed_for_one_access_token_and_the_session_keeps_its_own(
    service: Service,
) -> None:
    first = service.start(scope="profile orders:read")
    second = service.refresh(first["refresh_token"], scope="profile")
    assert second["scope"] == "profile"
    assert service.refresh(second["refresh_token"])["scope"] == "orders:read profile"


def test_a_scope_beyond_the_sessions_is_refused_and_nothing_is_rotated(service: Service) -> None:
    first = service.start(scope="profile")
    answer = service.refresh(first["refresh_token"], scope="profile orders:write")
    assert (answer.status, answer["error"]) == (400, "invalid_scope")
    assert service.session(first["sid"]).generation == 0
    second = service.refresh(first["refresh_token"])
    assert second.status == 200
    replayed = service.refresh(first["refresh_token"], scope="orders:write")
    assert replayed["error"] == "invalid_scope"
    assert service.refresh(second["refresh_token"]).status == 200


def test_auth_time_amr_and_acr_stay_those_of_the_sign_in(service: Service) -> None:
    """RFC 9068 section 2.2.1, through every refresh and replay."""
    answer = service.start(auth_time=str(START - 50), amr="pwd otp", acr="urn:test:silver")
    for _ in range(3):
        service.now += 1000
        parent, answer = answer, service.refresh(answer["refresh_token"])
        replayed = service.refresh(parent["refresh_token"])
        for token in (
            answer["access_token"],
            replayed["access_token"],
            answer["refresh_token"],
        ):
            told = service.call("POST", "/oauth/introspect", form={"token": token}, auth=BACKEND)
            assert (told["auth_time"], told["amr"]) == (START - 50, ["pwd", "otp"])
            assert (told["acr"], told["iat"]) == ("urn:test:silver", service.now)


def test_an_unknown_application_is_refused_with_401(service: Service) -> None:
    first = service.start()
    answer = service.refresh(first["refresh_token"], "nobody")
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert service.session(first["sid"]).generation == 0


def test_forged_damaged_and_expired_tokens_make_no_call_at_all(service: Service) -> None:
    first = service.start("demo-sensitive")["refresh_token"]
    assert service.refresh(first, "demo-sensitive").status == 200
    service.calls.clear()
    forged = first[:40] + ("A" if first[40] != "A" else "B") + first[41:]
    for token in (forged, first[:-1], "rt1_", "rt1_" + "A" * 104, "x" * 500):
        answer = service.refresh(token, "demo-sensitive")
        assert answer["error_reason"] in ("malformed", "unknown_pepper")
    service.now = START + 12 * 3600
    refused(service.refresh(first, "demo-sensitive"), Reason.IDLE_EXPIRED)
    assert service.calls.names == []


def test_a_refresh_logs_one_line_and_names_what_happened(service: Service) -> None:
    first = service.start()
    before = len(service.lines())
    service.refresh(first["refresh_token"])
    (line,) = service.lines()[before:]
    assert line["message"] == "refresh"
    assert line["route"] == "POST /oauth/refresh"
    assert (line["status"], line["outcome"]) == (200, "rotated")
    assert (line["client_id"], line["sub"], line["sid"]) == ("demo-native", "ada", first["sid"])


def test_a_shorter_leeway_or_window_takes_nothing_back_from_earlier_rotations(
    service: Service,
) -> None:
    by_time, by_key = service.start()["refresh_token"], service.start()["refresh_token"]
    service.set_policy("demo-native", leeway_seconds=600)
    service.refresh(by_time)
    service.refresh(by_key, key=KEY)
    service.set_policy("demo-native", leeway_seconds=0, retry_window_seconds=0)
    assert service.refresh(by_time).status == 200
    service.now += 600
    assert service.refresh(by_key, key=KEY).status == 200
    refused(service.refresh(by_time), Reason.REUSED)


def test_a_shorter_idle_time_is_warned_of_and_ended_at_its_new_deadline(service: Service) -> None:
    first = service.start()
    service.set_policy("demo-native", idle_ttl_seconds=DAY, idle_warning_seconds=3600)
    service.calls.clear()
    second = service.refresh(first["refresh_token"])
    assert service.calls.names.count("UpdateItem") == 2
    service.calls.clear()
    service.refresh(second["refresh_token"])
    assert service.calls.names == ["UpdateItem"]
    service.now += DAY - 3600
    assert service.sweep()["warned"] == 1
    service.now += 3600
    assert service.sweep()["ended"] == 1
    assert service.session(first["sid"]).reason is Reason.IDLE_EXPIRED


def test_an_earlier_warning_is_taken_over_with_the_next_refresh_and_one_write_more(
    service: Service,
) -> None:
    """of the idle deadline, of the absolute one, and one whose instant has passed: due at once"""
    first = service.start()
    token, started_at = first["refresh_token"], service.now
    policy: dict[str, int] = {}

    def filed_at(**changed: int) -> int | None:
        nonlocal token
        policy.update(changed)
        service.set_policy("demo-native", **policy)
        writes: list[int] = []
        for _ in range(2):
            service.parts.applications.get("demo-native", service.now)
            service.calls.clear()
            token = service.refresh(token)["refresh_token"]
            writes.append(service.calls.names.count("UpdateItem"))
        assert writes == [2, 1]
        return service.session(first["sid"]).attention_at

    # the one of the first refresh, by which the idle deadline is a minute later
    assert filed_at(idle_warning_seconds=30 * DAY) == service.now + 60 * DAY
    assert filed_at(absolute_warning_seconds=320 * DAY) == started_at + 45 * DAY
    service.now += 10 * DAY
    assert filed_at(absolute_warning_seconds=360 * DAY) == service.now
    assert service.sweep() == {"warned": 1, "lag_seconds": 0, "complete": True}


def test_a_refresh_after_a_warning_is_one_write_however_long_the_lead_time_is(
    service: Service,
) -> None:
    """its next warning may be before the instant that the session stands filed under"""
    service.set_policy("demo-native", idle_ttl_seconds=10 * DAY, idle_warning_seconds=9 * DAY)
    first = service.start()
    service.now += DAY
    assert service.sweep()["warned"] == 1
    service.parts.applications.get("demo-native", service.now)
    service.calls.clear()
    service.refresh(first["refresh_token"])
    assert service.calls.names == ["UpdateItem"]


def test_rotation_off_keeps_the_token_and_moves_the_idle_deadline(service: Service) -> None:
    service.set_policy("demo-native", rotation=False, rotation_off_reason="a test")
    first = service.start()
    for _ in range(3):
        service.now += DAY
        again = service.refresh(first["refresh_token"])
        assert (again.status, again.log["outcome"]) == (200, "kept")
        assert again["refresh_token"] == first["refresh_token"]
        assert again["refresh_token_expires_in"] == 90 * DAY
    service.now += 90 * DAY
    refused(service.refresh(first["refresh_token"]), Reason.IDLE_EXPIRED)


def test_switching_rotation_off_and_on_again_signs_nobody_out(service: Service) -> None:
    token = service.start()["refresh_token"]
    service.set_policy("demo-native", rotation=False, rotation_off_reason="a test")
    lasting = service.refresh(token)
    assert lasting.log["outcome"] == "rotated"
    assert service.refresh(lasting["refresh_token"]).log["outcome"] == "kept"
    service.set_policy("demo-native", rotation=True)
    answer = service.refresh(lasting["refresh_token"])
    assert answer.log["outcome"] == "rotated"
    assert service.refresh(answer["refresh_token"]).status == 200


def test_an_application_that_gets_no_refresh_tokens_any_more_may_not_refresh(
    service: Service,
) -> None:
    first = service.start()
    service.set_policy("demo-native", idle_ttl_seconds=0, idle_warning_seconds=0)
    answer = service.refresh(first["refresh_token"])
    assert (answer.status, answer["error"]) == (400, "unauthorized_client")
    assert service.session(first["sid"]).generation == 0


def test_too_many_scopes_are_a_4xx_and_nothing_is_rotated(service: Service) -> None:
    first = service.start()
    scope = " ".join(f"s{number}" for number in range(2000))
    answer = service.refresh(first["refresh_token"], scope=scope)
    assert (answer.status, answer["error"]) == (400, "invalid_scope")
    assert service.session(first["sid"]).generation == 0
