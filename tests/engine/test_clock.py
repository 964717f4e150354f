"""Clocks that disagree by up to ten minutes: every instance is up to five fast or slow.

An instant that one instance writes is compared with another one's clock. So a deadline is met
early or late by exactly the difference of the two clocks, never by more, and only once: what an
absolute deadline is, was decided at the start, and no refresh moves it.

The leeway is such a deadline too. An instance that is further behind or ahead of the one that has
rotated than the leeway is long sees a lost answer as reuse, or a reuse as a lost answer, for as
long as the difference is. An Idempotency-Key is good for a day, and so for any difference here.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ratchet.parts import Parts
from ratchet.policy import PRESETS, Policy
from ratchet.reasons import Reason
from ratchet.session_item import LAST_SECOND, seconds, to_item
from ratchet.store import Rotation, SessionStore
from tests.engine.engines import engine
from tests.engine.fault_service import ISSUER, KEY, NATIVE, START, STRICT, Answer, Service

SKEW = 300
OFFSETS = (-SKEW, 0, SKEW)
PAIRS = list(itertools.product(OFFSETS, OFFSETS))
POLICY = PRESETS["native"]
IDLE = POLICY.idle_ttl_seconds
SENSITIVE = PRESETS["sensitive"]


class Instances:
    """One container for each clock, all on the same tables. now: the true time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.now = START
        self._parts: dict[int, Parts] = {}

    def at(self, offset: int) -> Service:
        """The instance whose clock is that much fast (or slow)."""
        if offset not in self._parts:
            self._parts[offset] = self.service.container()
        self.service.enter(self._parts[offset])
        self.service.now = self.now + offset
        return self.service

    def fresh(self, offset: int) -> Service:
        """The same, in a new container, which remembers nothing."""
        self._parts.pop(offset, None)
        return self.at(offset)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        engine(tmp_path_factory.mktemp("clock"), issuer=ISSUER) as environment,
        Service(environment).running() as service,
    ):
        yield service


@pytest.fixture
def instances(service: Service) -> Iterator[Instances]:
    yield Instances(service)
    service.forget_sessions()


def with_policy(instances: Instances, client_id: str, **policy: Any) -> Iterator[None]:
    """As long as the test takes; its containers have not asked for the application before."""
    applications = instances.service.container().applications
    application = applications.get(client_id, START)
    assert application is not None
    written = {"preset": client_id.removeprefix("demo-"), **policy}
    changed = dataclasses.replace(application, policy=Policy.from_mapping(written))
    applications.put(changed, written)
    yield
    applications.put(application, {"preset": written["preset"]})


@pytest.fixture
def lenient(instances: Instances) -> Iterator[int]:
    """Leeway ten minutes, the longest there is: no shorter than clocks are apart here."""
    for _ in with_policy(instances, NATIVE, leeway_seconds=600):
        yield 600


@pytest.fixture
def brief(instances: Instances) -> Iterator[int]:
    """An absolute deadline after an hour."""
    for _ in with_policy(instances, STRICT, idle_ttl_seconds=1500, absolute_ttl_seconds=3600):
        yield 3600


def refused(answer: Answer, reason: Reason) -> bool:
    return answer.status == 400 and bool(answer["error_reason"] == reason)


pairs = pytest.mark.parametrize(("writer", "reader"), PAIRS)


@pairs
def test_an_idle_deadline_is_off_by_the_difference_of_the_clocks_and_no_more(
    instances: Instances, writer: int, reader: int
) -> None:
    """The last instant at which a refresh works, found from both sides."""
    first = instances.at(writer).start(STRICT)
    last = START + SENSITIVE.idle_ttl_seconds + writer - reader - 1
    instances.now = last + 1
    dead = instances.fresh(reader).refresh(first["refresh_token"], STRICT)
    assert refused(dead, Reason.IDLE_EXPIRED)
    instances.now = last
    assert instances.fresh(reader).refresh(first["refresh_token"], STRICT).status == 200
    assert abs(last + 1 - (START + SENSITIVE.idle_ttl_seconds)) <= 2 * SKEW


@pairs
def test_an_absolute_deadline_is_off_by_the_difference_of_the_clocks_and_no_more(
    instances: Instances, brief: int, writer: int, reader: int
) -> None:
    """However often, and on whatever clocks, the session was refreshed on the way there."""
    first = instances.at(writer).start(STRICT)
    token = first["refresh_token"]
    last = START + brief + writer - reader - 1
    clocks = itertools.cycle(OFFSETS)
    # Near the end only its own clock: on a fast one it is over by then.
    while instances.now + 500 < last:
        instances.now += 500
        near = instances.now + SKEW >= START + brief + writer
        answer = instances.at(reader if near else next(clocks)).refresh(token, STRICT)
        assert answer.status == 200, answer.body
        token = answer["refresh_token"]
    session = instances.service.session(first["sid"])
    assert session.idle_deadline_at == session.absolute_deadline_at == START + writer + brief
    instances.now = last + 1
    dead = instances.fresh(reader).refresh(token, STRICT)
    assert refused(dead, Reason.ABSOLUTE_EXPIRED)
    instances.now = last
    answer = instances.fresh(reader).refresh(token, STRICT)
    assert answer.status == 200
    assert instances.service.session(first["sid"]).absolute_deadline_at == START + writer + brief


@pairs
def test_the_leeway_is_off_by_the_difference_of_the_clocks_and_no_more(
    instances: Instances, lenient: int, writer: int, reader: int
) -> None:
    first = instances.at(writer).start()
    second = instances.at(writer).refresh(first["refresh_token"])
    last = START + lenient + writer - reader
    if last >= START:
        instances.now = last
        answer = instances.at(reader).refresh(first["refresh_token"])
        assert answer["refresh_token"] == second["refresh_token"]
    instances.now = max(last, START) + 1
    assert refused(instances.at(reader).refresh(first["refresh_token"]), Reason.REUSED)
    assert abs(last - (START + lenient)) <= 2 * SKEW


@pairs
def test_a_lost_answer_with_a_key_is_made_good_whatever_the_clocks_say(
    instances: Instances, writer: int, reader: int
) -> None:
    first = instances.at(writer).start(STRICT)
    second = instances.at(writer).refresh(first["refresh_token"], STRICT, KEY)
    for later in (0, 5, 100):
        instances.now = START + later
        again = instances.at(reader).refresh(first["refresh_token"], STRICT, KEY)
        assert again["refresh_token"] == second["refresh_token"]
    assert instances.service.session(first["sid"]).generation == 1


@pytest.mark.parametrize("reader", OFFSETS)
def test_a_rotation_from_the_future_is_still_answered_only_to_the_direct_parent(
    instances: Instances, reader: int
) -> None:
    """A fast instance has rotated: to all others rotated_at is yet to come."""
    first = instances.at(SKEW).start()
    second = instances.at(SKEW).refresh(first["refresh_token"])
    assert (instances.service.session(first["sid"]).rotated_at or 0) > instances.now
    again = instances.at(reader).refresh(first["refresh_token"])
    assert again["refresh_token"] == second["refresh_token"]
    third = instances.at(reader).refresh(second["refresh_token"])
    assert third.status == 200
    assert refused(instances.at(reader).refresh(first["refresh_token"]), Reason.REUSED)


@pairs
def test_a_race_of_a_fast_and_a_slow_instance_has_one_successor(
    instances: Instances, lenient: int, writer: int, reader: int
) -> None:
    """Here the leeway is no shorter than the clocks are apart: nobody is signed out."""
    first = instances.at(0).start()
    won = instances.at(writer).refresh(first["refresh_token"])
    lost = instances.at(reader).refresh(first["refresh_token"])
    assert (won.status, lost.status) == (200, 200)
    assert won["refresh_token"] == lost["refresh_token"]
    session = instances.service.session(first["sid"])
    assert (session.generation, session.ended_at) == (1, None)


@pytest.mark.parametrize("ahead", [0, 29, 30, 31, SKEW])
@pytest.mark.parametrize("key", [None, KEY])
def test_the_default_leeway_bears_clocks_that_are_apart_by_just_as_much(
    instances: Instances, ahead: int, key: str | None
) -> None:
    """What is not claimed: beyond that a racing tab without a key is taken for a thief."""
    first = instances.at(0).start()
    instances.at(0).refresh(first["refresh_token"], key=key)
    answer = instances.at(ahead).refresh(first["refresh_token"], key=key)
    if key or ahead <= POLICY.leeway_seconds:
        assert answer.status == 200
    else:
        assert refused(answer, Reason.REUSED)


@pytest.mark.parametrize(("ender", "reader"), PAIRS)
def test_what_has_ended_stays_ended_on_every_clock(
    instances: Instances, ender: int, reader: int
) -> None:
    first = instances.at(0).start()
    second = instances.at(0).refresh(first["refresh_token"])
    assert instances.at(ender).revoke(second["refresh_token"]).status == 200
    for token in (first["refresh_token"], second["refresh_token"]):
        answer = instances.at(reader).refresh(token)
        assert refused(answer, Reason.REVOKED_BY_USER)


def test_a_fast_sweep_ends_nothing_that_a_slow_instance_has_refreshed(
    instances: Instances,
) -> None:
    first = instances.at(0).start()
    instances.now += IDLE - SKEW - 1
    second = instances.at(-SKEW).refresh(first["refresh_token"])
    instances.now += SKEW + 1
    report = instances.at(SKEW).sweep()
    assert report["complete"]
    session = instances.service.session(first["sid"])
    assert session.ended_at is None
    assert instances.at(0).refresh(second["refresh_token"]).status == 200


@pytest.mark.parametrize("clock", OFFSETS)
def test_a_sweep_ends_an_idle_session_early_or_late_by_its_own_clock_and_no_more(
    instances: Instances, clock: int
) -> None:
    first = instances.at(0).start()
    instances.now += IDLE - clock - 1
    instances.at(clock).sweep()
    assert instances.service.session(first["sid"]).ended_at is None
    instances.now += 1
    instances.at(clock).sweep()
    session = instances.service.session(first["sid"])
    # Told as what it is, in the words of the instance that has set the deadline.
    assert (session.reason, session.ended_at) == (Reason.IDLE_EXPIRED, START + IDLE)


@pairs
def test_a_fresh_access_token_is_good_on_every_clock(
    instances: Instances, writer: int, reader: int
) -> None:
    """Issued in the reader's future, or an access lifetime minus the difference from its end."""
    first = instances.at(writer).start()
    answer = instances.at(reader).call(
        "GET", f"/sessions/{first['sid']}", bearer=first["access_token"]
    )
    assert (answer.status, answer["status"]) == (200, "active")


def test_an_instance_that_was_fast_does_not_refuse_what_another_has_kept_alive(
    instances: Instances,
) -> None:
    """A fast instance refuses, a minute early; a right one refreshes; then the fast one again."""
    first = instances.at(0).start()
    instances.now += IDLE - SKEW
    early = instances.fresh(SKEW).refresh(first["refresh_token"])
    assert refused(early, Reason.IDLE_EXPIRED)
    second = instances.at(0).refresh(first["refresh_token"])
    assert second.status == 200
    # It lives for ninety days now: no clock here is that far off.
    assert instances.at(SKEW).refresh(second["refresh_token"]).status == 200


def test_a_revocation_by_a_fast_instance_is_not_undone_by_a_slow_one(
    instances: Instances,
) -> None:
    first = instances.at(0).start()
    instances.now += IDLE - SKEW
    assert instances.fresh(SKEW).revoke(first["refresh_token"]).status == 200
    again = instances.at(0).refresh(first["refresh_token"])
    assert again.status == 400, "revoked, and refreshed for ninety days more"


# --- Seconds, never milliseconds ------------------------------------------------------------------


MILLISECONDS = START * 1000


def test_a_clock_in_milliseconds_writes_nothing(instances: Instances) -> None:
    service = instances.at(0)
    first = service.start()
    before = service.session(first["sid"])
    service.now = MILLISECONDS
    assert service.start().status == 503
    # Here a millisecond clock is far beyond the token's last instant: refused before any write.
    assert service.refresh(first["refresh_token"]).status == 400
    assert service.revoke(first["refresh_token"]).status == 200
    with pytest.raises(ValueError, match="is not an instant"):
        service.sweep()
    assert service.session(first["sid"]) == before
    service.enter(service.container())
    service.now = START
    assert service.refresh(first["refresh_token"]).status == 200


def asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> Rotation:
    """What a refresh asks of the store."""
    noted: list[Rotation] = []
    with monkeypatch.context() as patch:
        patch.setattr(SessionStore, "rotate", lambda _, rotation, now: noted.append(rotation))
        service.refresh(service.start()["refresh_token"])
    return noted[0]


def test_every_write_of_the_store_refuses_milliseconds(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = instances.at(0)
    sid = service.start()["sid"]
    session = service.session(sid)
    store = service.container().store
    rotation = asked(service, monkeypatch)
    ending: dict[str, Any] = {"reason": Reason.REUSED, "by": "", "retention_seconds": 1}

    def changed(value: Any, name: str) -> Any:
        return dataclasses.replace(value, **{name: MILLISECONDS})

    writes: list[Callable[[], Any]] = [
        partial(store.rotate, rotation, MILLISECONDS),
        *(
            partial(store.rotate, changed(rotation, name), START)
            for name in ("idle_deadline_at", "expires_at", "sessions_valid_after")
        ),
        partial(store.end, sid, now=MILLISECONDS, **ending),
        partial(store.end, sid, now=START, ended_at=MILLISECONDS, **ending),
        *(
            partial(store.rearm, session, changed(session, name))
            for name in ("attention_at", "warned_deadline_at", "warned_absolute_deadline_at")
        ),
        partial(store.due, 0, MILLISECONDS),
        *(
            partial(store.create, changed(session, name))
            for name in (
                *("started_at", "auth_time", "rotated_at", "idle_deadline_at", "expires_at"),
                *("absolute_deadline_at", "ended_at", "attention_at", "warned_deadline_at"),
            )
        ),
    ]
    for write in writes:
        with pytest.raises(ValueError, match="is not an instant in epoch seconds"):
            write()
    assert service.session(sid) == session


def test_no_stored_instant_is_in_milliseconds(instances: Instances) -> None:
    service = instances.at(0)
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.revoke(second["refresh_token"])
    item = to_item(service.session(first["sid"]))
    instants = [name for name in item if name.endswith(("_at", "_time"))]
    assert {"started_at", "rotated_at", "ended_at", "expires_at"} <= set(instants)
    assert all(item[name] == seconds(int(item[name]["N"])) for name in instants)
    assert START * 1000 > LAST_SECOND
