"""ratchet_client: what becomes of a request that is repeated, and where refreshes go."""

import asyncio
import io
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests

from ratchet_client import (
    BodyNotReplayable,
    ConnectionFailed,
    RefreshRefused,
    Request,
    Session,
    httpx_auth,
)
from ratchet_client.httpx_auth import SessionAuth
from ratchet_client.requests_auth import SessionAuth as RequestsAuth
from ratchet_client.transport import send
from tests.clients import fault_front, quick


@pytest.fixture
def bodies(front: fault_front.Front, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the API has got, with its first request refused."""
    quick.refuse_once(front)
    found: list[bytes] = []
    note = front.note

    def keep(path: str, sent: bytes, headers: Any, status: int | None) -> None:
        if path not in fault_front.REFRESHES:
            found.append(sent)
        note(path, sent, headers, status)

    monkeypatch.setattr(front, "note", keep)
    return found


REPLAYABLE: dict[str, Any] = {
    "nothing": dict,
    "bytes": lambda: {"content": b"body"},
    "json": lambda: {"json": {"a": 1}},
    "form": lambda: {"data": {"a": "1"}},
    "multipart": lambda: {"files": {"f": ("f.txt", io.BytesIO(b"file"))}, "data": {"a": "1"}},
    "file": lambda: {"content": io.BytesIO(b"body of a file")},
}


@pytest.mark.parametrize("body", REPLAYABLE)
def test_httpx_repeats_a_request_with_its_body(
    session: Session, front: fault_front.Front, bodies: list[bytes], body: str
) -> None:
    with httpx.Client(auth=SessionAuth(session), timeout=30) as client:
        answer = client.put(f"{front.url}/sessions", **REPLAYABLE[body]())
    assert answer.status_code == 405
    first, second = bodies
    assert first == second
    assert bool(first) == (body != "nothing")


def test_httpx_says_of_a_stream_that_it_cannot_be_repeated(
    session: Session, front: fault_front.Front
) -> None:
    quick.refuse_once(front)
    with (
        httpx.Client(auth=SessionAuth(session), timeout=30) as client,
        pytest.raises(BodyNotReplayable, match="repeat the request with a new stream"),
    ):
        client.post(f"{front.url}/sessions", content=(part for part in [b"a", b"b"]))
    # what it says is true
    assert len(front.refreshes) == 1
    assert session.access_token() not in front.bearers[0]


def test_httpx_says_so_of_an_async_stream(session: Session, front: fault_front.Front) -> None:
    quick.refuse_once(front)

    async def parts() -> AsyncIterator[bytes]:
        yield b"a"

    async def post() -> None:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            await client.post(f"{front.url}/sessions", content=parts())

    with pytest.raises(BodyNotReplayable):
        asyncio.run(post())


@pytest.mark.parametrize(
    "body",
    [None, b"bytes", "text", {"a": "1"}, io.BytesIO(b"a file"), "stream"],
    ids=str.split("none bytes text form file stream"),
)
def test_requests_repeats_a_body_or_says_that_it_cannot(
    session: Session, front: fault_front.Front, bodies: list[bytes], body: Any
) -> None:
    if body == "stream":
        with pytest.raises(BodyNotReplayable):
            requests.put(
                f"{front.url}/sessions",
                data=(part for part in [b"a"]),
                auth=RequestsAuth(session),
                timeout=30,
            )
        return
    answer = requests.put(
        f"{front.url}/sessions", data=body, auth=RequestsAuth(session), timeout=30
    )
    assert [old.status_code for old in answer.history] == [401]
    assert answer.status_code == 405
    assert bodies[0] == bodies[1]
    assert bool(bodies[0]) == (body is not None)


# --- whom the tokens are for ---------------------------------------------------------------------


def test_a_refresh_goes_through_the_client_it_is_given_without_its_auth(
    session: Session, store: quick.Kept
) -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        body = {"access_token": "new", "token_type": "Bearer", "expires_in": 60}
        return httpx.Response(200, json=body)

    quick.age(session, store)
    own = httpx.Client(
        transport=httpx.MockTransport(handle), auth=("wrong", "wrong"), follow_redirects=True
    )
    auth = SessionAuth(session, client=own)
    with own, httpx.Client(auth=auth, transport=httpx.MockTransport(handle)) as client:
        client.get("https://api.test/")
    refresh, call = sent
    assert refresh.url.path == "/oauth/token"
    assert "authorization" not in refresh.headers
    assert call.headers["authorization"] == "Bearer new"


@pytest.mark.parametrize("get", [quick.get_httpx, quick.get_requests, quick.get_plain])
def test_a_refresh_follows_no_redirect(session: Session, store: quick.Kept, get: Any) -> None:
    seen: list[str] = []

    class Redirects(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the base class's name

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirects)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    quick.age(session, store)
    with pytest.raises(RefreshRefused, match="302"):
        get(quick.session(url, store), f"{url}/sessions")
    server.shutdown()
    thread.join()
    server.server_close()
    assert seen == ["/oauth/token"]


def test_a_list_of_parts_can_be_sent_again() -> None:
    request = httpx.Request("PUT", "https://api.test/", content=[b"one", b"two"])
    rewind = httpx_auth._rewinder(request)
    for _ in range(2):
        assert isinstance(request.stream, httpx.SyncByteStream)
        assert b"".join(request.stream) == b"onetwo"
        rewind()


FORK = """
import asyncio, json, os, signal, threading, time
from ratchet_client import MemoryStore, Response, Session
from ratchet_client.httpx_auth import SessionAuth

signal.alarm(20)
sent, answer = threading.Event(), threading.Event()
TOKENS = {"access_token": "a", "expires_in": 1, "refresh_token": "r"}

class Slow(SessionAuth):
    def _send(self, request):
        sent.set()
        answer.wait()
        return Response(200, {}, json.dumps({**TOKENS, "expires_in": 3600}).encode())

class Store(MemoryStore):
    try_lock = lambda self: True
    unlock = lambda self: None

session = Session(Store(), client_id="app", token_endpoint="https://id.test/token")
session.start(TOKENS)
time.sleep(1)
auth = Slow(session)
flight = auth._flight(None)
sent.wait()
child = os.fork()
answer.set()
if child == 0:
    found = asyncio.run(asyncio.wait_for(auth._credential(None), 5))
    os._exit(0 if found.access_token == "a" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert flight.result(5).access_token == "a"
"""


def test_a_child_that_was_forked_during_a_refresh_waits_for_no_thread_of_its_parent() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize(
    ("length", "whole"),
    [("Content-Length: 2", True), ("Content-Length: 9", False), ("", True)],
    ids=["whole", "half", "until the connection ends"],
)
def test_half_an_answer_is_none(status: str, length: str, whole: bool) -> None:
    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 {status}\r\n{length or 'X: y'}\r\n\r\n{{}}".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        request = Request("GET", f"http://127.0.0.1:{server.getsockname()[1]}/", {})
        if whole:
            assert send(request).body == b"{}"
        else:
            with pytest.raises(ConnectionFailed, match="IncompleteRead"):
                send(request)
        thread.join()
