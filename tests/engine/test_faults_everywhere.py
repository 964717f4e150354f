"""The short form of `make faults`: a sample of step x fault, kills, outages; and their teeth.

RATCHET_SEED repeats a run; every failure names its seed.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ratchet import events, issue, session_end, signing
from ratchet.errors import Fault, InvalidGrant
from ratchet.policy import Policy
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.store import SessionStore
from tests.engine.engines import engine
from tests.engine.fault_journeys import JOURNEYS, UNPROTECTED
from tests.engine.fault_proxy import FaultProxy
from tests.engine.fault_service import ISSUER, BrokenPromise, Service
from tests.engine.fault_steps import STEP_FAULTS, Bench, Combination, bench, combinations, sample
from tests.engine.kills import Mortal, judge_kill, kills
from tests.engine.outages import OUTAGES, rehearse

SEED = int(os.environ.get("RATCHET_SEED") or secrets.randbits(32))
SAMPLE = 48
KILLED = 10
# The writes that an answer hangs on: in the sample whatever the seed is.
ALWAYS_KILLED = [
    ("refresh", "after", "rotate"),
    ("revoke", "after", "end"),
    ("start", "after", "create"),
]

RANDOM = Random(SEED)  # noqa: S311 - no secret
SAMPLED = sample(RANDOM, SAMPLE)
RETRIED = [
    Combination("refresh", "rotate", "refused", sdk=True),
    Combination(UNPROTECTED, "rotate", "reset", sdk=True),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with engine(tmp_path_factory.mktemp("faults"), issuer=ISSUER) as environment:
        yield environment


@pytest.fixture(scope="module")
def on(environment: dict[str, str]) -> Iterator[Bench]:
    with bench(environment) as on:
        yield on


def test_the_sample_has_every_step_of_every_request_and_every_fault() -> None:
    places = {(name, step) for name, (_, steps) in JOURNEYS.items() for step in steps}
    assert {(one.journey, one.step) for one in SAMPLED} == places
    assert {one.fault for one in SAMPLED} == set(STEP_FAULTS)
    assert set(SAMPLED) <= set(combinations())
    assert {one.fault for one in combinations(sdk=True)} == set(STEP_FAULTS)


def test_whatever_call_fails_the_next_try_succeeds(on: Bench) -> None:
    broken = []
    for combination in SAMPLED + RETRIED:
        try:
            on.judge(combination)
        except BrokenPromise as promise:
            broken.append(str(promise))
    assert not broken, f"seed {SEED}"


def test_wherever_a_process_is_killed_a_fresh_one_goes_on(
    on: Bench, environment: dict[str, str]
) -> None:
    places = ALWAYS_KILLED + RANDOM.sample(kills(), KILLED)
    with Mortal(environment) as mortal:
        for journey, when, step in places:
            assert judge_kill(on, mortal, journey, when, step).startswith("killed"), f"seed {SEED}"


@pytest.mark.parametrize("what", OUTAGES)
def test_after_an_outage_of_ten_minutes_every_next_try_succeeds(on: Bench, what: str) -> None:
    """but for those that were in flight as the table went away, and send no Idempotency-Key"""
    rehearsal = rehearse(on, what, Random(SEED), 12)  # noqa: S311 - no secret
    assert rehearsal.unavailable > 0, f"seed {SEED}"
    unkeyed = rehearsal.caught - rehearsal.caught_keyed
    assert rehearsal.signed_out.total() == unkeyed, f"seed {SEED}"
    assert (what == "DynamoDB") == (rehearsal.caught > 0)


# --- They can fail: each of these breaks the service, and the harness has to notice --------------


def test_a_rotation_that_cannot_be_repeated_is_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "answers_parent", lambda *_: None)
    with pytest.raises(BrokenPromise, match="retry was answered 400"):
        on.judge(Combination("refresh", "rotate", "reset"))


def test_a_fault_that_is_taken_for_reuse_is_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = SessionStore._call

    def confused(self: SessionStore, operation: Any, **arguments: Any) -> Any:
        try:
            return call(self, operation, **arguments)
        except Fault:
            raise InvalidGrant(Reason.REUSED) from None

    monkeypatch.setattr(SessionStore, "_call", confused)
    with pytest.raises(BrokenPromise, match="answered 400"):
        on.judge(Combination("refresh", "rotate", "conflict"))


def test_an_unexpected_exception_is_caught(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def naked(self: SessionStore, operation: Any, **arguments: Any) -> Any:
        return operation(**arguments)

    monkeypatch.setattr(SessionStore, "_call", naked)
    with pytest.raises(BrokenPromise, match=f"a defect: {ClientError.__name__}|a defect: Internal"):
        on.judge(Combination("refresh", "rotate", "internal"))


def test_a_request_that_fails_with_the_bus_is_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(session: Any, *, store: Any, bus: Any) -> bool:
        bus.publish(events.ending(session))
        store.settle(session)
        return True

    monkeypatch.setattr(session_end, "publish_end", strict)
    with pytest.raises(BrokenPromise, match="publish failed the request"):
        on.judge(Combination("revoke", "publish", "internal"))


def test_an_event_that_is_lost_is_caught(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(session: Any, *, store: Any, bus: Any) -> bool:
        store.settle(session)
        try:
            bus.publish(events.ending(session))
        except Fault:
            return False
        return True

    monkeypatch.setattr(session_end, "publish_end", hasty)
    with pytest.raises(BrokenPromise, match="an event was lost"):
        on.judge(Combination("revoke", "publish", "internal"))


def test_a_start_that_fails_with_the_bus_is_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(session: Any, policy: Any, *, store: Any, bus: Any, now: int) -> None:
        bus.publish([events.started(session)])

    monkeypatch.setattr(issue, "publish_start", strict)
    with pytest.raises(BrokenPromise, match="publish failed the request"):
        on.judge(Combination("start", "publish", "internal"))


def test_a_start_that_is_lost_is_caught(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """one that is not due until its deadline is told of much too late"""

    def filed(session: Session, policy: Policy) -> Session:
        return replace(session, unannounced=True, attention_at=session.idle_deadline_at)

    monkeypatch.setattr(issue, "unannounced", filed)
    # A refresh would mend it.
    monkeypatch.setattr("ratchet.refresh._filed_too_late", lambda *_: False)
    with pytest.raises(BrokenPromise, match="told set"):
        on.judge(Combination("start", "publish", "internal"))


def test_keys_that_are_first_asked_for_after_the_write_are_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage between the write and the signature is one more lost answer."""

    def late(self: Any, now: int) -> Any:
        class Sign:
            remote = False

            def __call__(self, claims: Any) -> Any:
                return prepare(asked, now)(claims)

        asked = self
        return Sign()

    signer = type(on.service.container().signer)
    prepare = signer.prepare
    monkeypatch.setattr(signer, "prepare", late)
    random = Random(SEED)  # noqa: S311 - no secret
    with pytest.raises(BrokenPromise, match="signed out during the outage"):
        rehearse(on, "The signing keys", random, 24)


def test_a_signature_of_kms_after_the_write_is_caught(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing._InKms, "remote", False)
    with pytest.raises(BrokenPromise, match="signed out during the outage"):
        rehearse(on, "KMS", Random(SEED), 24)  # noqa: S311 - no secret


def test_a_proxy_that_does_nothing_changes_nothing(environment: dict[str, str]) -> None:
    with Service(environment).running() as service, FaultProxy(environment) as proxy:
        service.enter(service.container(proxy=proxy))
        first = service.start()
        assert service.refresh(first["refresh_token"]).status == 200
        assert proxy.hit == []
        assert proxy.calls == {
            "peppers": 1,
            "keys": 1,
            "application": 3,
            "create": 1,
            "publish": 1,
            "rearm": 1,
            "rotate": 1,
        }
        service.forget_sessions()
