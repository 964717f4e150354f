"""ratchet_client in front of an API that answers 401: what is refreshed, and what sent again."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import BaseAdapter

from ratchet_client import Session, SessionEnded
from ratchet_client.httpx_auth import SessionAuth
from ratchet_client.requests_auth import SessionAuth as RequestsAuth
from tests.unit.client_world import World, answer, tokens

URL = "https://api.test/transfer"
INVALID = {"www-authenticate": 'Bearer error="invalid_token"'}
# of API Gateway with a Lambda authorizer: no challenge, or an empty one
BARE: dict[str, str] = {}
EMPTY = {"www-authenticate": " "}
# the URL and the Authorization header of a request -> status and headers
Api = Callable[[str, str], tuple[int, dict[str, str]]]


def post_httpx(world: World, session: Session, api: Api, **settings: Any) -> int:
    transport = httpx.MockTransport(lambda request: _httpx_answer(request, api))
    auth = _auth(world, SessionAuth(session, **settings))
    with httpx.Client(auth=auth, transport=transport, follow_redirects=True) as client:
        return client.post(URL, content=b"all").status_code


def post_asyncio(world: World, session: Session, api: Api, **settings: Any) -> int:
    async def post() -> int:
        transport = httpx.MockTransport(lambda request: _httpx_answer(request, api))
        auth = _auth(world, SessionAuth(session, **settings))
        how: Any = {"auth": auth, "transport": transport, "follow_redirects": True}
        async with httpx.AsyncClient(**how) as client:
            return (await client.post(URL, content=b"all")).status_code

    return asyncio.run(post())


def _auth(world: World, auth: Any) -> Any:
    """Refreshes go to the world, and not to the network."""
    auth._send = world.send
    return auth


def _httpx_answer(request: httpx.Request, api: Api) -> httpx.Response:
    status, headers = api(str(request.url), request.headers.get("authorization", ""))
    return httpx.Response(status, headers=headers)


def post_requests(world: World, session: Session, api: Api, **settings: Any) -> int:
    class Adapter(BaseAdapter):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            response = requests.Response()
            url, sent = str(request.url), str(request.headers.get("Authorization", ""))
            response.status_code, headers = api(url, sent)
            response.headers.update(headers)
            response.request, response.raw, response.url = request, io.BytesIO(), url
            setattr(response, "connection", self)  # noqa: B010 - mypy knows none
            return response

        def close(self) -> None: ...

    with requests.Session() as http:
        http.mount("https://", Adapter())
        http.auth = _auth(world, RequestsAuth(session, **settings))
        return http.post(URL, data=b"all").status_code


by_front = pytest.mark.parametrize("post", [post_httpx, post_asyncio, post_requests])


@pytest.fixture
def world() -> World:
    return World()


@by_front
@pytest.mark.parametrize("refusal", [INVALID, BARE, EMPTY], ids=["invalid_token", "bare", "empty"])
def test_a_401_without_a_challenge_refuses_the_token_too(
    world: World, post: Any, refusal: dict[str, str]
) -> None:
    seen: list[str] = []

    def api(url: str, authorization: str) -> tuple[int, dict[str, str]]:
        seen.append(authorization)
        return (401, refusal) if authorization == "Bearer access-1" else (200, {})

    world.script = [answer(**tokens(2))]
    assert post(world, world.started(), api) == 200
    assert seen == ["Bearer access-1", "Bearer access-2"]
    assert len(world.sent) == 1


@by_front
@pytest.mark.parametrize(
    ("refusal", "settings"),
    [
        (BARE, {"refresh_on_bare_401": False}),
        ({"www-authenticate": 'Basic realm="x"'}, {}),
        ({"www-authenticate": 'Bearer realm="x"'}, {}),
    ],
    ids=["switched off", "another scheme", "no error"],
)
def test_a_401_that_is_not_about_the_token_is_the_answer(
    world: World, post: Any, refusal: dict[str, str], settings: dict[str, Any]
) -> None:
    seen: list[str] = []

    def api(url: str, authorization: str) -> tuple[int, dict[str, str]]:
        seen.append(authorization)
        return 401, refusal

    assert post(world, world.started(), api, **settings) == 401
    assert (seen, world.sent) == (["Bearer access-1"], [])


@by_front
def test_without_a_refresh_token_a_bare_401_is_the_answer_and_no_end_of_the_session(
    world: World, post: Any
) -> None:
    session = world.session()
    session.start({"access_token": "access-1", "token_type": "Bearer", "expires_in": 60})
    assert post(world, session, lambda url, authorization: (401, BARE)) == 401
    with pytest.raises(SessionEnded, match="no_refresh_token"):
        post(world, session, lambda url, authorization: (401, INVALID))


@by_front
def test_an_api_that_says_401_to_everything_costs_one_refresh_a_minute(
    world: World, post: Any
) -> None:
    """and a request is sent twice only when there was a refresh"""
    session, calls = world.started(), 0

    def api(url: str, authorization: str) -> tuple[int, dict[str, str]]:
        nonlocal calls
        calls += 1
        return 401, BARE

    world.script = [answer(**tokens(number)) for number in range(2, 9)]
    for _ in range(100):
        assert post(world, session, api) == 401
        world.now += 1
    assert len(world.sent) == 2
    assert calls == 102


@by_front
@pytest.mark.parametrize("refusal", [INVALID, BARE], ids=["invalid_token", "bare"])
def test_a_401_of_whoever_was_redirected_to_is_not_about_a_token_it_has_not_seen(
    world: World, post: Any, refusal: dict[str, str]
) -> None:
    seen: list[tuple[str, str]] = []

    def api(url: str, authorization: str) -> tuple[int, dict[str, str]]:
        seen.append((url, authorization))
        if url == URL:
            return 307, {"location": "https://elsewhere.test/"}
        return 401, refusal

    assert post(world, world.started(), api) == 401
    assert seen == [(URL, "Bearer access-1"), ("https://elsewhere.test/", "")]
    assert world.sent == []


@by_front
@pytest.mark.parametrize("sid", ["sid-of-the-session", "sid-of-bob"])
def test_a_request_is_not_repeated_in_the_name_of_whoever_has_signed_in_meanwhile(
    world: World, post: Any, sid: str
) -> None:
    session, other = world.started(), world.session()
    seen: list[str] = []

    def api(url: str, authorization: str) -> tuple[int, dict[str, str]]:
        seen.append(authorization)
        if len(seen) > 1:
            return 200, {}
        other.start(tokens(9, sid=sid))
        return 401, INVALID

    status = post(world, session, api)
    if sid == "sid-of-bob":
        assert (status, seen) == (401, ["Bearer access-1"])
    else:
        assert (status, seen) == (200, ["Bearer access-1", "Bearer access-9"])
