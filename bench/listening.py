"""Servers that a bench starts: a port nobody has, and the moment from which they answer there."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it takes connections. Raises RuntimeError, with what it logged, if it never does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{log.stem}: it did not start: {said}") from None
            time.sleep(0.05)
