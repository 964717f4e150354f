"""The deployed sweep, on the deployed tables and bus. No clock can be passed here, so that of a
session is moved: its instants are set back.

All that there is to say of sweeping is in tests/functional/test_sweep.py.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from ratchet_cli import running
from ratchet_cli.main import cli
from tests import event_schemas
from tests.clients.conftest import Client
from tests.deployed.deployment import STACK, Deployed

MINUTE, DAY = 60, 86_400
Item = dict[str, Any]


@pytest.fixture
def table(here: running.Running) -> str:
    return here.environment["RATCHET_SESSIONS_TABLE"]


@pytest.fixture
def item(table: str) -> Callable[[str], Item]:
    dynamodb = boto3.client("dynamodb")

    def stored(sid: str) -> Item:
        return dict(dynamodb.get_item(TableName=table, Key={"sid": {"S": sid}})["Item"])

    return stored


@pytest.fixture
def past(client: Client, table: str, item: Callable[[str], Item]) -> Callable[[str], Item]:
    """The tokens of a session that began so long ago that this instant of it was a minute ago."""

    def start(instant: str) -> Item:
        tokens = client.start()
        stored = item(tokens["sid"])
        passed = int(stored[instant]["N"]) - int(time.time()) + MINUTE
        for name in stored.keys() & {"idle_deadline_at", "absolute_deadline_at", "attention_at"}:
            stored[name] = {"N": str(int(stored[name]["N"]) - passed)}
        boto3.client("dynamodb").put_item(TableName=table, Item=stored)
        return tokens

    return start


@pytest.fixture
def told(stack: Deployed) -> Iterator[Callable[[str], list[Item]]]:
    """The events of a session, as a rule on the bus hands them to a queue."""
    sqs, name = boto3.client("sqs"), f"told-{uuid.uuid4().hex[:8]}"
    bus: Any = boto3.client("events")
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    named = {"EventBusName": stack.physical["EventBus"]}
    bus.put_rule(Name=name, EventPattern='{"source": ["ratchet"]}', **named)
    bus.put_targets(Rule=name, Targets=[{"Id": name, "Arn": arn["QueueArn"]}], **named)
    seen: list[Item] = []

    def events(sid: str) -> list[Item]:
        while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                seen.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        # The schedule may have been at work at the same time: an event may come twice.
        return [*{one["detail"]["id"]: one for one in seen if one["detail"]["sid"] == sid}.values()]

    yield events
    bus.remove_targets(Rule=name, Ids=[name], **named)
    bus.delete_rule(Name=name, **named)
    sqs.delete_queue(QueueUrl=queue)


def sweep(stack: Deployed) -> dict[str, Any]:
    report: dict[str, Any] = stack.invoke("SweepFunction", {})
    assert report["complete"], report
    return report


def test_what_is_past_its_deadline_is_ended_with_its_reason_and_told_once(
    client: Client,
    stack: Deployed,
    item: Callable[[str], Item],
    past: Callable[[str], Item],
    told: Callable[[str], list[Item]],
) -> None:
    tokens = past("idle_deadline_at")
    sid = tokens["sid"]
    sweep(stack)
    sweep(stack)
    stored = item(sid)
    assert stored["reason"] == {"S": "idle_expired"}
    assert "attention_at" not in stored
    (event,) = [one for one in told(sid) if one["detail-type"] == "session.expired"]
    assert event_schemas.problems(event) == []
    refused = client.refresh(tokens["refresh_token"]).json()
    assert (refused["error"], refused["error_reason"]) == ("invalid_grant", "idle_expired")


def test_who_comes_near_a_deadline_is_warned_once_and_goes_on(
    client: Client,
    stack: Deployed,
    item: Callable[[str], Item],
    past: Callable[[str], Item],
    told: Callable[[str], list[Item]],
) -> None:
    tokens = past("attention_at")
    sid = tokens["sid"]
    sweep(stack)
    sweep(stack)
    (event,) = [one for one in told(sid) if one["detail-type"] == "session.expiring"]
    assert event_schemas.problems(event) == []
    assert event["detail"]["deadline"] == "idle"
    assert "ended_at" not in item(sid)
    assert client.refresh(tokens["refresh_token"]).status_code == 200


def test_a_session_that_was_refreshed_is_filed_under_its_next_instant(
    client: Client,
    stack: Deployed,
    item: Callable[[str], Item],
    past: Callable[[str], Item],
    told: Callable[[str], list[Item]],
) -> None:
    tokens = past("attention_at")
    sid = tokens["sid"]
    refreshed = client.refresh(tokens["refresh_token"]).json()
    due = int(item(sid)["attention_at"]["N"])
    sweep(stack)
    assert int(item(sid)["attention_at"]["N"]) > due + DAY
    assert {one["detail-type"] for one in told(sid)} <= {"session.started"}
    assert client.refresh(refreshed["refresh_token"]).status_code == 200


def test_a_dry_run_by_the_command_line_tells_and_does_nothing(
    item: Callable[[str], Item], past: Callable[[str], Item]
) -> None:
    for _ in range(3):
        sid = past("idle_deadline_at")["sid"]
        before = item(sid)
        done = CliRunner().invoke(cli, ["sweep", "--dry-run", "--stack", STACK])
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert report["dry_run"] is True
        # Unless the schedule has been faster.
        if "ended_at" not in (after := item(sid)):
            break
    assert report["ended"] >= 1
    assert after == before
