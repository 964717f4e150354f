"""A session as the authentication of requests. Needs the extra `requests`."""

from collections.abc import Callable
from typing import Any

import requests
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar

from ratchet_client.errors import BodyNotReplayable, ConnectionFailed
from ratchet_client.session import Session
from ratchet_client.token_answer import refuses_token
from ratchet_client.transport import Request, Response


class SessionAuth(AuthBase):
    """`requests.get(url, auth=SessionAuth(session))`, or the `auth` of a requests.Session.

    http: sends the refreshes, for proxies and certificates of your own; not the requests.Session
    that this is the `auth` of. Left out: one is made for each refresh.

    refresh_on_bare_401: whether a 401 without any challenge refuses the token, too: all that API
    Gateway can say with a Lambda authorizer.

    Requests raise what `Session.access_token` raises, and BodyNotReplayable.
    """

    def __init__(
        self,
        session: Session,
        *,
        http: requests.Session | None = None,
        refresh_on_bare_401: bool = True,
    ) -> None:
        self._session = session
        self._http = http
        self._bare = refresh_on_bare_401

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        first = self._session.credential(send=self._send)
        token = first.access_token
        rewind = _rewinder(r.body)
        r.headers["Authorization"] = f"Bearer {token}"

        def answered(response: requests.Response, **how: Any) -> requests.Response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            self._session.learn_time(headers)
            # The one that answers has seen no token if it was redirected to from another origin.
            sent = response.request.headers.get("Authorization") == f"Bearer {token}"
            challenge = headers.get("www-authenticate", "")
            bare = self._bare and first.refresh_token is not None
            if not sent or not refuses_token(response.status_code, challenge, bare=bare):
                return response
            newer = self._session.credential(refused=token, send=self._send)
            if not newer.replaces(first):
                return response
            rewind()
            return _repeated(response, newer.access_token, how)

        hooks: Any = r
        hooks.register_hook("response", answered)
        return r

    def _send(self, request: Request) -> Response:
        if self._http is not None:
            return _send(self._http, request)
        with requests.Session() as http:
            return _send(http, request)


def _repeated(response: requests.Response, token: str, how: dict[str, Any]) -> requests.Response:
    """As HTTPDigestAuth of requests does it: connection given back, cookies kept."""
    connection = response.connection
    _ = response.content
    response.close()
    again: Any = response.request.copy()
    # requests' own digest authentication does the same; the function has no types.
    extract_cookies_to_jar(again._cookies, response.request, response.raw)  # type: ignore[no-untyped-call]
    again.prepare_cookies(again._cookies)
    again.headers["Authorization"] = f"Bearer {token}"
    answer: requests.Response = connection.send(again, **how)
    answer.history.append(response)
    answer.request = again
    return answer


def _send(http: requests.Session, request: Request) -> Response:
    def unauthenticated(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Neither the `auth` of the requests.Session nor a line of ~/.netrc."""
        return prepared

    try:
        answer = http.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            data=request.body,
            timeout=request.timeout_seconds,
            auth=unauthenticated,
            allow_redirects=False,
        )
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ContentDecodingError,
    ) as failure:
        raise ConnectionFailed(f"{type(failure).__name__}: {failure}") from None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, answer.content)


def _rewinder(body: Any) -> Callable[[], None]:
    """Makes the body ready to be sent again, or raises BodyNotReplayable."""
    if body is None or isinstance(body, bytes | str):
        return lambda: None
    seekable = getattr(body, "seekable", None)
    if callable(seekable) and seekable():
        start = body.tell()
        return lambda: body.seek(start) and None

    def used_up() -> None:
        raise BodyNotReplayable

    return used_up
