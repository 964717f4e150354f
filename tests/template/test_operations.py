"""Alarms, dashboard, saved queries and docs/operations.md speak of the same things."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ratchet.events import FIELDS
from ratchet_cli import template
from tests.dashboard import spelled_out
from tests.event_schemas import schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TEMPLATE = template.load(ROOT / "template.yaml")
# What CloudWatch and our logger put into a line besides our own fields.
GIVEN = {"@timestamp", "message", "level"}
# The language of Logs Insights, as far as the queries speak it.
COMMANDS = {"filter", "fields", "sort", "limit", "stats", "by", "as", "and", "asc", "desc"}
FUNCTIONS = {"ispresent", "count", "count_distinct", "latest", "coalesce", "min", "max"}
# What AWS itself counts, with the dimensions it counts it under.
AWS = {
    ("AWS/Lambda", "Errors"): {"FunctionName"},
    ("AWS/Lambda", "Invocations"): {"FunctionName"},
    ("AWS/Lambda", "Throttles"): {"FunctionName"},
    ("AWS/Lambda", "Duration"): {"FunctionName"},
    ("AWS/ApiGateway", "4xx"): {"ApiId"},
    ("AWS/ApiGateway", "5xx"): {"ApiId"},
    ("AWS/ApiGateway", "Count"): {"ApiId"},
    ("AWS/ApiGateway", "Latency"): {"ApiId"},
    ("AWS/DynamoDB", "ThrottledRequests"): {"TableName", "Operation"},
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {"QueueName"},
}


def of_type(name: str) -> dict[str, dict[str, Any]]:
    return {
        logical: resource["Properties"]
        for logical, resource in TEMPLATE["Resources"].items()
        if resource["Type"] == name
    }


ALARMS = of_type("AWS::CloudWatch::Alarm")
QUERIES = {
    properties["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}/"): properties["QueryString"]
    for properties in of_type("AWS::Logs::QueryDefinition").values()
}


def metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at."""
    asked = alarm.get("Metrics", [{"MetricStat": {"Metric": alarm}}])
    return [each["MetricStat"]["Metric"] for each in asked if "MetricStat" in each]


def slugs() -> set[str]:
    """The page's sections as a link names them."""
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_to_do_and_where_to_read_on(name: str) -> None:
    text = ALARMS[name]["AlarmDescription"]
    section = re.search(r" See docs/operations\.md#([\w-]+)\.$", text)
    assert section
    assert section[1] in slugs()
    assert re.search(r"\b(Run|Look|run|look|Put|set it back|enable it|restore|Raise)\b", text)
    assert len(text) <= 1024
    for query in re.findall(r'query "([^"]+)"', text):
        assert query in QUERIES


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_tells_the_topic_if_there_is_one(name: str) -> None:
    topic = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}
    assert ALARMS[name]["AlarmActions"] == topic
    assert ALARMS[name].get("OKActions", topic) == topic


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_metrics_and_dimensions_that_exist(name: str) -> None:
    """AWS's own; tests/functional/test_metrics.py has ours."""
    watched = metrics(ALARMS[name])
    assert 0 < len(watched) <= 10
    for metric in watched:
        if metric["Namespace"] != {"Fn::Sub": "Ratchet/${AWS::StackName}"}:
            dimensions = {each["Name"] for each in metric["Dimensions"]}
            assert dimensions == AWS[metric["Namespace"], metric["MetricName"]]
    sums = [
        each["Expression"]
        for each in ALARMS[name].get("Metrics", ())
        if str(each.get("Expression")).startswith("SUM(")
    ]
    for expression in sums:
        # Else a metric would be paid for and not looked at.
        ids = [each["Id"] for each in ALARMS[name]["Metrics"] if "MetricStat" in each]
        assert expression == f"SUM([{', '.join(ids)}])"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_rings_at_the_number_that_it_speaks_of(name: str) -> None:
    alarm = ALARMS[name]
    silence = {"SweepStoppedAlarm", "SigningKeyAgeAlarm", "PepperAgeAlarm"}
    assert alarm["TreatMissingData"] == ("breaching" if name in silence else "notBreaching")
    few = "LessThanThreshold" if name == "SweepStoppedAlarm" else "Greater"
    assert alarm["ComparisonOperator"].startswith(few)
    if alarm["AlarmDescription"].startswith("Five or more") and "Metrics" not in alarm:
        assert (alarm["Threshold"], alarm["Period"]) == (5, 900)
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_no_function_fails_unwatched(metric: str) -> None:
    watched = [
        each["Dimensions"][0]["Value"]["Ref"]
        for alarm in ALARMS.values()
        for each in metrics(alarm)
        if each["MetricName"] == metric
    ]
    functions = set(of_type("AWS::Serverless::Function"))
    # A sweep that is refused while another one runs is meant to be, and a rotation is repeated. An
    # authorizer has no other way to refuse a token than to fail.
    quiet = {
        "Throttles": {"SweepFunction", "RotateKeysFunction"},
        "Errors": {"AuthorizerFunction"},
    }[metric]
    assert sorted(watched) == sorted(functions - quiet)


def tables(resource: Any) -> set[str]:
    """The tables that a statement's Resource names, an index as its table."""
    return set(re.findall(r"\b(\w+Table)\b", json.dumps(resource)))


def test_no_table_that_a_client_waits_for_is_throttled_unwatched() -> None:
    functions = of_type("AWS::Serverless::Function")
    # The sweep tells of its faults itself; the other two work for an operator, who is told.
    for quiet in ("SweepFunction", "RotateKeysFunction", "ApplicationsFunction"):
        del functions[quiet]
    used: set[tuple[str, str]] = set()
    for function in functions.values():
        for statement in function["Policies"][0]["Statement"]:
            actions = statement.get("Action", ())
            for action in [actions] if isinstance(actions, str) else actions:
                service, _, operation = action.partition(":")
                if service == "dynamodb":
                    used |= {(table, operation) for table in tables(statement["Resource"])}
    watched = {
        (dimensions["TableName"]["Ref"], dimensions["Operation"])
        for alarm in ALARMS.values()
        for metric in metrics(alarm)
        if metric["Namespace"] == "AWS/DynamoDB"
        for dimensions in [{each["Name"]: each["Value"] for each in metric["Dimensions"]}]
    }
    assert watched == used
    assert {table for table, _ in watched} == {*of_type("AWS::DynamoDB::Table")} - {"SweepTable"}


def test_an_alarm_rings_before_api_gateway_refuses_requests_by_itself() -> None:
    """It knows each limit that the API has, at four fifths."""
    alarm, (api,) = ALARMS["ApiLimitAlarm"], of_type("AWS::Serverless::HttpApi").values()
    expressions = {
        each["Id"]: each["Expression"] for each in alarm["Metrics"] if "Expression" in each
    }
    limits = [api["DefaultRouteSettings"], *api["RouteSettings"].values()]
    parameters = {limit["ThrottlingRateLimit"]["Ref"] for limit in limits}
    parts = expressions.keys() - {"percent"}
    assert {
        name for part in parts for name in re.findall(r"\$\{(\w+)\}", expressions[part]["Fn::Sub"])
    } == parameters
    listed = ", ".join(part for part in expressions if part in parts)
    assert expressions["percent"] == f"100 * MAX([{listed}]) / 60"
    assert alarm["Threshold"] == 80
    assert {each["MetricStat"]["Period"] for each in alarm["Metrics"] if "MetricStat" in each} == {
        60
    }
    assert all(name in alarm["AlarmDescription"] for name in parameters)


def test_an_alarm_of_functions_has_room_for_one_more() -> None:
    """CloudWatch takes ten metrics and expressions an alarm."""
    for name in ALARMS:
        if "Function" in name:
            assert len(ALARMS[name]["Metrics"]) < 10


def test_only_what_happens_every_day_is_watched_by_a_band() -> None:
    """A metric that was never written has no band: the first mass of it would ring nothing."""
    bands = {name for name, alarm in ALARMS.items() if "ANOMALY_DETECTION_BAND" in str(alarm)}
    everyday = {"UnauthorizedAlarm", "MalformedAlarm", "IdleExpiredAlarm", "WrongCredentialsAlarm"}
    assert bands == everyday
    for name in set(ALARMS) - bands:
        assert ALARMS[name]["Threshold"] >= 0
    section = PAGE.partition("\n## Alarms with a band\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+Alarm)`", section)) == everyday


def test_the_page_says_how_many_metrics_the_alarms_are_charged_for() -> None:
    charged = sum(
        len(metrics(alarm)) * (3 if "ANOMALY_DETECTION_BAND" in str(alarm) else 1)
        for alarm in ALARMS.values()
    )
    assert f"those with a band for three: {charged} now" in " ".join(PAGE.split())
    deploying = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"{charged / 10:.2f} for the alarms" in deploying


def widgets() -> list[dict[str, Any]]:
    (dashboard,) = of_type("AWS::CloudWatch::Dashboard").values()
    text = re.sub(r"\$\{([\w:]+)(?:\.Arn)?\}", r"\1", dashboard["DashboardBody"]["Fn::Sub"])
    found: list[dict[str, Any]] = json.loads(text)["widgets"]
    return found


def test_the_dashboard_is_json_and_shows_metrics_that_exist() -> None:
    for widget in widgets():
        assert widget["properties"]["title"]
        for namespace, *rest in spelled_out(widget):
            if str(namespace).startswith("AWS/"):
                assert set(rest[1::2]) == AWS[namespace, rest[0]]


def test_the_dashboard_shows_all_alarms_in_their_order() -> None:
    assert widgets()[0]["properties"]["alarms"] == list(ALARMS)


@pytest.mark.parametrize("name", QUERIES)
def test_a_saved_query_asks_for_fields_that_log_lines_have(name: str) -> None:
    text = re.sub(r'"[^"]*"', "", QUERIES[name])
    words = re.findall(r"@?[a-z_]\w*", text)
    named = set(re.findall(r"\bas (\w+)", text))
    assert set(words) - COMMANDS - FUNCTIONS - named <= FIELDS | GIVEN


def test_the_query_of_reuses_shows_all_of_the_evidence() -> None:
    detail = schema("session.reuse_detected")["properties"]["detail"]
    evidence = detail["properties"].keys() - set(detail["required"])
    assert evidence <= set(re.findall(r"\w+", QUERIES["reuse"]))


def test_the_alarm_of_a_cut_off_promises_no_session_that_a_sweep_has_ended() -> None:
    assert "the sessions that no sweep has ended yet live again" in str(ALARMS["PolicyCutoffAlarm"])


@pytest.mark.parametrize("name", QUERIES)
def test_the_page_says_when_to_run_a_saved_query(name: str) -> None:
    assert f'"{name}"' in PAGE


def test_the_page_names_alarms_sections_and_queries_that_exist() -> None:
    assert set(re.findall(r"`(\w+Alarm)`", PAGE)) == set(ALARMS)
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= slugs()
    assert set(re.findall(r'query "([^"]+)"', PAGE)) <= set(QUERIES)


SYMPTOMS = re.findall(
    r"^## (.*?)\n(.*?)(?=^## )", PAGE.partition("\n## Metrics")[0] + "\n## ", re.M | re.S
)


@pytest.mark.parametrize(("symptom", "text"), SYMPTOMS, ids=[title for title, _ in SYMPTOMS])
def test_a_symptom_has_what_it_means_where_to_look_what_to_do_and_what_not(
    symptom: str, text: str
) -> None:
    assert not text.strip().startswith("-")  # what is seen comes first
    for part in (r"\*\*Means:\*\*", r"\*\*Look at:\*\*", r"\*\*Do[:,]\*\*", r"\*\*Do not\*\*"):
        assert len(re.findall(part, text)) == 1, part


def test_every_link_of_the_page_leads_somewhere() -> None:
    for link in re.findall(r"\]\((\w[\w./-]*)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
