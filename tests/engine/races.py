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

Here are the run and the command. `race_scenarios` prepares who meets whom, `race_verdicts` judges
what came out, `race_workers` has the processes, the threads and the barrier.
"""

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.parts import Parts
from tests.engine import threaded_moto
from tests.engine.broken import CAUGHT_BY, STORES
from tests.engine.engines import ENDPOINT, engine
from tests.engine.race_scenarios import ISSUER, Raced, Scenarios
from tests.engine.race_verdicts import BrokenPromise, Verdicts, must
from tests.engine.race_workers import (
    PROCESSES,
    THREADS,
    Answer,
    Pool,
    Told,
    application,
    build,
)

BATCH = 20
"""Rounds that are handed out at once; the next ones are prepared while they run."""

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


@dataclass
class Figures:
    """What a scenario came to."""

    rounds: int = 0
    calls: int = 0
    forks: int = 0
    repeated: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)


class Referee:
    """Lets the rounds be run and judged. The same seed makes the same plans."""

    def __init__(self, pool: Pool, environment: Mapping[str, str], seed: int) -> None:
        self.pool = pool
        self.seed = seed
        self.callers = pool.processes * pool.threads
        self._environment = environment
        parts = self._serve(None)
        self._scenarios = Scenarios(pool, parts, seed)
        self._verdicts = Verdicts(parts)

    def use(self, broken: str | None) -> None:
        self._scenarios.parts = self._verdicts.parts = self._serve(broken)

    def _serve(self, broken: str | None) -> Parts:
        self.pool.use(self._environment, broken)
        parts = build(self._environment, broken)
        for client_id in ("race", "race-strict"):
            parts.applications.put(*application(client_id))
        return parts

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
        following = self._scenarios.prepare(scenario, sizes[0]) if sizes else []
        for index in range(len(sizes)):
            running = following
            self.pool.start([calls for calls, _ in running])
            try:
                if index + 1 < len(sizes):
                    following = self._scenarios.prepare(scenario, sizes[index + 1])
            finally:
                answered, told, faults = self.pool.finish()
            events_of = defaultdict(list)
            for event in told:
                events_of[event.sid].append(event)
            for (_, sessions), answers in zip(running, answered, strict=True):
                self._judge(scenario, sessions, answers, events_of, faults, figures)
        figures.seconds = time.perf_counter() - began
        return figures

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
                must(answer.status == 200, f"{answer.call.what} answered {answer.status}")
            for raced in sessions:
                who_won = self._verdicts.of(scenario, raced, by_session[raced.name], told)
                figures.outcomes[who_won] += 1
        except BrokenPromise as promise:
            figures.forks += "fork" in str(promise)
            seen = Counter((a.call.what, a.status, a.reason) for a in answers)
            raise BrokenPromise(
                f"{promise}\n  scenario {scenario}, round {figures.rounds}, seed {self.seed}"
                f"\n  answers {dict(seen)}\n  faults {Counter(faults).most_common(5)}",
                figures.rounds,
            ) from None


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
    sys.exit(main())
