"""Outages of ten minutes under load, and what becomes of the clients."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from ratchet.errors import RETRY_AFTER_SECONDS
from ratchet.parts import Parts
from ratchet.policy import PRESETS
from tests.engine.fault_proxy import DYNAMODB
from tests.engine.fault_proxy import SECRETS as SECRETS_STEPS
from tests.engine.fault_service import ONE_TRY, START, BrokenPromise, must, unavailable
from tests.engine.fault_steps import Bench

OUTAGES = {
    "Secrets Manager": SECRETS_STEPS,
    "The signing keys": frozenset({"keys"}),
    "KMS": frozenset({"sign"}),
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
    service.in_kms = what == "KMS"
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
