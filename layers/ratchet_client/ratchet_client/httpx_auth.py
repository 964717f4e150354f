"""A session as the authentication of an httpx client. Needs the extra `httpx`."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from typing import Any

import httpx

from ratchet_client import forks
from ratchet_client.credential import Credential
from ratchet_client.errors import BodyNotReplayable, ConnectionFailed
from ratchet_client.session import Session
from ratchet_client.token_answer import refuses_token
from ratchet_client.transport import Request, Response


class SessionAuth(httpx.Auth):
    """`httpx.Client(auth=SessionAuth(session))`, and the same for AsyncClient.

    client: sends the refreshes, for proxies and certificates of your own; not the client that this
    is the `auth` of, or its hooks would see the tokens. Left out: one is made for each refresh.

    In an AsyncClient a refresh runs in a thread: it does not hold up the event loop, and it is
    carried to its end when the task that asked for it is cancelled. Needs asyncio.

    refresh_on_bare_401: whether a 401 without any challenge refuses the token, too: all that API
    Gateway can say with a Lambda authorizer.

    Requests raise what `Session.access_token` raises, and BodyNotReplayable.
    """

    def __init__(
        self,
        session: Session,
        *,
        client: httpx.Client | None = None,
        refresh_on_bare_401: bool = True,
    ) -> None:
        self._session = session
        self._client = client
        self._bare = refresh_on_bare_401
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Nothing is under way: in a child the threads that would land are its parent's."""
        self._flights: dict[str | None, Future[Credential]] = {}
        self._flights_lock = threading.Lock()

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        rewind = _rewinder(request)
        first = self._session.credential(send=self._send)
        response = yield _signed(request, first)
        if self._refused(first, response):
            newer = self._session.credential(refused=first.access_token, send=self._send)
            if newer.replaces(first):
                rewind()
                response = yield _signed(request, newer)
                self._session.learn_time(response.headers)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        rewind = _rewinder(request)
        first = await self._credential(None)
        response = yield _signed(request, first)
        if self._refused(first, response):
            newer = await self._credential(first.access_token)
            if newer.replaces(first):
                rewind()
                response = yield _signed(request, newer)
                self._session.learn_time(response.headers)

    def _refused(self, used: Credential, response: httpx.Response) -> bool:
        self._session.learn_time(response.headers)
        # The one that answers has seen no token if it was redirected to from another origin.
        sent = response.request.headers.get("authorization") == f"Bearer {used.access_token}"
        challenge = response.headers.get("www-authenticate", "")
        bare = self._bare and used.refresh_token is not None
        return sent and refuses_token(response.status_code, challenge, bare=bare)

    async def _credential(self, refused: str | None) -> Credential:
        refreshing = bool(self._flights)
        found = self._session.at_hand(refused=refused, refreshing=refreshing)
        if found is not None:
            return found
        # One future for all tasks that want the same; a task that is cancelled does not end it.
        return await asyncio.shield(asyncio.wrap_future(self._flight(refused)))

    def _flight(self, refused: str | None) -> "Future[Credential]":
        with self._flights_lock:
            if (flight := self._flights.get(refused)) is None:
                flight = Future()
                # A daemon: it may end with the program, a refresh can be broken off at any time.
                threading.Thread(target=self._fly, args=(refused,), daemon=True).start()
                # Not before: nobody is to wait for a thread that could not be started.
                self._flights[refused] = flight
            return flight

    def _fly(self, refused: str | None) -> None:
        try:
            found = self._session.credential(refused=refused, send=self._send)
        except BaseException as failure:  # noqa: BLE001 - it is raised in the tasks that wait
            self._landed(refused).set_exception(failure)
        else:
            self._landed(refused).set_result(found)

    def _landed(self, refused: str | None) -> "Future[Credential]":
        """Whoever comes from now on starts another one."""
        with self._flights_lock:
            return self._flights.pop(refused)

    def _send(self, request: Request) -> Response:
        if self._client is not None:
            return _send(self._client, request)
        with httpx.Client() as client:
            return _send(client, request)


def _send(client: httpx.Client, request: Request) -> Response:
    try:
        answer = client.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body,
            timeout=request.timeout_seconds,
            # Never the client's own: it may be this session.
            auth=None,
            follow_redirects=False,
        )
    except httpx.RequestError as failure:
        raise ConnectionFailed(f"{type(failure).__name__}: {failure}") from None
    return Response(answer.status_code, dict(answer.headers), answer.content)


def _signed(request: httpx.Request, credential: Credential) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {credential.access_token}"
    return request


def _rewinder(request: httpx.Request) -> Callable[[], None]:
    """Makes the body of the request ready to be sent again, or raises BodyNotReplayable."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return lambda: None
    # Of httpx's own streams: the content, the files of a multipart form. Those rewind themselves.
    if (parts := getattr(stream, "fields", None)) is not None:
        files = [getattr(part, "file", b"") for part in parts]
        if all(isinstance(file, bytes | str) or _seekable(file) for file in files):
            return lambda: None
    content: Any = getattr(stream, "_stream", None)
    if isinstance(content, list | tuple):
        return lambda: None
    if _seekable(content):
        start = content.tell()
        return lambda: content.seek(start) and None

    def used_up() -> None:
        raise BodyNotReplayable

    return used_up


def _seekable(file: object) -> bool:
    seekable = getattr(file, "seekable", None)
    return callable(seekable) and bool(seekable())
