"""What an explanation looks like in a terminal."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ratchet.explain import explain
from ratchet.reasons import Reason
from ratchet.timeline import LogLine
from ratchet_cli import explain_text

NOW = 1_800_000_000
Make = Callable[..., Any]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def change(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "at", "shown"),
    [
        ("UTC", NOW, "2027-01-15 08:00:00 UTC"),
        ("Europe/Berlin", NOW, "2027-01-15 09:00:00 CET (08:00:00 UTC)"),
        ("Europe/Berlin", NOW + 55_800, "2027-01-16 00:30:00 CET (2027-01-15 23:30:00 UTC)"),
        ("Asia/Tokyo", NOW, "2027-01-15 17:00:00 JST (08:00:00 UTC)"),
    ],
)
def test_an_instant_is_told_in_the_zone_of_the_machine_and_in_utc(
    zone: Callable[[str], None], name: str, at: int, shown: str
) -> None:
    zone(name)
    assert explain_text.instant(at) == shown


def test_the_answer_comes_first_then_facts_time_line_and_what_to_change(
    zone: Callable[[str], None], make_session: Make, make_application: Make
) -> None:
    zone("Europe/Berlin")
    session = make_session(
        device="a phone",
        network="203.0.113.0/24",
        agent="Chrome on Windows",
        rotated_at=NOW + 60,
        generation=1,
        ended_at=NOW + 1060,
        reason=Reason.IDLE_EXPIRED,
        idle_deadline_at=NOW + 1060,
    )
    lines = [
        LogLine(at=NOW, fields={"outcome": "started", "network": "203.0.113.0/24"}),
        LogLine(at=NOW + 60, fields={"outcome": "rotated", "agent": "Chrome on Windows"}),
    ]
    told = explain(
        session, make_application(), now=NOW + 2000, lines=lines, write=explain_text.instant
    )
    shown = explain_text.one(session, told, stack="prod")
    assert shown.startswith(
        """\
The session ended at its idle deadline, 2027-01-15 09:17:40 CET (08:17:40 UTC): nobody had
refreshed it for 16 minutes 40 seconds (the last refresh was 2027-01-15 09:01:00 CET (08:01:00
UTC)).

  session          AAAAAAAAAAAAAAAAAAAAAA
  subject          ada
  application      app
  device           a phone
  last refresh by  Chrome on Windows from 203.0.113.0/24
  started          2027-01-15 09:00:00 CET (08:00:00 UTC)
  refreshed        once
  ended            2027-01-15 09:17:40 CET (08:17:40 UTC), idle_expired

Time-line (CET, UTC in brackets)
  2027-01-15 09:00:00 (08:00)  the session was started  [203.0.113.0/24]
  2027-01-15 09:01:00 (08:01)  refreshed  [Chrome on Windows]
  2027-01-15 09:17:40 (08:17)  the session ended: idle_expired

If this was not wanted
  - The session had 16 minutes 40 seconds without a refresh"""
    )
    assert " --stack prod\n" in shown
    assert all(len(line) <= explain_text.WIDTH for line in shown.splitlines())
