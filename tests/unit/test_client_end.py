"""ratchet_client: ends, refusals, 401s, locks, and what is not to be seen."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ratchet_client import (
    ConnectionFailed,
    LockLost,
    MemoryStore,
    NotSignedIn,
    RefreshRefused,
    RefreshUnavailable,
    Request,
    Response,
    SessionEnded,
    StoreFailed,
)
from tests.unit.client_world import ENDPOINT, NOW, World, answer, refusal, tokens


@pytest.fixture
def world() -> World:
    return World()


# --- the end -------------------------------------------------------------------------------------


def test_a_terminal_reason_ends_the_session_for_good(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    session = world.started()
    world.now += 3600
    world.script = [refusal("revoked_by_user")]
    for caller in (session, session, world.session()):
        with pytest.raises(SessionEnded) as ended:
            caller.access_token()
        assert (ended.value.reason, ended.value.description) == ("revoked_by_user", "It is over.")
        assert ended.value.sid == "sid-of-the-session"
    assert len(world.sent) == 1
    kept = world.kept()
    assert kept["ended"] == {"reason": "revoked_by_user", "description": "It is over."}
    assert "refresh-1" not in json.dumps(kept)
    assert "access-1" not in json.dumps(kept)
    assert "the session has ended, sid sid-of-the-session: revoked_by_user" in caplog.text


def test_a_plain_invalid_grant_of_any_server_is_terminal_too(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [answer(400, error="invalid_grant")]
    with pytest.raises(SessionEnded, match=r"^invalid_grant$"):
        session.access_token()


def test_the_end_comes_to_light_while_the_access_token_is_good(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [refusal("reused")]
    with pytest.raises(SessionEnded, match="reused"):
        session.access_token()


def test_after_the_end_one_can_sign_in_again(world: World) -> None:
    session = world.started()
    world.now += 3600
    world.script = [refusal("idle_expired")]
    with pytest.raises(SessionEnded):
        session.access_token()
    # by another process
    world.session().start(tokens(7))
    assert session.access_token() == "access-7"


def test_an_invalid_grant_for_a_token_that_was_replaced_meanwhile_ends_nothing(
    world: World,
) -> None:
    session = world.started()
    world.now += 3600

    def meanwhile(request: Request) -> Response:
        other = {**world.kept(), "refresh_token": "refresh-9", "access_token": "access-9"}
        world.store.save(json.dumps({**other, "expires_at": world.now + 3600, "refresh_at": None}))
        return refusal("reused")

    world.script = [meanwhile]
    assert session.access_token() == "access-9"
    assert world.kept()["ended"] is None


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (answer(401, error="invalid_client"), "401 invalid_client"),
        (answer(400, error="invalid_request"), "400 invalid_request"),
        (answer(404, message="Not Found"), "404"),
        (answer(302, {"location": "https://elsewhere.test"}), "302"),
        (refusal("wrong_client"), "400 invalid_grant: wrong_client"),
        (refusal("wrong_key"), "400 invalid_grant: wrong_key"),
        (
            answer(401, error="invalid_client", error_reason="application_disabled", retry="never"),
            "application_disabled",
        ),
    ],
)
def test_a_refusal_of_the_request_says_so_and_keeps_the_session(
    world: World, step: Response, match: str
) -> None:
    session = world.started()
    world.now += 3600
    world.script = [step]
    with pytest.raises(RefreshRefused, match=match):
        session.access_token()
    assert world.kept()["refresh_token"] == "refresh-1"
    # in a loop it is asked less and less often
    world.script += [step] * 20
    begun = world.now
    for _ in range(10):
        with pytest.raises(RefreshRefused):
            session.access_token()
    assert world.now - begun > 60


def test_a_refused_early_refresh_is_no_error_while_the_token_is_good(world: World) -> None:
    session = world.started()
    world.now += 2750
    world.script = [answer(401, error="invalid_client")]
    assert session.access_token() == "access-1"


def test_who_has_no_refresh_token_is_told_when_the_access_token_is_over(world: World) -> None:
    session = world.session()
    session.start({"access_token": "access-1", "token_type": "Bearer", "expires_in": 60})
    world.now += 50
    assert session.access_token() == "access-1"
    world.now += 10
    with pytest.raises(SessionEnded, match="no_refresh_token"):
        session.access_token()


# --- 401 -----------------------------------------------------------------------------------------


def test_a_refused_token_is_replaced_once(world: World) -> None:
    session = world.started()
    world.script = [answer(**tokens(2))]
    assert session.access_token(refused="access-1") == "access-2"
    # who was refused with the old one at the same time takes what is there
    assert session.access_token(refused="access-1") == "access-2"
    assert world.session().access_token(refused="access-1") == "access-2"
    assert len(world.sent) == 1


def test_401_loops_end(world: World) -> None:
    """an API that refuses every token gets one refresh a minute, whoever calls it how often"""
    session = world.started()
    world.script += [answer(**tokens(number)) for number in range(2, 100)]
    token = session.access_token()
    for _ in range(1000):
        newer = session.access_token(refused=token)
        if newer == token:
            world.now += 0.5
        token = newer
    assert len(world.sent) <= 500 / 60 + 1


def test_of_a_short_lived_token_another_one_is_tried_after_half_its_life(world: World) -> None:
    session = world.session()
    session.start(tokens(1, expires_in=20, refresh_after=18))
    world.script = [answer(**tokens(n, expires_in=20, refresh_after=18)) for n in (2, 3)]
    assert session.access_token(refused="access-1") == "access-2"
    world.now += 9
    assert session.access_token(refused="access-2") == "access-2"
    world.now += 2
    assert session.access_token(refused="access-2") == "access-3"


# --- the lock and the store ----------------------------------------------------------------------


def test_who_waits_for_the_lock_takes_what_the_holder_has_stored(world: World) -> None:
    session = world.started()
    world.now += 3600
    assert world.store.try_lock()

    def sleep(seconds: float) -> None:
        world.now += seconds
        if world.now > NOW + 3601:
            fresh = {"access_token": "access-2", "expires_at": world.now + 3600, "refresh_at": None}
            world.store.save(json.dumps({**world.kept(), **fresh}))

    world.sleep = sleep  # type: ignore[method-assign]
    session = world.session()
    assert session.access_token() == "access-2"
    assert world.sent == []


def test_who_gets_the_lock_too_late_takes_what_was_stored_meanwhile(world: World) -> None:
    """between its look at the store and its lock somebody else has refreshed"""

    class Overtaken(MemoryStore):
        def try_lock(self) -> bool:
            fresh = {"access_token": "access-2", "refresh_token": "refresh-2", "refresh_at": None}
            self.save(json.dumps({**world.kept(), **fresh, "expires_at": world.now + 3600}))
            return super().try_lock()

    world.started()
    text = world.store.load() or ""
    world.store = store = Overtaken()
    store.save(text)
    world.now += 3600
    session = world.session()
    assert session.access_token() == "access-2"
    assert world.sent == []


def test_a_lock_that_never_comes_free_is_waited_for_only_so_long(world: World) -> None:
    session = world.started(give_up_after_seconds=5)
    world.now += 3600
    assert world.store.try_lock()
    with pytest.raises(RefreshUnavailable, match="lock"):
        session.access_token()
    assert world.now - NOW - 3600 < 6


def test_a_lost_lock_costs_nothing_but_another_look(world: World) -> None:
    """a function that was frozen with the lock writes nothing when it wakes up"""

    class Leased(MemoryStore):
        lost = False

        def save(self, text: str) -> None:
            if self.lost:
                raise LockLost("ran out")
            super().save(text)

    world.store = store = Leased()
    session = world.started()
    world.now += 3600

    def frozen(request: Request) -> Response:
        theirs = {"access_token": "access-2", "refresh_token": "refresh-3"}
        store.save(
            json.dumps(
                {**world.kept(), **theirs, "expires_at": world.now + 3600, "refresh_at": None}
            )
        )
        store.lost = True
        return answer(**tokens(2))

    world.script = [frozen]
    assert session.access_token() == "access-2"
    assert world.kept()["refresh_token"] == "refresh-3"


def test_a_lock_that_is_always_lost_is_no_error_while_the_token_is_good(world: World) -> None:
    class Lost(MemoryStore):
        def save(self, text: str) -> None:
            raise LockLost("ran out")

    world.started()
    store = Lost()
    MemoryStore.save(store, world.store.load() or "")
    session = world.session(store=store)
    world.now += 2800
    assert session.access_token() == "access-1"
    world.now += 800
    with pytest.raises(RefreshUnavailable, match="lock"):
        session.access_token()
    assert world.sent == []


class Full(MemoryStore):
    """Takes a key before the request, and then the disk is full."""

    full = False
    saves = 0

    def save(self, text: str) -> None:
        self.saves += 1
        after = not json.loads(text)["idempotency_key"] or json.loads(text)["failures"]
        if self.full and after:
            raise StoreFailed("No space left on device")
        super().save(text)


@pytest.mark.parametrize("age", [2800, 3700])
def test_an_answer_that_cannot_be_stored_is_used_from_memory_until_it_can(
    world: World, age: float, caplog: pytest.LogCaptureFixture
) -> None:
    world.store = store = Full()
    session = world.started()
    world.now += age
    store.full = True
    world.script = [answer(**tokens(2))]
    assert {session.access_token() for _ in range(20)} == {"access-2"}
    assert len(world.sent) == 1
    assert "could not be stored" in caplog.text
    assert world.kept()["refresh_token"] == "refresh-1"
    store.full = False
    assert session.access_token() == "access-2"
    assert world.kept()["refresh_token"] == "refresh-2"
    assert world.kept()["idempotency_key"] is None
    # and once it is stored nobody looks again
    saves = store.saves
    assert session.at_hand() is session.credential()
    assert session.access_token() == "access-2"
    assert store.saves == saves


def test_a_delay_that_cannot_be_stored_is_kept_to(world: World) -> None:
    world.store = store = Full()
    session = world.started()
    world.now += 2800
    store.full = True
    world.script = [answer(503, {"retry-after": "60"}), answer(**tokens(2))]
    assert {session.access_token() for _ in range(20)} == {"access-1"}
    assert len(world.sent) == 1
    # and past it nothing is sent either that could not be repeated after a crash
    world.now += 70
    assert session.access_token() == "access-1"
    assert len(world.sent) == 1
    store.full = False
    assert session.access_token() == "access-2"


def test_an_end_that_cannot_be_stored_is_an_end(world: World) -> None:
    world.store = store = Full()
    session = world.started()
    world.now += 3700
    store.full = True
    world.script = [refusal("revoked_by_user")]
    for _ in range(3):
        with pytest.raises(SessionEnded, match="revoked_by_user"):
            session.access_token()
    assert len(world.sent) == 1
    store.full = False
    with pytest.raises(SessionEnded):
        session.access_token()
    assert world.kept()["ended"]["reason"] == "revoked_by_user"


def test_an_answer_in_memory_gives_way_to_what_somebody_else_has_stored(world: World) -> None:
    world.store = store = Full()
    session = world.started()
    world.now += 3700
    store.full = True
    world.script = [answer(**tokens(2))]
    assert session.access_token() == "access-2"
    store.full = False
    world.session().start(tokens(9))
    assert session.access_token() == "access-9"
    assert world.kept()["refresh_token"] == "refresh-9"


def test_a_store_that_fails_is_no_error_while_the_token_in_memory_is_good(world: World) -> None:
    class Broken(MemoryStore):
        broken = False

        def load(self) -> str | None:
            if self.broken:
                raise StoreFailed("disk on fire")
            return super().load()

    world.store = store = Broken()
    session = world.started()
    store.broken = True
    world.now += 2750
    assert session.access_token() == "access-1"
    world.now += 900
    with pytest.raises(StoreFailed, match="disk on fire"):
        session.access_token()


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"version": 2}', '{"version": 1, "ended": 5}', "not json"]
)
def test_what_is_no_session_is_not_overwritten(world: World, text: str) -> None:
    world.store.save(text)
    with pytest.raises(StoreFailed):
        world.session().access_token()
    assert world.store.load() == text
    # signing in does
    world.session().start(tokens(1))
    assert world.session().access_token() == "access-1"


def test_fields_of_a_later_version_are_dropped(world: World) -> None:
    world.started()
    world.store.save(json.dumps({**world.kept(), "news": 1}))
    assert world.session().access_token() == "access-1"


def test_an_empty_store_means_that_nobody_has_signed_in(world: World) -> None:
    with pytest.raises(NotSignedIn):
        world.session().access_token()


@pytest.mark.parametrize("more", [{"token_type": "DPoP"}, {"access_token": ""}])
def test_only_a_bearer_token_response_starts_a_session(world: World, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="bearer"):
        world.session().start(tokens(1, **more))
    assert world.store.load() is None


def test_signing_out_revokes_the_refresh_token_and_forgets_it(world: World) -> None:
    session = world.started(revocation_endpoint=ENDPOINT)
    world.script = [answer(503)]
    with pytest.raises(RefreshUnavailable):
        session.sign_out()
    assert world.kept()["refresh_token"] == "refresh-1"
    world.script = [answer(200)]
    session.sign_out()
    session.sign_out()
    assert world.sent[-1]["token"] == "refresh-1"
    assert len(world.sent) == 2
    with pytest.raises(SessionEnded, match="revoked_by_user"):
        session.access_token()
    assert "refresh-1" not in json.dumps(world.kept())


# --- nothing secret ------------------------------------------------------------------------------


def test_nothing_secret_is_in_a_repr_an_exception_or_a_log_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session = world.started(client_secret="a-secret-of-mine")
    world.now += 2750
    seen = [repr(session), repr(session._kept.known)]

    def careless(request: Request) -> Response:
        seen.append(repr(request))
        echo = f"bad refresh-1 {request.headers['Idempotency-Key']} a-secret-of-mine\nForged: line"
        return answer(400, error="invalid_client", error_description=echo)

    def terminal(request: Request) -> Response:
        return answer(400, error="invalid_grant", error_description="no refresh-1 here")

    world.script = [careless] * 9
    session.access_token()
    world.now += 3600
    with pytest.raises(RefreshRefused) as refused:
        session.access_token()
    world.now += 3600
    world.script = [ConnectionFailed("reset"), terminal]
    with pytest.raises(SessionEnded) as ended:
        session.access_token()
    seen += [repr(refused.value), str(refused.value), str(ended.value), caplog.text]
    text = "\n".join(seen)
    assert "again in" in text
    for secret in ("refresh-1", "access-1", "a-secret-of-mine", *world.keys):
        assert secret not in text
    assert "\nForged" not in caplog.text
