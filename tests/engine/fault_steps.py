"""One call of one request goes wrong: which combinations there are, and the verdict on each."""

import contextlib
from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

from botocore.config import Config

from ratchet import sdk
from ratchet.errors import RETRY_AFTER_SECONDS
from tests.engine.fault_journeys import (
    JOURNEYS,
    UNPROTECTED,
    Ending,
    Journey,
    Stage,
    Sweep,
    SweepLiving,
    Warn,
)
from tests.engine.fault_proxy import DYNAMODB, FAULTS, TAKES_EFFECT, FaultProxy
from tests.engine.fault_service import ONE_TRY, START, BrokenPromise, Service, must, unavailable
from tests.identity_provider import identity_provider

STEP_FAULTS = tuple(fault for fault in FAULTS if fault not in ("closed", "lost"))
IMPATIENT = [
    Config(
        connect_timeout=5,
        read_timeout=seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    for seconds in (0.4, 2)
]
"""For the faults that are timeouts. The second where the machine is too busy for the first."""
SDK = sdk.CONFIG
"""What is deployed: the SDK's own retries come on top."""
AFTER_AN_END = frozenset({"publish", "settle"})
EVENTS_ONLY = AFTER_AN_END | {"rearm"}
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


class Bench:
    """A service with a proxy in front of AWS."""

    def __init__(self, service: Service, proxy: FaultProxy) -> None:
        self.service, self.proxy = service, proxy

    def judge(self, combination: Combination) -> str:
        """The verdict on one combination. Raises BrokenPromise."""
        journey, (_, steps) = JOURNEYS[combination.journey][0], JOURNEYS[combination.journey]
        assert combination.step in steps
        for patience in range(2):
            stage = self.stage(journey)
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

    def stage(self, journey: Journey) -> Stage:
        self.service.now = START
        self.service.in_kms = journey.in_kms
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
                combination.fault == "slow"
                or combination.sdk
                or concerns_only_events
                # what a sweep has ended is ended, told or not
                or (swept and combination.step in AFTER_AN_END),
                f"answered {answer.status} although {combination.step} failed",
            )
            if journey.starts:
                stage.sid = answer["sid"]
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
        if journey.starts:
            stage.sid = answer["sid"]
            self._start_must_be_told(stage)
        if isinstance(journey, Ending | Sweep):
            self._must_be_told(stage, warned=isinstance(journey, Warn), living=journey)
        return " ".join(verdict)

    def _must_be_left_to_the_sweep(self, combination: Combination, stage: Stage) -> None:
        session = self.service.session(stage.sid)
        if combination.fault == "slow" or combination.sdk:
            return
        waits = session.unannounced or (session.ended_at is not None and session.attention_at)
        if combination.step != "publish" and combination.fault in TAKES_EFFECT:
            must(not waits, "the settling took no effect")
        else:
            must(bool(waits), "an event was lost")

    def _start_must_be_told(self, stage: Stage) -> None:
        """By now or by the next sweep, with one id, and nothing left over."""
        self.service.now += 60
        report = self.service.sweep()
        must(report["complete"], f"the next sweep: {report}")
        told = {event["id"] for event in self.proxy.published if event["sid"] == stage.sid}
        session = self.service.session(stage.sid)
        must(told == {f"{stage.sid}.session.started.{session.started_at}"}, f"told {told}")
        must(not session.unannounced, "still to be told after the sweep")
        must((session.attention_at or 0) > self.service.now, "still due after the sweep")

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
        identity_provider() as provider,
    ):
        service.register(provider)
        yield Bench(service, proxy)
