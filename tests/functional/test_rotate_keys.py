"""Rotating the signing keys and the pepper: nobody notices, and every state is repaired."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ratchet import registration, wiring
from ratchet.errors import Fault
from ratchet.key_rotation import PEPPER_KEPT_SECONDS, NotSettled
from ratchet.keys import InvalidSecret, generate_jwk, signing_keys
from ratchet.rotate_keys import STEPS, Dropped, NotRotating, drop
from ratchet.secret_versions import SecretVersions
from tests.functional.conftest import START, Service
from tests.functional.key_fleet import Fleet, jwks, verified

HOUR, DAY = 3600, 86400
SETTLED = 49 * HOUR
BACKENDS = ["secretsmanager", "kms"]

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make_fleet(service: Service, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
    def make(**options: Any) -> Fleet:
        return Fleet(service, monkeypatch, **options)

    return make


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    """One container, with its first two keys, published at START."""
    fleet = make_fleet()
    fleet.rotate()
    return fleet


def test_the_first_rotation_of_a_new_stack_makes_two_keys_at_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    assert fleet.service.call("GET", "/.well-known/jwks.json").status == 503
    fleet.rotate()
    slots = fleet.slots()
    assert (slots["next"] is not None, slots["previous"]) == (True, None)
    token = fleet.service.start()["access_token"]
    verified(token, jwks(fleet.service))


def test_a_rotation_promotes_what_was_published_and_publishes_a_new_key(fleet: Fleet) -> None:
    before = fleet.slots()
    fleet.service.now += SETTLED
    fleet.rotate()
    after = fleet.slots()
    assert (after["previous"], after["current"]) == (before["current"], before["next"])
    assert after["next"]["n"] not in (before["next"]["n"], before["current"]["n"])


def test_a_key_that_is_not_published_for_long_enough_is_refused_with_the_time_left(
    fleet: Fleet,
) -> None:
    fleet.service.now += SETTLED - 1
    before = fleet.slots()
    with pytest.raises(NotSettled, match="settles in 1 seconds"):
        fleet.rotate()
    assert fleet.slots() == before


def test_an_application_with_long_access_tokens_makes_a_rotation_wait_for_them(
    fleet: Fleet,
) -> None:
    """The previous key stays until the longest token it signed has expired, also one that was
    issued before the policy became shorter."""
    fleet.service.set_policy("demo-native", access_ttl_seconds=3 * DAY)
    registration.update(
        "demo-native",
        {"policy": {"access_ttl_seconds": 3600}},
        applications=fleet.service.parts.applications,
        now=fleet.service.now,
    )
    fleet.service.now = START + 97 * HOUR - 1
    with pytest.raises(NotSettled, match="settles in 1 seconds"):
        fleet.rotate()
    fleet.service.set_policy("demo-native")
    fleet.service.now = START + 97 * HOUR
    fleet.rotate()


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_rotations_under_load_refuse_no_token(make_fleet: MakeFleet, backend: str) -> None:
    """Four containers with caches of different ages, one of them cut off from Secrets Manager for
    almost a day after every rotation, and a verifier that keeps a JWK set for 2 hours."""
    fleet = make_fleet(size=4, RATCHET_SIGNING_BACKEND=backend, RATCHET_SIGNING_ALGORITHM="ES256")
    fleet.rotate()
    service = fleet.service
    sessions = [service.start(sub=f"user-{number}").body for number in range(3)]
    cached, cached_at = jwks(fleet.any()), service.now
    kids = set()

    def check() -> None:
        """Every token that is in use, by the verifier and by a container, whichever it is."""
        nonlocal cached, cached_at
        if service.now - cached_at >= 2 * HOUR:
            cached, cached_at = jwks(fleet.any()), service.now
        for session in sessions:
            kids.add(verified(session["access_token"], cached).header["kid"])
            bearer = session["access_token"]
            assert fleet.any().call("GET", "/sessions", bearer=bearer).status == 200

    def load() -> None:
        for number, session in enumerate(sessions):
            answer = fleet.any().refresh(session["refresh_token"])
            assert answer.status == 200, answer
            sessions[number] = answer.body
        check()
        # The same tokens at the end of their life.
        service.now += 3599
        check()

    for _ in range(3):
        until = service.now + SETTLED
        while service.now < until:
            if service.now >= until - SETTLED + 23 * HOUR:
                fleet.away.clear()
            load()
            service.now += 3601
        token = fleet.begin()
        for step in STEPS:
            fleet.step(step, token)
            load()
        fleet.away = {fleet.random.randrange(4)}
    load()
    assert len(kids) == 4


def test_a_token_lives_on_after_the_key_that_signed_it_has_been_replaced(fleet: Fleet) -> None:
    fleet.service.now += SETTLED
    answer = fleet.service.start()
    before = jwks(fleet.service)
    fleet.rotate()
    fleet.service.now += 3599
    verified(answer["access_token"], jwks(fleet.service))
    assert fleet.service.call("GET", "/sessions", bearer=answer["access_token"]).status == 200
    kids = [[key["kid"] for key in key_set["keys"]] for key_set in (before, jwks(fleet.service))]
    assert set(kids[0]) < set(kids[1])


# --- each step -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_step_may_be_repeated(make_fleet: MakeFleet, backend: str) -> None:
    fleet = make_fleet(RATCHET_SIGNING_BACKEND=backend)
    fleet.rotate()
    before = fleet.slots()
    fleet.service.now += SETTLED
    token = fleet.begin()
    for step in STEPS:
        fleet.step(step, token)
        fleet.step(step, token)
    after = fleet.slots()
    assert (after["previous"], after["current"]) == (before["current"], before["next"])
    for step in STEPS:
        fleet.step(step, token)
    assert fleet.slots() == after


class Killed(BaseException):
    """The process ends here."""


KILLS = [
    ("createSecret", "CreateKey", "before"),
    ("createSecret", "CreateKey", "after"),
    ("createSecret", "PutSecretValue", "before"),
    ("createSecret", "PutSecretValue", "after"),
    ("testSecret", "Sign", "after"),
    ("finishSecret", "TagResource", "before"),
    ("finishSecret", "TagResource", "after"),
    ("finishSecret", "UpdateSecretVersionStage", "after"),
    ("finishSecret", "ScheduleKeyDeletion", "after"),
]


@pytest.mark.parametrize(("step", "operation", "when"), KILLS)
def test_a_rotation_killed_between_any_two_calls_is_finished_by_the_next_try(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, step: str, operation: str, when: str
) -> None:
    import botocore.client

    fleet = make_fleet(RATCHET_SIGNING_BACKEND="kms")
    fleet.rotate()
    for _ in range(2):
        fleet.service.now += SETTLED
        fleet.rotate()
    before = fleet.slots()
    fleet.service.now += SETTLED
    token = fleet.begin()
    for earlier in STEPS[: STEPS.index(step)]:
        fleet.step(earlier, token)
    real = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined] # not in stubs

    def killed(self: Any, name: str, arguments: Any) -> Any:
        if name == operation and when == "before":
            raise Killed
        answer = real(self, name, arguments)
        if name == operation:
            raise Killed
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", killed)
        with pytest.raises(Killed):
            fleet.step(step, token)
    # Meanwhile nobody notices.
    verified(fleet.service.start()["access_token"], jwks(fleet.service))
    fleet.service.now += 10 * HOUR
    for later in STEPS[STEPS.index(step) :]:
        fleet.step(later, token)
    after = fleet.slots()
    assert (after["previous"], after["current"]) == (before["current"], before["next"])
    # What was made and then lost, and what has left the slots, is given up.
    kept = {after[slot]["kms_key"] for slot in ("next", "current", "previous")}
    assert enabled_keys(fleet) == kept
    # The interval counts from when it was really published, not from when it was made.
    published = fleet.service.now - (10 * HOUR if operation in AFTER_PROMOTION else 0)
    fleet.service.now = published + SETTLED - 1
    with pytest.raises(NotSettled, match="in 1 seconds"):
        fleet.rotate()


AFTER_PROMOTION = ("UpdateSecretVersionStage", "ScheduleKeyDeletion")


def enabled_keys(fleet: Fleet) -> set[str]:
    import os

    found = set()
    for page in fleet.kms.get_paginator("list_keys").paginate():
        for key in page["Keys"]:
            tags = fleet.kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
            if any(tag["TagValue"] == os.environ["RATCHET_STACK"] for tag in tags):
                metadata = fleet.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
                found |= {metadata["Arn"]} if metadata["Enabled"] else set()
    return found


def test_a_secret_that_was_changed_meanwhile_is_not_overwritten(fleet: Fleet) -> None:
    """A key that was dropped because it has leaked must not come back with a late rotation."""
    fleet.service.now += SETTLED
    token = fleet.begin()
    fleet.step("createSecret", token)
    changed = json.dumps({**fleet.slots(), "previous": None})
    fleet.client.put_secret_value(SecretId=fleet.keys_id, SecretString=changed)
    with pytest.raises(NotRotating, match="has changed"):
        fleet.step("finishSecret", token)
    assert fleet.slots() == json.loads(changed)
    with pytest.raises(NotRotating):
        fleet.step("finishSecret", token)
    assert fleet.slots() == json.loads(changed)


def test_the_checks_of_aws_own_template(fleet: Fleet, make_fleet: MakeFleet) -> None:
    with pytest.raises(NotRotating, match="no such version"):
        fleet.step("createSecret", "0" * 36)
    other = fleet.client.create_secret(Name="not-rotated", SecretString="{}")["ARN"]
    with pytest.raises(Fault, match="not a secret of this stack"):
        fleet.step("createSecret", "0" * 36, other)
    with pytest.raises(NotRotating, match="no such step"):
        fleet.step("dropSecret", fleet.begin())
    with pytest.raises(NotRotating, match="has no value yet"):
        fleet.step("finishSecret", fleet.begin())


def test_a_pending_key_that_cannot_sign_is_never_promoted(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet(RATCHET_SIGNING_BACKEND="kms")
    fleet.rotate()
    before = fleet.slots()
    fleet.service.now += SETTLED
    token = fleet.begin()
    fleet.step("createSecret", token)
    fleet.kms.disable_key(KeyId=before["next"]["kms_key"])
    with pytest.raises(Fault, match="kms: DisabledException"):
        fleet.step("testSecret", token)
    assert fleet.slots() == before


def test_a_stack_moves_from_one_home_to_the_other_by_rotating(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet()
    fleet.rotate()
    homes = []
    for backend in ("kms", "kms", "secretsmanager", "secretsmanager", "secretsmanager"):
        monkeypatch.setenv("RATCHET_SIGNING_BACKEND", backend)
        fleet.service.now += SETTLED
        fleet.rotate()
        verified(fleet.service.start()["access_token"], jwks(fleet.service))
        homes.append("kms_key" in fleet.slots()["current"])
    assert homes == [False, True, True, False, False]
    assert enabled_keys(fleet) == set()


@pytest.mark.parametrize("damaged", ["{", "[]", "null", '{"next": null}'])
def test_a_damaged_secret_is_not_mended_by_losing_all_keys(fleet: Fleet, damaged: str) -> None:
    fleet.service.now += SETTLED
    fleet.client.put_secret_value(SecretId=fleet.keys_id, SecretString=damaged)
    with pytest.raises(InvalidSecret):
        fleet.rotate()
    assert fleet.client.get_secret_value(SecretId=fleet.keys_id)["SecretString"] == damaged


def test_where_only_the_current_key_is_missing_the_published_one_takes_over(fleet: Fleet) -> None:
    before = fleet.slots()
    without = json.dumps({**before, "current": None})
    fleet.client.put_secret_value(SecretId=fleet.keys_id, SecretString=without)
    fleet.rotate()
    assert fleet.slots()["current"] == before["next"]


# --- a key that has leaked -----------------------------------------------------------------------


def drop_key(fleet: Fleet, slot: str) -> Dropped:
    keys = signing_keys(json.dumps(fleet.slots()))
    versions = wiring.rotation(wiring.settings(), fleet.keys_id).versions
    return drop(
        getattr(keys, slot).kid,
        versions,
        wiring.kms_keys(wiring.settings()),
        lambda: generate_jwk("RS256"),
        now=fleet.service.now,
    )


def test_a_dropped_key_verifies_nothing_and_its_sessions_go_on(fleet: Fleet) -> None:
    service = fleet.service
    service.now += SETTLED
    session = service.start()
    leaked = verified(session["access_token"], jwks(service)).header["kid"]
    assert drop_key(fleet, "current").unknown_until < service.now
    service.now += 300
    assert leaked not in {key["kid"] for key in jwks(service)["keys"]}
    refused = service.call("GET", "/sessions", bearer=session["access_token"])
    assert (refused.status, refused["error"]) == (401, "invalid_token")
    answer = service.refresh(session["refresh_token"])
    verified(answer["access_token"], jwks(service))


def test_it_says_until_when_a_key_that_moved_up_early_is_unknown(fleet: Fleet) -> None:
    assert drop_key(fleet, "next").unknown_until == 0
    fleet.service.now += HOUR
    published = wiring.rotation(wiring.settings(), fleet.keys_id).versions.describe().published_at
    assert drop_key(fleet, "current").unknown_until == published + 2 * HOUR + 300


def test_two_who_drop_keys_at_once_do_not_bring_one_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.service.now += SETTLED
    fleet.rotate()
    leaked = fleet.slots()["current"]
    put = SecretVersions.put

    def put_late(self: Any, text: str, version: str, **options: Any) -> None:
        monkeypatch.setattr(SecretVersions, "put", put)
        drop_key(fleet, "current")
        put(self, text, version, **options)

    monkeypatch.setattr(SecretVersions, "put", put_late)
    with pytest.raises(ClientError, match="AWSCURRENT"):
        drop_key(fleet, "previous")
    assert leaked not in fleet.slots().values()


def test_a_rotation_on_its_way_does_not_bring_a_dropped_key_back(fleet: Fleet) -> None:
    fleet.service.now += SETTLED
    token, leaked = fleet.begin(), fleet.slots()["current"]
    fleet.step("createSecret", token)
    drop_key(fleet, "current")
    for step in STEPS[1:]:
        with pytest.raises(NotRotating):
            fleet.step(step, token)
    assert leaked not in fleet.slots().values()


# --- the pepper ----------------------------------------------------------------------------------


def test_rotating_the_pepper_signs_nobody_out(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(size=3)
    fleet.rotate()
    service = fleet.service
    current = service.start().body
    idle = service.start().body
    seen = set()
    for _ in range(4):
        fleet.rotate(fleet.pepper_id)
        for _ in range(50):
            service.now += HOUR
            answer = fleet.any().refresh(current["refresh_token"])
            assert answer.status == 200, answer
            current = answer.body
        seen.add(fleet.peppers()["current"])
    assert seen == {1, 2, 3, 4}
    # a token of the first pepper, and a lost answer across a rotation
    assert fleet.any().refresh(idle["refresh_token"]).status == 200
    answer = service.refresh(current["refresh_token"], key="k" * 16)
    fleet.rotate(fleet.pepper_id)
    service.now += HOUR
    again = fleet.any().refresh(current["refresh_token"], key="k" * 16)
    assert again["refresh_token"] == answer["refresh_token"]


def test_a_pepper_is_published_before_it_makes_tokens(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.rotate(fleet.pepper_id)
    assert (fleet.peppers()["current"], "2" in fleet.peppers()) == (1, True)
    fleet.service.now += SETTLED - 1
    with pytest.raises(NotSettled):
        fleet.rotate(fleet.pepper_id)
    fleet.service.now += 1
    fleet.rotate(fleet.pepper_id)
    assert (fleet.peppers()["current"], "3" in fleet.peppers()) == (2, True)


def test_an_old_pepper_goes_when_no_token_can_carry_it(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.rotate(fleet.pepper_id)
    fleet.service.now += SETTLED
    fleet.rotate(fleet.pepper_id)
    retired_at = fleet.service.now
    assert fleet.peppers()["retired_at"] == {"1": retired_at}
    fleet.service.now = retired_at + PEPPER_KEPT_SECONDS - 1
    fleet.rotate(fleet.pepper_id)
    assert "1" in fleet.peppers()
    fleet.service.now += SETTLED
    fleet.rotate(fleet.pepper_id)
    assert "1" not in fleet.peppers()
    assert "1" not in fleet.peppers()["retired_at"]
    assert "2" in fleet.peppers()


def test_no_secret_is_in_the_log_of_a_rotation(make_fleet: MakeFleet) -> None:
    fleet = make_fleet()
    fleet.rotate()
    fleet.rotate(fleet.pepper_id)
    log = fleet.service.log.getvalue()
    assert '"outcome":"rotated"' in log.replace(" ", "")
    assert signing_keys(json.dumps(fleet.slots())).current.kid
    for secret in (fleet.slots()["current"]["d"], fleet.peppers()["1"], fleet.peppers()["2"]):
        assert secret not in log
