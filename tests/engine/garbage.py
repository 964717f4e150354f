"""Refresh tokens that are none, through the real handler (design promise 6).

    python -m tests.engine.garbage --count 200000 --seed 1

Random, mutated and truncated tokens, genuine ones with flipped bits, halves of two genuine ones and
whatever else comes in their place, each as one request to functions/refresh in payload format 2.0.
There is no engine: nothing here may need one. What must hold, for every single request:

- no call to AWS but the look for a newer pepper, which has a cool-down of its own;
- 400 `invalid_grant` with a reason that is true of the token, or, for a form that carries none,
  400 or 413 `invalid_request`; never a 5xx. One exception is part of the design: a token that names
  the pepper id just above the newest may be genuine as far as this instance can know, so inside the
  cool-down it is told to come back (503 with Retry-After) and not that it is dead;
- not a character of the token in the log;
- bounded time: what was slowest, sent again, costs a bounded multiple of the run's own median.

Last, genuine tokens have to reach DynamoDB: the run must be able to see a call.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import importlib
import io
import json
import logging
import os
import random
import secrets
import statistics
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote_from_bytes, urlencode

from botocore.exceptions import EndpointConnectionError

from ratchet import endpoint, events, keys, refresh_token, wiring
from ratchet.policy import DAY
from ratchet.refresh_token import RefreshToken
from ratchet.request import FORM, MAX_BODY_BYTES
from ratchet.secret_cache import FRESH_SECONDS, CachedSecret
from ratchet.settings import Settings
from ratchet.signing import PEPPER_COOLDOWN_SECONDS, PEPPERS_AHEAD, SecretPeppers
from ratchet_cli import payload, template
from ratchet_cli.template import Route

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000
GENUINE = 64
# Peppers 1 and 7: an id below, between and above them is unknown, 8 may be the next one.
PEPPER_IDS = (6, 7)
NEXT_PEPPERS = range(max(PEPPER_IDS) + 1, max(PEPPER_IDS) + 1 + PEPPERS_AHEAD)
REQUESTS_PER_SECOND = 200
SLOWEST = 20
REPEATS = 5
MAX_RATIO = 20
"""The slowest input may cost so many times the median; its body may be 100 times as long."""

# What the template gives the functions; what the variables refer to is never reached.
_VARIABLES = template.load(ROOT / "template.yaml")["Globals"]["Function"]["Environment"][
    "Variables"
]
ENVIRONMENT = {
    **{name: value if isinstance(value, str) else "none" for name, value in _VARIABLES.items()},
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "RATCHET_ISSUER": "https://id.test",
}

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ROUTE = payload.Match(Route("ANY", "/oauth/refresh", "RefreshFunction"), {})

MALFORMED = frozenset({"malformed"})
FOREIGN = frozenset({"malformed", "unknown_pepper"})
EXPIRED = frozenset({"idle_expired", "absolute_expired"})
NO_TOKEN = frozenset({"invalid_request"})


@dataclass(frozen=True)
class Sent:
    """A form body, and the reasons of which one has to be the answer's (NO_TOKEN: none)."""

    kind: str
    body: bytes = field(repr=False)
    expected: frozenset[str]
    pepper_id: int | None = None


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
        self.secret = Secret(json.dumps(peppers))
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
        stream.setFormatter(events.logger.registered_formatter)
        logger = logging.getLogger(events.logger.service)
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


class Generator:
    """Forms from a seed; the same seed, the same forms."""

    def __init__(self, service: Service, rng: random.Random) -> None:
        self._rng = rng
        self.genuine = [self._mint(service.peppers) for _ in range(GENUINE)]
        self._foreign = [self._mint(service.foreign) for _ in range(GENUINE)]
        # 24 hours past the idle deadline, which is the retry window, or past the absolute one.
        self._expired = [
            self._mint(service.peppers, idle=-DAY - 1, absolute=rng.choice([-DAY - 1, 30 * DAY]))
            for _ in range(GENUINE)
        ]
        self._known = {str(token) for token in self.genuine}
        self.kinds: dict[str, Callable[[], Sent]] = {
            name.removeprefix("_kind_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_kind_")
        }

    def next(self) -> Sent:
        return self.kinds[self._rng.choice(list(self.kinds))]()

    def _mint(self, peppers: Any, *, idle: int = 14 * DAY, absolute: int = 180 * DAY) -> Any:
        with mock.patch.object(secrets, "token_bytes", self._rng.randbytes):
            return refresh_token.mint(
                session_bytes=self._rng.randbytes(16),
                generation=self._rng.randrange(1000),
                idle_deadline_at=NOW + min(idle, absolute),
                absolute_deadline_at=NOW + absolute,
                peppers=peppers,
                now=NOW,
            )

    def _sent(self, kind: str, text: str, expected: frozenset[str]) -> Sent:
        form = [("client_id", "demo-native"), ("refresh_token", text)]
        return Sent(kind, urlencode(form).encode(), expected, _pepper_id(text))

    def _text(self) -> str:
        return str(self._rng.choice(self.genuine))

    # --- no token at all ---------------------------------------------------------------------

    def _kind_random_text(self) -> Sent:
        size = self._rng.randint(1, 300)
        text = "".join(chr(self._rng.randint(1, 126)) for _ in range(size))
        return self._sent("random text", text, MALFORMED)

    def _kind_random_of_the_right_shape(self) -> Sent:
        text = "rt1_" + "".join(self._rng.choices(ALPHABET, k=104))
        return self._sent("random, right shape", text, FOREIGN)

    def _kind_unicode(self) -> Sent:
        ranges = [(0, 0x7F), (0xA0, 0x2FFF), (0xFF00, 0xFFEF), (0x10000, 0x10FFFF)]
        size = self._rng.choice([1, 54, 104, 108, 200])
        text = "".join(chr(self._rng.randint(*self._rng.choice(ranges))) for _ in range(size))
        return self._sent("unicode", self._rng.choice(["rt1_", ""]) + text, MALFORMED)

    def _kind_huge(self) -> Sent:
        room = MAX_BODY_BYTES - len("client_id=demo-native&refresh_token=")
        size = self._rng.choice([109, 1000, 5000, room // 3, room - 4])
        character = self._rng.choice("Aa-~") if size > room // 3 else self._rng.choice("A%é+")
        text = "rt1_" + character * (size // len(urlencode({"": character})[1:]))
        return self._sent("huge", text, MALFORMED)

    # --- a genuine one, spoilt ---------------------------------------------------------------

    def _kind_truncated(self) -> Sent:
        text = self._text()
        cut = self._rng.randint(1, len(text) - 1)
        return self._sent("truncated", self._rng.choice([text[:cut], text[cut:]]), MALFORMED)

    def _kind_extended(self) -> Sent:
        extra = self._rng.choice(["=", "==", " ", "\n", "\0", "A", "AAAA", ".", self._text()])
        text = self._rng.choice([self._text() + extra, extra + self._text()])
        return self._sent("extended", text, MALFORMED)

    def _kind_flipped_bits(self) -> Sent:
        raw = bytearray(_raw(self._text()))
        for position in self._rng.sample(range(len(raw) * 8), self._rng.choice([1, 1, 1, 2, 8])):
            raw[position // 8] ^= 1 << position % 8
        return self._sent("flipped bits", _spelled(raw), FOREIGN)

    def _kind_changed_character(self) -> Sent:
        text = self._text()
        position = self._rng.randrange(len(text))
        character = self._rng.choice(
            [*(ALPHABET + "+/=. \n\0é"), "\N{FULLWIDTH LATIN SMALL LETTER A}"]
        )
        changed = text[:position] + character + text[position + 1 :]
        if changed in self._known:
            return self._kind_changed_character()
        return self._sent("changed character", changed, FOREIGN)

    def _kind_spliced(self) -> Sent:
        cut = self._rng.randrange(5, refresh_token.LENGTH)
        spliced = self._text()[:cut] + self._text()[cut:]
        if spliced in self._known:
            return self._kind_spliced()
        return self._sent("spliced halves", spliced, MALFORMED)

    def _kind_shuffled(self) -> Sent:
        raw = list(_raw(self._text()))
        first, second = sorted(self._rng.sample(range(len(raw) + 1), 2))
        shuffled = raw[second:] + raw[first:second] + raw[:first]
        if bytes(shuffled) == bytes(raw):
            return self._kind_shuffled()
        return self._sent("parts in another order", _spelled(bytes(shuffled)), FOREIGN)

    def _kind_other_spelling(self) -> Sent:
        text = self._text()
        spelling = self._rng.choice(
            [
                text.replace("rt1_", self._rng.choice(["rt2_", "RT1_", "rt1-", "", "rt1_rt1_"])),
                text.replace("-", "+").replace("_", "/"),
                "rt1_" + text[4:].swapcase(),
                f'"{text}"',
                f"Bearer {text}",
                text.encode("utf-16").decode("latin-1"),
            ]
        )
        return self._sent("another spelling", spelling, FOREIGN)

    # --- another key, another time -----------------------------------------------------------

    def _kind_wrong_pepper_id(self) -> Sent:
        raw = _raw(self._text())
        pepper_id = self._rng.choice([0, 1, 2, 5, 6, 12, 255, 0x7FFF, 0xFFFF])
        spoilt = pepper_id.to_bytes(2, "big") + raw[2:]
        return self._sent("wrong pepper id", _spelled(spoilt), FOREIGN)

    def _kind_next_pepper_id(self) -> Sent:
        raw = _raw(self._text()) if self._rng.random() < 0.5 else self._rng.randbytes(78)
        spoilt = self._rng.choice(NEXT_PEPPERS).to_bytes(2, "big") + raw[2:]
        return self._sent("next pepper id", _spelled(spoilt), frozenset({"unknown_pepper"}))

    def _kind_foreign(self) -> Sent:
        return self._sent("other deployment's", str(self._rng.choice(self._foreign)), MALFORMED)

    def _kind_expired(self) -> Sent:
        return self._sent("genuine, expired", str(self._rng.choice(self._expired)), EXPIRED)

    # --- forms that carry none ---------------------------------------------------------------

    def _kind_not_utf8(self) -> Sent:
        noise = quote_from_bytes(b"\xff" + self._rng.randbytes(self._rng.randint(0, 107)), safe="")
        return Sent("not UTF-8", f"refresh_token={noise}".encode(), NO_TOKEN)

    def _kind_random_bytes(self) -> Sent:
        return Sent("random bytes", b"\x80" + self._rng.randbytes(200), NO_TOKEN)

    def _kind_form(self) -> Sent:
        text = self._text()
        body = self._rng.choice(
            [
                "",
                "refresh_token",
                "refresh_token=",
                "refresh_token=&client_id=demo-native",
                f"refresh_token={text}&refresh_token={text}",
                f"refresh_token={text}" + "&x" * 64,
                f"REFRESH_TOKEN={text}",
                f"refresh_token[]={text}",
                json.dumps({"refresh_token": text}),
                f"refresh_token={text}" + "A" * MAX_BODY_BYTES,
            ]
        )
        if body.startswith(f"refresh_token={text}&x"):
            body = body.replace("&x", "&x=1")
        return Sent("no token", body.encode(), NO_TOKEN)


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text.removeprefix("rt1_"))


def _spelled(raw: bytes | bytearray) -> str:
    return "rt1_" + urlsafe_b64encode(raw).decode()


def _pepper_id(text: str) -> int | None:
    """The pepper id that a text of a token's shape names."""
    try:
        token: RefreshToken = refresh_token._unpack(refresh_token._decode(text))
    except Exception:  # noqa: BLE001 - not of its shape
        return None
    return token.pepper_id


def broken(sent: Sent, answer: dict[str, Any], written: str) -> str | None:
    """Which promise this answer breaks, or None."""
    status, headers = answer["statusCode"], answer["headers"]
    body = json.loads(answer["body"])
    reason = body.get("error_reason")
    if status == 503 and reason == "unavailable" and sent.pepper_id in NEXT_PEPPERS:
        return None if headers.get("Retry-After") else "503 without Retry-After"
    if status >= 500:
        return f"a {status}"
    if headers.get("Cache-Control") != "no-store":
        return "an answer that may be stored"
    if "rt1_" in written:
        return "a token in the log"
    if sent.expected is NO_TOKEN:
        fine = status in (400, 413) and body["error"] == "invalid_request" and reason is None
        return None if fine else f"{status} {body.get('error')} for a form without a token"
    # A changed id may happen to be the next one.
    allowed = sent.expected | ({"unknown_pepper"} if sent.pepper_id in NEXT_PEPPERS else set())
    if status != 400 or body["error"] != "invalid_grant" or body["retry"] != "never":
        return f"{status} {body.get('error')}"
    return None if reason in allowed else f"reason {reason}, not {' or '.join(sorted(allowed))}"


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
    looks = 2 + seconds // FRESH_SECONDS + seconds // PEPPER_COOLDOWN_SECONDS
    if report.secret_looks > looks:
        report.failures.append(f"{report.secret_looks} looks for a newer pepper in {seconds} s")


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
