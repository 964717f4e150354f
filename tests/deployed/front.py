"""Where the deployed HTTP APIs answer: at one address, as behind a domain of one's own.

The emulator tells APIs apart by the Host header, and `….execute-api.localhost` is no name that
every machine knows; and a path such as /login it takes for one of its own sign-in pages.
"""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass
class Front:
    """apis: the id of the API of each path."""

    url: str
    endpoint_url: str = ""
    apis: dict[str, str] = field(default_factory=dict)

    def api_id(self, path: str) -> str:
        """What fits none, or has variables, is for the API that has most of the paths."""
        ids = list(self.apis.values())
        return self.apis.get(urlsplit(path).path) or max(ids, key=ids.count)


class Handler(BaseHTTPRequestHandler):
    """Passes a request on to the emulator, and its answer back."""

    protocol_version = "HTTP/1.1"
    # an answer goes out at once, not when the next one is asked for
    disable_nagle_algorithm = True
    front: Front

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behind = urlsplit(self.front.endpoint_url)
        connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=60)
        path = f"/_aws/execute-api/{self.front.api_id(self.path)}/$default{self.path}"
        kept = [(n, v) for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP]
        with contextlib.closing(connection):
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in [*kept, ("Content-Length", str(len(body)))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET  # noqa: N815 - the base's

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's
        """Says nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed."""


@contextlib.contextmanager
def serving() -> Iterator[Front]:
    """On a free port. Requests wait for its `endpoint_url` and its `apis`."""
    handler: type[Handler] = type("Bound", (Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    handler.front = front = Front(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
