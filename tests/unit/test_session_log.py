"""Where the time-line's lines come from: CloudWatch Logs Insights, or the local file."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ratchet import session_log
from ratchet.errors import Fault
from ratchet.session_log import FileLog, InsightsLog

SID = "A" * 22
QUERY = (
    f'fields @timestamp, @message | filter sid = "{SID}" and message != "authorizer"'
    " | sort @timestamp desc | limit 10000"
)


def line(outcome: str, sid: str = SID, **fields: Any) -> str:
    return json.dumps({"sid": sid, "outcome": outcome, **fields})


def row(at: str, message: str) -> list[dict[str, str]]:
    return [
        {"field": "@timestamp", "value": at},
        {"field": "@message", "value": message},
        {"field": "@ptr", "value": "x"},
    ]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(session_log, "_POLL_SECONDS", 0.001)
    client = boto3.client(
        "logs",
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    with Stubber(client) as stubber:
        stubber.add_response(
            "start_query",
            {"queryId": "q"},
            {"logGroupName": "group", "startTime": 5, "endTime": 9, "queryString": QUERY},
        )
        yield stubber


def read(stub: Any, limit_seconds: float = 5) -> list[tuple[int, str]]:
    log = InsightsLog(lambda: stub.client, "group", limit_seconds)
    return [(found.at, found.text("outcome")) for found in log.lines(SID, since=5, until=9)]


def test_the_query_is_asked_for_until_it_is_complete_and_the_oldest_line_comes_first(
    stub: Any,
) -> None:
    pages: list[dict[str, Any]] = [
        {"status": "Scheduled", "results": []},
        {"status": "Running", "results": [row("2027-01-15 08:00:01.500", line("rotated"))]},
        {
            "status": "Complete",
            "results": [
                row("2027-01-15 08:00:02.000", line("kept")),
                row("2027-01-15 08:00:01.500", line("rotated")),
            ],
            "nextToken": "more",
        },
    ]
    for page in pages:
        stub.add_response("get_query_results", page, {"queryId": "q"})
    last = {
        "status": "Complete",
        "results": [
            row("2027-01-15 08:00:00.000", line("started")),
            row("2027-01-15 08:00:00.000", line("started", "B" * 22)),
            row("2027-01-15 08:00:00.000", "START RequestId: 1"),
        ],
    }
    stub.add_response("get_query_results", last, {"queryId": "q", "nextToken": "more"})
    assert read(stub) == [
        (1_800_000_000, "started"),
        (1_800_000_001, "rotated"),
        (1_800_000_002, "kept"),
    ]


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Timeout"])
def test_a_query_that_fails_is_a_fault(stub: Any, status: str) -> None:
    stub.add_response("get_query_results", {"status": status, "results": []}, {"queryId": "q"})
    with pytest.raises(Fault, match=f"logs: the query is {status}"):
        read(stub)


@pytest.mark.parametrize("refused", [False, True])
def test_a_query_that_takes_too_long_is_stopped_and_a_fault(stub: Any, refused: bool) -> None:
    stub.add_response("get_query_results", {"status": "Running", "results": []}, {"queryId": "q"})
    if refused:
        stub.add_client_error(
            "stop_query", "AccessDeniedException", expected_params={"queryId": "q"}
        )
    else:
        stub.add_response("stop_query", {"success": True}, {"queryId": "q"})
    with pytest.raises(Fault, match="no answer within 0 seconds"):
        read(stub, limit_seconds=0)
    stub.assert_no_pending_responses()


def test_what_aws_refuses_is_a_fault_with_its_code(stub: Any) -> None:
    stub.add_client_error("get_query_results", "ThrottlingException")
    with pytest.raises(Fault, match="logs: ThrottlingException"):
        read(stub)


@pytest.mark.parametrize("sid", ["", "A" * 23, 'x" or sid like /./ #'.ljust(22), "A" * 21 + "\n"])
def test_what_is_no_sid_gets_into_no_query(sid: str) -> None:
    def client() -> Any:
        raise AssertionError("asked")

    assert InsightsLog(client, "group", 5).lines(sid, since=5, until=9) == []


def test_of_the_local_file_only_the_lines_of_the_session_and_the_time_are_read(
    tmp_path: Path,
) -> None:
    written = "2027-01-15 08:00:0{},123+0000"
    texts = [
        *(line("rotated", timestamp=written.format(second)) for second in range(9)),
        line("rotated", "B" * 22, timestamp=written.format(3)),
        f"Traceback of {SID}",
        json.dumps([SID]),
        line("rotated"),
        line("passed", timestamp=written.format(3), message="authorizer"),
        "[" * 100_000 + SID,
    ]
    path = tmp_path / "functions.log"
    path.write_text("\n".join(texts), encoding="utf-8")
    found = FileLog(path).lines(SID, since=1_800_000_002, until=1_800_000_004)
    assert [line.at - 1_800_000_000 for line in found] == [2, 3, 4]


def test_a_setting_that_names_a_file_is_told_from_a_log_group() -> None:
    assert session_log.session_log("file:/x/y.log", lambda: None, limit_seconds=1) == FileLog(
        Path("/x/y.log")
    )
    assert isinstance(session_log.session_log("/aws/x", lambda: None, limit_seconds=1), InsightsLog)
