"""`ratchet keys init` against the emulator's Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from ratchet.keys import signing_keys
from ratchet_cli import aws
from ratchet_cli.emulator import Emulator
from ratchet_cli.main import cli


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with Emulator(tmp_path) as emulator:
        for name, value in aws.environment(emulator.endpoint_url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        yield boto3.client("secretsmanager")


def init(secret_id: str) -> Result:
    return CliRunner().invoke(cli, ["keys", "init", secret_id])


def test_an_empty_secret_gets_two_keys_once_and_no_key_is_printed(secrets: Any) -> None:
    secrets.create_secret(Name="keys")
    first = init("keys")
    assert first.exit_code == 0
    text = secrets.get_secret_value(SecretId="keys")["SecretString"]
    keys = signing_keys(text)
    assert (keys.next is not None, keys.previous) == (True, None)
    assert json.loads(text)["current"]["d"] not in first.output
    again = init("keys")
    assert again.exit_code == 1
    assert "has signing keys already" in again.output
    assert secrets.get_secret_value(SecretId="keys")["SecretString"] == text


def test_a_secret_that_is_not_there_is_named_as_such(secrets: Any) -> None:
    result = init("nothing")
    assert result.exit_code == 1
    assert "ResourceNotFoundException" in result.output
