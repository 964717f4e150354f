"""ratchet_client: refreshes ahead of time, lost answers, outages."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from ratchet_client import (
    ConnectionFailed,
    MemoryStore,
    RefreshUnavailable,
    Request,
    Response,
)
from tests.unit.client_world import NOW, World, answer, tokens


@pytest.fixture
def world() -> World:
    return World()


# --- ahead of time -------------------------------------------------------------------------------


def test_before_refresh_after_nothing_is_sent(world: World) -> None:
    session = world.started()
    world.now += 2749
    assert session.access_token() == "access-1"
    assert world.sent == []


def test_at_refresh_after_the_token_is_refreshed_and_both_new_ones_are_stored(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert world.sent == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "app"}
    ]
    kept = world.kept()
    assert (kept["access_token"], kept["refresh_token"]) == ("access-2", "refresh-2")
    assert kept["idempotency_key"] is None
    # a program that starts now has nothing to ask for
    assert world.session().access_token() == "access-2"
    assert len(world.sent) == 1


@pytest.mark.parametrize("hint", [{"refresh_after": None}, {"refresh_after": 4000}])
def test_without_a_usable_hint_it_is_refreshed_at_75_to_80_percent(
    world: World, hint: dict[str, Any]
) -> None:
    instants = set()
    session = world.session()
    for _ in range(50):
        session.start(tokens(1, **hint))
        instants.add(world.kept()["refresh_at"] - NOW)
    assert min(instants) >= 2700
    assert max(instants) <= 2880
    assert len(instants) == 50


@pytest.mark.parametrize("expires_in", [None, 0, 0.01, "0", -5, "soon"])
def test_without_a_usable_expires_in_a_token_is_good_until_an_api_says_no(
    world: World, expires_in: Any
) -> None:
    """RFC 6749 section 5.1 only recommends it, and 0 would be a refresh a call"""
    session = world.session()
    session.start(tokens(1, expires_in=expires_in))
    world.now += 10**6
    world.script = [answer(**tokens(2, expires_in=expires_in))]
    for number in (1, 2):
        for _ in range(20):
            world.now += 1000
            assert session.access_token() == f"access-{number}"
        if number == 1:
            assert session.access_token(refused="access-1") == "access-2"
    assert len(world.sent) == 1


def test_a_second_is_a_lifetime(world: World) -> None:
    session = world.started()
    session.start(tokens(1, expires_in=1, refresh_after=0))
    world.now += 0.74
    assert session.access_token() == "access-1"
    assert 0.75 <= world.kept()["refresh_at"] - NOW <= 0.8
    world.now += 0.25
    world.script = [answer(**tokens(2, expires_in=1, refresh_after=0))]
    assert session.access_token() == "access-2"


def test_a_refresh_token_that_is_not_rotated_is_kept(world: World) -> None:
    session = world.started()
    for number in (2, 3):
        world.now += 3600
        world.script = [answer(access_token=f"access-{number}", token_type="bearer", expires_in=99)]
        assert session.access_token() == f"access-{number}"
    assert {form["refresh_token"] for form in world.sent} == {"refresh-1"}


def test_an_early_refresh_that_fails_is_no_error_and_not_tried_again_at_once(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(503, {"retry-after": "30"})]
    assert [session.access_token() for _ in range(20)] == ["access-1"] * 20
    assert len(world.sent) == 1
    # nor by another process that shares the store
    assert world.session().access_token() == "access-1"
    world.now += 40
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"
    # the same request: its answer may have been lost
    assert world.keys[0] == world.keys[1] != ""
    assert world.slept == []


def test_while_somebody_else_refreshes_early_the_good_token_is_used(world: World) -> None:
    session = world.started()
    world.now += 2750
    assert world.store.try_lock()
    assert session.access_token() == "access-1"
    assert (world.sent, world.slept) == ([], [])


def test_the_lifetime_is_counted_from_before_the_request(world: World) -> None:
    session = world.started()
    world.now += 3600

    def slow(request: Request) -> Response:
        world.now += 100
        return answer(**tokens(2))

    world.script = [slow]
    session.access_token()
    assert world.kept()["expires_at"] == NOW + 3600 + 3600


def test_a_token_that_is_old_when_it_arrives_is_used_all_the_same(world: World) -> None:
    """and does not make the session ask in a circle"""
    session = world.started()
    world.now += 3600

    def slow(request: Request) -> Response:
        world.now += 2
        return answer(**tokens(2, expires_in=1))

    world.script = [slow]
    assert session.access_token() == "access-2"
    assert world.kept()["expires_at"] < world.now


# --- clocks --------------------------------------------------------------------------------------


def http_date(instant: float) -> dict[str, str]:
    return {"date": formatdate(instant, usegmt=True)}


@pytest.mark.parametrize(("ahead", "refreshed"), [(0, False), (1, False), (300, True)])
def test_an_api_whose_clock_is_ahead_gets_a_fresh_token_sooner(
    world: World, ahead: float, refreshed: bool
) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(200, http_date(world.now), **tokens(2))]
    session.access_token()
    session.learn_time(http_date(world.now + ahead))
    world.now += 2700
    world.script = [answer(**tokens(3))]
    assert session.access_token() == ("access-3" if refreshed else "access-2")


def test_a_difference_that_whole_seconds_explain_refreshes_nothing_sooner(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(200, http_date(world.now), **tokens(2))]
    session.access_token()
    session.learn_time(http_date(world.now + 2))
    world.now += 2749
    assert session.access_token() == "access-2"


def test_one_offset_of_all_servers_is_our_own_clock_and_changes_nothing(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(200, http_date(world.now + 900), **tokens(2))]
    session.access_token()
    session.learn_time(http_date(world.now + 900))
    world.now += 2700
    assert session.access_token() == "access-2"


def test_no_api_gets_a_refresh_a_call_by_telling_a_wrong_time(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(200, http_date(world.now), **tokens(2))]
    session.access_token()
    session.learn_time(http_date(world.now + 10**6))
    for _ in range(9):
        world.now += 100
        assert session.access_token() == "access-2"


def test_an_answer_from_a_cache_teaches_nothing(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(200, http_date(world.now), **tokens(2))]
    session.access_token()
    session.learn_time({**http_date(world.now + 900), "age": "12"})
    world.now += 2700
    assert session.access_token() == "access-2"


def test_a_clock_that_was_put_back_does_not_stop_refreshing(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [ConnectionFailed("refused")] * 20
    with pytest.raises(RefreshUnavailable):
        session.access_token()
    text = json.dumps({**world.kept(), "retry_at": world.now + 10**7})
    world.store.save(text)
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"


# --- lost answers and outages --------------------------------------------------------------------


def test_the_key_is_in_the_store_before_the_request_goes_out(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [answer(**tokens(2))]
    session.access_token()
    (during,) = world.stored
    assert during["idempotency_key"] == world.keys[0]
    assert during["refresh_token"] == "refresh-1"
    assert len(world.keys[0]) >= 16


def test_a_lost_answer_is_asked_for_again_with_the_same_token_and_key(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [ConnectionFailed("reset"), answer(502), answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert len({form["refresh_token"] for form in world.sent}) == 1
    assert len(set(world.keys)) == 1
    # and the next refresh has a new one
    world.now += 3600
    world.script = [answer(**tokens(3))]
    session.access_token()
    assert world.keys[-1] != world.keys[0]


def test_a_program_that_died_in_the_middle_is_taken_up_by_the_next(world: World) -> None:
    session = world.started()
    world.now += 3600

    class Killed(BaseException):
        """As SIGKILL: nothing after it runs but what the system does."""

    def die(request: Request) -> Response:
        raise Killed

    world.script = [die]
    with pytest.raises(Killed):
        session.access_token()
    world.script = [answer(**tokens(2))]
    assert world.session().access_token() == "access-2"
    assert world.sent[0] == world.sent[1]
    assert world.keys[0] == world.keys[1]


class FrozenAfterASave(MemoryStore):
    """Whoever has the lock is stopped for hours, and another one goes on meanwhile."""

    frozen: Callable[[], None] | None = None

    def save(self, text: str) -> None:
        super().save(text)
        if (frozen := self.frozen) is not None:
            self.frozen = None
            self.unlock()
            frozen()
            assert self.try_lock()


@pytest.mark.parametrize("taken_up", [False, True])
def test_who_was_frozen_before_the_request_sends_nothing_old(world: World, taken_up: bool) -> None:
    world.store = store = FrozenAfterASave()
    session, other = world.started(), world.session()
    world.now += 3700
    world.script = [answer(**tokens(2)), answer(**tokens(3))]
    if taken_up:
        kept = {**world.kept(), "idempotency_key": "of-one-that-died"}
        store.save(json.dumps(kept))

    def frozen() -> None:
        world.now += 3700
        other.access_token()
        world.now += 3700
        other.access_token()

    store.frozen = frozen
    assert session.access_token() == "access-3"
    assert [form["refresh_token"] for form in world.sent] == ["refresh-1", "refresh-2"]


def test_a_store_that_is_always_too_slow_sends_nothing_and_says_so(world: World) -> None:
    class Slow(MemoryStore):
        def save(self, text: str) -> None:
            super().save(text)
            world.now += 6

    session = world.started()
    store = Slow()
    store.save(world.store.load() or "")
    slow = world.session(store=store)
    world.now += 3700
    with pytest.raises(RefreshUnavailable, match="lock"):
        slow.access_token()
    assert not world.sent
    assert session.at_hand() is None


def test_retry_after_is_waited_for_without_the_lock(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [answer(503, {"retry-after": "7"}), answer(**tokens(2))]

    def sleep(seconds: float) -> None:
        assert world.store.try_lock()
        world.store.unlock()
        world.now += seconds
        world.slept.append(seconds)

    world.sleep = sleep  # type: ignore[method-assign]
    session = world.session()
    assert session.access_token() == "access-2"
    assert 7 <= sum(world.slept) <= 9


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": formatdate(NOW + 3600 + 20, usegmt=True)}, 20),
        ({"retry-after": formatdate(50, usegmt=True), "date": formatdate(30, usegmt=True)}, 20),
        ({"retry-after": "soon"}, 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(
    world: World, headers: dict[str, str], seconds: float
) -> None:
    session = world.started()
    world.now += 3600
    world.script = [answer(429, headers), answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert seconds <= sum(world.slept) <= seconds * 1.1 + 0.5


@pytest.mark.parametrize(
    "headers",
    [{}, {"retry-after": "0"}, {"retry-after": formatdate(NOW, usegmt=True)}],
    ids=["no word", "at once", "a date that is over"],
)
def test_a_minute_of_503_is_survived_and_costs_few_requests(
    world: World, headers: dict[str, str]
) -> None:
    session = world.started(give_up_after_seconds=120)
    world.now += 3600
    back = world.now + 60

    def until_then(request: Request) -> Response:
        return answer(**tokens(2)) if world.now >= back else answer(503, headers)

    world.script = [until_then] * 1000
    assert session.access_token() == "access-2"
    assert len(world.sent) <= 12
    assert len(set(world.keys)) == 1


def test_the_wait_has_a_limit_and_nothing_is_lost(world: World) -> None:
    session = world.started(give_up_after_seconds=20)
    world.now += 3600
    begun = world.now
    world.script = [answer(503)] * 100
    with pytest.raises(RefreshUnavailable, match="the server answered 503") as raised:
        session.access_token()
    assert world.now - begun <= 20
    assert raised.value.retry_after_seconds > 0
    assert world.kept()["refresh_token"] == "refresh-1"
    assert world.kept()["ended"] is None
    world.now += raised.value.retry_after_seconds
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert len(set(world.keys)) == 1


def test_delays_grow_and_are_not_the_same_for_all(world: World) -> None:
    session = world.started(give_up_after_seconds=1000)
    world.now += 3600
    world.script = [*[answer(503)] * 8, answer(**tokens(2))]
    session.access_token()
    bounds = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert all(
        bound / 2 <= slept <= bound for slept, bound in zip(world.slept, bounds, strict=True)
    )
    assert len(set(world.slept)) == 8


def test_an_outage_of_any_length_is_survived(world: World) -> None:
    world.started()
    world.store.save(json.dumps({**world.kept(), "failures": 10**6}))
    world.now += 3600
    world.script = [answer(503), answer(**tokens(2))]
    assert world.session().access_token() == "access-2"
    assert max(world.slept) <= 30


@pytest.mark.parametrize(
    "step",
    [
        ConnectionFailed("ReadTimeout"),
        answer(500),
        answer(502),
        answer(503, error="temporarily_unavailable", error_reason="unavailable", retry="after"),
        answer(429),
        answer(408),
        answer(400, error="temporarily_unavailable"),
        # a portal of a hotel, and half an answer
        Response(200, {}, b"<html>Welcome to our Wi-Fi"),
        Response(200, {}, b'{"access_token": "acc'),
        answer(200, access_token="x\r\nInjected: y", token_type="Bearer"),
        answer(400, error="invalid_grant", error_reason="unavailable", retry="after"),
        answer(400, error="invalid_grant", error_reason="a_new_one", retry="now"),
    ],
    ids=str,
)
def test_what_may_pass_clears_nothing(world: World, step: Response | Exception) -> None:
    session = world.started()
    world.now += 3600
    world.script = [step, answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert world.stored[1]["refresh_token"] == "refresh-1"


@pytest.mark.parametrize(
    "body",
    [b'{"access_token": "access-2", "expires_in": 1' + b"0" * 400 + b"}", b'{"a":' * 100_000],
)
def test_an_absurd_answer_is_no_crash(world: World, body: bytes) -> None:
    session = world.started()
    world.now += 3700
    world.script = [Response(200, {}, body), answer(**tokens(2))]
    assert session.access_token() == "access-2"


def test_a_token_from_before_the_clock_was_put_back_is_replaced(world: World) -> None:
    session = world.started()
    world.now -= 86400
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"
    assert session.access_token() == "access-2"
    assert len(world.sent) == 1


def test_two_clocks_that_differ_do_not_refresh_for_ever_an_api_that_refuses_all(
    world: World,
) -> None:
    session = world.started()
    world.script = [answer(**tokens(2))]
    assert session.access_token(refused="access-1") == "access-2"
    world.now -= 120
    assert session.access_token(refused="access-2") == "access-2"
    assert len(world.sent) == 1
