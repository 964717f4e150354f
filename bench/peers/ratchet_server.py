"""Ratchet as the local stack serves it: the real handlers behind an HTTP server, in one process.

PORT; everything else as the functions' environment has it. On AWS no such server exists, and what
it takes of the CPU counts against Ratchet here.
"""

import os
import signal
import socket

from bench.service import ROOT
from ratchet_cli import gateway, template
from ratchet_cli.functions import Functions


def main() -> None:
    parsed = template.load(ROOT / "template.yaml")
    functions = Functions(ROOT, template.functions(parsed))
    address = ("127.0.0.1", int(os.environ.pop("PORT")))
    with (
        socket.create_server(address, backlog=256) as listener,
        gateway.serving(listener, template.routes(parsed), functions.invoke),
    ):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
