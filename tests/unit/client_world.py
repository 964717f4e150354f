"""A session of ratchet_client with its clock and its server scripted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from ratchet_client import (
    MemoryStore,
    Request,
    Response,
    Session,
)

NOW = 1_800_000_000.0
ENDPOINT = "https://id.test/oauth/token"
Step = Response | Exception | Callable[[Request], Response]


def answer(status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> Response:
    return Response(status, headers or {}, json.dumps(body).encode())


def tokens(number: int, **more: Any) -> dict[str, Any]:
    return {
        "access_token": f"access-{number}",
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_after": 2750,
        "refresh_token": f"refresh-{number}",
        "sid": "sid-of-the-session",
        **more,
    }


def refusal(reason: str | None = None, **more: Any) -> Response:
    said: dict[str, Any] = {"error_reason": reason, "retry": "never"} if reason else {}
    return answer(400, error="invalid_grant", error_description="It is over.", **{**said, **more})


class World:
    """A clock that moves when somebody sleeps, a store, and a server that says what is next."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = MemoryStore()
        self.script: list[Step] = []
        self.sent: list[dict[str, str]] = []
        self.keys: list[str] = []
        # what the store had in it while the request was on its way
        self.stored: list[dict[str, Any]] = []
        self.slept: list[float] = []

    def session(self, **settings: Any) -> Session:
        return Session(
            settings.pop("store", self.store),
            **{"client_id": "app", "token_endpoint": ENDPOINT, **settings},
            clock=lambda: self.now,
            sleep=self.sleep,
            uniform=random.Random(7).uniform,  # noqa: S311 - the same in every run
            send=self.send,
        )

    def started(self, **settings: Any) -> Session:
        session = self.session(**settings)
        session.start(tokens(1))
        return session

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def send(self, request: Request) -> Response:
        assert request.url == ENDPOINT
        self.sent.append({n: v[0] for n, v in parse_qs((request.body or b"").decode()).items()})
        self.keys.append(request.headers.get("Idempotency-Key", ""))
        self.stored.append(self.kept())
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Response) else step(request)

    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.load() or "{}")
        return found
