"""What is said of a session, of its item and of its log lines alone."""

from collections.abc import Callable
from typing import Any

import pytest

from ratchet.application import Application
from ratchet.explain import evidence_text, explain, not_ours, plain
from ratchet.instants import duration, option, utc
from ratchet.policy import DAY, HOUR
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.timeline import MAX_ENTRIES, LogLine, timeline

NOW = 1_800_000_000
Make = Callable[..., Any]


def ended(make_session: Make, reason: Reason, **fields: Any) -> Session:
    session: Session = make_session(
        rotated_at=NOW + 10,
        generation=1,
        ended_at=NOW + 100,
        reason=reason,
        idle_deadline_at=NOW + 1000,
        **fields,
    )
    return session


def line(at: int, **fields: Any) -> LogLine:
    return LogLine(at=NOW + at, fields={"message": "refresh", **fields})


@pytest.mark.parametrize(
    ("cause", "said", "advised"),
    [
        ("lost_response", "the answer to the refresh before was lost", "from the first try on"),
        ("concurrent", "two processes or tabs", "under a lock"),
        ("stale_copy", "kept an old copy", "store the new refresh token before"),
        ("theft_like", "this may be theft", "Treat it as theft"),
        ("unknown", "does not say whether", "does not say which"),
    ],
)
def test_a_reuse_is_explained_with_its_cause_and_the_evidence_for_it(
    make_session: Make, make_application: Make, cause: str, said: str, advised: str
) -> None:
    evidence = {
        "reuse_cause": cause,
        "behind": 1,
        "since_rotation_seconds": 90,
        "same_network": False,
        "same_agent": True,
        "key_sent": False,
    }
    session = ended(make_session, Reason.REUSED, evidence=evidence)
    lines = [
        line(0, outcome="started"),
        line(10, outcome="rotated"),
        line(
            101,
            error="invalid_grant",
            error_reason="reused",
            detail="token of generation 0, session at 1",
            network="203.0.113.0/24",
            agent="curl",
        ),
    ]
    told = explain(session, make_application(), now=NOW + 200, lines=lines)
    assert "presented again from 203.0.113.0/24 (curl): " in told.sentence
    assert said in told.sentence
    assert evidence_text(told.evidence) == (
        "1 generation behind, 1 minute 30 seconds after the last rotation, another network, the"
        " same client program, without an Idempotency-Key"
    )
    assert told.to_dict()["evidence"] == evidence
    assert advised in told.advice[0].text


@pytest.mark.parametrize("reason", Reason)
def test_there_is_a_sentence_for_every_reason(
    make_session: Make, make_application: Make, reason: Reason
) -> None:
    session = ended(make_session, reason, ended_by="backend")
    told = explain(session, make_application(), now=NOW + 200, lines=())
    assert told.sentence.endswith(".")
    assert utc(NOW + 100) in told.sentence
    assert told.cause is reason
    assert plain(session, make_application(), NOW + 200)


def test_what_the_subject_is_told_names_nobody_and_no_instant(
    make_session: Make, make_application: Make
) -> None:
    """A thief with a stolen access token must not learn when the last refresh was."""
    session = make_session(network="203.0.113.0/24", agent="curl", rotated_at=NOW)
    assert plain(session, make_application(), NOW) == "You are signed in here."


def test_the_item_alone_has_to_do_where_the_log_cannot_be_read(
    make_session: Make, make_application: Make
) -> None:
    session = ended(make_session, Reason.REVOKED_BY_USER, ended_by="app", network="n", agent="a")
    told = explain(session, make_application(), now=NOW + 200, lines=(), missing="no log")
    assert told.timeline is not None
    assert told.timeline.missing == "no log"
    assert [(entry.at - NOW, entry.what.value) for entry in told.timeline.entries] == [
        (0, "started"),
        (10, "refreshed"),
        (100, "ended"),
    ]
    assert (told.timeline.entries[1].network, told.timeline.entries[1].agent) == ("n", "a")


def test_refreshes_that_the_log_no_longer_has_are_missed(
    make_session: Make, make_application: Make
) -> None:
    session = make_session(generation=5, rotated_at=NOW + 10)
    told = timeline(session, [line(10, outcome="rotated")])
    assert told.missing.startswith("the log has 1 of the 5 refreshes")


def test_in_the_second_of_the_end_its_cause_comes_before_it_and_refusals_after(
    make_session: Make,
) -> None:
    session = ended(make_session, Reason.REVOKED_BY_USER)
    lines = [
        line(100, error="invalid_grant", error_reason="revoked_by_user"),
        line(101, message="revoke", outcome="revoked"),
        line(10, outcome="rotated"),
    ]
    told = timeline(session, lines, ended_at=NOW + 100, reason=Reason.REVOKED_BY_USER)
    kinds = [entry.what.value for entry in told.entries]
    assert kinds == ["started", "refreshed", "signed_out", "ended", "refused"]
    assert told.entries[2].at == NOW + 100


@pytest.mark.parametrize(
    ("later", "failed"),
    [
        ((), True),
        (({"error": "invalid_grant", "error_reason": "wrong_client", "client_id": "other"},), True),
        (({"message": "sweep", "outcome": "warned", "deadline": "idle"},), True),
        (({"message": "sessions", "outcome": "touched", "client_id": "backend"},), False),
        (({"outcome": "rotated", "client_id": "app"},), False),
    ],
)
def test_of_a_session_that_is_alive_its_own_last_request_counts(
    make_session: Make, make_application: Make, later: tuple[dict[str, Any], ...], failed: bool
) -> None:
    own = {"error": "invalid_scope", "client_id": "app"}
    lines = [line(at, **fields) for at, fields in enumerate(({}, own, *later))]
    told = explain(make_session(), make_application(), now=NOW + 10, lines=lines)
    assert (": a refresh was refused: invalid_scope." in told.sentence) is failed


def test_a_run_of_refreshes_is_folded_and_says_from_how_many_networks(
    make_session: Make,
) -> None:
    lines = [line(0, outcome="started")]
    lines += [line(at, outcome="rotated", network=f"{at % 2}", agent="a") for at in range(1, 47)]
    told = timeline(make_session(generation=46, rotated_at=NOW + 46), lines)
    assert [entry.count for entry in told.entries] == [1, 41, 1, 1, 1, 1, 1]
    run = told.entries[1]
    assert (run.text, run.network, run.agent) == ("41 refreshes, from 2 networks", "", "a")
    assert (run.at, run.until_at) == (NOW + 1, NOW + 41)
    assert not told.missing


def test_a_run_counts_what_is_usual_by_its_kind(make_session: Make) -> None:
    kinds = ["rotated", "replayed_leeway", "touched", "touched"] * 10
    lines = [line(0, outcome="started")]
    lines += [line(at + 1, outcome=outcome) for at, outcome in enumerate(kinds)]
    told = timeline(make_session(generation=10, rotated_at=NOW + 37), lines)
    assert [entry.count for entry in told.entries] == [1, 35, 1, 1, 1, 1, 1]
    run = told.entries[1]
    assert run.text == "9 refreshes, 9 repeated and answered again, 17 uses at an API"
    assert run.what.value == "refreshed"


def test_an_endless_time_line_is_cut_and_says_so(make_session: Make) -> None:
    lines = [line(0, outcome="started")]
    lines += [line(at, error="x", detail=f"{at}") for at in range(1, 1000)]
    told = timeline(make_session(), lines)
    assert len(told.entries) == MAX_ENTRIES
    assert told.entries[0].what.value == "started"
    assert told.missing == "only the last 199 entries are shown"


def test_what_looked_at_the_session_is_no_part_of_its_life(make_session: Make) -> None:
    lines = [
        line(0, outcome="started"),
        line(1, message="introspect", outcome="active", status=200),
        line(2, message="sessions", route="GET /sessions/{sid}", status=200),
        line(3, message="sessions", route="DELETE /sessions/{sid}", status=204, ended=0),
        line(4, message="event left for the sweep", fault="events: x"),
        line(5, message="refresh", status=503, error="temporarily_unavailable", fault="dynamodb"),
    ]
    told = timeline(make_session(), lines)
    assert [entry.what.value for entry in told.entries] == ["started", "failed"]


def test_the_idle_time_that_would_have_been_enough_is_proposed(
    make_session: Make, make_application: Make
) -> None:
    application: Application = make_application()
    session = make_session(
        idle_deadline_at=NOW + 14 * DAY, absolute_deadline_at=NOW + 180 * DAY, rotated_at=None
    )
    refusal = LogLine(
        at=NOW + 20 * DAY + HOUR,
        fields={"message": "refresh", "error": "invalid_grant", "error_reason": "idle_expired"},
    )
    told = explain(session, application, now=NOW + 30 * DAY, lines=[refusal])
    assert "it was never refreshed after" in told.sentence
    assert told.advice[0].command == "ratchet apps update app --idle-ttl 21d --dry-run"
    assert "came back after 20 days 1 hour" in told.advice[0].text
    unseen = explain(session, application, now=NOW + 30 * DAY)
    assert unseen.advice[0].command == "ratchet apps update app --idle-ttl 28d --dry-run"


def test_no_command_of_the_advice_can_be_misread_by_a_shell(
    make_session: Make, make_application: Make
) -> None:
    session = ended(make_session, Reason.USER_DISABLED, sub="a; rm -rf ~")
    told = explain(session, make_application(), now=NOW + 200)
    assert told.advice[0].command == "ratchet users enable 'a; rm -rf ~'"


@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.UNKNOWN_PEPPER])
def test_a_text_that_is_no_token_of_ours_gets_an_answer_too(reason: Reason) -> None:
    told = not_ours(reason, "wrong MAC")
    assert told.sentence == f"{reason.description} (wrong MAC)"
    assert told.cause is reason
    assert len(told.advice) == 1


@pytest.mark.parametrize(
    ("seconds", "words", "typed"),
    [
        (0, "0 seconds", "0d"),
        (1, "1 second", "1s"),
        (90, "1 minute 30 seconds", "90s"),
        (5400, "1 hour 30 minutes", "90m"),
        (20 * DAY + 3 * HOUR + 5, "20 days 3 hours", "1738805s"),
        (28 * DAY, "28 days", "28d"),
    ],
)
def test_durations_are_written_for_people_and_for_the_command(
    seconds: int, words: str, typed: str
) -> None:
    assert (duration(seconds), option(seconds)) == (words, typed)


def test_a_session_that_was_used_is_measured_from_its_last_use(
    make_session: Make, make_application: Make
) -> None:
    session = make_session(
        rotated_at=NOW + HOUR,
        active_at=NOW + 20 * DAY,
        idle_deadline_at=NOW + 34 * DAY,
        absolute_deadline_at=NOW + 180 * DAY,
    )
    told = explain(session, make_application(), now=NOW + 30 * DAY)
    assert f"{utc(NOW + 34 * DAY)} unless it is refreshed or used before" in told.sentence
    told = explain(session, make_application(), now=NOW + 35 * DAY)
    assert told.sentence.endswith(
        "nobody had refreshed or used it for 14 days (an API last told of its use"
        f" {utc(NOW + 20 * DAY)})."
    )
