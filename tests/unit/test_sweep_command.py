"""`ratchet sweep`: what it asks of a deployed function, and how it tells a person the answer."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from ratchet_cli import sweep, target
from ratchet_cli.main import cli
from ratchet_cli.target import Target


class Busy(ClientError):
    """What Lambda says when the one instance there may be is at work."""


class Aws:
    """CloudFormation and Lambda, as far as it gets."""

    class exceptions:  # noqa: N801 - boto3's name
        TooManyRequestsException = Busy

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.error: Exception | None = None
        self.asked: list[dict[str, Any]] = []

    def describe_stack_resource(self, **asked: Any) -> dict[str, Any]:
        assert asked == {"StackName": "prod", "LogicalResourceId": "SweepFunction"}
        return {"StackResourceDetail": {"PhysicalResourceId": "prod-SweepFunction-1"}}

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if self.error:
            raise self.error
        report = self.answer.pop("report")
        return {"Payload": io.BytesIO(json.dumps(report).encode()), **self.answer}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    aws = Aws()
    monkeypatch.setattr(boto3, "client", lambda *_, **__: aws)
    monkeypatch.setattr(target, "_deployed", lambda name: Target(name=name, environment={}))
    return aws


def ratchet_sweep(*options: str) -> Result:
    return CliRunner().invoke(cli, ["sweep", "--stack", "prod", *options])


def test_it_calls_the_function_of_the_stack_and_prints_its_report_as_one_line(aws: Aws) -> None:
    report = {"ended": 3, "warned": 1, "lag_seconds": 120, "complete": True}
    aws.answer = {"report": report}
    result = ratchet_sweep()
    assert result.exit_code == 0
    assert json.loads(result.stdout) == report
    assert result.stdout.count("\n") == 1
    assert result.stderr == "done: 3 ended, 1 warned; up to 120 s late\n"
    assert aws.asked == [{"FunctionName": "prod-SweepFunction-1", "Payload": "{}"}]


def test_a_dry_run_asks_for_one_and_says_so(aws: Aws) -> None:
    aws.answer = {"report": {"ended": 3, "lag_seconds": 0, "complete": False, "dry_run": True}}
    result = ratchet_sweep("--dry-run")
    assert aws.asked[0]["Payload"] == '{"dry_run": true}'
    assert result.stderr == (
        "would be done: 3 ended; up to 0 s late, and more is left: the log says why\n"
    )


def test_nothing_due_is_said_in_words(aws: Aws) -> None:
    aws.answer = {"report": {"lag_seconds": 0, "complete": True}}
    assert ratchet_sweep().stderr == "nothing is due\n"


def test_a_sweep_that_is_at_work_is_named(aws: Aws) -> None:
    aws.error = Busy({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")
    result = ratchet_sweep()
    assert result.exit_code == 1
    assert result.stderr == "Error: a sweep is at work already; try again in a minute\n"


def test_a_function_that_failed_is_no_success(aws: Aws) -> None:
    report = {"errorMessage": "RATCHET_SWEEP_TABLE is missing", "errorType": "InvalidSettings"}
    aws.answer = {"report": report, "FunctionError": "Unhandled"}
    result = ratchet_sweep()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "the sweep failed: RATCHET_SWEEP_TABLE is missing. Its log says more" in result.stderr


def test_it_waits_longer_than_the_function_may_take_and_asks_once() -> None:
    patience: Any = sweep._PATIENT
    assert patience.read_timeout > 240
    assert patience.retries["total_max_attempts"] == 1
