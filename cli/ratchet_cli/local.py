"""Runs the whole service on this machine: `ratchet local`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn, TextIO

from ratchet_cli import aws, gateway, lambda_function, running, schedule, template
from ratchet_cli.banner import banner
from ratchet_cli.emulator import Emulator
from ratchet_cli.functions import Functions
from ratchet_cli.lines import Lines
from ratchet_cli.provision import provision
from ratchet_cli.seed import seed

# What a developer gets to see here without asking, and a deployment does not.
_SHOWN = {"ProtectedExample": "yes"}


class PortTakenError(Exception):
    """Another program listens on the port."""


def serve(
    template_path: Path,
    *,
    port: int,
    keep: bool,
    verbose: bool,
    issuer: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> None:
    """Serve the template on 127.0.0.1 until Ctrl-C or SIGTERM, then leave no process behind.

    Port 0 stands for any free one. With `keep` the state stays in `.ratchet/state` beside the
    template, for the next start with `keep`. `verbose` shows the functions' log lines here, besides
    writing them to `.ratchet/functions.log`. `issuer` defaults to the address, `parameters` of
    the template to its defaults; a value that is a Python file stands for the ARN of a Lambda
    function that runs it.
    Raises PortTakenError, AlreadyRunningError, and the errors of the parts before anything is
    served.
    """
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        stack.enter_context(_stop_signals())
        _serve(stack, template_path.resolve(), port, keep, verbose, issuer, parameters or {})
        signal.pause()


def _serve(
    stack: contextlib.ExitStack,
    template_path: Path,
    port: int,
    keep: bool,
    verbose: bool,
    issuer: str | None,
    parameters: Mapping[str, str],
) -> None:
    # What `stack` holds is stopped in the reverse order of the lines below.
    root = template_path.parent
    folder = root / running.FOLDER
    stack.enter_context(running.claimed(folder))
    listener = stack.enter_context(_listen(port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    issuer = issuer or url
    parsed = template.load(template_path, {**_SHOWN, **parameters, "Issuer": issuer})
    routes, schedules = template.routes(parsed), template.schedules(parsed)

    emulator = stack.enter_context(Emulator(folder, folder / "state" if keep else None))
    environment = aws.environment(emulator.endpoint_url)
    aws.enter(environment)
    values = {
        name: lambda_function.deploy(Path(value), name) if value.endswith(".py") else value
        for name, value in parameters.items()
    }
    environment |= provision(parsed, issuer=issuer, parameters=values)
    log = folder / "functions.log"
    environment["RATCHET_LOG_GROUP"] = f"file:{log}"
    os.environ.update(environment)

    terminal = sys.stdout
    stack.enter_context(_logging_to(log, keep=keep, shown=terminal if verbose else None))
    seed(environment)
    functions = Functions(root, template.functions(parsed))
    stack.enter_context(gateway.serving(listener, routes, functions.invoke))
    stack.enter_context(schedule.running(schedules, functions.invoke))
    stack.enter_context(
        running.published(
            folder,
            running.Running(
                url=url,
                endpoint_url=emulator.endpoint_url,
                region=aws.REGION,
                pid=os.getpid(),
                template=str(template_path),
                environment=environment,
            ),
        )
    )
    print(banner(url), file=terminal)
    if not verbose:
        shown = os.path.relpath(log)
        print(f"The functions write their log lines to {shown}.", file=terminal)
    terminal.flush()


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn the signals that ask a program to end into one KeyboardInterrupt."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(*_: object) -> NoReturn:
        # A second Ctrl-C may not break off the orderly end: every step of it has a time limit.
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(port: int) -> socket.socket:
    """Take the port before anything else starts. Requests wait until the service is ready."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise PortTakenError(port) from error
    return listener


@contextlib.contextmanager
def _logging_to(path: Path, *, keep: bool, shown: TextIO | None) -> Iterator[None]:
    # The log explains the sessions, so it is kept and dropped with them.
    if not keep:
        path.unlink(missing_ok=True)
    # Other commands add their lines.
    with path.open("a", encoding="utf-8") as file:
        stream = Lines(file, *[shown] if shown else [])
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
