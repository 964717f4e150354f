"""`ratchet sweep`: one run of the sweep now, here or on AWS, for real or only to see."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ratchet_cli import schedule, template
from ratchet_cli.functions import Functions
from ratchet_cli.lines import Lines
from ratchet_cli.target import Target, running_here, target_options

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_DRY_RUN = {"dry_run": True}
# Longer than the function may take; and asked once: a second sweep would find the first at work.
_PATIENT = Config(read_timeout=300, retries={"total_max_attempts": 1, "mode": "standard"})


@click.command("sweep")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@target_options
def sweep_command(dry_run: bool, target: Target) -> None:
    """Sweep now, without waiting for the schedule.

    Prints the report as one line of JSON, and beside it, on standard error, a sentence.
    """
    for report in _here(dry_run) if target.name is None else [_deployed(target.name, dry_run)]:
        click.echo(json.dumps(report))
        click.echo(_sentence(report, dry_run), err=True)


def _here(dry_run: bool) -> list[Any]:
    """The reports of the functions in the folder `sweep` of the local stack's template."""
    found = running_here()
    path = Path(found.template)
    parsed = template.load(path)
    named = {
        name: function
        for name, function in template.functions(parsed).items()
        if Path(function.code_uri).name == "sweep"
    }
    log = Path(found.environment["RATCHET_LOG_GROUP"].removeprefix("file:"))
    # The result is what standard output is for; the function's own log lines go beside it, and to
    # those of the other functions.
    with (
        log.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(Lines(sys.stderr, file)),
    ):
        functions = Functions(path.parent, named)
        return [
            functions.invoke(item.function, _DRY_RUN if dry_run else schedule.event(item))
            for item in template.schedules(parsed)
            if item.function in named
        ]


def _deployed(stack: str, dry_run: bool) -> Any:
    """The report of the stack's own function, which is called as the schedule calls it."""
    client: LambdaClient = boto3.client("lambda", config=_PATIENT)
    try:
        resource = boto3.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId="SweepFunction"
        )["StackResourceDetail"]
        answer: Any = client.invoke(
            FunctionName=resource["PhysicalResourceId"],
            Payload=json.dumps(_DRY_RUN if dry_run else {}),
        )
        report: Any = json.load(answer["Payload"])
    except client.exceptions.TooManyRequestsException:
        raise click.ClickException("a sweep is at work already; try again in a minute") from None
    except (ClientError, BotoCoreError) as error:
        raise click.ClickException(str(error)) from error
    if "FunctionError" in answer:
        what = report.get("errorMessage") or report.get("errorType") or answer["FunctionError"]
        raise click.ClickException(f"the sweep failed: {what}. Its log says more")
    return report


def _sentence(report: Mapping[str, Any], dry_run: bool) -> str:
    """A report for a person: `would be done: 3 ended, 1 warned; up to 120 s late`."""
    counts = {name: number for name, number in report.items() if type(number) is int}
    late = counts.pop("lag_seconds", 0)
    done = ", ".join(f"{number} {what}" for what, number in counts.items())
    if not done:
        told = "nothing is due"
    else:
        told = f"{'would be done' if dry_run else 'done'}: {done}; up to {late} s late"
    incomplete = report.get("complete") is False
    return told + (", and more is left: the log says why" if incomplete else "")
