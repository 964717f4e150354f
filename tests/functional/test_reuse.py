"""Why a replaced token came back, each cause as it happens, and who is told what of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.reuse import ReuseCause
from tests.functional.conftest import ROOT, Answer, Service

KEY = "a-random-idempotency-key"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"


@dataclass
class Device:
    """A program that holds a token, at an address."""

    service: Service
    user_agent: str = "okhttp/4.12.0"
    source_ip: str = "203.0.113.7"
    client_id: str = "demo-native"

    def refresh(self, token: str, *, key: str | None = None) -> Answer:
        return self._post("/oauth/refresh", refresh_token=token, key=key)

    def sign_out(self, token: str) -> Answer:
        return self._post("/oauth/revoke", token=token)

    def _post(self, path: str, *, key: str | None = None, **form: str) -> Answer:
        headers = {"User-Agent": self.user_agent}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.service.call(
            "POST",
            path,
            form={"client_id": self.client_id, **form},
            headers=headers,
            source_ip=self.source_ip,
        )


@dataclass
class Played:
    """sid: of the session. last: what the presented token was answered with."""

    sid: str
    last: Answer


def lost_response(service: Service) -> Played:
    """A phone loses the answer in a tunnel, and comes back in another network, after the leeway."""
    phone = Device(service)
    first = service.start()
    phone.refresh(first["refresh_token"], key=KEY)
    service.now += 47
    phone.source_ip = "198.51.100.9"
    return Played(first["sid"], phone.refresh(first["refresh_token"]))


def concurrent(service: Service) -> Played:
    """Two tabs of a browser at the same time, without any leeway."""
    browser = Device(service, CHROME, client_id="demo-sensitive")
    first = service.start("demo-sensitive")
    browser.refresh(first["refresh_token"], key=KEY)
    other_tabs_key = KEY[::-1]
    return Played(first["sid"], browser.refresh(first["refresh_token"], key=other_tabs_key))


def stale_copy(service: Service) -> Played:
    """A backup of last week is restored."""
    server = Device(service, "python-httpx/0.27.0")
    first = service.start()
    token = first["refresh_token"]
    for _ in range(3):
        token = server.refresh(token)["refresh_token"]
    service.now += 7 * 86400
    server.user_agent = "python-httpx/0.28.1"
    return Played(first["sid"], server.refresh(first["refresh_token"]))


def theft_like(service: Service) -> Played:
    """Somebody else, somewhere else, has an old copy."""
    owner = Device(service)
    first = service.start()
    owner.refresh(owner.refresh(first["refresh_token"])["refresh_token"])
    service.now += 600
    thief = Device(service, CHROME, "2001:db8:bad::1")
    return Played(first["sid"], thief.refresh(first["refresh_token"]))


def unknown(service: Service) -> Played:
    """The last rotation was by a version that did not note from where."""
    phone = Device(service)
    first = service.start()
    phone.refresh(first["refresh_token"])
    item = service.item(first["sid"])
    del item["network"], item["agent"]
    service.put_item(item)
    service.now += 47
    return Played(first["sid"], phone.refresh(first["refresh_token"]))


CAUSES: list[tuple[Callable[[Service], Played], dict[str, Any]]] = [
    (
        lost_response,
        {
            "behind": 1,
            "since_rotation_seconds": 47,
            "same_network": False,
            "same_agent": True,
            "key_sent": False,
            "key_before": "other",
        },
    ),
    (
        concurrent,
        {
            "behind": 1,
            "since_rotation_seconds": 0,
            "same_network": True,
            "same_agent": True,
            "key_sent": True,
            "key_before": "other",
        },
    ),
    (
        stale_copy,
        {
            "behind": 3,
            "since_rotation_seconds": 7 * 86400,
            "same_network": True,
            "same_agent": True,
            "key_sent": False,
        },
    ),
    (
        theft_like,
        # an IPv4 and an IPv6 network say nothing about each other
        {"behind": 2, "since_rotation_seconds": 600, "same_agent": False, "key_sent": False},
    ),
    (
        unknown,
        {"behind": 1, "since_rotation_seconds": 47, "key_sent": False, "key_before": "none"},
    ),
]
EVIDENCE = {"reuse_cause", *CAUSES[0][1]}


def metrics(text: str, name: str) -> list[dict[str, Any]]:
    """The embedded metrics of this name among the lines, each with its dimensions."""
    lines = [json.loads(line) for line in text.splitlines() if '"_aws"' in line]
    return [line for line in lines if name in line]


def test_each_cause_has_a_test() -> None:
    assert [play.__name__ for play, _ in CAUSES] == [cause.value for cause in ReuseCause]


@pytest.mark.parametrize(("play", "evidence"), CAUSES, ids=[play.__name__ for play, _ in CAUSES])
def test_a_reuse_tells_operators_its_cause_and_the_client_nothing(
    service: Service,
    capsys: pytest.CaptureFixture[str],
    play: Callable[[Service], Played],
    evidence: dict[str, Any],
) -> None:
    cause = {"reuse_cause": play.__name__, **evidence}
    played = play(service)
    told = capsys.readouterr().out

    assert played.last.status == 400
    assert played.last.body == {
        "error": "invalid_grant",
        "error_description": Reason.REUSED.description,
        "error_reason": "reused",
        "retry": "never",
    }
    log = played.last.log
    assert {name: log[name] for name in EVIDENCE & log.keys()} == cause
    assert (log["error_reason"], log["sid"]) == ("reused", played.sid)

    session = service.session(played.sid)
    assert (session.reason, session.evidence) == (Reason.REUSED, cause)
    url = f"/sessions/{played.sid}"
    assert service.call("GET", url, bearer=service.operator())["evidence"] == cause
    own = service.start()["access_token"]
    assert "evidence" not in service.call("GET", url, bearer=own).body

    event = next(e for e in service.published if e["type"] == "session.reuse_detected")
    assert {name: event[name] for name in cause} == cause

    ended = metrics(told, "SessionsEnded")
    assert [(line["reason"], line.get("reuse_cause")) for line in ended] == [
        ("reused", None),
        ("reused", play.__name__),
    ]
    dimensions = [line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for line in ended]
    assert dimensions == [[["reason", "service"]], [["reason", "reuse_cause", "service"]]]


def test_signing_out_with_an_old_copy_has_its_cause_too(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, thief = Device(service), Device(service, CHROME)
    first = service.start()
    owner.refresh(owner.refresh(first["refresh_token"])["refresh_token"])
    answer = thief.sign_out(first["refresh_token"])
    assert (answer.status, answer.body, answer.log["outcome"]) == (200, None, "revoked")
    assert answer.log["reuse_cause"] == "theft_like"
    assert service.session(first["sid"]).evidence["reuse_cause"] == "theft_like"
    assert metrics(capsys.readouterr().out, "SessionsEnded")[1]["reuse_cause"] == "theft_like"
    again = thief.sign_out(first["refresh_token"])
    assert again.log["outcome"] == "ignored"
    assert "reuse_cause" not in again.log


def test_any_other_end_has_no_evidence(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    first = service.start()
    assert Device(service).sign_out(first["refresh_token"]).log["outcome"] == "revoked"
    assert "evidence" not in service.item(first["sid"])
    (ended,) = metrics(capsys.readouterr().out, "SessionsEnded")
    assert (ended["reason"], ended.get("reuse_cause")) == ("revoked_by_user", None)


def test_what_eventbridge_missed_is_counted_at_once_and_told_by_the_sweep_with_its_cause(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = service.parts.bus.publish

    def away(_: object) -> None:
        raise Fault("events: ServiceUnavailable")

    object.__setattr__(service.parts.bus, "publish", away)
    theft_like(service)
    ended = metrics(capsys.readouterr().out, "SessionsEnded")
    assert [line.get("reuse_cause") for line in ended] == [None, "theft_like"]
    object.__setattr__(service.parts.bus, "publish", publish)
    assert service.sweep()["published"] == 1
    event = next(e for e in service.published if e["type"] == "session.reuse_detected")
    assert event["reuse_cause"] == "theft_like"
    assert not metrics(capsys.readouterr().out, "SessionsEnded")


PAGE = " ".join((ROOT / "docs" / "reasons.md").read_text(encoding="utf-8").split())


def test_the_desktop_site_of_a_phone_is_another_agent_and_the_page_says_so(
    service: Service,
) -> None:
    phone = Device(service, CHROME.replace("X11; Linux x86_64", "Linux; Android 14"))
    first = service.start()
    before = phone.refresh(first["refresh_token"])
    phone.user_agent = CHROME
    service.now += 47
    again = phone.refresh(first["refresh_token"])
    assert again.log["reuse_cause"] == "theft_like"
    assert again.log["same_network"] is True
    assert f"`{again.log['agent']}` after `{before.log['agent']}`" in PAGE


def test_behind_cloudfront_the_evidence_is_of_the_edge_and_the_page_says_so(
    service: Service,
) -> None:
    """What API Gateway sees then: the edge's address, and CloudFront's own User-Agent."""
    edges = "130.176.1.1", "130.176.2.1"
    server = Device(service, "Amazon CloudFront", edges[0])
    first = service.start()
    server.refresh(server.refresh(first["refresh_token"])["refresh_token"])
    server.source_ip = edges[1]
    restored = server.refresh(first["refresh_token"])

    owner, thief = (Device(service, "Amazon CloudFront", edges[0]) for _ in range(2))
    other = service.start()
    owner.refresh(other["refresh_token"])
    service.now += 47
    stolen = thief.refresh(other["refresh_token"])

    section = PAGE.partition("Behind CloudFront or another proxy")[2].partition(" ### ")[0]
    assert restored.log["reuse_cause"] == "theft_like"
    assert "a restored backup (`stale_copy`) may be called `theft_like`" in section
    assert (stolen.log["reuse_cause"], stolen.log["same_agent"]) == ("lost_response", True)
    assert "a thief with the direct parent looks like `lost_response`" in section
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    # where it tells people to put something in front, and where it tells them to believe a cause
    assert operations.count("reasons.md#behind-cloudfront-or-another-proxy") == 2


def test_a_session_knows_where_it_was_last_refreshed_from(service: Service) -> None:
    first = service.start()
    url = f"/sessions/{first['sid']}"

    def shown() -> tuple[str, str]:
        body = service.call("GET", url, bearer=first["access_token"]).body
        return body["network"], body["agent"]

    # a backend has started it, which is not the device
    assert shown() == ("", "")
    assert first.log["network"] == "192.0.2.0/24"
    phone = Device(service, CHROME.replace("X11; Linux", "Linux; Android 14"))
    second = phone.refresh(first["refresh_token"])
    assert (second.log["network"], second.log["agent"]) == ("203.0.113.0/24", "Chrome on Android")
    assert shown() == ("203.0.113.0/24", "Chrome on Android")
    phone.source_ip = "2001:db8:1:2::3"
    replayed = phone.refresh(first["refresh_token"])
    assert (replayed.log["outcome"], replayed.log["network"]) == (
        "replayed_leeway",
        "2001:db8:1::/48",
    )
    # an answer that is repeated writes nothing
    assert shown() == ("203.0.113.0/24", "Chrome on Android")
    phone.refresh(second["refresh_token"])
    assert shown() == ("2001:db8:1::/48", "Chrome on Android")


def test_a_sign_in_of_the_device_itself_is_known_from_the_start(service: Service) -> None:
    first = service.login(source_ip="203.0.113.7")
    session = service.session(first["sid"])
    assert (session.network, session.agent) == ("203.0.113.0/24", "")


def test_with_rotation_off_the_sender_is_noted_too(service: Service) -> None:
    service.set_policy("demo-native", rotation=False, rotation_off_reason="a test")
    first = service.start()
    answer = Device(service).refresh(first["refresh_token"])
    assert answer.log["outcome"] == "kept"
    assert service.session(first["sid"]).agent == "okhttp"


def test_every_line_has_its_sender_and_nothing_of_what_a_client_wrote(service: Service) -> None:
    secret = service.start()["refresh_token"]
    device = Device(service, user_agent=secret)
    for answer in (device.refresh("garbage"), device.refresh(secret), device.sign_out("x")):
        assert (answer.log["network"], answer.log["agent"]) == ("203.0.113.0/24", "other")
    # too large to be read at all
    answer = device.refresh("x" * 40_000)
    assert (answer.status, answer.log["network"]) == (413, "203.0.113.0/24")
