"""ratchet_client against a started stack: the same session in httpx, requests and by itself."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ratchet_client import MemoryStore, Session, SessionEnded
from ratchet_client.httpx_auth import SessionAuth
from tests.clients import fault_front, quick
from tests.local_stack import LocalStack

by_name = pytest.mark.parametrize("get", quick.FRONTS, ids=lambda get: get.__name__)


@by_name
def test_an_old_token_is_refreshed_before_the_request(
    session: Session, store: quick.Kept, front: fault_front.Front, get: Any
) -> None:
    quick.age(session, store)
    assert get(session, f"{front.url}/sessions") == 200
    assert [seen.status for seen in front.refreshes] == [200]
    assert len(front.bearers) == 1


@by_name
def test_a_refused_token_is_refreshed_and_the_request_repeated_once(
    session: Session, front: fault_front.Front, get: Any
) -> None:
    quick.refuse_once(front)
    assert get(session, f"{front.url}/sessions") == 200
    assert [seen.status for seen in front.refreshes] == [200]
    assert len(front.bearers) == 2


@by_name
@pytest.mark.parametrize("authorizer", ["jwt", "lambda"])
def test_behind_api_gateway_it_is_no_different(
    session: Session, store: quick.Kept, front: fault_front.Front, get: Any, authorizer: str
) -> None:
    """with a Lambda authorizer a 401 has no challenge"""
    store.save(json.dumps({**store.content, "access_token": "of-another-issuer"}))
    session._kept.known = None
    assert get(session, f"{front.url}/example/{authorizer}") == 200
    assert [seen.status for seen in front.refreshes] == [200]


@by_name
def test_401_loops_end(session: Session, front: fault_front.Front, get: Any) -> None:
    front.fault = lambda path, number: "401" if path == "/sessions" else ""
    for _ in range(5):
        assert get(session, f"{front.url}/sessions") == 401
    assert len(front.refreshes) == 1


@by_name
def test_the_end_of_the_session_is_raised_with_its_reason(
    session: Session, store: quick.Kept, front: fault_front.Front, get: Any
) -> None:
    token = session.access_token()
    answer = httpx.delete(
        f"{front.url}/sessions/{store.content['sid']}", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 204
    quick.age(session, store)
    for _ in range(2):
        with pytest.raises(SessionEnded, match=r"^revoked_by_user: The user signed out") as ended:
            get(session, f"{front.url}/sessions")
        assert ended.value.sid == store.content["sid"]
    assert len(front.refreshes) == 1


@by_name
def test_an_answer_that_is_lost_is_no_sign_out(
    session: Session, store: quick.Kept, front: fault_front.Front, get: Any
) -> None:
    """the application has no leeway: only the same key gets the same tokens"""
    dropped = iter(["drop", "503"])
    front.fault = lambda path, number: next(dropped, "") if path == "/oauth/token" else ""
    quick.age(session, store)
    assert get(session, f"{front.url}/sessions") == 200
    assert [seen.status for seen in front.refreshes] == [None, 503, 200]
    assert len({(seen.token, seen.key) for seen in front.refreshes}) == 1


def test_threads_and_tasks_of_one_program_refresh_once(
    session: Session, store: quick.Kept, front: fault_front.Front
) -> None:
    url = f"{front.url}/sessions"

    async def tasks() -> list[int]:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(8)))
        return [answer.status_code for answer in answers]

    quick.age(session, store)
    with ThreadPoolExecutor(9) as pool:
        loop = pool.submit(lambda: asyncio.run(tasks()))
        threads = [
            pool.submit(get, session, url) for get in [quick.get_httpx, quick.get_requests] * 4
        ]
        statuses = loop.result() + [one.result() for one in threads]
    assert statuses == [200] * 16
    assert len(front.refreshes) == 1


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_confidential_application_is_found_by_its_issuer(
    quick_stack: LocalStack, method: Any
) -> None:
    session = Session(
        MemoryStore(),
        client_id=quick.SERVER,
        client_secret=quick.SECRET,
        client_authentication=method,
        issuer=quick_stack.url,
    )
    session.start(quick.start(quick_stack, "ada", quick.SERVER))
    token = session.access_token()
    assert session.access_token(refused=token) != token
    session.sign_out()
    with pytest.raises(SessionEnded, match="revoked_by_user"):
        session.access_token()


# --- asyncio -------------------------------------------------------------------------------------


def test_a_refresh_does_not_hold_up_the_loop(
    session: Session, store: quick.Kept, front: fault_front.Front
) -> None:
    let_go = threading.Event()

    def fault(path: str, number: int) -> str:
        if path == "/oauth/token":
            assert let_go.wait(10)
        return ""

    front.fault = fault
    quick.age(session, store)

    async def both() -> int:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            request = asyncio.create_task(client.get(f"{front.url}/sessions"))
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert not request.done()
            let_go.set()
            return (await request).status_code

    assert asyncio.run(both()) == 200


@pytest.mark.parametrize("get", [quick.get_httpx, quick.get_requests, "tasks"])
def test_while_one_refreshes_early_the_others_go_on_with_the_good_token(
    session: Session, store: quick.Kept, front: fault_front.Front, get: Any
) -> None:
    under_way, let_go = threading.Event(), threading.Event()

    def fault(path: str, number: int) -> str:
        if path == "/oauth/token":
            under_way.set()
            assert let_go.wait(10)
        return ""

    front.fault = fault
    store.save(json.dumps({**store.content, "refresh_at": 1}))
    session._kept.known = None
    url = f"{front.url}/sessions"

    async def tasks() -> list[int]:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            first = asyncio.create_task(client.get(url))
            assert await asyncio.to_thread(under_way.wait, 10)
            others = [await asyncio.wait_for(client.get(url), 5) for _ in range(5)]
            assert not first.done()
            let_go.set()
            return [answer.status_code for answer in (*others, await first)]

    def threads() -> list[int]:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(get, session, url)
            assert under_way.wait(10)
            others = [pool.submit(get, session, url).result(5) for _ in range(5)]
            assert not first.done()
            let_go.set()
            return [*others, first.result(10)]

    try:
        assert (asyncio.run(tasks()) if get == "tasks" else threads()) == [200] * 6
    finally:
        let_go.set()
    assert [seen.status for seen in front.refreshes] == [200]
    assert len(front.bearers) == 2


def test_a_task_that_is_cancelled_does_not_break_off_a_refresh(
    session: Session, store: quick.Kept, front: fault_front.Front
) -> None:
    under_way, let_go = threading.Event(), threading.Event()

    def fault(path: str, number: int) -> str:
        if path == "/oauth/token":
            under_way.set()
            assert let_go.wait(10)
        return ""

    front.fault = fault
    quick.age(session, store)

    async def cancelled_and_again() -> int:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            request = asyncio.create_task(client.get(f"{front.url}/sessions"))
            assert await asyncio.to_thread(under_way.wait, 10)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            let_go.set()
            return (await client.get(f"{front.url}/sessions")).status_code

    assert asyncio.run(cancelled_and_again()) == 200
    assert [seen.status for seen in front.refreshes] == [200]


def test_a_thread_that_cannot_be_started_is_waited_for_by_nobody(
    session: Session,
    store: quick.Kept,
    front: fault_front.Front,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(thread: threading.Thread) -> None:
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    async def twice() -> int:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            monkeypatch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                await client.get(f"{front.url}/sessions")
            again = client.get(f"{front.url}/sessions")
            return (await asyncio.wait_for(again, 20)).status_code

    quick.age(session, store)
    assert asyncio.run(twice()) == 200
    assert [seen.status for seen in front.refreshes] == [200]
