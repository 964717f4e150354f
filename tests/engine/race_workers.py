"""Who calls, in the races: processes of threads, and a barrier that lets them all go at once.

`Pool` holds the processes. Each has `Callers`: its threads, its own clients, and the real handlers,
called as Lambda would. What they are told (`Call`) and what they report (`Answer`, `Told`) travels
between the processes. Nothing here knows what a right answer is.
"""

import contextlib
import json
import multiprocessing
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import boto3
import pytest

from ratchet import endpoint as edge
from ratchet import events, wiring
from ratchet.application import Application
from ratchet.parts import Parts
from ratchet.policy import Policy
from ratchet.settings import Settings
from ratchet_cli import aws, payload, template
from ratchet_cli.functions import Functions
from tests.engine.broken import STORES
from tests.engine.engines import ROOT

IDLE = 86_400
PROCESSES = 8
THREADS = 4
TRIES = 20
BARRIER_SECONDS = 120


# --- What callers are told, and what they report -------------------------------------------------


class Call(NamedTuple):
    """One call. token None: the one this caller was last given for the session. early: before the
    barrier. A rest has milliseconds for its instant."""

    what: str
    now: int
    client_id: str = ""
    session: str = ""
    token: str | None = None
    key: str | None = None
    early: bool = False


class Answer(NamedTuple):
    """repeated: how often the answer was 503 before."""

    call: Call
    status: int
    token: str | None = None
    reason: str | None = None
    repeated: int = 0


Round = list[list[Call]]
"""For every caller what it does, one after the other."""


class Told(NamedTuple):
    """An event as it was published."""

    sid: str
    type: str
    id: str
    at: int
    reason: str | None


class Report(NamedTuple):
    """What a process has to say of a batch: answers[thread][round], events, faults as logged."""

    answers: list[list[list[Answer]]]
    told: list[Told]
    faults: list[str]


# --- A worker process ----------------------------------------------------------------------------


def application(client_id: str, *, valid_after: int = 0) -> tuple[Application, dict[str, Any]]:
    """An application of the races, and its policy as it is written."""
    policy = {
        "preset": "native",
        "idle_ttl_seconds": IDLE,
        "idle_warning_seconds": 0,
        "leeway_seconds": 0 if client_id == "race-strict" else 30,
    }
    return (
        Application(
            client_id=client_id,
            confidential=False,
            grant_types=frozenset({"refresh_token"}),
            scopes=frozenset({"profile"}),
            policy=Policy.from_mapping(policy),
            sessions_valid_after=valid_after,
        ),
        policy,
    )


def build(environment: Mapping[str, str], broken: str | None) -> Parts:
    """The service's adapters, with the store that is asked for."""
    parts = wiring.build(Settings.from_environment(environment))
    if broken in STORES:
        client: Any = parts.store._client
        store = STORES[broken](client, environment["RATCHET_SESSIONS_TABLE"])
        parts = replace(parts, store=store)
    return parts


class Callers:
    """The threads of one process, and the service that they call: handlers, as Lambda would."""

    def __init__(self, threads: int, barrier: Any) -> None:
        described = template.load(ROOT / "template.yaml")
        self._functions = Functions(ROOT, template.functions(described))
        self._routes = template.routes(described)
        self._barrier = barrier
        self._executor = ThreadPoolExecutor(threads)
        self._time = threading.local()
        self._told: list[Told] = []
        self._faults: list[str] = []
        # never undone: the process is only for this
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(edge, "clock", lambda: self._time.now)
        self._patch.setattr(events, "request_finished", self._note)
        self._patch.setattr(events, "count", lambda *_, **__: None)
        events.logger.setLevel("CRITICAL")

    def use(self, environment: Mapping[str, str], broken: str | None) -> None:
        """From now on this service."""
        aws.enter(environment)
        boto3.DEFAULT_SESSION = None
        wiring._clients.clear()
        wiring._parts = parts = build(environment, broken)
        publish = parts.bus.publish

        def publish_and_note(happened: Any) -> None:
            publish(happened)
            self._told += [
                Told(event.session.sid, event.type, event.id, event.at, event.reason)
                for event in happened
            ]

        self._patch.setattr(parts.bus, "publish", publish_and_note)

    def run(self, plans: list[list[list[Call]]]) -> Report:
        """plans[thread][round]: what to do. Every round starts with all processes' callers."""
        answers = list(self._executor.map(self._caller, plans))
        told, self._told = self._told, []
        faults, self._faults = self._faults, []
        return Report(answers, told, faults)

    def _caller(self, plan: list[list[Call]]) -> list[list[Answer]]:
        held: dict[str, str] = {}
        done = []
        for calls in plan:
            answers = [self._call(call, held) for call in calls if call.early]
            self._barrier.wait(BARRIER_SECONDS)
            answers += [self._call(call, held) for call in calls if not call.early]
            done.append(answers)
        return done

    def _call(self, call: Call, held: dict[str, str]) -> Answer:
        self._time.now = call.now
        if call.what == "sweep":
            report = self._functions.invoke("SweepFunction", {})
            return Answer(call, 500 if report.get("faults") else 200)
        parts = wiring._parts
        assert parts is not None
        if call.what == "cutoff":
            parts.applications.put(*application(call.client_id, valid_after=call.now - 50))
            return Answer(call, 200)
        if call.what == "rest":
            # Not for a clock: a sweep takes longer on this engine than all refreshes of a round.
            time.sleep(call.now / 1000)
            return Answer(call, 200)
        if call.what == "remember":
            parts.applications.get(call.client_id, call.now)
            return Answer(call, 200)
        token = call.token or held[call.session]
        held.setdefault(call.session, token)
        name = "token" if call.what == "revoke" else "refresh_token"
        event = self._event(f"/oauth/{call.what}", {"client_id": call.client_id, name: token})
        if call.key:
            event["headers"]["idempotency-key"] = call.key
        function = f"{call.what.title()}Function"
        result, repeated = self._functions.invoke(function, event), 0
        while result["statusCode"] == 503 and repeated < TRIES - 1:
            result, repeated = self._functions.invoke(function, event), repeated + 1
        body = json.loads(result["body"]) if result.get("body") else {}
        if "refresh_token" in body:
            held[call.session] = body["refresh_token"]
        return Answer(
            call,
            result["statusCode"],
            body.get("refresh_token"),
            body.get("error_reason") or body.get("error"),
            repeated,
        )

    def _event(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        request = payload.Request(
            method="POST",
            path=path,
            query="",
            headers=[
                ("Host", "id.test"),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ],
            body=urlencode(form).encode(),
            source_ip="192.0.2.1",
        )
        matched = payload.match(self._routes, "POST", path)
        assert matched is not None
        return payload.event(request, matched)

    def _note(self, _function: str, **fields: Any) -> None:
        if "fault" in fields:
            self._faults.append(f"{fields['fault']} {fields.get('at', '')}".strip())


def work(threads: int, barrier: Any, pipe: Connection) -> None:
    """A worker process, until it is told None."""
    callers = Callers(threads, barrier)
    while (job := pipe.recv()) is not None:
        try:
            if isinstance(job, tuple):
                callers.use(*job)
                pipe.send(None)
            else:
                pipe.send(callers.run(job))
        except Exception as error:  # noqa: BLE001 - goes to the parent, which stops
            barrier.abort()
            pipe.send(error)


class Pool:
    """The worker processes."""

    def __init__(self, processes: int = PROCESSES, threads: int = THREADS) -> None:
        self.processes, self.threads = processes, threads
        context = multiprocessing.get_context("spawn")
        # kept: the children find its semaphores by their names
        self._barrier = barrier = context.Barrier(processes * threads)
        self._pipes: list[Connection] = []
        self._workers = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(threads, barrier, theirs), daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(worker)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe, worker in zip(self._pipes, self._workers, strict=True):
            with contextlib.suppress(OSError):
                pipe.send(None)
            worker.join(None if error is None else 5)
            if worker.is_alive():
                worker.kill()
                worker.join()
            worker.close()
            pipe.close()

    def use(self, environment: Mapping[str, str], broken: str | None) -> None:
        """Lets all of them call this service. Only what the service itself reads is passed on."""
        for pipe in self._pipes:
            pipe.send((dict(environment), broken))
        self._answers()

    def start(self, rounds: list[Round]) -> None:
        for index, pipe in enumerate(self._pipes):
            first = index * self.threads
            pipe.send([[r[first + thread] for r in rounds] for thread in range(self.threads)])

    def finish(self) -> tuple[list[list[Answer]], list[Told], list[str]]:
        """For every round of the batch what everybody was answered; events and faults of it all."""
        reports: list[Report] = self._answers()
        callers = [answers for report in reports for answers in report.answers]
        rounds = [
            [answer for caller in callers for answer in caller[number]]
            for number in range(len(callers[0]))
        ]
        told = [event for report in reports for event in report.told]
        return rounds, told, [fault for report in reports for fault in report.faults]

    def _answers(self) -> list[Any]:
        waiting = dict(zip(self._pipes, range(self.processes), strict=True))
        answers: list[Any] = [None] * self.processes
        while waiting:
            ready = wait(list(waiting), BARRIER_SECONDS * 2)
            if not ready:
                raise RuntimeError("the workers do not answer")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                answer = pipe.recv()
                if isinstance(answer, Exception):
                    raise answer
                answers[waiting.pop(pipe)] = answer
        return answers
