"""What template.yaml watches is what the functions write: names, dimensions and their values."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ratchet import events
from ratchet.errors import Fault, OAuthError
from ratchet.reasons import Reason
from ratchet_cli import template
from tests.dashboard import spelled_out
from tests.embedded_metrics import Series, series
from tests.functional.conftest import ROOT, START, Service
from tests.functional.test_reuse import Device

DAY = 86400
TEMPLATE = template.load(Path(ROOT) / "template.yaml")
OURS = {"Fn::Sub": "Ratchet/${AWS::StackName}"}
REASONS = {reason.value for reason in Reason}


def watched_by(alarm: Mapping[str, Any]) -> Iterator[Series]:
    """The metrics of ours that an alarm looks at."""
    for metric in alarm.get("Metrics", [{"MetricStat": {"Metric": alarm}}]):
        asked = metric.get("MetricStat", {}).get("Metric", {})
        if asked.get("Namespace") == OURS:
            dimensions = asked["Dimensions"]
            yield (
                asked["MetricName"],
                frozenset((each["Name"], each["Value"]) for each in dimensions),
            )


ALARMS = {
    name: list(watched_by(resource["Properties"]))
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
DASHBOARD = TEMPLATE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
WIDGETS = json.loads(re.sub(r"\$\{[\w:]+\}", "x", DASHBOARD))["widgets"]
SEARCH = re.compile(
    r"""SEARCH\('\{"Ratchet/x",([\w,]+)\} (?:MetricName="(\w+)"|(\w+))', 'Sum', 300\)"""
)


def refusals(error: type[OAuthError]) -> set[type[OAuthError]]:
    """An error and all that are made of it."""
    return {error}.union(*(refusals(one) for one in error.__subclasses__()))


def play(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day on which everything happens that is watched."""

    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue")

    client = service.parts.signer._secret._client  # type: ignore[attr-defined] # it has one
    with monkeypatch.context() as patch:
        patch.setattr(client, "get_secret_value", refused)
        form = {"client_id": "demo-native", "sub": "ada"}
        service.call("POST", "/sessions", form=form, auth=("demo-backend", "wrong"))
        service.call("GET", "/.well-known/jwks.json")
    first = service.start()
    owner, thief = Device(service), Device(service, "curl/8.5.0", "198.51.100.9")
    second = owner.refresh(first["refresh_token"])
    owner.refresh(second["refresh_token"])
    service.refresh("rt1_x")
    idle = service.start("demo-sensitive")

    def away(_: object) -> None:
        raise Fault("events: ServiceUnavailable")

    publish = service.parts.bus.publish
    object.__setattr__(service.parts.bus, "publish", away)
    stolen = service.start(sub="eve")
    form = {"client_id": "demo-native", "token": stolen["refresh_token"]}
    service.call("POST", "/oauth/revoke", form=form)
    service.sweep()
    object.__setattr__(service.parts.bus, "publish", publish)
    service.now += DAY
    assert thief.refresh(first["refresh_token"])["error_reason"] == "reused"
    assert service.sweep()["ended"] == 1
    assert service.session(idle["sid"]).reason is Reason.IDLE_EXPIRED


@pytest.fixture
def written(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[Series, float]:
    play(service, monkeypatch)
    return series(capsys.readouterr().out)


def alike(one: Series) -> Series:
    """A reason stands for all of them: `result` is whichever the request was refused for."""
    name, dimensions = one
    return name, frozenset(
        (key, "a reason" if key == "result" and value in REASONS else value)
        for key, value in dimensions
    )


def test_the_functions_write_every_metric_that_an_alarm_watches(
    written: dict[Series, float],
) -> None:
    known = {alike(one) for one in written}
    missing = {
        name: [one for one in watched if alike(one) not in known]
        for name, watched in ALARMS.items()
    }
    assert {name: found for name, found in missing.items() if found} == {}
    assert sum(map(len, ALARMS.values())) > 10


def test_the_functions_write_every_metric_that_the_dashboard_shows(
    written: dict[Series, float],
) -> None:
    known = {(name, frozenset(dict(dimensions))) for name, dimensions in written}
    shown = [metric for widget in WIDGETS for metric in spelled_out(widget)]
    searches = [metric[0]["expression"] for metric in shown if isinstance(metric[0], dict)]
    for search in searches:
        found = SEARCH.fullmatch(search)
        assert found, search
        assert (found[2], frozenset(found[1].split(","))) in known, search
    single = [metric for metric in shown if metric[0] == "Ratchet/x"]
    for _, name, *pairs in single:
        assert (name, frozenset(zip(pairs[::2], pairs[1::2], strict=True))) in written, name
    assert searches
    assert single


def test_every_metric_has_its_row_on_the_page(written: dict[Series, float]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| \w+ \| (`.*?`) \|", page, re.MULTILINE)
    known = {
        (name, frozenset(re.findall(r"`(\w+)`", dimensions)))
        for names, dimensions in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert {(name, frozenset(dict(dimensions))) for name, dimensions in written} <= known


def test_a_metric_is_one_line_whoever_else_writes_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """the shards of a sweep, and the log: each write is whole"""
    written: list[str] = []
    monkeypatch.setattr(events, "_namespace", "Ratchet/ratchet")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(write=written.append))
    events.count({"function": "sweep"}, {"SweepLagSeconds": ("Seconds", 7)})
    (line,) = written
    assert line.endswith("}\n")
    assert series(line) == {
        ("SweepLagSeconds", frozenset({("function", "sweep"), ("service", "ratchet")})): 7
    }


def test_a_result_is_one_of_a_fixed_list_so_that_nobody_can_make_series(
    written: dict[Series, float],
) -> None:
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    _, _, outcomes = page.partition("| `outcome` | Written by |")
    fixed = {"ok"} | REASONS | {error.code for error in refusals(OAuthError)}
    fixed |= {name for row in outcomes.splitlines() for name in re.findall(r"^\| `(\w+)`", row)}
    results = {
        dict(dimensions)["result"]
        for name, dimensions in written
        if name == "Requests" and "result" in dict(dimensions)
    }
    assert {"rotated", "malformed", "invalid_client", "unavailable"} <= results <= fixed


def found_by(query: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines that pass the filter of a saved query, the first thing that it does."""
    first, _, _ = query.partition("\n|")
    terms = first.removeprefix("filter ").split(" and ")

    def passes(line: dict[str, Any], term: str) -> bool:
        if asked := re.fullmatch(r"ispresent\((\w+)\)", term):
            return asked[1] in line
        compared = re.fullmatch(r'(\w+) (=|>=|<) "?([^"]*)"?', term)
        assert compared, term
        name, sign, value = compared.groups()
        if name not in line:
            return False
        # Logs Insights compares a text that is a number as a number.
        if sign == "=":
            return str(line[name]) == value
        return (float(line[name]) >= float(value)) is (sign == ">=")

    return [line for line in lines if all(passes(line, term) for term in terms)]


@pytest.mark.parametrize(
    "name",
    [name for name, of in TEMPLATE["Resources"].items() if of["Type"].endswith("QueryDefinition")],
)
def test_a_saved_query_finds_lines_and_takes_no_metric_for_one(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The metrics stand in the same log group, with their dimensions as fields."""
    play(service, monkeypatch)
    service.login(password="wrong")
    written = service.log.getvalue() + capsys.readouterr().out
    lines = [json.loads(text) for text in written.splitlines() if text.startswith("{")]
    sid = next(line["sid"] for line in lines if line.get("reuse_cause") and "sid" in line)
    query = TEMPLATE["Resources"][name]["Properties"]["QueryString"]
    found = found_by(query.replace("SID", sid).replace("SUB", "ada"), lines)
    assert [line for line in found if "_aws" in line] == []
    said = {"duration_ms", "status", "message"}
    requests = [line for line in lines if said <= line.keys()]
    expected = {
        "RefusalsQuery": [line for line in requests if 400 <= line["status"] < 500],
        "ReuseQuery": [line for line in requests if line.get("error_reason") == "reused"],
        "SlowQuery": requests,
    }
    assert found
    assert found == expected.get(name, found)


def test_a_request_is_counted_by_function_by_result_and_by_status(
    written: dict[Series, float],
) -> None:
    for dimensions in (
        {"function": "refresh", "result": "malformed", "service": "ratchet"},
        {"result": "malformed"},
        {"status": "400"},
    ):
        assert written["Requests", frozenset(dimensions.items())] == 1


def test_the_sweep_tells_how_old_the_keys_are_and_cannot_read_them(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.sweep()
    before = series(capsys.readouterr().out)
    service.now += DAY
    service.sweep()
    after = series(capsys.readouterr().out)
    for name in ("SigningKeyAgeSeconds", "PepperAgeSeconds"):
        one = (name, frozenset({("function", "sweep"), ("service", "ratchet")}))
        # The keys of the tests are made now, and the clock of the tests stands still elsewhere.
        assert after[one] - before[one] == DAY
    policies = TEMPLATE["Resources"]["SweepFunction"]["Properties"]["Policies"]
    assert "GetSecretValue" not in json.dumps(policies)
    assert service.now == START + DAY


def test_the_sweep_goes_on_without_the_age_of_the_keys(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(self: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "DescribeSecret")

    service.start("demo-sensitive")
    service.now += DAY
    monkeypatch.setattr("ratchet.secret_versions.SecretVersions.describe", refused)
    assert service.sweep()["ended"] == 1
    assert not [name for name, _ in series(capsys.readouterr().out) if name.endswith("AgeSeconds")]
    lines = [line for line in service.lines() if line["message"] == "the age of a key is not known"]
    assert [line["fault"] for line in lines] == [
        "SigningKey: ThrottlingException",
        "Pepper: ThrottlingException",
    ]
