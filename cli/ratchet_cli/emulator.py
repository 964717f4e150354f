"""The AWS services of the local stack. Others know its endpoint URL and nothing else about it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from ratchet_cli import aws

_START_SECONDS = 30
_STOP_SECONDS = 15


class EmulatorError(Exception):
    """The emulator does not run."""


class Emulator:
    """Runs the emulator on a free port of 127.0.0.1 for the time of a `with` block.

    `folder` takes its log file and its temporary files. With `state` it starts from the state in
    that folder and leaves its own there; without, nothing outlives the block. `functions_python`
    is the interpreter that Lambda functions get, else they have that of the emulator and all its
    packages. Raises EmulatorError with the end of the log when it does not come up.
    """

    def __init__(
        self, folder: Path, state: Path | None = None, *, functions_python: Path | None = None
    ) -> None:
        self._folder = folder
        self._state = state
        self._functions_python = functions_python
        self._log = folder / "emulator.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers, for every service."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id, 0 when none runs."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Emulator:
        self._port = _free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ratchet_cli.emulator_child"],
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must reach us only: we stop it when we are done with it.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self._stop(self._process)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process:
            self._stop(self._process)

    def _environment(self) -> dict[str, str]:
        # Not the user's environment: some of its variables would change what the emulator does.
        environment = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ
        }
        environment |= {
            **aws.environment(self.endpoint_url),
            "MINISTACK_REGION": aws.REGION,
            "GATEWAY_PORT": str(self._port),
            # Without these two it listens on every interface, and on 8883 as well.
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            # It removes containers of its kind at start and stop; those are not ours.
            "DOCKER_HOST": "unix:///nonexistent",
            "LOG_LEVEL": "WARNING",
            "TMPDIR": str(self._folder),
        }
        if self._functions_python:
            environment["RATCHET_FUNCTIONS_PYTHON"] = str(self._functions_python)
        if self._state:
            environment |= {"PERSIST_STATE": "1", "STATE_DIR": str(self._state)}
        return environment

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _healthy(self._port):
            if process.poll() is not None:
                raise EmulatorError(f"the AWS emulator stopped at once:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise EmulatorError(
                    f"the AWS emulator was not ready after {_START_SECONDS} s:\n{self._tail()}"
                )
            time.sleep(0.05)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-20:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
