"""`ratchet local` from a person's view: a process in a tree of small functions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ratchet_cli import running

TEMPLATE = """
Parameters: {Issuer: {Type: String}}
Globals:
  Function:
    Handler: app.handler
    Environment: {Variables: {ISSUER: !Ref Issuer, TABLE: !Ref Table}}
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
  Put:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/put
      Events: {Put: {Type: HttpApi, Properties: {Path: "/{id}", Method: PUT}}}
  Sweep:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/sweep
      Events: {At: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 hour), Input: '"x"'}}}
"""
PUT = """
import os, boto3
def handler(event, context):
    print("put", event["pathParameters"]["id"])
    item = {"id": {"S": event["pathParameters"]["id"]}}
    boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item=item)
    return {"issuer": os.environ["ISSUER"]}
"""
SWEEP = """
import os, boto3
def handler(event, context):
    print("swept")
    found = boto3.client("dynamodb").scan(TableName=os.environ["TABLE"])["Items"]
    return {"event": event, "ids": sorted(item["id"]["S"] for item in found)}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    for name, text in (("put", PUT), ("sweep", SWEEP)):
        (tmp_path / "functions" / name).mkdir(parents=True)
        (tmp_path / "functions" / name / "app.py").write_text(text, encoding="utf-8")
    return tmp_path


def command(*arguments: str) -> list[str]:
    # Without the seed: these functions are not Ratchet's.
    program = (
        "from ratchet_cli import local, main; local.seed = lambda environment: None; main.cli()"
    )
    return [sys.executable, "-c", program, *arguments]


def ratchet(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=tree, capture_output=True, text=True, timeout=60, check=False
    )


class Local:
    """A started `ratchet local`. After the block, `output` is all that it printed."""

    def __init__(self, tree: Path, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""
        deadline = time.monotonic() + 30
        while (found := running.read(tree / running.FOLDER)) is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.url = found.url

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.output, _ = self.process.communicate(timeout=30)


@contextmanager
def started(tree: Path, *arguments: str) -> Iterator[Local]:
    process = subprocess.Popen(
        command("local", "--port", "0", *arguments),
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A person's AWS settings must not matter.
        env={**os.environ, "AWS_PROFILE": "nobody", "HTTP_PROXY": "http://127.0.0.1:1"},
    )
    try:
        local = Local(tree, process)
        yield local
        if process.poll() is None:
            local.stop(signal.SIGINT)
    finally:
        process.kill()
        process.communicate()


def test_it_serves_the_functions_and_every_command_of_the_tree_finds_it(tree: Path) -> None:
    with started(tree) as local:
        answer = httpx.put(f"{local.url}/a").json()
        status = ratchet(tree / "functions", "status")
        details = json.loads(ratchet(tree, "status", "--json").stdout)
        swept = ratchet(tree / "functions", "sweep")
        dry = ratchet(tree / "functions", "sweep", "--dry-run")
        log = (tree / ".ratchet" / "functions.log").read_text()
        mode = (tree / ".ratchet" / "local.json").stat().st_mode & 0o777

    assert answer == {"issuer": local.url}
    assert status.stdout.strip() == local.url
    assert details["environment"]["ISSUER"] == local.url
    assert json.loads(swept.stdout) == {"event": "x", "ids": ["a"]}
    assert json.loads(dry.stdout) == {"event": {"dry_run": True}, "ids": ["a"]}
    assert log == "put a\nswept\nswept\n"
    assert mode == 0o600
    assert local.url in local.output
    assert "put a" not in local.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(tree: Path, number: signal.Signals) -> None:
    with started(tree) as local:
        endpoint_url = json.loads(ratchet(tree, "status", "--json").stdout)["endpoint_url"]
        local.stop(number)

    assert local.process.returncode == 0
    assert "Traceback" not in local.output
    for url in (local.url, endpoint_url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    left = {path.name for path in (tree / ".ratchet").iterdir()}
    assert left == {"emulator.log", "functions.log", "lock"}
    assert ratchet(tree, "status").returncode == 1


def test_verbose_shows_the_log_lines(tree: Path) -> None:
    with started(tree, "--verbose") as local:
        httpx.put(f"{local.url}/a")
    assert "put a" in local.output


def test_state_is_kept_only_where_it_is_asked_for(tree: Path) -> None:
    for id_, arguments, expected in (
        ("a", ["--keep"], ["a"]),
        ("b", [], ["b"]),
        ("c", ["--keep"], ["a", "c"]),
    ):
        with started(tree, *arguments) as local:
            httpx.put(f"{local.url}/{id_}")
            assert json.loads(ratchet(tree, "sweep").stdout)["ids"] == expected


def test_a_second_one_in_the_same_tree_is_refused(tree: Path) -> None:
    with started(tree) as local:
        second = ratchet(tree, "local", "--port", "0")
        assert second.returncode == 1
        assert f"already runs in this tree at {local.url}" in second.stderr
        assert httpx.put(f"{local.url}/a").status_code == 200


def test_one_that_was_killed_stands_in_nobodys_way(tree: Path) -> None:
    with started(tree) as local:
        local.process.kill()
        local.process.wait()
        assert (tree / ".ratchet" / "local.json").exists()
        assert ratchet(tree, "status").returncode == 1
    with started(tree) as local:
        assert httpx.put(f"{local.url}/a").status_code == 200


def test_a_taken_port_is_named_before_anything_starts(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = ratchet(tree, "local", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} " in refused.stderr
    assert f"make run PORT={port + 1}" in refused.stderr
    assert not (tree / ".ratchet" / "emulator.log").exists()


@pytest.mark.parametrize("arguments", [["status"], ["sweep"]])
def test_without_a_running_stack_a_command_says_how_to_start_one(
    tree: Path, arguments: list[str]
) -> None:
    result = ratchet(tree, *arguments)
    assert result.returncode == 1
    assert "make run" in result.stderr
