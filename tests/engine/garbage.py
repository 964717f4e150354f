"""Refresh tokens that are none, through the real handler (design promise 6).

    python -m tests.engine.garbage --count 200000 --seed 1

Random, mutated and truncated tokens, genuine ones with flipped bits, halves of two genuine ones and
whatever else comes in their place, each as one request to functions/refresh in payload format 2.0.
There is no engine: nothing here may need one. What must hold, for every single request:

- no call to AWS but the look at the peppers once in FRESH_SECONDS;
- 400 `invalid_grant` with a reason that is true of the token, or, for a form that carries none,
  400 or 413 `invalid_request`; never a 5xx;
- not a character of the token in the log;
- bounded time: what was slowest, sent again, costs a bounded multiple of the run's own median.

Last, genuine tokens have to reach DynamoDB: the run must be able to see a call.

Here are the run, its verdict and the command; `garbage_kinds` has the generators, `garbage_service`
the handler.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ratchet.secret_cache import FRESH_SECONDS
from tests.engine.garbage_kinds import GENUINE, NO_TOKEN, Generator, Sent
from tests.engine.garbage_service import NOW, Service

REQUESTS_PER_SECOND = 200
SLOWEST = 20
REPEATS = 5
MAX_RATIO = 20
"""The slowest input may cost so many times the median; its body may be 100 times as long."""


def broken(sent: Sent, answer: dict[str, Any], written: str) -> str | None:
    """Which promise this answer breaks, or None."""
    status = answer["statusCode"]
    body = json.loads(answer["body"])
    reason = body.get("error_reason")
    if status >= 500:
        return f"a {status}"
    if answer["headers"].get("Cache-Control") != "no-store":
        return "an answer that may be stored"
    if "rt1_" in written:
        return "a token in the log"
    if sent.expected is NO_TOKEN:
        fine = status in (400, 413) and body["error"] == "invalid_request" and reason is None
        return None if fine else f"{status} {body.get('error')} for a form without a token"
    if status != 400 or body["error"] != "invalid_grant" or body["retry"] != "never":
        return f"{status} {body.get('error')}"
    expected = " or ".join(sorted(sent.expected))
    return None if reason in sent.expected else f"reason {reason}, not {expected}"


@dataclass
class Report:
    """What a run has seen. `failures`: the first few broken promises, in words."""

    count: int = 0
    seconds: float = 0.0
    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    dynamodb_calls: int = 0
    secret_looks: int = 0
    control_calls: int = 0
    median_us: float = 0.0
    worst_us: float = 0.0
    worst_kind: str = ""

    @property
    def ratio(self) -> float:
        return self.worst_us / self.median_us

    def lines(self) -> list[str]:
        answers = ", ".join(f"{name} {count}" for name, count in self.answers.most_common())
        return [
            f"requests          {self.count} of {len(self.kinds)} kinds",
            f"answers           {answers}",
            f"DynamoDB calls    {self.dynamodb_calls}"
            f" (and {self.control_calls} for {GENUINE} genuine tokens, which must be counted)",
            f"pepper looks      {self.secret_looks}",
            f"rate              {self.count / self.seconds:.0f} a second",
            f"median            {self.median_us:.0f} µs of processor time",
            f"worst case        {self.worst_us:.0f} µs, {self.ratio:.1f} times the median"
            f" (may be {MAX_RATIO}): {self.worst_kind}",
            *(f"BROKEN            {failure}" for failure in self.failures),
        ]


def run(count: int, seed: int) -> Report:
    """`count` forms through the handler; every broken promise is in the report's failures."""
    rng = random.Random(seed)  # noqa: S311 - the tests' own, to be repeatable
    service = Service(rng)
    generator = Generator(service, rng)
    report = Report(count=count)
    spent: list[int] = []
    slowest: list[tuple[int, int, Sent]] = []
    started = time.perf_counter()
    with service.running():
        for number in range(count):
            service.now = NOW + number // REQUESTS_PER_SECOND
            sent = generator.next()
            answer, written, cost = service.send(sent.body)
            spent.append(cost)
            if len(slowest) < SLOWEST or cost > slowest[-1][0]:
                slowest = sorted([*slowest, (cost, number, sent)], reverse=True)[:SLOWEST]
            report.kinds[sent.kind] += 1
            body = json.loads(answer["body"])
            report.answers[body.get("error_reason") or f"{answer['statusCode']}"] += 1
            problem = broken(sent, answer, written)
            if service.calls and not report.dynamodb_calls:
                problem = f"DynamoDB was asked: {service.calls[0]}"
            report.dynamodb_calls = len(service.calls)
            if problem and len(report.failures) < 10:
                report.failures.append(
                    f"{problem}; request {number}, {sent.kind}: {sent.body[:200]!r}"
                    f" was answered {answer['statusCode']} {answer['body']}"
                )
        report.seconds = time.perf_counter() - started
        report.secret_looks = service.secret.looks
        # What was slowest by accident is not slow again.
        again = [
            (min(service.send(sent.body)[2] for _ in range(REPEATS)), sent.kind)
            for _, _, sent in slowest
        ]
        _control(service, generator, report)
    report.median_us = statistics.median(spent) / 1000
    worst, report.worst_kind = max(again)
    report.worst_us = worst / 1000
    _judge(report)
    return report


def _control(service: Service, generator: Generator, report: Report) -> None:
    before = len(service.calls)
    service.now = NOW
    for token in generator.genuine:
        form = urlencode({"client_id": "demo-native", "refresh_token": str(token)})
        answer, _, _ = service.send(form.encode())
        if answer["statusCode"] != 503:
            report.failures.append(f"a genuine token without an engine: {answer['statusCode']}")
    report.control_calls = len(service.calls) - before


def _judge(report: Report) -> None:
    if report.control_calls < GENUINE:
        report.failures.append("genuine tokens did not reach DynamoDB: its calls are not seen")
    if report.ratio > MAX_RATIO:
        report.failures.append(f"{report.worst_kind}: {report.ratio:.1f} times the median")
    seconds = report.count // REQUESTS_PER_SECOND
    if report.secret_looks > 2 + seconds // FRESH_SECONDS:
        report.failures.append(f"{report.secret_looks} looks at the peppers in {seconds} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="Garbage instead of refresh tokens.")
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    sys.stdout.write(f"seed              {seed}\n")
    sys.stdout.flush()
    report = run(options.count, seed)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
