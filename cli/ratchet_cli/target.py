"""Which stack a command acts on: the local one, or with `--stack NAME` one on AWS."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from ratchet_cli import aws, running

if TYPE_CHECKING:
    from ratchet.parts import Parts
    from ratchet.settings import Settings


@dataclass(frozen=True)
class Target:
    """A stack that this process talks to from now on. `name` is None for the local one.

    environment: the RATCHET_ variables that its functions run with.
    """

    name: str | None
    environment: Mapping[str, str]

    def settings(self) -> Settings:
        # Imported here: the core is not needed to show a help text.
        from ratchet.settings import Settings

        return Settings.from_environment(self.environment)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--local` (the default) and `--stack NAME`; it gets a `target`."""

    @click.option("--local", "local", is_flag=True, help="The stack of this tree (the default).")
    @click.option("--stack", metavar="NAME", help="The stack of this name in your AWS account.")
    @functools.wraps(command)
    def wrapper(*args: Any, local: bool, stack: str | None, **options: Any) -> Any:
        if local and stack:
            raise click.UsageError("--local and --stack exclude each other")
        return command(*args, target=_deployed(stack) if stack else _local(), **options)

    return wrapper


@contextlib.contextmanager
def working(target: Target) -> Iterator[Parts]:
    """The adapters of the stack. Refusals and faults become messages for a person.

    What the core logs goes to standard error: standard output is for the result.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from ratchet import wiring
        from ratchet.errors import Fault, InvalidDescription, OAuthError

        try:
            yield wiring.build(target.settings())
        except InvalidDescription as invalid:
            listed = "".join(f"\n  - {problem}" for problem in invalid.problems)
            raise click.ClickException(f"nothing was changed:{listed}") from None
        except OAuthError as error:
            raise click.ClickException(error.description) from None
        except Fault as fault:
            raise click.ClickException(f"{fault}; try again") from None
        except (ClientError, BotoCoreError) as error:
            raise click.ClickException(_explained(error)) from error


def running_here() -> running.Running:
    """The local stack of this tree. Raises ClickException when none runs."""
    found = running.find(Path.cwd())
    if found is None:
        raise click.ClickException("no local stack runs in this tree. Start one with: make run")
    return found


def _local() -> Target:
    found = running_here()
    aws.enter(found.environment)
    return Target(name=None, environment=found.environment)


def _deployed(stack: str) -> Target:
    """What the stack's own functions run with: nothing to configure, nothing to get wrong."""
    try:
        resource = boto3.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId="IssueFunction"
        )["StackResourceDetail"]
        function = boto3.client("lambda").get_function_configuration(
            FunctionName=resource["PhysicalResourceId"]
        )
    except (ClientError, BotoCoreError) as error:
        raise click.ClickException(_explained(error)) from error
    variables = {
        name: value
        for name, value in function["Environment"]["Variables"].items()
        if name.startswith("RATCHET_")
    }
    os.environ.update(variables)
    return Target(name=stack, environment=variables)


def _explained(error: Exception) -> str:
    hint = "Is AWS_REGION or AWS_PROFILE set? " if isinstance(error, BotoCoreError) else ""
    return f"{hint}{error}"
