"""Answers HTTP on 127.0.0.1 as API Gateway and Lambda would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from ratchet_cli import payload
from ratchet_cli.authorizers import Authorizers
from ratchet_cli.template import Route

Invoke = Callable[[str, Any], Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_CONCURRENCY = 64
_STOP_SECONDS = 5


class Gateway:
    """The ASGI application. `invoke(function, event)` is called in many threads at once."""

    def __init__(
        self,
        routes: Sequence[Route],
        invoke: Invoke,
        pool: ThreadPoolExecutor,
        protected: ThreadPoolExecutor,
    ) -> None:
        """protected: threads for routes with authorizers. Those ask the issuer, which is here, too:
        in the same threads they would wait for each other."""
        self._routes = routes
        self._invoke = invoke
        self._authorizers = Authorizers(invoke)
        self._pool = pool
        self._protected = protected

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one HTTP request."""
        body = await _body(receive)
        if body is None:
            response = payload.TOO_LARGE
        else:
            request = _request(scope, body)
            matched = payload.match(self._routes, request.method, request.path)
            pool = self._protected if matched and matched.route.authorizer else self._pool
            loop = asyncio.get_running_loop()
            response = await loop.run_in_executor(pool, self._respond, request, matched)
        await _answer(send, response)

    def _respond(self, request: payload.Request, matched: payload.Match | None) -> payload.Response:
        if matched is None:
            return payload.NOT_FOUND
        event = payload.event(request, matched)
        if len(event.get("body", "")) > payload.MAX_BODY_BYTES:
            return payload.TOO_LARGE
        if refusal := self._authorizers.refusal(matched.route, event):
            return refusal
        try:
            return payload.response(self._invoke(matched.route.function, event))
        except (Exception, SystemExit):  # noqa: BLE001 - as on AWS: a 500, and the trace in the log
            traceback.print_exc()
            return payload.INTERNAL_SERVER_ERROR


@contextlib.contextmanager
def serving(listener: socket.socket, routes: Sequence[Route], invoke: Invoke) -> Iterator[None]:
    """Serve on a listening socket for the time of a `with` block, then end what is under way."""
    # Its connections inherit this, which asyncio sets only where a socket names its protocol: else
    # an answer on a kept-alive connection waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pool = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="function")
    protected = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="protected")
    server = uvicorn.Server(
        uvicorn.Config(
            Gateway(routes, invoke, pool, protected),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_STOP_SECONDS + 1)
        # A call that still runs ends, with an error, once the emulator behind it is gone.
        pool.shutdown(wait=False, cancel_futures=True)
        protected.shutdown(wait=False, cancel_futures=True)


async def _body(receive: _Receive) -> bytes | None:
    """Return the whole body, None if it is over the limit.

    It is read to its end all the same, so that the client gets to see the answer.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size <= payload.MAX_BODY_BYTES:
            chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks) if size <= payload.MAX_BODY_BYTES else None


def _request(scope: _Message, body: bytes) -> payload.Request:
    return payload.Request(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=[
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]
        ],
        body=body,
        source_ip=scope["client"][0],
        protocol=f"HTTP/{scope['http_version']}",
    )


async def _answer(send: _Send, response: payload.Response) -> None:
    headers = [
        (name, value)
        for name, value in response.headers
        if name not in ("content-length", "transfer-encoding")
    ]
    if response.status not in (204, 304):
        headers.append(("content-length", str(len(response.body))))
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers],
        }
    )
    await send({"type": "http.response.body", "body": response.body})
