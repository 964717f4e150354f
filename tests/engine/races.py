"""Races, with processes: `python -m tests.engine.races --rounds 3000 --seed 1`.

8 processes of 4 threads, each process with its own clients, call the real Lambda handlers on a real
engine over a socket. A barrier lets all 32 go at once, round by round. No sleeps; `now` is given.

    scenario  who meets                         what comes out, every round
    --------  ---------                         ---------------------------
    same      32 callers with the current       All get 200 and the same one successor. The
              token                             generation rises by one, the session lives, the
                                                successor works: the next round presents it.
    retry     32 callers with the current       The same.
              token and the same
              Idempotency-Key, leeway 0
    many      8 sessions, 64 refreshes, every   The same, for each of the sessions.
              caller in an order of its own
    revoke    14 refreshes and 2 revocations,   A refresh: 200 and the one successor, or, after the
              of 2 sessions at once             revocation, invalid_grant, revoked_by_user. A
                                                revocation: 200. Then the session is ended,
                                                revoked_by_user, told once; no token works.
    sweep     48 refreshes of 8 sessions, a     A session either gets its one successor in every
              second before their deadline,     answer, lives, and nothing is told; or the sweep was
              and 2 sweeps at the deadline      first: ended, idle_expired, and every refresh is
                                                told so. Never both.
    cutoff    31 refreshes and an operator who  A refresh: 200 and the one successor by the old
              moves sessions_valid_after        policy, which may be remembered for a minute, or
                                                policy_cutoff. Never reused, nothing is ended. Under
                                                the new policy no token works.
    reuse     16 refreshes of the current       A reuse: invalid_grant, reused. A refresh: 200 and
              token and 16 reuses of its        the one successor, or, after the reuse, reused. The
              grandparent                       session is ended exactly once: one ended_at, every
                                                event told with that one id; no token works.

A client repeats a 503 at once; how often that was needed is in the table that is printed.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlencode

import boto3

from ratchet import endpoint as edge
from ratchet import events, refresh_token, wiring
from ratchet.application import Application
from ratchet.errors import InvalidGrant
from ratchet.issue import SignIn, start_session
from ratchet.parts import Parts
from ratchet.policy import Policy
from ratchet.reasons import Reason
from ratchet.refresh import refresh
from ratchet.session import Session
from ratchet.settings import Settings
from ratchet_cli import aws, payload, template
from ratchet_cli.functions import Functions
from tests.engine import threaded_moto
from tests.engine.broken import CAUGHT_BY, STORES
from tests.engine.engines import ENDPOINT, ROOT, engine

ISSUER = "https://id.test"
START = 1_800_000_000
IDLE = 86_400
KEY = "a-random-idempotency-key"
PROCESSES = 8
THREADS = 4
BATCH = 20
"""Rounds that are handed out at once; the next ones are prepared while they run."""
CHAIN = 10
"""Rounds in a row on the same session."""
TRIES = 20
BARRIER_SECONDS = 120

SHARES = {
    "same": 46,
    "retry": 10,
    "many": 6,
    "revoke": 14,
    "sweep": 4,
    "cutoff": 10,
    "reuse": 10,
}
"""Per cent of the rounds."""


class BrokenPromise(AssertionError):
    """What the races found, and in which round."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


# --- What callers are told, and what they report: both travel between processes ------------------


class Call(NamedTuple):
    """One call. token None: the one this caller was last given for the session. early: before the
    barrier."""

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
        "expiry_warning_seconds": 0,
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
        setattr(edge, "clock", lambda: self._time.now)  # noqa: B010 - a function, to mypy
        setattr(events, "request_finished", self._note)  # noqa: B010 - mypy forbids it spelt out
        setattr(events, "count", lambda *_: None)  # noqa: B010 - mypy forbids it spelt out
        events.logger.setLevel("CRITICAL")

    def use(self, environment: Mapping[str, str], broken: str | None) -> None:
        """From now on this service."""
        aws.enter(environment)
        boto3.DEFAULT_SESSION = None
        wiring._events = None
        wiring._parts = parts = build(environment, broken)
        publish = parts.bus.publish

        def publish_and_note(happened: Any) -> None:
            publish(happened)
            self._told += [
                Told(event.session.sid, event.type, event.id, event.at, event.reason)
                for event in happened
            ]

        setattr(parts.bus, "publish", publish_and_note)  # noqa: B010 - mypy forbids it spelt out

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
        if call.what == "remember":
            parts.applications.get(call.client_id, call.now)
            return Answer(call, 200)
        token = call.token or held[call.session]
        held.setdefault(call.session, token)
        name = "token" if call.what == "revoke" else "refresh_token"
        event = self._event(f"/oauth/{call.what}", {"client_id": call.client_id, name: token})
        if call.key:
            event["headers"]["idempotency-key"] = call.key
        for repeated in range(TRIES):  # noqa: B007 - is used after the loop
            result = self._functions.invoke(f"{call.what.title()}Function", event)
            if result["statusCode"] != 503:
                break
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


# --- The referee ---------------------------------------------------------------------------------


@dataclass
class Figures:
    """What a scenario came to."""

    rounds: int = 0
    calls: int = 0
    forks: int = 0
    repeated: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Raced:
    """One session in one round. generation: before it. last: it is not raced for again."""

    name: str
    sid: str
    presented: str
    now: int
    application: Application
    generation: int = 0
    last: bool = True
    older: tuple[str, ...] = ()


Prepared = tuple[Round, list[Raced]]


class Referee:
    """Prepares rounds and judges what came of them. The same seed makes the same plans."""

    def __init__(self, pool: Pool, environment: Mapping[str, str], seed: int) -> None:
        self.pool = pool
        self.seed = seed
        self.callers = pool.processes * pool.threads
        self._environment = environment
        self._random = Random(seed)  # noqa: S311 - a plan, not a secret
        self._number = 0
        self._size = 0
        self.use(None)

    def use(self, broken: str | None) -> None:
        self.pool.use(self._environment, broken)
        self._parts = build(self._environment, broken)
        for client_id in ("race", "race-strict"):
            self._parts.applications.put(*application(client_id))

    @contextlib.contextmanager
    def broken(self, how: str) -> Iterator[None]:
        """With a store that is broken in this way."""
        self.use(how)
        try:
            yield
        finally:
            self.use(None)

    def run(self, scenario: str, rounds: int, batch: int = BATCH) -> Figures:
        """That many rounds. Raises BrokenPromise with the seed at the first that is not right."""
        figures = Figures()
        began = time.perf_counter()
        sizes = [min(batch, rounds - first) for first in range(0, rounds, batch)]
        following = self._prepare(scenario, sizes[0]) if sizes else []
        for index in range(len(sizes)):
            running = following
            self.pool.start([calls for calls, _ in running])
            try:
                if index + 1 < len(sizes):
                    following = self._prepare(scenario, sizes[index + 1])
            finally:
                answered, told, faults = self.pool.finish()
            events_of = defaultdict(list)
            for event in told:
                events_of[event.sid].append(event)
            for (_, sessions), answers in zip(running, answered, strict=True):
                self._judge(scenario, sessions, answers, events_of, faults, figures)
        figures.seconds = time.perf_counter() - began
        return figures

    # --- preparing ---------------------------------------------------------------------------

    def _prepare(self, scenario: str, size: int) -> list[Prepared]:
        prepare: Callable[[int], Prepared] = getattr(self, f"_{scenario}")
        self._size = size
        return [prepare(number) for number in range(size)]

    def _begin(self, now: int, client_id: str = "race") -> Raced:
        self._number += 1
        app, _ = application(client_id)
        answer = start_session(
            SignIn(sub=f"user-{self._number}"),
            app,
            issuer=ISSUER,
            store=self._parts.store,
            signer=self._parts.signer,
            peppers=self._parts.peppers,
            now=now,
        )
        body: Any = answer.body
        return Raced(
            name=str(self._number),
            sid=body["sid"],
            presented=body["refresh_token"],
            now=now,
            application=app,
        )

    def _refresh_call(self, raced: Raced, **changes: Any) -> Call:
        call = Call(
            "refresh",
            raced.now,
            raced.application.client_id,
            raced.name,
            raced.presented,
        )
        return call._replace(**changes)

    def _spread(self, calls: list[Call]) -> Round:
        """Deals the calls out to the callers at random."""
        self._random.shuffle(calls)
        return [calls[caller :: self.callers] for caller in range(self.callers)]

    def _same(self, number: int, client_id: str = "race", key: str | None = None) -> Prepared:
        step = number % CHAIN
        if step == 0:
            self._first = self._begin(START, client_id)
        raced = replace(
            self._first,
            now=START + step,
            generation=step,
            last=step == CHAIN - 1 or number == self._size - 1,
            presented="",
        )
        token = self._first.presented if step == 0 else None
        call = self._refresh_call(raced, token=token, key=key and f"{key}-{step}")
        return [[call] for _ in range(self.callers)], [raced]

    def _retry(self, number: int) -> Prepared:
        return self._same(number, "race-strict", KEY)

    def _many(self, _number: int) -> Prepared:
        sessions = [self._begin(START) for _ in range(8)]
        return self._spread(
            [
                self._refresh_call(raced)
                for raced in sessions
                for _ in range(self.callers * 2 // len(sessions))
            ]
        ), sessions

    def _revoke(self, _number: int) -> Prepared:
        sessions = [self._begin(START) for _ in range(2)]
        calls = []
        for raced in sessions:
            calls += [self._refresh_call(raced)] * (self.callers // 2 - 2)
            calls += [self._refresh_call(raced, what="revoke", now=START + n) for n in (0, 1)]
        return self._spread(calls), sessions

    def _sweep(self, number: int) -> Prepared:
        # Every round has a deadline of its own: sweeps look at all that is due.
        deadline = START + 1000 + 2 * self._number
        self._number += 1
        sessions = [
            replace(self._begin(deadline - IDLE), now=deadline - 1)
            for _ in range(self.callers // 4)
        ]
        calls = [self._refresh_call(raced) for raced in sessions for _ in range(6)]
        plan = self._spread(calls)
        sweepers = self._random.sample(range(self.callers), 2)
        for caller in sweepers:
            others = [c for c in range(self.callers) if c not in sweepers]
            for index, call in enumerate(plan[caller]):
                plan[others[index]].append(call)
            plan[caller] = [Call("sweep", deadline)]
        return plan, sessions

    def _cutoff(self, _number: int) -> Prepared:
        client_id = f"race-{self._random.getrandbits(48):012x}"
        self._parts.applications.put(*application(client_id))
        raced = replace(self._begin(START - 100, client_id), now=START)
        refreshes = [[self._refresh_call(raced)] for _ in range(self.callers - 1)]
        operator = self._random.randrange(self.callers)
        plan = refreshes
        plan.insert(operator, [Call("cutoff", START, client_id)])
        # Half of the processes have read the old policy just before, and remember it.
        for caller in range(0, self.callers, 2 * self.pool.threads):
            plan[caller].insert(0, Call("remember", START, client_id, early=True))
        return plan, [raced]

    def _reuse(self, _number: int) -> Prepared:
        raced = self._begin(START)
        stolen = raced.presented
        tokens = [stolen]
        for _ in range(2):
            tokens.append(self._present(tokens[-1], raced, START))
        raced = replace(raced, presented=tokens[-1], generation=2, older=tuple(tokens[:-1]))
        half = self.callers // 2
        calls = [self._refresh_call(raced) for _ in range(half)]
        # each a second of its own: if two ended it, there would be two ids
        calls += [self._refresh_call(raced, token=stolen, now=START + n % 5) for n in range(half)]
        return self._spread(calls), [raced]

    def _present(self, token: str, raced: Raced, now: int) -> str:
        """The successor of a token, by the flow itself. Raises InvalidGrant."""
        parts = self._parts
        answer = refresh(
            refresh_token.parse(token, peppers=parts.peppers, now=now),
            raced.application,
            scopes=frozenset(),
            idempotency_key=None,
            issuer=ISSUER,
            store=parts.store,
            signer=parts.signer,
            peppers=parts.peppers,
            bus=parts.bus,
            now=now,
        )
        body: Any = answer.body
        return str(body["refresh_token"])

    # --- judging -----------------------------------------------------------------------------

    def _judge(
        self,
        scenario: str,
        sessions: list[Raced],
        answers: list[Answer],
        told: Mapping[str, list[Told]],
        faults: list[str],
        figures: Figures,
    ) -> None:
        figures.rounds += 1
        figures.calls += len(answers)
        figures.repeated += sum(answer.repeated for answer in answers)
        by_session = defaultdict(list)
        for answer in answers:
            by_session[answer.call.session].append(answer)
        try:
            for answer in by_session.pop("", []):
                _must(answer.status == 200, f"{answer.call.what} answered {answer.status}")
            for raced in sessions:
                self._judge_session(scenario, raced, by_session[raced.name], told, figures)
        except BrokenPromise as promise:
            figures.forks += "fork" in str(promise)
            seen = Counter((a.call.what, a.status, a.reason) for a in answers)
            raise BrokenPromise(
                f"{promise}\n  scenario {scenario}, round {figures.rounds}, seed {self.seed}"
                f"\n  answers {dict(seen)}\n  faults {Counter(faults).most_common(5)}",
                figures.rounds,
            ) from None

    def _judge_session(
        self,
        scenario: str,
        raced: Raced,
        answers: list[Answer],
        told: Mapping[str, list[Told]],
        figures: Figures,
    ) -> None:
        refreshes = [answer for answer in answers if answer.call.what == "refresh"]
        given = {answer.token for answer in refreshes if answer.status == 200}
        refused = Counter(answer.reason for answer in refreshes if answer.status != 200)
        _must(len(given) <= 1, f"a fork: {len(given)} successors of one token")
        _must(
            {answer.status for answer in answers} <= {200, 400},
            f"answered {Counter(answer.status for answer in answers)}",
        )
        successor = next(iter(given), None)
        if successor is not None:
            parsed = refresh_token.parse(successor, peppers=self._parts.peppers, now=raced.now)
            _must(parsed.sid == raced.sid, "a token of another session")
            _must(
                parsed.generation == raced.generation + 1,
                f"generation {raced.generation} became {parsed.generation}",
            )
        session = self._parts.store.get(raced.sid) if raced.last else None
        if raced.last:
            _must(session is not None, "the session is gone")
        rules = {"same": "lives", "retry": "lives", "many": "lives"}
        judge = getattr(self, f"_judge_{rules.get(scenario, scenario)}")
        outcome = judge(raced, answers, successor, refused, session, told.get(raced.sid, []))
        figures.outcomes[outcome] += 1

    def _judge_lives(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        _must(not refused, f"refused inside the leeway: {dict(refused)}")
        _must(successor is not None, "nobody got a successor")
        if session is not None and successor is not None:
            # Of a chain only now: what is told in a later round is not this one's.
            _must(not told, f"events: {told}")
            self._must_live(raced, session, successor)
        return "one successor"

    def _judge_revoke(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        _must(set(refused) <= {Reason.REVOKED_BY_USER}, f"refused: {dict(refused)}")
        for answer in answers:
            _must(
                answer.call.what == "refresh" or answer.status == 200,
                f"a revocation was answered {answer.status}",
            )
        assert session is not None
        self._must_be_ended(raced, session, Reason.REVOKED_BY_USER, successor, told)
        return _who_won(successor, refused, "revoke")

    def _judge_sweep(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        assert session is not None
        _must(
            successor is None or (session.ended_at is None and not refused),
            f"refreshed and ended: {dict(refused)}, {session.reason}",
        )
        if successor is not None:
            _must(not told, f"events: {told}")
            self._must_live(raced, session, successor)
            return "refresh first"
        _must(set(refused) == {Reason.IDLE_EXPIRED}, f"refused: {dict(refused)}")
        self._must_be_ended(raced, session, Reason.IDLE_EXPIRED, successor, told)
        _must(session.ended_at == raced.now + 1, f"ended at {session.ended_at}")
        return "sweep first"

    def _judge_cutoff(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        _must(set(refused) <= {Reason.POLICY_CUTOFF}, f"refused: {dict(refused)}")
        assert session is not None
        _must(session.ended_at is None, f"ended: {session.reason}")
        _must(not told, f"events: {told}")
        expected = raced.generation + (successor is not None)
        _must(session.generation == expected, f"generation {session.generation}")
        new, _ = application(raced.application.client_id, valid_after=raced.now - 50)
        self._must_not_work(replace(raced, application=new), successor, Reason.POLICY_CUTOFF)
        return _who_won(successor, refused, "cutoff")

    def _judge_reuse(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        _must(set(refused) == {Reason.REUSED}, f"refused: {dict(refused)}")
        for answer in answers:
            old = answer.call.token in raced.older
            _must(not (old and answer.status == 200), "a used token was answered")
        assert session is not None
        self._must_be_ended(raced, session, Reason.REUSED, successor, told)
        current = Counter(
            answer.reason
            for answer in answers
            if answer.status != 200 and answer.call.token == raced.presented
        )
        return _who_won(successor, current, "reuse")

    def _must_live(self, raced: Raced, session: Session, successor: str) -> None:
        _must(session.ended_at is None, f"the session was lost: {session.reason}")
        _must(
            session.generation == raced.generation + 1,
            f"generation {raced.generation} became {session.generation}",
        )
        token = refresh_token.parse(successor, peppers=self._parts.peppers, now=raced.now)
        _must(session.current_hash == token.hash(), "a successor that is not the stored one")
        try:
            self._present(successor, raced, raced.now + 1)
        except InvalidGrant as error:
            raise BrokenPromise(f"the successor does not work: {error.reason}") from None

    def _must_be_ended(
        self,
        raced: Raced,
        session: Session,
        reason: Reason,
        successor: str | None,
        told: list[Told],
    ) -> None:
        _must(session.ended_at is not None, "the session was not ended")
        _must(session.reason is reason, f"ended as {session.reason}, not {reason}")
        ids = {event.id for event in told}
        types = {event.type for event in told}
        _must(len(ids) == len(types) > 0, f"told with ids {sorted(ids)}")
        _must({event.at for event in told} == {session.ended_at}, f"told of another end: {told}")
        _must({event.reason for event in told} == {reason}, f"told with another reason: {told}")
        _must(
            ("session.reuse_detected" in types) == (reason is Reason.REUSED),
            f"told as {sorted(types)}",
        )
        self._must_not_work(raced, successor, reason)

    def _must_not_work(self, raced: Raced, successor: str | None, reason: Reason) -> None:
        for token in filter(None, (successor, raced.presented, *raced.older)):
            try:
                self._present(token, raced, raced.now + 5)
            except InvalidGrant as error:
                _must(error.reason is reason, f"refused afterwards as {error.reason}")
            else:
                raise BrokenPromise("a token works after the end")


def _must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise BrokenPromise(otherwise)


def _who_won(successor: str | None, refused: Counter[str | None], other: str) -> str:
    if successor is None:
        return f"{other} first"
    return f"refresh, then {other}" if refused else "refresh first"


# --- The command ---------------------------------------------------------------------------------


def shares(rounds: int) -> dict[str, int]:
    """How many rounds each scenario gets, at least one."""
    found = {name: max(1, rounds * share // 100) for name, share in SHARES.items()}
    found["same"] += max(0, rounds - sum(found.values()))
    return found


def line(name: str, figures: Figures) -> str:
    outcomes = ", ".join(f"{what} {number}" for what, number in sorted(figures.outcomes.items()))
    return (
        f"{name:<8}{figures.rounds:>7}{figures.calls:>9}{figures.forks:>7}{figures.repeated:>6}"
        f"{figures.seconds:>9.1f}  {outcomes}"
    )


HEAD = f"{'scenario':<8}{'rounds':>7}{'calls':>9}{'forks':>7}{'503':>6}{'seconds':>9}  sessions"


def until_caught(referee: Referee, how: str, rounds: int) -> BrokenPromise | None:
    """What the scenario that has to notice the broken store or engine says, None: nothing."""
    try:
        with referee.broken(how) if how in STORES else contextlib.nullcontext():
            referee.run(CAUGHT_BY[how], rounds, batch=2)
    except BrokenPromise as promise:
        return promise
    return None


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="Races on a real engine.")
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--endpoint", help=f"a DynamoDB to run on, else {ENDPOINT}, else our own")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--scenario", choices=SHARES, help="only this one")
    parser.add_argument("--broken", choices=CAUGHT_BY, help="with what must be caught: exits 1")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    callers = options.processes * options.threads
    say(
        f"seed {seed}: {options.processes} processes x {options.threads} threads, {callers} callers"
    )
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where = options.endpoint
        if options.broken == "moto":
            where = stack.enter_context(threaded_moto.started())
        environment = stack.enter_context(engine(folder, issuer=ISSUER, endpoint=where))
        pool = stack.enter_context(Pool(options.processes, options.threads))
        referee = Referee(pool, environment, seed)
        if options.broken:
            promise = until_caught(referee, options.broken, options.rounds)
            how = f"caught in round {promise.number}: {promise}" if promise else "NOT caught"
            say(f"{options.broken}: {how}")
            return 1 if promise else 0
        return race(referee, shares(options.rounds), options.scenario, began)


def race(referee: Referee, rounds: Mapping[str, int], only: str | None, began: float) -> int:
    """Runs and prints the table. 1 when a promise is broken."""
    say(HEAD)
    total = Figures()
    for name, number in rounds.items():
        if only not in (None, name):
            continue
        try:
            figures = referee.run(name, sum(rounds.values()) if only else number)
        except BrokenPromise as promise:
            say(f"BROKEN: {promise}")
            return 1
        say(line(name, figures))
        total.rounds += figures.rounds
        total.calls += figures.calls
        total.repeated += figures.repeated
    total.seconds = time.perf_counter() - began
    say(line("all", total))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "Ratchet")
    sys.exit(main())
