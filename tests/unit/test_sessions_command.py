"""`ratchet sessions` and `ratchet keys revoke`: what an operator may type or give as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from ratchet_cli import target
from ratchet_cli.keys import revoke_command
from ratchet_cli.main import cli
from ratchet_cli.sessions import import_command
from ratchet_cli.target import Target

SID = "-" + "A" * 21


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sessions that the command would end."""
    sids: list[str] = []

    def end(sid: str, _: Any) -> str:
        sids.append(sid)
        return "ended"

    monkeypatch.setattr("ratchet_cli.sessions._end", end)
    monkeypatch.setattr("ratchet.wiring.build", lambda _: None)
    monkeypatch.setattr(Target, "settings", lambda _: None)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: None)
    monkeypatch.setattr(target, "_deployed", lambda name: Target(name=name, environment={}))
    return sids


def end(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["sessions", "end", "--stack", "prod", *map(str, arguments)])


@pytest.mark.parametrize("sid", [SID, "-" + SID[:-1]])
def test_a_session_id_that_looks_like_an_option_is_one(ended: list[str], sid: str) -> None:
    assert json.loads(end(sid).stdout) == {"ended": 1}
    assert ended == [sid]


def test_a_kid_that_looks_like_an_option_is_one() -> None:
    context = revoke_command.make_context("revoke", [SID, "--local", "--yes"])
    assert (context.params["kid"], context.params["local"]) == (SID, True)


def test_an_option_that_does_not_exist_ends_nothing(ended: list[str]) -> None:
    result = end(SID, "--form", "sids.csv")
    assert (result.exit_code, ended) == (2, [])
    assert "this is no session id: --form" in result.output


@pytest.mark.parametrize("head", ["", "sid\n", '\ufeff"sid"\r\n'])
def test_a_query_result_in_csv_is_a_file_of_session_ids(
    ended: list[str], tmp_path: Path, head: str
) -> None:
    path = tmp_path / "sids.csv"
    path.write_text(f'{head}{SID}\r\n\n"{"B" * 22}"\n{SID}\n', encoding="utf-8")
    assert end("--from", path).exit_code == 0
    assert sorted(ended) == [SID, "B" * 22]


def test_a_file_that_is_no_text_ends_nothing(ended: list[str], tmp_path: Path) -> None:
    path = tmp_path / "sids.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    result = end("--from", path)
    assert (result.exit_code, ended) == (2, [])
    assert "this is no session id" in result.output


def test_a_damaged_byte_in_an_export_does_not_keep_the_other_lines_out(tmp_path: Path) -> None:
    """tests/functional/test_restore.py has what becomes of the line."""
    path = tmp_path / "sessions.jsonl"
    path.write_bytes(b'{"sub": "\xff"}\n{}\n')
    with import_command.make_context("import", ["--local", str(path)]) as context:
        assert [*context.params["lines"]] == ['{"sub": "\udcff"}\n', "{}\n"]
