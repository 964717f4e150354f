"""Who meets whom in the races: every scenario's rounds, prepared by a seed.

The table of the scenarios is in `races`; what has to come out of each is in `race_verdicts`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ratchet import refresh_token
from ratchet.application import Application
from ratchet.issue import SignIn, start_session
from ratchet.parts import Parts
from ratchet.refresh import refresh
from ratchet.sender import UNKNOWN
from tests.engine.race_workers import IDLE, Call, Pool, Round, application

ISSUER = "https://id.test"
START = 1_800_000_000
KEY = "a-random-idempotency-key"
CHAIN = 10
SWEEP_MILLISECONDS = 200
"""About what a sweep takes on the emulator, of which every query looks at every item."""
"""Rounds in a row on the same session."""


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


class Scenarios:
    """Begins the sessions and hands out the calls. The same seed makes the same plans."""

    def __init__(self, pool: Pool, parts: Parts, seed: int) -> None:
        self.parts = parts
        self._callers = pool.processes * pool.threads
        self._threads = pool.threads
        self._random = Random(seed)  # noqa: S311 - a plan, not a secret
        self._number = 0
        self._size = 0

    def prepare(self, scenario: str, size: int) -> list[Prepared]:
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
            store=self.parts.store,
            signer=self.parts.signer,
            peppers=self.parts.peppers,
            claims_hook=None,
            bus=self.parts.bus,
            now=now,
            sender=UNKNOWN,
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
        return [calls[caller :: self._callers] for caller in range(self._callers)]

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
        return [[call] for _ in range(self._callers)], [raced]

    def _retry(self, number: int) -> Prepared:
        return self._same(number, "race-strict", KEY)

    def _many(self, _number: int) -> Prepared:
        sessions = [self._begin(START) for _ in range(8)]
        return self._spread(
            [
                self._refresh_call(raced)
                for raced in sessions
                for _ in range(self._callers * 2 // len(sessions))
            ]
        ), sessions

    def _revoke(self, _number: int) -> Prepared:
        sessions = [self._begin(START) for _ in range(2)]
        calls = []
        for raced in sessions:
            calls += [self._refresh_call(raced)] * (self._callers // 2 - 2)
            calls += [self._refresh_call(raced, what="revoke", now=START + n) for n in (0, 1)]
        return self._spread(calls), sessions

    def _sweep(self, number: int) -> Prepared:
        # Every round has a deadline of its own: sweeps look at all that is due.
        deadline = START + 1000 + 2 * self._number
        self._number += 1
        sessions = [
            replace(self._begin(deadline - IDLE), now=deadline - 1)
            for _ in range(self._callers // 4)
        ]
        calls = [self._refresh_call(raced) for raced in sessions for _ in range(6)]
        plan = self._spread(calls)
        sweepers = self._random.sample(range(self._callers), 2)
        for caller in sweepers:
            others = [c for c in range(self._callers) if c not in sweepers]
            for index, call in enumerate(plan[caller]):
                plan[others[index]].append(call)
            plan[caller] = [Call("sweep", deadline)]
        # Else nearly all refreshes are over before the sweep has read what is due.
        for calls in plan:
            if calls[0].what != "sweep":
                calls.insert(0, Call("rest", self._random.randrange(SWEEP_MILLISECONDS)))
        return plan, sessions

    def _cutoff(self, _number: int) -> Prepared:
        client_id = f"race-{self._random.getrandbits(48):012x}"
        self.parts.applications.put(*application(client_id))
        raced = replace(self._begin(START - 100, client_id), now=START)
        refreshes = [[self._refresh_call(raced)] for _ in range(self._callers - 1)]
        operator = self._random.randrange(self._callers)
        plan = refreshes
        plan.insert(operator, [Call("cutoff", START, client_id)])
        # Half of the processes have read the old policy just before, and remember it.
        for caller in range(0, self._callers, 2 * self._threads):
            plan[caller].insert(0, Call("remember", START, client_id, early=True))
        return plan, [raced]

    def _reuse(self, _number: int) -> Prepared:
        raced = self._begin(START)
        stolen = raced.presented
        tokens = [stolen]
        for _ in range(2):
            tokens.append(present(tokens[-1], raced, START, self.parts))
        raced = replace(raced, presented=tokens[-1], generation=2, older=tuple(tokens[:-1]))
        half = self._callers // 2
        calls = [self._refresh_call(raced) for _ in range(half)]
        # each a second of its own: if two ended it, there would be two ids
        calls += [self._refresh_call(raced, token=stolen, now=START + n % 5) for n in range(half)]
        return self._spread(calls), [raced]


def present(token: str, raced: Raced, now: int, parts: Parts) -> str:
    """The successor of a token, by the flow itself. Raises InvalidGrant."""
    answer = refresh(
        refresh_token.parse(token, peppers=parts.peppers, now=now),
        raced.application,
        proof=None,
        scopes=frozenset(),
        resources=frozenset(),
        idempotency_key=None,
        sender=UNKNOWN,
        issuer=ISSUER,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        bus=parts.bus,
        now=now,
    )
    body: Any = answer.body
    return str(body["refresh_token"])
