"""What stands between a client and the stack: it passes on, loses answers, and refuses.

And an API of its own, `/orders`: the local stack would be too slow for 50 callers whose tokens live
for a second.
"""

import contextlib
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ratchet_verify import Refusal, Verifier

API = "/orders"
REFRESHES = ("/oauth/token", "/oauth/refresh")


@dataclass(frozen=True)
class Seen:
    """A refresh that came by. status: what was answered; None: the answer was lost."""

    at: float
    token: str
    key: str
    status: int | None


@dataclass
class Front:
    """fault(path, number of the request): "" to pass on, "drop" to lose the answer, or a status."""

    behind: str
    url: str = ""
    fault: Callable[[str, int], str] = lambda path, number: ""
    refreshes: list[Seen] = field(default_factory=list)
    bearers: list[str] = field(default_factory=list)
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.verifier = Verifier(self.behind, self.behind, clock_skew_seconds=0)

    def api(self, authorization: str) -> tuple[int, bytes, dict[str, str]]:
        try:
            self.verifier.verify(authorization.removeprefix("Bearer "))
        except Refusal as refusal:
            return refusal.status, b"{}", dict(refusal.headers)
        return 200, b"{}", {}

    @property
    def answered(self) -> list[Seen]:
        return [seen for seen in self.refreshes if seen.status == 200]

    def note(self, path: str, body: bytes, headers: Any, status: int | None) -> None:
        with self.lock:
            if path in REFRESHES:
                token = parse_qs(body.decode()).get("refresh_token", [""])[0]
                digest = hashlib.sha256(token.encode()).hexdigest()[:12]
                key = headers.get("Idempotency-Key", "")
                self.refreshes.append(Seen(time.monotonic(), digest, key, status))
            elif (bearer := headers.get("Authorization", "")) and bearer not in self.bearers:
                self.bearers.append(bearer)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # an answer goes out at once, not when the next one is asked for
    disable_nagle_algorithm = True
    front: Front

    def do_GET(self) -> None:
        front = self.front
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with front.lock:
            front.count += 1
            number = front.count
        path = urlsplit(self.path).path
        fault = front.fault(path, number)
        if fault.isdecimal():
            front.note(path, body, self.headers, int(fault))
            challenge = 'Bearer error="invalid_token"' if fault == "401" else ""
            return self.answer(int(fault), b"{}", {"WWW-Authenticate": challenge})
        if path == API:
            status, answer, headers = front.api(self.headers.get("Authorization", ""))
        else:
            status, answer, headers = self.passed_on(body)
        front.note(path, body, self.headers, None if fault == "drop" else status)
        if fault == "drop":
            self.close_connection = True
            return None
        return self.answer(status, answer, headers)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the base class's names

    def passed_on(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        parts = urlsplit(self.front.behind)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("host", "connection", "transfer-encoding", "content-length")
        }
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name in ("Content-Type", "WWW-Authenticate", "Retry-After"):
            if value := {n.lower(): v for n, v in headers.items()}.get(name.lower()):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's
        """Says nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed."""


@contextlib.contextmanager
def front(behind: str) -> Iterator[Front]:
    made = Front(behind)
    handler = type("Bound", (Handler,), {"front": made})
    server = Server(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
