"""moto's DynamoDB on a socket, one thread a connection and a switch interval of 1 µs.

An engine that is known to be wrong: moto checks a condition and writes in two steps, with nothing
between the threads. `python -m tests.engine.threaded_moto` prints its address and serves until
standard input ends.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SWITCH_INTERVAL_SECONDS = 1e-6


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        from botocore.awsrequest import AWSPreparedRequest
        from botocore.compat import HTTPHeaders
        from moto.core.botocore_stubber import BotocoreStubber

        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        received = HTTPHeaders()
        for name, value in self.headers.items():
            received[name] = value
        answer = BotocoreStubber().process_request(
            AWSPreparedRequest(
                "POST",
                "https://dynamodb.eu-central-1.amazonaws.com/",
                received,
                body,
                False,
            )
        )
        assert answer is not None
        status, headers, content = answer
        raw = content.encode() if isinstance(content, str) else content
        sent = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        self.send_response(status)
        for name, text in {**sent, "Content-Length": len(raw)}.items():
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextlib.contextmanager
def started() -> Iterator[str]:
    """Its address, for the time of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.threaded_moto"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "threaded moto did not start"
            yield address
        finally:
            process.stdin.close()


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    import moto.dynamodb  # noqa: F401 - loaded before the first request

    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
