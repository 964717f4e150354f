"""Why was my user signed out? Each reason, explained from a journey that was played."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from ratchet import live_sessions, refresh_token, wiring
from ratchet.errors import Fault
from ratchet.explain import evidence_text, gone, standing
from ratchet.policy import DAY, HOUR
from ratchet.reasons import Reason
from ratchet.session_log import FileLog, InsightsLog
from ratchet.sign_out import sign_out
from tests.functional import test_reuse
from tests.functional.conftest import START, Answer, Service
from tests.functional.test_reuse import Played

REUSES = [
    (
        test_reuse.lost_response,
        "the answer to the refresh before was lost, and the client asked again too late or without"
        " its Idempotency-Key.",
        "The client repeated the refresh without the Idempotency-Key of the request whose answer",
    ),
    (test_reuse.concurrent, "two processes or tabs of the client", "Let one of them refresh"),
    (test_reuse.stale_copy, "the client kept an old copy of it", "It has to store the new"),
    (test_reuse.theft_like, "so this may be theft", "Treat it as theft"),
    (test_reuse.unknown, "the evidence does not say", "The evidence does not say"),
]


def explained(service: Service, sid: str, query: str = "?timeline=true") -> dict[str, Any]:
    answer = service.call("GET", f"/sessions/{sid}{query}", bearer=service.operator())
    assert answer.status == 200, answer
    told: dict[str, Any] = answer["explanation"]
    return told


def kinds(told: dict[str, Any]) -> list[str]:
    return [entry["what"] for entry in told["timeline"]]


def commands(told: dict[str, Any]) -> list[str]:
    return [piece["command"] for piece in told["advice"] if "command" in piece]


def refreshed(service: Service, first: Answer, times: int = 1) -> Answer:
    for _ in range(times):
        service.now += HOUR
        first = service.refresh(first["refresh_token"], "demo-browser")
        assert first.status == 200, first
    return first


def test_a_session_that_was_idle_for_too_long(service: Service) -> None:
    first = service.start("demo-browser", device="Ada's laptop")
    last = refreshed(service, first)
    at = service.now
    service.now = at + 20 * DAY
    service.sweep()
    assert service.refresh(last["refresh_token"], "demo-browser")["error_reason"] == "idle_expired"
    told = explained(service, first["sid"])
    assert told["sentence"] == (
        "The session ended at its idle deadline, 2027-01-29 09:00:00 UTC: nobody had refreshed it"
        " for 14 days (the last refresh was 2027-01-15 09:00:00 UTC)."
    )
    assert (told["cause"], told["deadline"], told["by"]) == ("idle_expired", "idle", None)
    assert (told["ended_at"], told["device"]) == (at + 14 * DAY, "Ada's laptop")
    assert kinds(told) == ["started", "refreshed", "ended", "swept", "refused"]
    assert told["timeline"][0]["at"] == START
    assert told["timeline_missing"] is None
    # What would have been enough, to try and see.
    assert "ratchet apps update demo-browser --idle-ttl 21d --dry-run" in commands(told)
    assert any("--touch-interval" in command for command in commands(told))


def test_a_session_that_a_sweep_has_warned_of(service: Service) -> None:
    first = service.start("demo-browser")
    service.now += 12 * DAY
    service.sweep()
    told = explained(service, first["sid"])
    assert kinds(told) == ["started", "warned"]
    assert told["timeline"][1]["text"] == "warned of the idle deadline (session.expiring)"


def test_a_session_that_has_lived_for_as_long_as_it_may(service: Service) -> None:
    service.set_policy("demo-sensitive", absolute_ttl_seconds=2 * HOUR)
    first = service.start("demo-sensitive")
    start = service.now
    while service.now < start + 2 * HOUR - 600:
        service.now += 600
        token = service.refresh(first["refresh_token"], "demo-sensitive")["refresh_token"]
        first.body["refresh_token"] = token
    service.now = start + 3 * HOUR
    told = explained(service, first["sid"])
    assert "reached its absolute deadline, 2027-01-15 10:01:00 UTC" in told["sentence"]
    assert (told["cause"], told["deadline"]) == ("absolute_expired", "absolute")
    assert "ratchet apps update demo-sensitive --absolute-ttl 4h --dry-run" in commands(told)
    # Of the run of refreshes the last five are shown.
    assert kinds(told) == ["started", *["refreshed"] * 6, "ended"]
    run = told["timeline"][1]
    assert (run["count"], run["at"], run["text"]) == (6, start + 600, "6 refreshes")
    assert run["until_at"] == start + 6 * 600


def test_a_reuse_with_what_came_before_and_after_it(service: Service) -> None:
    first = service.start("demo-browser")
    second = service.refresh(first["refresh_token"], "demo-browser", key="k" * 20)
    service.now += 5
    service.refresh(first["refresh_token"], "demo-browser")
    service.now += 100
    service.refresh(first["refresh_token"], "demo-browser", key="k" * 20)
    third = service.refresh(second["refresh_token"], "demo-browser")
    service.now += 5
    assert service.refresh(first["refresh_token"], "demo-browser")["error_reason"] == "reused"
    for _ in range(6):
        service.now += 1
        service.refresh(third["refresh_token"], "demo-browser")
    told = explained(service, first["sid"])
    assert told["cause"] == "reused"
    assert "a refresh token that had been replaced was presented again" in told["sentence"]
    assert kinds(told) == [
        *("started", "refreshed", "replayed", "replayed", "refreshed"),
        *("reuse_detected", "ended", "refused", "refused"),
    ]
    assert "inside the leeway" in told["timeline"][2]["text"]
    assert "Idempotency-Key" in told["timeline"][3]["text"]
    assert told["timeline"][-1]["count"] == 5


@pytest.mark.parametrize(("played", "said", "advised"), REUSES, ids=lambda value: str(value)[:20])
def test_each_cause_of_a_reuse_with_the_evidence_and_what_to_do(
    service: Service, played: Callable[[Service], Played], said: str, advised: str
) -> None:
    sid = played(service).sid
    told = explained(service, sid)
    assert told["cause"] == "reused"
    assert said in told["sentence"]
    assert told["evidence"] == service.session(sid).evidence
    assert told["evidence_text"] == evidence_text(told["evidence"])
    assert advised in told["advice"][0]["text"]
    found = next(entry for entry in told["timeline"] if entry["what"] == "reuse_detected")
    # where it came from, and that is not where the session was refreshed from
    assert found["network"]
    assert f"presented again from {found['network']}" in told["sentence"]


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
def test_a_user_who_signed_out(service: Service, kind: str) -> None:
    first = service.start()
    form = {"client_id": "demo-native", "token": first[kind]}
    service.now += 10
    service.call("POST", "/oauth/revoke", form=form)
    told = explained(service, first["sid"])
    assert told["sentence"] == "The user signed out at 2027-01-15 08:00:10 UTC, in demo-native."
    assert (told["cause"], told["by"]) == ("revoked_by_user", "demo-native")
    assert kinds(told) == ["started", "signed_out", "ended"]


def test_a_session_that_an_operator_ended(service: Service) -> None:
    first = service.start()
    service.call("DELETE", f"/sessions/{first['sid']}", bearer=service.operator())
    told = explained(service, first["sid"])
    assert told["sentence"].startswith("An operator ended the session at")
    assert (told["cause"], told["by"]) == ("revoked_by_operator", "demo-backend")
    assert kinds(told) == ["started", "signed_out", "ended"]


def test_a_sign_out_everywhere_is_in_the_time_line_of_each_session(service: Service) -> None:
    first, second = service.start(), service.start()
    answer = service.call(
        *("DELETE", "/sessions"),
        bearer=second["access_token"],
        headers={"User-Agent": "okhttp/4.12.0"},
        source_ip="203.0.113.7",
    )
    for session in (first, second):
        told = explained(service, session["sid"])
        assert told["sentence"] == (
            "All sessions of ada were ended at 2027-01-15 08:00:00 UTC: the user asked for it, in"
            " demo-native (DELETE /sessions)."
        )
        assert (told["cause"], told["by"]) == ("revoked_everywhere", "demo-native")
        assert kinds(told) == ["started", "signed_out", "ended"]
        entry = told["timeline"][1]
        assert entry["text"] == "signed out everywhere by the subject (DELETE /sessions)"
        assert (entry["network"], entry["agent"]) == ("203.0.113.0/24", "okhttp")
        assert entry["request_id"] == answer.log["request_id"]
        assert told["advice"][0]["text"].startswith("The user did not ask for it?")
        # The item alone does not know whose token it was.
        alone = explained(service, session["sid"], "")
        assert "it was asked for through demo-native" in alone["sentence"]
        assert "its own or the user's" in alone["advice"][0]["text"]


def test_a_sign_out_everywhere_that_an_application_asked_for(service: Service) -> None:
    first = service.start()
    service.call("DELETE", "/sessions?sub=ada", bearer=service.operator())
    told = explained(service, first["sid"])
    assert told["sentence"].endswith(
        ": the application demo-backend asked for it (DELETE /sessions)."
    )
    assert told["timeline"][1]["text"] == (
        "signed out everywhere by an application (DELETE /sessions)"
    )
    assert "take the scope sessions:revoke from it" in told["advice"][0]["text"]


def test_a_backend_that_starts_a_session_is_named_and_not_shown_as_the_device(
    service: Service,
) -> None:
    first = service.start()
    assert (first.log["network"], first.log["started_by"]) == ("192.0.2.0/24", "demo-backend")
    entry = explained(service, first["sid"])["timeline"][0]
    assert entry["text"] == "the session was started by demo-backend (POST /sessions)"
    assert not {"network", "agent"} & entry.keys()
    # Whoever signs in is the device.
    own = service.login(source_ip="203.0.113.7")
    assert "started_by" not in own.log
    entry = explained(service, own["sid"])["timeline"][0]
    assert (entry["text"], entry["network"]) == ("the session was started", "203.0.113.0/24")


@pytest.mark.parametrize(
    ("reason", "by", "sentence"),
    [
        (Reason.USER_DISABLED, "ratchet users disable", "The user ada was disabled at"),
        (
            Reason.PASSWORD_CHANGED,
            "ratchet users set-password",
            "The password of ada was changed at",
        ),
    ],
)
def test_what_an_operator_does_to_a_user(
    service: Service, reason: Reason, by: str, sentence: str
) -> None:
    """The command writes no line to the functions' log, so the item says who it was."""
    first = service.start()
    parts = service.parts
    sign_out(
        "ada",
        reason=reason,
        by=by,
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=service.now,
    )
    told = explained(service, first["sid"])
    assert told["sentence"].startswith(sentence)
    assert (told["cause"], told["by"]) == (reason.value, by)
    assert kinds(told) == ["started", "ended"]


def test_a_disabled_application_has_ended_nothing(service: Service) -> None:
    first = service.start("demo-browser")
    service.change("demo-browser", disabled_at=service.now)
    told = explained(service, first["sid"])
    assert (told["cause"], told["ended_at"]) == ("application_disabled", None)
    assert told["sentence"].startswith("The session has not ended, but its application")
    assert commands(told) == ["ratchet apps update demo-browser --enable"]


def test_a_cut_off_can_be_taken_back_until_its_end_is_stored(service: Service) -> None:
    first = service.start("demo-browser")
    service.change("demo-browser", sessions_valid_after=service.now + 1)
    told = explained(service, first["sid"])
    assert (told["cause"], told["ended_at"]) == ("policy_cutoff", START + 1)
    assert told["sentence"].startswith("All sessions of demo-browser that started before")
    assert commands(told) == [f"ratchet apps update demo-browser --end-sessions-before {START}"]
    assert (
        "so would all others of the application that started since 2027-01-15 08:00:00 UTC"
        in told["advice"][0]["text"]
    )


def test_a_session_that_was_refreshed_after_its_cut_off(service: Service) -> None:
    """Set to a past instant, or not known yet to the function that answered."""
    first = service.start("demo-browser")
    refreshed(service, first)
    service.change("demo-browser", sessions_valid_after=START + 60)
    told = explained(service, first["sid"])
    assert told["sentence"].endswith(
        " It was still answered at 2027-01-15 09:00:00 UTC: a cut-off may be set to a past instant,"
        " and functions learn of it within 60 seconds."
    )
    assert kinds(told) == ["started", "ended", "refreshed"]
    assert told["timeline"][1]["text"] == (
        "the session ended: policy_cutoff; what follows was answered before the functions knew"
    )


def test_a_session_whose_application_was_deleted(service: Service) -> None:
    first = service.start("demo-browser")
    parts = service.parts
    by = "ratchet apps delete"
    live_sessions.end_all("demo-browser", by=by, store=parts.store, bus=parts.bus, now=service.now)
    told = explained(service, first["sid"])
    assert told["sentence"].startswith("The application demo-browser was deleted at")
    assert (told["cause"], told["by"]) == ("application_disabled", by)


def test_a_session_that_a_shorter_policy_ended_at_once(service: Service) -> None:
    first = service.start("demo-browser")
    service.now += DAY
    service.set_policy("demo-browser", idle_ttl_seconds=HOUR, idle_warning_seconds=0)
    parts = service.parts
    application = parts.applications.get("demo-browser", service.now)
    assert application is not None
    live_sessions.apply_now(application, store=parts.store, bus=parts.bus, now=service.now)
    told = explained(service, first["sid"])
    assert told["cause"] == "idle_expired"
    assert told["sentence"].startswith("A shorter policy, applied to the live sessions at once")
    assert told["deadline"] is None
    assert [piece["text"].partition(",")[0] for piece in told["advice"]] == ["Its end is stored"]
    assert commands(told) == []


def test_a_session_that_is_alive(service: Service) -> None:
    first = service.start("demo-browser")
    refreshed(service, first)
    told = explained(service, first["sid"])
    assert told["sentence"] == (
        "The session has not ended. It ends at 2027-01-29 09:00:00 UTC unless it is refreshed"
        " before, and at 2027-07-14 08:00:00 UTC in any case; the last refresh was"
        " 2027-01-15 09:00:00 UTC."
    )
    assert (told["cause"], told["ended_at"], told["advice"]) == (None, None, [])


def test_a_session_that_is_alive_and_of_no_use_to_its_client(service: Service) -> None:
    """A wrong scope, a wrong secret, a disabled application: nothing ends, and nothing works."""
    first = service.start("demo-browser")
    service.now += 60
    form = {"client_id": "demo-browser", "refresh_token": first["refresh_token"], "scope": "admin"}
    refused = service.call("POST", "/oauth/refresh", form=form)
    assert (refused["error"], refused.log["sid"]) == ("invalid_scope", first["sid"])
    told = explained(service, first["sid"])
    assert told["sentence"].startswith("The session has not ended. ")
    assert told["sentence"].endswith(
        " But its last request had no success, 2027-01-15 08:01:00 UTC: a refresh was refused:"
        " invalid_scope (not the session's)."
    )
    # refused before the session was looked at: the line is about it all the same
    unknown = service.refresh(first["refresh_token"], "nobody")
    assert (unknown["error"], unknown.log["sid"]) == ("invalid_client", first["sid"])
    told = explained(service, first["sid"])
    assert kinds(told) == ["started", "refused", "refused"]
    assert "a refresh was refused: invalid_client" in told["timeline"][-1]["text"]


def test_another_applications_request_is_no_fault_of_the_session(service: Service) -> None:
    first = service.start("demo-browser")
    for other in ("demo-native", "demo-sensitive"):
        answer = service.refresh(first["refresh_token"], other)
        assert (answer["error_reason"], answer.log["sid"]) == ("wrong_client", first["sid"])
    told = explained(service, first["sid"])
    assert kinds(told) == ["started", "refused", "refused"]
    assert "no success" not in told["sentence"]


@pytest.mark.parametrize(
    ("first_key", "wait", "second_key", "said", "advised"),
    [
        ("k" * 20, DAY + 1, "k" * 20, "with the same Idempotency-Key, too late", "but too late"),
        ("k" * 20, 60, "l" * 20, "with another Idempotency-Key", "with another Idempotency-Key"),
        ("k" * 20, 60, None, "without an Idempotency-Key", "without the Idempotency-Key of"),
        (
            *(None, 60, "k" * 20),
            "with an Idempotency-Key, where the request before had none that counts",
            "from the first try on",
        ),
        (None, 60, None, "without an Idempotency-Key", "from the first try on"),
    ],
)
def test_what_was_wrong_with_the_key_of_a_repeated_refresh(
    service: Service,
    first_key: str | None,
    wait: int,
    second_key: str | None,
    said: str,
    advised: str,
) -> None:
    first = service.start()
    service.refresh(first["refresh_token"], key=first_key)
    service.now += wait
    again = service.refresh(first["refresh_token"], key=second_key)
    assert again["error_reason"] == "reused"
    told = explained(service, first["sid"])
    assert evidence_text(told["evidence"]).endswith(f", {said}")
    assert advised in told["advice"][0]["text"]


def test_without_being_asked_for_there_is_no_time_line(service: Service) -> None:
    first = service.start()
    assert "timeline" not in explained(service, first["sid"], "")
    assert "timeline" not in explained(service, first["sid"], "?timeline=false")


def test_a_subject_gets_a_sentence_and_no_time_line(service: Service) -> None:
    first, second = service.start(), service.start()
    service.now += 1
    url = f"/sessions/{first['sid']}"
    service.call("DELETE", url, bearer=service.operator())
    answer = service.call("GET", url, bearer=second["access_token"])
    assert answer["explanation"] == {"sentence": "An operator ended the session."}
    refused = service.call("GET", f"{url}?timeline=true", bearer=second["access_token"])
    assert (refused.status, refused["error"]) == (403, "insufficient_scope")
    odd = service.call("GET", f"{url}?timeline=1", bearer=service.operator())
    assert (odd.status, odd["error"]) == (400, "invalid_request")


def test_a_log_that_cannot_be_read_refuses_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here: a log group that is not there."""
    first = service.start()
    refreshed(service, service.start("demo-browser"))
    log = InsightsLog(lambda: boto3.client("logs"), "LogGroup", 2)
    object.__setattr__(service.parts, "session_log", lambda: log)
    monkeypatch.setenv("RATCHET_LOG_GROUP", "LogGroup")
    told = explained(service, first["sid"])
    assert told["timeline_missing"] == "the log could not be read"
    assert kinds(told) == ["started"]
    line = next(line for line in service.lines() if line["message"] == "time-line incomplete")
    assert (line["sid"], line["fault"]) == (first["sid"], "logs: ResourceNotFoundException")


def test_cloudwatch_is_asked_for_the_lines_of_the_session(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the role of the function, on the emulator's Logs Insights."""
    first = service.start("demo-browser")
    refreshed(service, first, 2)
    service.start()
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="LogGroup")
    try:
        logs.create_log_stream(logGroupName="LogGroup", logStreamName="one")
        logs.put_log_events(
            logGroupName="LogGroup",
            logStreamName="one",
            logEvents=[
                {"timestamp": (START + 2 * HOUR) * 1000 + index, "message": line}
                for index, line in enumerate(["no JSON", *service.log.getvalue().splitlines()])
            ],
        )
        log = wiring.session_log(replace(wiring.settings(), log_group="LogGroup"))
        object.__setattr__(service.parts, "session_log", lambda: log)
        monkeypatch.setenv("RATCHET_LOG_GROUP", "LogGroup")
        told = explained(service, first["sid"])
    finally:
        logs.delete_log_group(logGroupName="LogGroup")
    assert kinds(told) == ["started", "refreshed", "refreshed"]
    assert told["timeline_missing"] is None


def test_an_ended_session_keeps_its_reason_for_the_retention_time(service: Service) -> None:
    """DynamoDB deletes the item, some time after `expires_at`: never before."""
    ends = {
        "revoked": service.start("demo-browser"),
        "idle": service.start("demo-browser"),
    }
    form = {"client_id": "demo-browser", "token": ends["revoked"]["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    assert service.session(ends["revoked"]["sid"]).expires_at == service.now + 30 * DAY
    idle = ends["idle"]["sid"]
    assert service.session(idle).expires_at == START + 14 * DAY + 30 * DAY
    service.now += 15 * DAY
    service.sweep()
    assert service.session(idle).expires_at == service.now + 30 * DAY
    service.now += 30 * DAY - 1
    assert explained(service, ends["revoked"]["sid"])["cause"] == "revoked_by_user"
    assert explained(service, idle)["cause"] == "idle_expired"


def test_of_a_session_that_is_no_longer_kept_the_log_is_left(service: Service) -> None:
    first = service.start("demo-browser")
    refreshed(service, first)
    service.delete_item(first["sid"])
    answer = service.call("GET", f"/sessions/{first['sid']}", bearer=service.operator())
    assert (answer.status, answer["error_reason"]) == (404, "session_unknown")
    log = service.parts.session_log()
    lines = log.lines(first["sid"], since=START, until=service.now)
    told = gone(first["sid"], lines).to_dict()
    assert "is no longer kept" in told["sentence"]
    assert kinds(told) == ["started", "refreshed"]
    nothing = gone("A" * 22, log.lines("A" * 22, since=START, until=service.now))
    assert "the log has no line of it" in nothing.sentence


def test_what_a_refresh_token_is_to_its_session(service: Service) -> None:
    first = service.start("demo-browser")
    second = refreshed(service, first)
    third = refreshed(service, second)

    def said(answer: Answer, now: int) -> tuple[str, str]:
        text = answer["refresh_token"]
        token = refresh_token.parse(text, peppers=service.parts.peppers, now=0)
        what, sentence = standing(token, service.parts.store.get(token.sid), now=now)
        return what.value, sentence

    now = service.now
    assert said(third, now)[0] == "current"
    assert "still inside the leeway" in said(second, now)[1]
    assert said(second, now + 31)[0] == "direct_parent"
    assert "it is a reuse" in said(second, now + 31)[1]
    # of a session that is over nothing can be reused
    assert said(second, now + 14 * DAY)[1].endswith("replaced at 2027-01-15 10:00:00 UTC.")
    assert said(first, now) == (
        "replaced",
        "The token is 2 generations behind: its successor was replaced too.",
    )
    assert said(first, now + 20 * DAY)[0] == "expired"
    service.delete_item(first["sid"])
    assert said(third, now)[0] == "without_session"


def test_a_file_that_is_not_there_is_a_fault(service: Service) -> None:
    with pytest.raises(Fault, match="No such file"):
        FileLog(Path("nowhere.log")).lines("A" * 22, since=0, until=1)
