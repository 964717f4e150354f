"""`ratchet local|status`: the stack of this tree."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ratchet_cli import local, running
from ratchet_cli.emulator import EmulatorError
from ratchet_cli.functions import HandlerError
from ratchet_cli.provision import ProvisionError
from ratchet_cli.target import running_here
from ratchet_cli.template import TemplateError


@click.command("local")
@click.option(
    "--port",
    default=8787,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on 127.0.0.1; 0 takes any free one.",
)
@click.option("--keep", is_flag=True, help="Keep the state in .ratchet/ for the next start.")
@click.option("--verbose", is_flag=True, help="Show the functions' log lines here, too.")
@click.option("--issuer", help="Issuer of the tokens, where a tunnel or TLS proxy stands in front.")
@click.option(
    "--parameter",
    "parameters",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the template, for example SigningBackend=kms. May be repeated."
    " ClaimsFunction=claims.py runs a file as that function.",
)
@click.option(
    "--template",
    "path",
    default="template.yaml",
    show_default=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The SAM template to serve.",
)
def local_command(
    port: int,
    keep: bool,
    verbose: bool,
    issuer: str | None,
    parameters: tuple[str, ...],
    path: Path,
) -> None:
    """Serve the whole service on this machine until Ctrl-C."""
    pairs = [text.partition("=") for text in parameters]
    if not all(name and equals for name, equals, _ in pairs):
        raise click.UsageError("a parameter is given as NAME=VALUE")
    try:
        local.serve(
            path,
            port=port,
            keep=keep,
            verbose=verbose,
            issuer=issuer,
            parameters={name: value for name, _, value in pairs},
        )
    except local.PortTakenError:
        raise click.ClickException(
            f"port {port} on 127.0.0.1 is taken by another program, or not allowed."
            f" Choose another one: make run PORT={port + 1} (or ratchet local --port {port + 1})"
        ) from None
    except running.AlreadyRunningError:
        found = running.read(path.resolve().parent / running.FOLDER)
        state = f"at {found.url} (process {found.pid})" if found else "and is still starting"
        raise click.ClickException(
            f"a local stack already runs in this tree {state}. Stop it with Ctrl-C first"
        ) from None
    except (TemplateError, HandlerError, ProvisionError, EmulatorError) as error:
        raise click.ClickException(str(error)) from error


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print everything known, as JSON.")
def status_command(as_json: bool) -> None:
    """Print the URL of the local stack.

    Exits with 1 if none runs in this tree.
    """
    found = running_here()
    click.echo(json.dumps(asdict(found), indent=2) if as_json else found.url)
