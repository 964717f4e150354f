"""Faults at every step, kills, and outages: `python -m tests.engine.faults --seed 1`.

The real Lambda handlers run on a real engine behind `fault_proxy`, which makes one call go wrong.
Whatever fails, promise 7 holds:

- The client gets its normal answer, or 503 with Retry-After. Never a 500, never another reason.
- Its next try, Retry-After later and as it stands, gets what it asked for.
- Nobody is signed out, the generation rises by one, the successor works: there is no fork.
- What EventBridge does fails no request, and the next sweep publishes what was not.

The same for a process that is killed before or after any of its calls, and for outages of ten
minutes under load. KMS is not rehearsed: no `Signer` uses it yet.
"""

import argparse
import contextlib
import functools
import io
import json
import logging
import multiprocessing
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
from botocore.config import Config

from ratchet import endpoint as edge
from ratchet import events, wiring
from ratchet.errors import RETRY_AFTER_SECONDS
from ratchet.parts import Parts
from ratchet.policy import PRESETS
from ratchet.session import Session
from ratchet.session_item import from_item
from ratchet.settings import Settings
from ratchet_cli import aws, payload, template
from ratchet_cli.functions import Functions
from ratchet_cli.seed import SECRETS
from tests.engine.engines import ROOT, engine
from tests.engine.fault_proxy import DYNAMODB, FAULTS, TAKES_EFFECT, FaultProxy, step_of
from tests.engine.fault_proxy import SECRETS as SECRETS_STEPS

ISSUER = "https://id.test"
START = 1_800_000_000
KEY = "a-random-idempotency-key"
BACKEND = ("demo-backend", SECRETS["demo-backend"])
NATIVE, STRICT = "demo-native", "demo-sensitive"

STEP_FAULTS = tuple(fault for fault in FAULTS if fault not in ("closed", "lost"))

ONE_TRY = Config(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1, "mode": "standard"}
)
IMPATIENT = [
    Config(
        connect_timeout=5,
        read_timeout=seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    for seconds in (0.4, 2)
]
"""For the faults that are timeouts. The second where the machine is too busy for the first."""
SDK = wiring.CONFIG
"""What is deployed: the SDK's own retries come on top."""


class BrokenPromise(AssertionError):
    """What was promised and did not happen."""


def must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise BrokenPromise(otherwise)


# --- The service, as its clients and its operator see it ------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    log: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Service:
    """The handlers, called as Lambda calls them; a container of theirs is cold or warm.

    now: what their clock shows.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        described = template.load(ROOT / "template.yaml")
        self._functions = Functions(ROOT, template.functions(described))
        self._routes = template.routes(described)
        self._settings = Settings.from_environment(environment)
        self._clients = functools.cache(_client)
        self.environment = environment
        self.now = START
        self.log = io.StringIO()
        self.auditor = self._clients("dynamodb", ONE_TRY, None)

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        """Inside, this is the service of this process."""
        handler = logging.StreamHandler(self.log)
        handler.setFormatter(events.logger.registered_formatter)
        logger = logging.getLogger(events.logger.service)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge, "clock", lambda: self.now)
            patch.setattr(events, "count", lambda *_: None)
            patch.setattr(wiring, "_parts", None)
            patch.setattr(logger, "propagate", False)
            patch.setattr(logger, "handlers", [handler])
            yield self

    def container(self, config: Config = ONE_TRY, proxy: FaultProxy | None = None) -> Parts:
        """A cold container, which reaches AWS through the proxy, or else directly."""
        address = proxy.variables["AWS_ENDPOINT_URL"] if proxy else None

        def client(name: str, *, config: Config) -> Any:
            return self._clients(name, config, address)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wiring, "boto3", SimpleNamespace(client=client))
            patch.setattr(wiring, "CONFIG", config)
            parts = wiring.build(self._settings)
        setattr(parts.bus, "_client", lambda: client("events", config=config))  # noqa: B010
        return parts

    def enter(self, parts: Parts) -> None:
        """From now on this container answers."""
        wiring._parts = parts

    def call(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        bearer: str | None = None,
        key: str | None = None,
    ) -> Answer:
        headers = [("Host", "id.test")]
        if form is not None:
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        if auth is not None:
            encoded = "Basic " + _base64(":".join(auth))
            headers.append(("Authorization", encoded))
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        if key is not None:
            headers.append(("Idempotency-Key", key))
        parts = urlsplit(url)
        request = payload.Request(
            method=method,
            path=parts.path,
            query=parts.query,
            headers=headers,
            body=urlencode(form or {}).encode() if form is not None else b"",
            source_ip="192.0.2.1",
        )
        matched = payload.match(self._routes, method, parts.path)
        assert matched is not None, url
        self.log.seek(0)
        self.log.truncate()
        response = payload.response(
            self._functions.invoke(matched.route.function, payload.event(request, matched))
        )
        text = response.body.decode()
        line = self.log.getvalue().splitlines()[-1:]
        return Answer(
            response.status,
            dict(response.headers),
            json.loads(text) if text else None,
            json.loads(line[0]) if line else {},
        )

    def start(self, client_id: str = NATIVE) -> Answer:
        form = {"client_id": client_id, "sub": "ada"}
        return self.call("POST", "/sessions", form=form, auth=BACKEND)

    def refresh(self, token: str, client_id: str = NATIVE, key: str | None = None) -> Answer:
        form = {"client_id": client_id, "refresh_token": token}
        return self.call("POST", "/oauth/refresh", form=form, key=key)

    def revoke(self, token: str) -> Answer:
        return self.call("POST", "/oauth/revoke", form={"client_id": NATIVE, "token": token})

    def sweep(self) -> Mapping[str, Any]:
        report: Mapping[str, Any] = self._functions.invoke("SweepFunction", {})
        return report

    def session(self, sid: str) -> Session:
        answer = self.auditor.get_item(
            TableName=self._settings.sessions_table, Key={"sid": {"S": sid}}, ConsistentRead=True
        )
        must("Item" in answer, f"the session {sid} is gone")
        return from_item(answer["Item"])

    def forget_sessions(self) -> None:
        """Empties the table."""
        table = self._settings.sessions_table
        found = self.auditor.scan(TableName=table, ProjectionExpression="sid")["Items"]
        for item in found:
            self.auditor.delete_item(TableName=table, Key={"sid": item["sid"]})


def _client(name: Any, config: Config, address: str | None) -> Any:
    if address is None:
        return boto3.client(name, config=config)
    # The variable for one service would win over a plain AWS_ENDPOINT_URL.
    return boto3.client(name, config=config, endpoint_url=address)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def unavailable(answer: Answer) -> None:
    """Promise 7's 503."""
    must(answer.status == 503, f"answered {answer.status} {answer.body}")
    must(answer["error"] == "temporarily_unavailable", f"error {answer['error']}")
    must(answer["error_reason"] == "unavailable", f"error_reason {answer['error_reason']}")
    must(answer["retry"] == "after", f"retry {answer['retry']}")
    must(int(answer.headers.get("retry-after", 0)) > 0, "no Retry-After")
    must("Traceback" not in str(answer.body), "a traceback")
    must("at" not in answer.log, f"a defect: {answer.log.get('fault')} {answer.log.get('at')}")


# --- What is under way when something fails -------------------------------------------------------


@dataclass
class Stage:
    """What a journey starts from: made before anything fails, in a container of its own.

    token: the session's current one. old: one that was replaced and used.
    """

    service: Service
    sid: str = ""
    token: str = ""
    old: str = ""
    access: str = ""
    generation: int = 0
    client_id: str = NATIVE
    key: str | None = None


class Journey:
    """A request, and what must have come of it in the end."""

    status = 200
    """What the request is answered in the end, once nothing fails."""

    def done(self, answer: Answer) -> bool:
        return answer.status == self.status

    def prepare(self, stage: Stage) -> None:
        answer = stage.service.start(stage.client_id)
        stage.sid, stage.token = answer["sid"], answer["refresh_token"]
        stage.access = answer["access_token"]

    def request(self, stage: Stage) -> Answer:
        raise NotImplementedError

    def judge(self, stage: Stage, answer: Answer) -> None:
        """After the request has been answered in the end."""


class Refresh(Journey):
    """The whole point: whatever fails, one successor."""

    def __init__(self, client_id: str = NATIVE, key: str | None = None) -> None:
        self._client_id, self._key = client_id, key

    def prepare(self, stage: Stage) -> None:
        stage.client_id, stage.key = self._client_id, self._key
        super().prepare(stage)

    def request(self, stage: Stage) -> Answer:
        return stage.service.refresh(stage.token, stage.client_id, stage.key)

    def judge(self, stage: Stage, answer: Answer) -> None:
        service = stage.service
        session = service.session(stage.sid)
        must(session.ended_at is None, f"signed out: {session.reason}")
        must(session.generation == 1, f"generation {session.generation}, not 1")
        if self._key or self._client_id != STRICT:
            again = service.refresh(stage.token, stage.client_id, stage.key)
            must(again.status == 200, f"repeated: {again.status} {again.body}")
            must(again["refresh_token"] == answer["refresh_token"], "a fork")
        follow = service.refresh(answer["refresh_token"], stage.client_id, KEY[::-1])
        must(follow.status == 200, f"the successor: {follow.status} {follow.body}")
        session = service.session(stage.sid)
        must(session.generation == 2, f"generation {session.generation}, not 2")


class Start(Journey):
    """A sign-in. One whose answer was lost leaves a session behind that nobody has a token of."""

    def prepare(self, stage: Stage) -> None:
        pass

    def request(self, stage: Stage) -> Answer:
        return stage.service.start()

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(answer["sid"])
        must(session.generation == 0, f"generation {session.generation}")
        follow = stage.service.refresh(answer["refresh_token"])
        must(follow.status == 200, f"its token: {follow.status} {follow.body}")


class Ending(Journey):
    """A session that ends: told at least once, always with the same id, and then settled."""

    reason = "revoked_by_user"

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.ended_at is not None, "not ended")
        must(session.reason == self.reason, f"ended as {session.reason}")
        refused = stage.service.refresh(stage.token)
        must(refused.status == 400, f"a token of it: {refused.status}")
        must(refused["error_reason"] == self.reason, f"told {refused['error_reason']}")


class Revoke(Ending):
    def request(self, stage: Stage) -> Answer:
        return stage.service.revoke(stage.token)


class Delete(Ending):
    """An operator ends a session."""

    reason = "revoked_by_operator"
    status = 204

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        form = {"grant_type": "client_credentials"}
        answer = stage.service.call("POST", "/oauth/token", form=form, auth=BACKEND)
        stage.access = answer["access_token"]

    def request(self, stage: Stage) -> Answer:
        return stage.service.call("DELETE", f"/sessions/{stage.sid}", bearer=stage.access)


class SignOut(Ending):
    """A session ends itself. If that took effect unheard, its repetition is told just that: 401."""

    status = 204

    def done(self, answer: Answer) -> bool:
        if answer.status == 401:
            return bool(answer["error_reason"] == self.reason)
        return super().done(answer)

    def request(self, stage: Stage) -> Answer:
        return stage.service.call("DELETE", f"/sessions/{stage.sid}", bearer=stage.access)


class Reuse(Ending):
    """Theft: the fault must neither hide it nor turn into it."""

    reason = "reused"
    status = 400

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        stage.old = stage.token
        for _ in range(2):
            stage.token = stage.service.refresh(stage.token)["refresh_token"]

    def request(self, stage: Stage) -> Answer:
        return stage.service.refresh(stage.old)


class Introspect(Journey):
    def request(self, stage: Stage) -> Answer:
        form = {"token": stage.token}
        return stage.service.call("POST", "/oauth/introspect", form=form, auth=BACKEND)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(answer["active"] is True, "not active")


class Show(Journey):
    def request(self, stage: Stage) -> Answer:
        return stage.service.call("GET", f"/sessions/{stage.sid}", bearer=stage.access)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(answer["status"] == "active", f"{answer['status']}")


class List(Journey):
    def request(self, stage: Stage) -> Answer:
        return stage.service.call("GET", "/sessions", bearer=stage.access)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(stage.sid in {found["sid"] for found in answer["sessions"]}, "not listed")


class Sweep(Journey):
    """A sweep, not a request: a fault is counted, and the next sweep goes on.

    Ends an idle session. One that lives must go on living.
    """

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        stage.service.now += PRESETS["native"].idle_ttl_seconds

    def request(self, stage: Stage) -> Answer:
        report = stage.service.sweep()
        bad = report.get("faults") or not report["complete"]
        must(bool(report.get("faults")) == (not report["complete"]), f"{report}")
        return Answer(503 if bad else 200, {}, report, {})

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.reason == "idle_expired", f"ended as {session.reason}")
        must(session.ended_at == session.idle_deadline_at, f"ended at {session.ended_at}")


class SweepLiving(Sweep):
    """A refresh has moved the deadline: the sweep warns or files anew, and ends nothing."""

    def prepare(self, stage: Stage) -> None:
        Journey.prepare(self, stage)
        service, policy = stage.service, PRESETS["native"]
        service.now += policy.idle_ttl_seconds - 10
        stage.token = service.refresh(stage.token)["refresh_token"]
        service.now += 20

    def judge(self, stage: Stage, answer: Answer) -> None:
        service, session = stage.service, stage.service.session(stage.sid)
        must(session.ended_at is None, f"ended as {session.reason}")
        must((session.attention_at or 0) > service.now, "still due")
        must(service.refresh(stage.token).status == 200, "its token does not work")


class Warn(Sweep):
    """The warning before an idle deadline: told at least once, always with the same id."""

    def prepare(self, stage: Stage) -> None:
        Journey.prepare(self, stage)
        policy = PRESETS["native"]
        stage.service.now += policy.idle_ttl_seconds - policy.expiry_warning_seconds

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.warned_deadline_at == session.idle_deadline_at, "not warned")
        must(session.ended_at is None, f"ended as {session.reason}")


UNPROTECTED = "refresh, bare"

JOURNEYS: Mapping[str, tuple[Journey, tuple[str, ...]]] = {
    "refresh": (Refresh(), ("peppers", "keys", "application", "rotate")),
    "refresh, key": (Refresh(STRICT, KEY), ("rotate",)),
    # Leeway 0 and no key: a lost answer is lost, except to the SDK, which repeats the very bytes.
    UNPROTECTED: (Refresh(STRICT), ("rotate",)),
    "start": (Start(), ("peppers", "keys", "application", "create")),
    "revoke": (Revoke(), ("peppers", "application", "end", "publish", "settle")),
    "reuse": (Reuse(), ("rotate", "end", "publish", "settle")),
    "delete": (Delete(), ("keys", "session", "end", "publish", "settle")),
    "sign out": (SignOut(), ("session", "end", "publish", "settle")),
    "introspect": (Introspect(), ("peppers", "application", "session")),
    "show": (Show(), ("keys", "application", "session")),
    "list": (List(), ("session", "list", "batch")),
    "sweep": (Sweep(), ("due", "session", "application", "end", "publish", "settle")),
    "sweep, living": (SweepLiving(), ("due", "session", "rearm")),
    "warn": (Warn(), ("publish", "rearm")),
}
"""Every request, and every call of it that can fail."""

EVENTS_ONLY = frozenset({"publish", "settle"})
"""After the decision: what fails here concerns nobody but the sweep."""


class Combination(NamedTuple):
    journey: str
    step: str
    fault: str
    sdk: bool = False

    def __str__(self) -> str:
        return f"{self.journey}: {self.step}, {self.fault}{', SDK retries' if self.sdk else ''}"


def combinations(*, sdk: bool = False) -> list[Combination]:
    """All that make sense: a TransactionConflict is DynamoDB's alone.

    sdk: with the deployed configuration. Its timeouts cost seconds: only some of those.
    """
    return [
        Combination(journey, step, fault, sdk)
        for journey, (_, steps) in JOURNEYS.items()
        for step in steps
        for fault in STEP_FAULTS
        if (fault != "conflict" or step in DYNAMODB)
        and (sdk or journey != UNPROTECTED or fault == "slow" or fault not in TAKES_EFFECT)
        and (not sdk or "timeout" not in fault or step in ("rotate", "create"))
    ]


def sample(random: Random, size: int) -> list[Combination]:
    """Some of them: every step of every journey, and every fault at least once."""
    everything = combinations()
    random.shuffle(everything)
    found, places, faults = [], set(), set()
    for one in everything:
        if (one.journey, one.step) not in places:
            found.append(one)
            places.add((one.journey, one.step))
            faults.add(one.fault)
    found += [
        next(one for one in everything if one.fault == fault)
        for fault in STEP_FAULTS
        if fault not in faults
    ]
    left = [one for one in everything if one not in found]
    # The heart of it whatever the seed is.
    left.sort(key=lambda one: (one.journey, one.step) != ("refresh", "rotate"))
    return found + left[: max(0, size - len(found))]


# --- Faults ---------------------------------------------------------------------------------------


class Bench:
    """A service with a proxy in front of AWS."""

    def __init__(self, service: Service, proxy: FaultProxy) -> None:
        self.service, self.proxy = service, proxy

    def judge(self, combination: Combination) -> str:
        """The verdict on one combination. Raises BrokenPromise."""
        journey, (_, steps) = JOURNEYS[combination.journey][0], JOURNEYS[combination.journey]
        assert combination.step in steps
        for patience in range(2):
            stage = self._stage(journey)
            config = self._config(combination, patience)
            self.proxy.inject(combination.step, combination.fault)
            try:
                verdict = self._run(combination, journey, stage, config)
            except BrokenPromise as promise:
                raise BrokenPromise(f"{combination}: {promise}") from None
            finally:
                self.proxy.mend()
                self.service.forget_sessions()
            if verdict is not None:
                return verdict
        raise BrokenPromise(f"{combination}: the step was never reached")

    def _config(self, combination: Combination, patience: int) -> Config:
        if combination.sdk:
            return SDK
        if combination.fault.startswith("timeout"):
            return IMPATIENT[patience]
        return ONE_TRY

    def _stage(self, journey: Journey) -> Stage:
        self.service.now = START
        self.service.enter(self.service.container())
        stage = Stage(self.service)
        journey.prepare(stage)
        self.proxy.forget()
        return stage

    def _run(
        self, combination: Combination, journey: Journey, stage: Stage, config: Config
    ) -> str | None:
        service = self.service
        service.enter(service.container(config, self.proxy))
        answer = journey.request(stage)
        if not self.proxy.hit:
            return None
        verdict = []
        swept = isinstance(journey, Sweep)
        concerns_only_events = combination.step in EVENTS_ONLY and not swept
        if journey.done(answer):
            verdict.append(f"{answer.status}")
            must(
                combination.fault == "slow" or combination.sdk or combination.step in EVENTS_ONLY,
                f"answered {answer.status} although {combination.step} failed",
            )
            if concerns_only_events:
                self._must_be_left_to_the_sweep(combination, stage)
        else:
            must(combination.fault != "slow", f"a slow answer became {answer.status}")
            must(not concerns_only_events, f"{combination.step} failed the request")
            if not swept:
                unavailable(answer)
            verdict.append("503" if not swept else "incomplete")
            self.proxy.mend()
            service.now += RETRY_AFTER_SECONDS
            answer = journey.request(stage)
            must(
                journey.done(answer),
                f"the retry was answered {answer.status} {answer.body}",
            )
            verdict.append(f"{answer.status}")
        self.proxy.mend()
        journey.judge(stage, answer)
        if isinstance(journey, Ending | Sweep):
            self._must_be_told(stage, warned=isinstance(journey, Warn), living=journey)
        return " ".join(verdict)

    def _must_be_left_to_the_sweep(self, combination: Combination, stage: Stage) -> None:
        session = self.service.session(stage.sid)
        if combination.fault == "slow" or combination.sdk:
            return
        if combination.step == "settle" and combination.fault in TAKES_EFFECT:
            must(session.attention_at is None, "the settling took no effect")
        else:
            must(session.attention_at is not None, "an event was lost")

    def _must_be_told(self, stage: Stage, *, warned: bool, living: Journey) -> None:
        """By now or by the next sweep: every event, each with one id, and nothing left over."""
        self.service.now += 60
        report = self.service.sweep()
        must(report["complete"], f"the next sweep: {report}")
        told = [event for event in self.proxy.published if event["sid"] == stage.sid]
        session = self.service.session(stage.sid)
        if warned:
            must(bool(told), "the warning was lost")
            return
        if isinstance(living, SweepLiving):
            must(not any(event["reason"] != "idle_expired" for event in told), f"told {told}")
            return
        must(bool(told), "the event was lost")
        types = {event["id"].split(".")[1] + "." + event["id"].split(".")[2] for event in told}
        must(len({event["id"] for event in told}) == len(types), f"ids {told}")
        must({event["reason"] for event in told} == {session.reason}, f"told {told}")
        must(session.attention_at is None, "still due after the sweep")
        if session.reason == "reused":
            must(types == {"session.revoked", "session.reuse_detected"}, f"told {types}")


@contextlib.contextmanager
def bench(environment: Mapping[str, str]) -> Iterator[Bench]:
    with (
        Service(environment).running() as service,
        FaultProxy(environment) as proxy,
    ):
        yield Bench(service, proxy)


# --- Kills ----------------------------------------------------------------------------------------


class Job(NamedTuple):
    """What a process is to do, and where it dies: ("before" or "after", which step)."""

    journey: str
    stage: dict[str, Any]
    now: int
    kill: tuple[str, str] | None


class Done(NamedTuple):
    """How a process ended: with an answer, or killed. calls: the steps it got to."""

    killed: bool
    status: int = 0
    body: Any = None
    calls: tuple[str, ...] = ()


class Mortal:
    """Fresh processes that run one request each: forked from one that has only imported."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(dict(environment), theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Mortal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def run(self, job: Job) -> Done:
        self._pipe.send(tuple(job))
        must(self._pipe.poll(60), f"no end of {job.journey}, {job.kill}")
        return Done(*self._pipe.recv())


def _serve(environment: Mapping[str, str], pipe: Connection) -> None:
    aws.enter({name: value for name, value in environment.items() if name.startswith("AWS_")})
    os.environ |= {name: value for name, value in environment.items() if name[:4] != "AWS_"}
    service = Service(environment)
    while (message := pipe.recv()) is not None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # No clean-up of any kind: this process ends as a function does.
            os.close(reader)
            done = _perform(service, Job(*message))
            os.write(writer, json.dumps(done).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            said = stream.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        pipe.send((True,) if killed else tuple(json.loads(said)))


def _perform(service: Service, job: Job) -> tuple[Any, ...]:
    calls: list[str] = []
    latest = threading.local()

    def reached(when: str, step: str) -> None:
        if job.kill == (when, step):
            os.kill(os.getpid(), signal.SIGKILL)

    def before(params: Mapping[str, Any], **_: Any) -> None:
        step = step_of(params["headers"]["X-Amz-Target"], json.loads(params["body"]))
        calls.append(step)
        latest.step = step
        reached("before", step)

    def after(**_: Any) -> None:
        reached("after", latest.step)

    with service.running():
        parts = service.container()
        clients = [
            parts.store._client,
            parts.bus._client(),
            service._clients("secretsmanager", ONE_TRY, None),
        ]
        for client in clients:
            client.meta.events.register("before-call", before)
            client.meta.events.register("after-call", after)
        service.enter(parts)
        service.now = job.now
        stage = Stage(service, **job.stage)
        answer = JOURNEYS[job.journey][0].request(stage)
    return False, answer.status, answer.body, calls


KILLS = {
    name: steps
    for name, (_, steps) in JOURNEYS.items()
    if name not in ("introspect", "show", "list", UNPROTECTED)
}


def kills() -> list[tuple[str, str, str]]:
    """journey, before or after, step. What only reads has nothing to leave half-done."""
    return [
        (journey, when, step)
        for journey, steps in KILLS.items()
        for step in steps
        for when in ("before", "after")
    ]


def judge_kill(bench: Bench, mortal: Mortal, journey: str, when: str, step: str) -> str:
    """Kills a process there; a fresh one must then do what was asked. Raises BrokenPromise."""
    service, what = bench.service, JOURNEYS[journey][0]
    stage = bench._stage(what)
    state = {
        name: getattr(stage, name)
        for name in ("sid", "token", "old", "access", "generation", "client_id", "key")
    }
    try:
        done = mortal.run(Job(journey, state, service.now, (when, step)))
        must(done.killed, f"the step was never reached: {done.calls}")
        service.now += RETRY_AFTER_SECONDS
        again = mortal.run(Job(journey, state, service.now, None))
        answer = Answer(again.status, {}, again.body, {})
        must(what.done(answer), f"the retry: {again.status} {again.body}")
        # The audit, and the sweep that publishes what was left, through the proxy.
        service.enter(service.container(ONE_TRY, bench.proxy))
        what.judge(stage, answer)
        if isinstance(what, Ending):
            service.now += 60
            report = service.sweep()
            must(report["complete"], f"the next sweep: {report}")
            session = service.session(stage.sid)
            must(session.attention_at is None, "still due after the sweep")
            told = {event["id"] for event in bench.proxy.published}
            unpublished = step in ("publish", "end") and (when, step) != ("before", "end")
            if unpublished:
                must(bool(told), "the event was lost")
        return f"killed, then {again.status}"
    except BrokenPromise as promise:
        raise BrokenPromise(f"{journey}, killed {when} {step}: {promise}") from None
    finally:
        service.forget_sessions()


# --- Outages --------------------------------------------------------------------------------------

OUTAGES = {
    "Secrets Manager": SECRETS_STEPS,
    "The signing keys": frozenset({"keys"}),
    "DynamoDB": DYNAMODB,
}
OUTAGE_SECONDS = 600
TICK_SECONDS = 10


@dataclass
class User:
    """A client that refreshes now and then, and repeats the very same request after a 503."""

    name: str
    sid: str
    token: str
    keyed: bool
    next_at: int
    rotations: int = 0
    waiting: str | None = None
    caught: bool = False
    lost: str = ""

    def key(self) -> str | None:
        return f"{self.name}-{self.rotations:08}-key" if self.keyed else None


@dataclass
class Rehearsal:
    """What came of an outage."""

    what: str
    users: int = 0
    requests: int = 0
    unavailable: int = 0
    during: int = 0
    answered_during: int = 0
    caught: int = 0
    caught_keyed: int = 0
    signed_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [
            f"{self.what} away for {OUTAGE_SECONDS} s, leeway {PRESETS['native'].leeway_seconds} s:"
            f" {self.users} clients, {self.requests} requests; during the outage {self.during},"
            f" of which {self.answered_during} were answered by warm functions and"
            f" {self.unavailable} with 503"
        ]
        if self.caught:
            lines.append(
                f"  write took effect, answer lost: {self.caught} clients,"
                f" {self.caught_keyed} with an Idempotency-Key: all survived;"
                f" {self.caught - self.caught_keyed} without: signed out as"
                f" {dict(self.signed_out)}. Their repeated token is a used one, older than the"
                " leeway, and nothing tells them from a thief."
            )
        else:
            lines.append("  after it every client's next try succeeded")
        return "\n".join(lines)


def rehearse(bench: Bench, what: str, random: Random, users: int) -> Rehearsal:
    """What is away for ten minutes, one of OUTAGES. Raises BrokenPromise."""
    service, proxy = bench.service, bench.proxy
    steps = OUTAGES[what]
    service.now = START
    fleet = [service.container(ONE_TRY, proxy) for _ in range(6)]
    rehearsal = Rehearsal(what, users)
    crowd = []
    try:
        for number in range(users):
            service.enter(random.choice(fleet))
            answer = service.start()
            must(answer.status == 200, f"{answer.body}")
            user = User(
                f"client-{number:04}",
                answer["sid"],
                answer["refresh_token"],
                keyed=number % 2 == 0,
                next_at=START + random.randrange(300),
            )
            crowd.append(user)

        def turn(user: User, *, out: bool) -> None:
            # Lambda takes a warm container or starts a cold one. Half of them stay warm.
            number = random.randrange(len(fleet))
            if number % 2 and random.random() < 0.5:
                fleet[number] = service.container(ONE_TRY, proxy)
            service.enter(fleet[number])
            answer = service.refresh(user.token, key=user.key())
            rehearsal.requests += 1
            rehearsal.during += out
            if answer.status == 200:
                rehearsal.answered_during += out
                user.token, user.rotations = answer["refresh_token"], user.rotations + 1
                user.next_at = service.now + random.randrange(60, 300)
                return
            if answer.status == 503:
                unavailable(answer)
                must(out, f"503 without an outage: {answer.log.get('fault')}")
                rehearsal.unavailable += 1
                user.next_at = service.now + RETRY_AFTER_SECONDS + random.randrange(60)
                return
            user.lost = str(answer["error_reason"])
            user.next_at = sys.maxsize

        def let_pass(seconds: int, *, out: bool) -> None:
            end = service.now + seconds
            while service.now < end:
                for user in crowd:
                    if user.next_at <= service.now:
                        turn(user, out=out)
                service.now += TICK_SECONDS

        let_pass(300, out=False)
        must(not any(user.lost for user in crowd), "signed out before the outage")
        if what == "DynamoDB":
            _last_answers_are_lost(bench, fleet, crowd, random, rehearsal)
        for step in steps:
            proxy.inject(step, "closed", times=sys.maxsize)
        let_pass(OUTAGE_SECONDS, out=True)
        must(rehearsal.unavailable > 0, "the outage was not felt")
        must(not any(user.lost for user in crowd), "signed out during the outage")
        proxy.mend()
        for user in crowd:
            turn(user, out=False)
        let_pass(300, out=False)
        _judge_outage(bench, crowd, rehearsal)
        return rehearsal
    except BrokenPromise as promise:
        raise BrokenPromise(f"{what} away: {promise}") from None
    finally:
        proxy.mend()
        service.forget_sessions()


def _last_answers_are_lost(
    bench: Bench, fleet: list[Parts], crowd: list[User], random: Random, rehearsal: Rehearsal
) -> None:
    """A quarter of the clients are in flight as it starts: written, but never answered."""
    for user in random.sample(crowd, max(4, len(crowd) // 4)):
        bench.service.enter(random.choice(fleet))
        bench.proxy.forget()
        bench.proxy.inject("rotate", "lost")
        answer = bench.service.refresh(user.token, key=user.key())
        bench.proxy.mend()
        unavailable(answer)
        must(bench.proxy.hit == [("rotate", "lost")], f"in flight: {bench.proxy.hit}")
        user.caught = True
        rehearsal.caught += 1
        rehearsal.caught_keyed += user.keyed
        # As everybody they find out that it is away, and repeat the request until it is back.
        user.next_at = bench.service.now + RETRY_AFTER_SECONDS


def _judge_outage(bench: Bench, crowd: list[User], rehearsal: Rehearsal) -> None:
    for user in crowd:
        session = bench.service.session(user.sid)
        if user.caught and not user.keyed:
            must(user.lost == "reused", f"{user.name}, in flight without a key: {user.lost!r}")
            must(session.reason == "reused", f"{user.name} ended as {session.reason}")
            rehearsal.signed_out[user.lost] += 1
            continue
        must(not user.lost, f"{user.name} (key: {user.keyed}) was signed out: {user.lost}")
        must(session.ended_at is None, f"{user.name} ended as {session.reason}")
        must(
            session.generation == user.rotations,
            f"{user.name}: generation {session.generation} after {user.rotations} rotations",
        )


# --- The command ----------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(rows: Mapping[tuple[str, str], Mapping[str, str]], columns: Sequence[str]) -> str:
    width = max(*map(len, columns), *(len(v) for row in rows.values() for v in row.values()))
    lines = [f"{'request':<14}{'step':<13}" + "".join(f"{name:<{width + 1}}" for name in columns)]
    for (journey, step), row in rows.items():
        cells = "".join(f"{row.get(name, '-'):<{width + 1}}" for name in columns)
        lines.append(f"{journey:<14}{step:<13}{cells}".rstrip())
    return "\n".join(lines)


def _tabulate(
    title: str,
    found: Sequence[tuple[str, str, str]],
    columns: Sequence[str],
    judge: Callable[[int], str],
) -> list[str]:
    """Judges every (journey, step, column), prints the table, returns what was broken."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    broken = []
    began = time.perf_counter()
    for number, (journey, step, column) in enumerate(found):
        try:
            verdict = judge(number)
        except BrokenPromise as promise:
            broken.append(str(promise))
            verdict = "BROKEN"
        rows.setdefault((journey, step), {})[column] = verdict
    say(f"\n{title}: {len(found)} combinations, {time.perf_counter() - began:.1f} s")
    say(table(rows, columns))
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults at every step, kills and outages.")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--users", type=int, default=60, help="clients in an outage rehearsal")
    parser.add_argument("--only", choices=["faults", "sdk", "kills", "outages"])
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    random = Random(seed)  # noqa: S311 - no secret
    say(f"seed {seed}")
    broken: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = stack.enter_context(engine(folder, issuer=ISSUER))
        mortal = stack.enter_context(Mortal(environment))
        on = stack.enter_context(bench(environment))
        for part, title, found in (
            ("faults", "A fault, no SDK retries", combinations()),
            ("sdk", "A fault, with the SDK's retries as deployed", combinations(sdk=True)),
        ):
            if options.only in (None, part):
                broken += _tabulate(
                    title,
                    [(one.journey, one.step, one.fault) for one in found],
                    STEP_FAULTS,
                    lambda number, found=found: on.judge(found[number]),  # type: ignore[misc]
                )
        if options.only in (None, "kills"):
            deaths = kills()
            broken += _tabulate(
                "The process killed",
                [(journey, step, when) for journey, when, step in deaths],
                ("before", "after"),
                lambda number: judge_kill(on, mortal, *deaths[number]),
            )
        for what in OUTAGES:
            if options.only in (None, "outages"):
                say("")
                try:
                    say(str(rehearse(on, what, random, options.users)))
                except BrokenPromise as promise:
                    broken.append(str(promise))
    say("")
    for line in broken:
        say(f"BROKEN: {line}, seed {seed}")
    if not broken:
        say(f"every promise was kept, seed {seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Ratchet")
    sys.exit(main())
