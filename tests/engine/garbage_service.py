"""The refresh handler in the run of `garbage`: no engine, but a clock, a log and counted calls."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import json
import logging
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from botocore.exceptions import EndpointConnectionError

from ratchet import endpoint, events, keys, wiring
from ratchet.request import FORM
from ratchet.secret_cache import CachedSecret
from ratchet.settings import Settings
from ratchet.signing import SecretPeppers
from ratchet_cli import payload, template
from ratchet_cli.template import Route

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000
# An id below, between and above them is unknown.
PEPPER_IDS = (4, 7)

# What the template gives the functions; the tables and secrets it refers to are never reached.
_TEMPLATE = template.load(ROOT / "template.yaml")
_VARIABLES = _TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]


def _value(value: Any) -> str:
    parameter = {} if isinstance(value, str) else _TEMPLATE["Parameters"].get(value.get("Ref"), {})
    return value if isinstance(value, str) else str(parameter.get("Default", "none"))


ENVIRONMENT = {
    **{name: _value(value) for name, value in _VARIABLES.items()},
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "RATCHET_ISSUER": "https://id.test",
}
_ROUTE = payload.Match(Route("ANY", "/oauth/refresh", "RefreshFunction"), {})


class Secret:
    """What the functions ask Secrets Manager for, with every look counted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.looks = 0

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        self.looks += 1
        return {"SecretString": self._text}


class Service:
    """functions/refresh as Lambda calls it, without a network. `calls`: what it asked DynamoDB."""

    def __init__(self, rng: random.Random) -> None:
        self.now = NOW
        self.calls: list[str] = []
        self.log = io.StringIO()
        peppers = {str(pepper_id): rng.randbytes(32).hex() for pepper_id in PEPPER_IDS}
        self.secret = Secret(json.dumps({"current": 7, **peppers}))
        foreign = {number: rng.randbytes(32) for number in PEPPER_IDS}
        self.foreign = _Fixed(foreign)
        secret: Any = self.secret
        self.peppers = SecretPeppers(CachedSecret(secret, "pepper", keys.peppers))
        with mock.patch.dict(os.environ, ENVIRONMENT):
            parts = wiring.build(Settings.from_environment(os.environ))
        self.parts = dataclasses.replace(parts, peppers=self.peppers)
        for adapter in (parts.store, parts.applications):
            adapter._client.meta.events.register("before-call.dynamodb", self._refuse)
        self._handler = importlib.import_module("functions.refresh.app").handler

    def _refuse(self, model: Any, **_: Any) -> None:
        """A call that should not be is counted, and then fails before it reaches a network."""
        self.calls.append(model.name)
        raise EndpointConnectionError(endpoint_url="none")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The handler has these parts, this clock, and a log that can be read."""
        stream = logging.StreamHandler(self.log)
        stream.setFormatter(events.JsonLine())
        logger = events.logger
        before = logger.handlers
        logger.handlers = [stream]
        try:
            with (
                mock.patch.dict(os.environ, ENVIRONMENT),
                mock.patch.object(wiring, "_parts", self.parts),
                mock.patch.object(endpoint, "clock", side_effect=lambda: self.now),
                contextlib.redirect_stdout(io.StringIO()) as metrics,
            ):
                self._metrics = metrics
                yield
        finally:
            logger.handlers = before

    def send(self, body: bytes) -> tuple[dict[str, Any], str, int]:
        """What the handler returns, what it wrote, and the nanoseconds of processor time."""
        request = payload.Request(
            method="POST",
            path="/oauth/refresh",
            query="",
            headers=[("host", "id.test"), ("content-type", FORM)],
            body=body,
            source_ip="192.0.2.1",
        )
        event = payload.event(request, _ROUTE)
        self._metrics.seek(0)
        self._metrics.truncate()
        self.log.seek(0)
        self.log.truncate()
        started = time.thread_time_ns()
        answer = self._handler(event, None)
        spent = time.thread_time_ns() - started
        return answer, self.log.getvalue() + self._metrics.getvalue(), spent


@dataclass(frozen=True)
class _Fixed:
    """Another deployment's peppers, under ids of ours."""

    keys: dict[int, bytes]

    def current(self, now: int) -> tuple[int, bytes]:
        return max(self.keys.items())

    def key(self, pepper_id: int, now: int) -> bytes | None:
        return self.keys.get(pepper_id)
