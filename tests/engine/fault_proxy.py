"""A proxy on loopback between the service and AWS, which makes calls go wrong on purpose.

boto3 reaches it by AWS_ENDPOINT_URL; it passes every call on to the engine and knows from the call
itself which step of the service it is:

    peppers  keys                        Secrets Manager
    application  session  create  use    DynamoDB: GetItem, PutItem
    rotate  end  settle  rearm  touch    DynamoDB: UpdateItem
    due  list  batch                     DynamoDB: Query, BatchGetItem
    publish                              EventBridge
"""

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

FAULTS = {
    "refused": "the connection is closed at once, and every further one refused",
    "timeout before": "no answer; the engine never saw the call",
    "timeout after": "no answer, although the call took effect",
    "throttled": "too many requests",
    "internal": "an internal server error",
    "conflict": "DynamoDB's TransactionConflictException",
    "reset": "the connection is reset in the middle of the answer; the call took effect",
    "slow": "a slow answer, but in time",
    # only for outages, where waiting for a timeout each time would take too long
    "closed": "the connection is closed at once",
    "lost": "the connection is closed without an answer, although the call took effect",
}
TAKES_EFFECT = frozenset({"timeout after", "reset", "slow", "lost"})
SLOW_SECONDS = 0.15
_HOLD_SECONDS = 20.0

DYNAMODB = frozenset(
    {
        *("application", "session", "create", "use", "rotate", "end", "settle", "rearm"),
        *("touch", "due", "position", "list", "batch"),
    }
)
SECRETS = frozenset({"peppers", "keys"})

_ERRORS = {
    "throttled": (400, "ProvisionedThroughputExceededException", "ThrottlingException"),
    "internal": (500, "InternalServerError", "InternalServiceError"),
    "conflict": (400, "TransactionConflictException", "TransactionConflictException"),
}


def step_of(target: str, body: Mapping[str, Any]) -> str:
    """Which step of the service a call is; "" for a call that the service does not make."""
    service, _, operation = target.partition(".")
    if service == "secretsmanager":
        return "peppers" if "pepper" in body.get("SecretId", "").lower() else "keys"
    if service == "AWSEvents":
        return "publish"
    if service == "TrentService":
        return "sign" if operation == "Sign" else ""
    if operation == "GetItem":
        if "attention_shard" in body["Key"]:
            return "position"
        return "session" if "sid" in body["Key"] else "application"
    if operation == "PutItem":
        if "sid" in body["Item"]:
            return "create"
        return "use" if "request" in body["Item"] else ""
    if operation == "UpdateItem":
        expression = body["UpdateExpression"]
        if "rotated_at = :now" in expression:
            return "rotate"
        if "active_at = :now" in expression:
            return "touch"
        if "ended_at = :ended" in expression:
            return "end"
        return "rearm" if "attention_at = :next" in expression else "settle"
    if operation == "Query":
        return "due" if body.get("IndexName") == "attention" else "list"
    return "batch" if operation == "BatchGetItem" else ""


@dataclass
class _Plan:
    """The next `left` calls of a step, after `skip` others, go wrong in this way."""

    fault: str
    skip: int
    left: int


class FaultProxy:
    """`upstream`: AWS_ENDPOINT_URL, and AWS_ENDPOINT_URL_DYNAMODB if that is somewhere else.

    calls: how often each step was asked for. hit: what went wrong on purpose, in order.
    published: the events that the bus has accepted, as often as it has.
    """

    def __init__(self, upstream: Mapping[str, str]) -> None:
        everything = upstream["AWS_ENDPOINT_URL"]
        self._upstream = {
            "dynamodb": _address(upstream.get("AWS_ENDPOINT_URL_DYNAMODB") or everything),
            "others": _address(everything),
        }
        self._lock = threading.Lock()
        self._plans: dict[str, _Plan] = {}
        self._connections: set[socket.socket] = set()
        self._server: _Server | None = None
        self._port = 0
        self.calls: Counter[str] = Counter()
        self.hit: list[tuple[str, str]] = []
        self.published: list[dict[str, Any]] = []

    @property
    def variables(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self._port}"
        return {"AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_DYNAMODB": url}

    def __enter__(self) -> "FaultProxy":
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_listening()
        self._drop_connections()

    def inject(self, step: str, fault: str, *, skip: int = 0, times: int = 1) -> None:
        """From now on; a step has one plan at a time."""
        assert fault in FAULTS, fault
        with self._lock:
            self._plans[step] = _Plan(fault, skip, times)

    def mend(self) -> None:
        """Everything works again."""
        with self._lock:
            self._plans.clear()
        if self._server is None:
            self._listen()

    def forget(self) -> None:
        """Empties what is remembered of the calls."""
        with self._lock:
            self.calls.clear()
            self.hit.clear()
            self.published.clear()

    # --- called by the connections' threads ------------------------------------------------------

    def decide(self, step: str) -> str | None:
        with self._lock:
            self.calls[step] += 1
            plan = self._plans.get(step)
            if plan is None or plan.left == 0:
                return None
            if plan.skip:
                plan.skip -= 1
                return None
            plan.left -= 1
            self.hit.append((step, plan.fault))
            return plan.fault

    def refuse(self) -> None:
        """As when the process at the other end is gone."""
        self._stop_listening()
        self._drop_connections()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def address(self, step: str) -> tuple[str, int]:
        return self._upstream["dynamodb" if step in DYNAMODB else "others"]

    def accepted(self, body: Mapping[str, Any]) -> None:
        details = [json.loads(entry["Detail"]) for entry in body["Entries"]]
        with self._lock:
            self.published += details

    def _listen(self) -> None:
        # The same port as before: the service keeps its address.
        server = _Server(("127.0.0.1", self._port), _Connection)
        server.proxy = self
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop_listening(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def _drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _reset(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    proxy: FaultProxy

    def shutdown_request(self, request: Any) -> None:
        # Without the base class's orderly shutdown, which would take a reset's edge off.
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a connection that breaks is what this is for."""


class _Connection(BaseHTTPRequestHandler):
    """One connection of the SDK, with as many calls as it likes."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _upstream: HTTPConnection | None = None

    def setup(self) -> None:
        self.server.proxy.opened(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.proxy.closed(self.request)
        if self._upstream is not None:
            self._upstream.close()
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, HTTPException, ValueError):
            # The other side has gone away, or we have.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "")
        asked = json.loads(body)
        step, proxy = step_of(target, asked), self.server.proxy
        fault = proxy.decide(step)
        if fault == "refused":
            proxy.refuse()
            return
        if fault == "closed":
            self._reset()
            return
        if fault == "timeout before":
            self._hold()
            return
        if fault in _ERRORS:
            status, dynamodb, other = _ERRORS[fault]
            code = dynamodb if step in DYNAMODB else other
            answer = json.dumps({"__type": f"com.amazonaws#{code}", "message": "injected"})
            self._send(status, {"Content-Type": "application/x-amz-json-1.0"}, answer.encode())
            return
        status, headers, content = self._forward(step, body)
        if step == "publish" and status == 200:
            proxy.accepted(asked)
        if fault == "timeout after":
            self._hold()
        elif fault == "lost":
            self._reset()
        elif fault == "reset":
            self._send(status, headers, content, only=max(1, len(content) // 2))
            self._reset()
        else:
            if fault == "slow":
                threading.Event().wait(SLOW_SECONDS)
            self._send(status, headers, content)

    def _forward(self, step: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        host, port = self.server.proxy.address(step)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("connection", "content-length", "expect")
        }
        # One connection for each call: a kept one that the engine closes would look like a fault.
        connection = self._upstream = HTTPConnection(host, port, timeout=30)
        try:
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            kept = {
                name: value
                for name, value in answer.getheaders()
                if name.lower().startswith("x-amz") or name.lower() == "content-type"
            }
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _send(
        self, status: int, headers: Mapping[str, str], content: bytes, only: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:only])
        self.wfile.flush()

    def _hold(self) -> None:
        """Until the caller has lost patience and hangs up."""
        self.close_connection = True
        self.request.settimeout(_HOLD_SECONDS)
        try:
            self.request.recv(1)
        except OSError:
            return

    def _reset(self) -> None:
        self.close_connection = True
        _reset(self.request)


def _reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that reads from it, which then closes it.
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        return


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(f"the proxy speaks plain HTTP, not {parts.scheme}")
    return parts.hostname, parts.port or 80
