"""`ratchet apps`: what its options mean, without a stack."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from ratchet.applications import REMEMBERED_SECONDS
from ratchet.policy import PRESETS
from ratchet.registration import Mode
from ratchet_cli import apps
from ratchet_cli.duration import Duration, shown
from ratchet_cli.main import cli


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("12h", 43200), ("14d", 1209600), ("1h30m", 5400), ("90", 90), ("0", 0)],
)
def test_a_duration_is_written_as_people_do(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds
    assert Duration().convert(shown(seconds), None, None) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m5", "-5m", "5m5m", "1.5h", "5 m", "\u0665m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        Duration().convert(text, None, None)


def test_the_help_names_what_the_core_knows() -> None:
    assert set(PRESETS) == set(apps.PRESETS)
    assert set(Mode) == set(apps.MODES)
    assert apps.MODES[0] == Mode.NEXT_REFRESH
    assert apps.FUNCTIONS_LEARN_SECONDS == REMEMBERED_SECONDS
    numbers = {f"{name}_seconds" for name in apps.DURATIONS}
    fields = PRESETS["browser"].__dataclass_fields__
    assert numbers == {name for name in fields if name.endswith("_seconds")}


@pytest.mark.parametrize(
    ("text", "instant"),
    [("now", 7), ("1700000000", 1700000000), ("2026-11-21T15:00Z", 1795273200)],
)
def test_an_instant_is_now_a_date_or_epoch_seconds(text: str, instant: int) -> None:
    assert apps._instant(text, 7) == instant
    assert apps._instant("2026-11-21T15:00", 7) == 1795273200


@pytest.mark.parametrize("command", ["create", "list", "show", "update", "delete", "rotate-secret"])
def test_every_command_explains_itself_prints_json_and_takes_a_stack(command: str) -> None:
    result = CliRunner().invoke(cli, ["apps", command, "--help"])
    assert result.exit_code == 0
    assert all(option in result.output for option in ("--json", "--local", "--stack"))
