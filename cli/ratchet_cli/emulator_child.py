"""Runs the emulator as a child process that cannot outlive its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_GRACE_SECONDS = 10


def _stop_with_parent() -> None:
    # The parent holds the other end of this pipe and never writes. It closes when the parent
    # stops us and when the parent dies, even by SIGKILL.
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    """Run the emulator until standard input ends. Its settings are environment variables."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    # The emulator starts functions with this (1.5.33), and knows no setting for it.
    sys.executable = os.environ.pop("RATCHET_FUNCTIONS_PYTHON", sys.executable)
    from ministack.app import main as emulate

    emulate()


if __name__ == "__main__":
    main()
