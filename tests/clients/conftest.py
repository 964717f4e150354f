"""Clients that others wrote, against a started stack, over HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from ratchet_client import Session
from tests.clients import fault_front, quick
from tests.local_stack import LocalStack, started

BACKEND = ("demo-backend", "demo-backend-secret")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        yield running


class Client:
    """The few requests that the tests of this folder make themselves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30)

    def start(self, client_id: str = "demo-native", sub: str = "ada") -> dict[str, str]:
        answer = self.http.post(
            "/sessions", data={"client_id": client_id, "sub": sub}, auth=BACKEND
        )
        assert answer.status_code == 200, answer.text
        tokens: dict[str, str] = answer.json()
        return tokens

    def refresh(
        self, token: str, client_id: str = "demo-native", key: str | None = None
    ) -> httpx.Response:
        return self.http.post(
            "/oauth/refresh",
            data={"client_id": client_id, "refresh_token": token},
            headers={"Idempotency-Key": key} if key else None,
        )


@pytest.fixture
def client(stack: LocalStack) -> Iterator[Client]:
    client = Client(stack.url)
    with client.http:
        yield client


# --- for the tests of ratchet_client -------------------------------------------------------------


@pytest.fixture(scope="session")
def quick_stack(stack: LocalStack) -> LocalStack:
    """The stack, with the applications of quick.py."""
    quick.register(stack)
    return stack


@pytest.fixture
def front(quick_stack: LocalStack) -> Iterator[fault_front.Front]:
    with fault_front.front(quick_stack.url) as front:
        yield front


@pytest.fixture
def store() -> quick.Kept:
    return quick.Kept()


@pytest.fixture
def session(quick_stack: LocalStack, front: fault_front.Front, store: quick.Kept) -> Session:
    """One without leeway, through the front; with tokens of an hour, for a busy machine."""
    session = quick.session(front.url, store, client_id=quick.LONG_LIVED)
    session.start(quick.start(quick_stack, "eve", quick.LONG_LIVED))
    return session
