"""Processes that are killed before or after any of their calls, and fresh ones that go on."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple

from ratchet.errors import RETRY_AFTER_SECONDS
from ratchet.lean_client import LeanClient
from ratchet_cli import aws
from tests.engine.fault_journeys import JOURNEYS, UNPROTECTED, Ending, Stage
from tests.engine.fault_proxy import step_of
from tests.engine.fault_service import ONE_TRY, Answer, BrokenPromise, Service, must
from tests.engine.fault_steps import Bench


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

    service.in_kms = JOURNEYS[job.journey][0].in_kms
    with service.running():
        parts = service.container()
        clients = [
            parts.store._client,
            parts.bus._client(),
            *_askers(service, parts),
        ]
        for client in clients:
            if isinstance(client, LeanClient):
                _watch(client, before, after)
                continue
            client.meta.events.register("before-call", before)
            client.meta.events.register("after-call", after)
        service.enter(parts)
        service.now = job.now
        stage = Stage(service, **job.stage)
        answer = JOURNEYS[job.journey][0].request(stage)
    return False, answer.status, answer.body, calls


def _askers(service: Service, parts: Any) -> list[Any]:
    """The clients for secrets and signatures."""
    if service.environment["RATCHET_TRANSPORT"] == "lean":
        return [parts.signer._secret._client, parts.peppers._secret._client]
    return [service.clients(name, ONE_TRY, None) for name in ("secretsmanager", "kms")]


def _watch(client: LeanClient, before: Callable[..., None], after: Callable[..., None]) -> None:
    send = client._send

    def watched(operation: str, body: bytes) -> tuple[int, bytes]:
        before({"headers": {"X-Amz-Target": f"{client._prefix}.{operation}"}, "body": body})
        answer = send(operation, body)
        after()
        return answer

    client._send = watched  # type: ignore[method-assign] # of this one


KILLS = {
    name: steps
    for name, (_, steps) in JOURNEYS.items()
    if name not in ("introspect", "show", "list", UNPROTECTED)
}


UNANNOUNCED = {
    ("after", "create"),
    ("before", "publish"),
    ("after", "publish"),
    ("before", "rearm"),
}
"""Killed here, a start is the sweep's to publish."""


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
    stage = bench.stage(what)
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
        if what.starts:
            service.now += 60
            report = service.sweep()
            must(report["complete"], f"the next sweep: {report}")
            for sid in service.sids():
                must(not service.session(sid).unannounced, "still to be told after the sweep")
            if (when, step) in UNANNOUNCED:
                must(bool(bench.proxy.published), "the event was lost")
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
