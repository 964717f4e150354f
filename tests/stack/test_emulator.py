"""The AWS emulator as a child process, and the deployed template's state on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from ratchet_cli import aws, template
from ratchet_cli.emulator import Emulator, EmulatorError
from ratchet_cli.provision import ProvisionError, provision

DEPLOYED = template.load(Path(__file__).parents[2] / "template.yaml")
ISSUER = "http://127.0.0.1:8787"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Undo what a test does to the environment of the process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def provisioned(emulator: Emulator, issuer: str = ISSUER) -> dict[str, str]:
    aws.enter(aws.environment(emulator.endpoint_url))
    return provision(DEPLOYED, issuer=issuer)


def answers(endpoint_url: str) -> bool:
    port = int(endpoint_url.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def silent_within(endpoint_url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while answers(endpoint_url) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not answers(endpoint_url)


def listening(pid: int) -> set[str]:
    """Return the addresses (hexadecimal, as the kernel prints them) a process listens on."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                addresses.add(fields[1].split(":")[0])
    return addresses


def test_the_template_becomes_tables_with_their_indexes_and_expiry(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        variables = provisioned(emulator)
        dynamodb = boto3.client("dynamodb")
        sessions = variables["RATCHET_SESSIONS_TABLE"]
        table = dynamodb.describe_table(TableName=sessions)["Table"]
        expiry = dynamodb.describe_time_to_live(TableName=sessions)["TimeToLiveDescription"]
        pepper = boto3.client("secretsmanager").get_secret_value(
            SecretId=variables["RATCHET_PEPPER_SECRET"]
        )

    properties = DEPLOYED["Resources"]["SessionsTable"]["Properties"]
    wanted = {index["IndexName"] for index in properties["GlobalSecondaryIndexes"]}
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == wanted
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
    assert len(pepper["SecretString"]) > 64


def test_the_functions_get_every_variable_of_the_template(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        variables = provisioned(emulator)
    wanted = DEPLOYED["Globals"]["Function"]["Environment"]["Variables"]
    assert set(wanted) <= set(variables)
    assert variables["RATCHET_ISSUER"] == ISSUER
    empty = {name for name, value in variables.items() if not value}
    assert empty == {
        "AUTHORIZER_AUDIENCE",
        "RATCHET_CLAIMS_FUNCTION",
        "RATCHET_VERIFIER_FUNCTION",
    }


def test_an_issuer_that_the_template_forbids_is_refused(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator, pytest.raises(ProvisionError, match="Issuer"):
        provisioned(emulator, issuer="http://example.com/")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="asks the Linux kernel")
def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        provisioned(emulator)
        assert listening(emulator.pid) == {"0100007F"}


def test_it_ends_with_its_block_and_leaves_no_state(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        provisioned(emulator)
        assert answers(emulator.endpoint_url)
    assert not answers(emulator.endpoint_url)
    assert [path.name for path in tmp_path.iterdir()] == ["emulator.log"]


def test_kept_state_is_there_at_the_next_start_and_follows_a_new_issuer(tmp_path: Path) -> None:
    item: dict[str, Any] = {
        "sid": {"S": "kept"},
        "hash": {"B": b"\0\xff"},
        "generation": {"N": "7"},
    }
    with Emulator(tmp_path, tmp_path / "state") as emulator:
        first = provisioned(emulator)
        boto3.client("dynamodb").put_item(TableName=first["RATCHET_SESSIONS_TABLE"], Item=item)
    with Emulator(tmp_path, tmp_path / "state") as emulator:
        second = provisioned(emulator, issuer="http://127.0.0.1:9000")
        third = provisioned(emulator, issuer="http://127.0.0.1:9000")
        table = second["RATCHET_SESSIONS_TABLE"]
        found = boto3.client("dynamodb").get_item(TableName=table, Key={"sid": item["sid"]})
        expiry = boto3.client("dynamodb").describe_time_to_live(TableName=table)

    assert found["Item"] == item
    assert second == {**first, "RATCHET_ISSUER": "http://127.0.0.1:9000"}
    assert third == second
    assert expiry["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from ratchet_cli.emulator import Emulator\n"
        "with Emulator(Path(sys.argv[1])) as emulator:\n"
        "    print(emulator.endpoint_url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    with parent.stdout:
        endpoint_url = parent.stdout.readline().strip()
    assert answers(endpoint_url)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert silent_within(endpoint_url, 10)


def test_the_users_aws_settings_do_not_reach_it(tmp_path: Path) -> None:
    os.environ.update(AWS_PROFILE="nobody", AWS_ACCESS_KEY_ID="real", AWS_REGION="us-east-1")
    with Emulator(tmp_path) as emulator:
        provisioned(emulator)
    assert "AWS_PROFILE" not in os.environ
    assert boto3.client("dynamodb").meta.region_name == aws.REGION
    credentials = boto3.Session().get_credentials()
    assert credentials is not None
    assert credentials.access_key == "local"


def test_an_emulator_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("ratchet_cli.emulator._free_port", lambda: taken.getsockname()[1])
        monkeypatch.setattr("ratchet_cli.emulator._healthy", lambda _: False)
        with pytest.raises(EmulatorError, match="already in use"), Emulator(tmp_path):
            pass
