"""POST /login: who gets a session, what everybody else is told, and what is kept of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher
from botocore.exceptions import ClientError

from ratchet import password, throttle
from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.sign_out import SignedOut, sign_out
from ratchet.users import User, UserExistsError, Users
from ratchet_cli.seed import ADA
from tests.functional.conftest import BACKEND, START, Answer, Service
from tests.functional.permissions import Roles

KIM = "kim@example.com"
FULL_WIDTH = {character: character + 0xFEE0 for character in range(0x21, 0x7F)}
SECRET = "übergroße Katze 🐈"


@pytest.fixture
def users(service: Service) -> Iterator[Users]:
    """The users table, with Kim in it."""
    before = service.scan(service.users_table)
    table = service.parts.users
    hashed = password.hash_new(SECRET, email=KIM)
    table.add(
        User(
            email=KIM,
            sub="kim",
            password_hash=hashed,
            created_at=START,
            password_changed_at=START,
        )
    )
    yield table
    assert SECRET not in service.log.getvalue()
    for item in service.scan(service.users_table):
        service._dynamodb.delete_item(TableName=service.users_table, Key={"id": item["id"]})
    for item in before:
        service._dynamodb.put_item(TableName=service.users_table, Item=item)


def refused(service: Service, answer: Answer, detail: str) -> None:
    """The one answer to all that is wrong with credentials, and no session."""
    assert (answer.status, answer.body) == (
        400,
        {
            "error": "invalid_grant",
            "error_description": "The e-mail address or the password is wrong.",
            "error_reason": "wrong_credentials",
            "retry": "never",
        },
    )
    assert answer.headers["cache-control"] == "no-store"
    assert "retry-after" not in answer.headers
    assert (answer.log["detail"], answer.log["client_id"]) == (detail, "demo-native")
    live = [item for item in service.scan(service._sessions_table) if "ended_at" not in item]
    assert not live


# --- who gets a session --------------------------------------------------------------------------


def test_the_right_password_starts_a_session_as_post_sessions_does(service: Service) -> None:
    answer = service.login(scope="profile orders:read", device="Pixel 9")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.body) == set(service.start().body)
    session = service.session(answer["sid"])
    assert (session.sub, session.client_id, session.device) == ("ada", "demo-native", "Pixel 9")
    assert (session.amr, session.auth_time, session.scope) == (
        ("pwd",),
        START,
        "orders:read profile",
    )
    assert {"outcome": "started", "sub": "ada", "sid": answer["sid"]}.items() <= answer.log.items()
    assert service.refresh(answer["refresh_token"]).status == 200


def test_json_is_as_good_as_a_form(service: Service) -> None:
    body = {"client_id": "demo-browser", "email": ADA["email"], "password": ADA["password"]}
    assert service.call("POST", "/login", body=body).status == 200


@pytest.mark.parametrize(
    "email", [" ADA@EXAMPLE.COM ", ADA["email"].translate(FULL_WIDTH), "ada@example\u3002com"]
)
def test_every_way_to_write_the_address_is_the_same_account(service: Service, email: str) -> None:
    assert service.login(email).status == 200


def test_a_password_in_any_script_may_be_composed_or_not(service: Service, users: Users) -> None:
    assert service.login(KIM, SECRET).status == 200
    assert service.login(KIM, SECRET.replace("ü", "u\u0308").replace(" ", "\u00a0")).status == 200
    refused_answer = service.login(KIM, SECRET.upper())
    assert refused_answer["error_reason"] == "wrong_credentials"


def test_access_tokens_say_how_and_when_through_every_refresh(service: Service) -> None:
    answer = service.login()
    service.now += 1000
    answer = service.refresh(answer["refresh_token"])
    seen = service.call(
        "POST", "/oauth/introspect", form={"token": answer["access_token"]}, auth=BACKEND
    )
    assert (seen["amr"], seen["auth_time"], seen["sub"]) == (["pwd"], START, "ada")


# --- what everybody else is told -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("email", "typed", "detail"),
    [
        ("nobody@example.com", ADA["password"], "unknown user"),
        ("ada@example.org", ADA["password"], "unknown user"),
        (ADA["email"], "correct-horse-battery-stapl", "wrong password"),
        (ADA["email"], "\x00", "wrong password"),
        (ADA["email"], "x" * 256, "wrong password"),
    ],
)
def test_an_unknown_user_and_a_wrong_password_get_one_and_the_same_answer(
    service: Service, email: str, typed: str, detail: str
) -> None:
    answer = service.login(email, typed)
    refused(service, answer, detail)
    assert answer.log.get("sub") == ("ada" if detail == "wrong password" else None)


@pytest.mark.parametrize(
    "name", ["email", "password", "client_id", "client_secret", "scope", "resource", "device"]
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(service: Service, name: str) -> None:
    body = {"client_id": "demo-native", "email": ADA["email"], "password": ADA["password"]}
    answer = service.call("POST", "/login", body=body | {name: "\ud83d" * 8})
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert answer.log["detail"] == "The body is not a JSON object in UTF-8."


def test_a_password_is_as_long_as_it_is_composed(service: Service, users: Users) -> None:
    long = "ü" * 255 + "!"
    users.set_password(KIM, password.hash_new("u\u0308" * 255 + "!", email=KIM), START)
    assert service.login(KIM, long).status == 200
    assert service.login(KIM, "u\u0308" * 255 + "!").status == 200
    for typed in ("u\u0308" * 257, "\u1100\u1161" * 513):
        answer = service.login(KIM, typed)
        assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_a_disabled_user_gets_the_same_answer_even_with_the_right_password(
    service: Service, users: Users
) -> None:
    """It would tell whoever tries stolen passwords that this one is right."""
    users.disable(KIM, START)
    answer = service.login(KIM, SECRET)
    refused(service, answer, "user disabled")
    assert answer.log["sub"] == "kim"
    users.enable(KIM)
    assert service.login(KIM, SECRET).status == 200


@pytest.mark.parametrize("email", [ADA["email"], "nobody@example.com"])
def test_every_outcome_costs_one_hash_of_the_same_kind_and_the_same_calls(
    service: Service, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    service.login()  # secrets and application are known from here on
    service.forget_attempts()
    hashed: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, known: str, typed: bytes) -> Any:
        hashed.append(known)
        return verify(self, known, typed)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    service.calls.clear()
    service.login(email, "wrong password")
    assert [known[:31] for known in hashed] == ["$argon2id$v=19$m=19456,t=2,p=1$"]
    assert service.calls.names == ["GetItem", "UpdateItem", "UpdateItem", "GetItem"]


@pytest.mark.parametrize(
    ("changes", "status", "error", "detail"),
    [
        ({"client_id": "demo-sensitive"}, 400, "unauthorized_client", "no password login"),
        ({"client_id": "demo-backend"}, 401, "invalid_client", "no secret"),
        ({"client_id": "nobody"}, 401, "invalid_client", "unknown application"),
        ({"client_id": ""}, 401, "invalid_client", "no client_id"),
        ({"scope": "admin"}, 400, "invalid_scope", "not the application's"),
        ({"email": ""}, 400, "invalid_request", "The parameter email is missing."),
        ({"password": ""}, 400, "invalid_request", "The parameter password is missing."),
        ({"password": "x" * 257}, 400, "invalid_request", "password may have 256 characters."),
        (
            {"email": "ada"},
            400,
            "invalid_request",
            "email is not an e-mail address: not one @.",
        ),
        (
            {"device": "x" * 65},
            400,
            "invalid_request",
            "device must be at most 64 printable characters.",
        ),
        (
            {"username": "ada"},
            400,
            "invalid_request",
            "This address takes only email, password, scope, resource, device, client_id, "
            "client_secret, client_assertion, client_assertion_type.",
        ),
    ],
)
def test_what_is_wrong_with_the_request_itself_costs_no_attempt(
    service: Service, changes: dict[str, str], status: int, error: str, detail: str
) -> None:
    form = {"email": ADA["email"], "password": ADA["password"], "client_id": "demo-native"}
    answer = service.call("POST", "/login", form=form | changes)
    assert (answer.status, answer["error"], answer.log["detail"]) == (status, error, detail)
    assert not service.scan(service.attempts_table)


def test_a_confidential_application_has_to_prove_who_it_is(service: Service) -> None:
    application = service.parts.applications.get("demo-native", service.now)
    assert application is not None
    service.change(
        "demo-native",
        confidential=True,
        secret_hashes=service.parts.applications.get("demo-backend", service.now).secret_hashes,  # type: ignore[union-attr] # it is there
    )
    try:
        assert service.login().status == 401
        assert service.login(client_secret=BACKEND[1]).status == 200
        form = {"email": ADA["email"], "password": ADA["password"]}
        auth = ("demo-native", BACKEND[1])
        assert service.call("POST", "/login", form=form, auth=auth).status == 200
    finally:
        service.change("demo-native", confidential=False, secret_hashes=())


def test_a_disabled_application_signs_nobody_in(service: Service) -> None:
    service.change("demo-native", disabled_at=START)
    answer = service.login()
    assert (answer.status, answer["error_reason"]) == (401, "application_disabled")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_a_wrong_method_is_405(service: Service, method: str) -> None:
    answer = service.call(method, "/login")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_no_password_and_no_address_gets_into_the_log(service: Service) -> None:
    service.login(password="swordfish-swordfish")
    service.login("swordfish-swordfish@example.com", "x")
    service.login("swordfish-swordfish", "x")
    assert "swordfish" not in service.log.getvalue()
    assert ADA["email"] not in service.log.getvalue()
    assert "swordfish" not in json.dumps(service.scan(service.attempts_table))


# --- hashes --------------------------------------------------------------------------------------


def test_a_hash_with_other_parameters_is_made_anew_at_the_next_sign_in(
    service: Service, users: Users
) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(
        password.prepare(SECRET)
    )
    users.set_password(KIM, weak, START)
    assert service.login(KIM, "wrong").status == 400
    assert hash_of(users) == weak
    assert service.login(KIM, SECRET).status == 200
    assert hash_of(users).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    strong = hash_of(users)
    assert service.login(KIM, SECRET).status == 200
    assert hash_of(users) == strong


def test_a_rehash_never_overwrites_a_password_that_was_changed_in_between(
    service: Service, users: Users
) -> None:
    before = users.get(KIM)
    assert before is not None
    users.set_password(KIM, "new", START)
    users.rehash(before, "old one under other parameters")
    assert hash_of(users) == "new"


def test_a_rehash_that_fails_fails_no_sign_in(
    service: Service, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise Fault("dynamodb: ThrottlingException")

    monkeypatch.setattr(password, "needs_rehash", lambda _: True)
    monkeypatch.setattr(Users, "rehash", fault)
    assert service.login(KIM, SECRET).status == 200
    line = next(line for line in service.lines() if line["message"] == "not rehashed")
    assert (line["level"], line["fault"]) == ("WARNING", "dynamodb: ThrottlingException")


def test_a_damaged_hash_is_a_fault_of_ours(service: Service, users: Users) -> None:
    users.set_password(KIM, "not a hash", START)
    answer = service.login(KIM, SECRET)
    assert (answer.status, answer.log["fault"]) == (503, "argon2: InvalidHashError")


def hash_of(users: Users) -> str:
    user = users.get(KIM)
    assert user is not None
    return user.password_hash


# --- a disabled user, a changed password ---------------------------------------------------------


def end_all(service: Service, reason: Reason) -> int:
    done = signed_out(service, reason)
    assert not done.damaged + done.left
    return sum(session.reason is reason for session in done.ended)


def signed_out(service: Service, reason: Reason) -> SignedOut:
    parts = service.parts
    return sign_out(
        "kim",
        reason=reason,
        by="ratchet users",
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=service.now,
    )


@pytest.mark.parametrize("reason", [Reason.USER_DISABLED, Reason.PASSWORD_CHANGED])
def test_all_sessions_of_the_user_end_with_the_true_reason_and_nobody_elses(
    service: Service, users: Users, reason: Reason
) -> None:
    own = [service.login(KIM, SECRET), service.start("demo-sensitive", "kim")]
    other = service.login()
    service.now += 10
    assert end_all(service, reason) == 2
    for session in own:
        stored = service.session(session["sid"])
        assert (stored.reason, stored.ended_by, stored.ended_at) == (
            reason,
            "ratchet users",
            service.now,
        )
        client_id = stored.client_id
        answer = service.refresh(session["refresh_token"], client_id)
        assert (answer.status, answer["error_reason"]) == (400, reason.value)
        assert answer["error_description"] == reason.description
    assert service.refresh(other["refresh_token"]).status == 200
    told = [event for event in service.told if event["sub"] == "kim"]
    assert [(event["type"], event["reason"]) for event in told] == [
        ("session.revoked", reason.value)
    ] * 2


def test_ending_them_is_repeatable_and_takes_all_pages(
    service: Service, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratchet.sign_out.PAGE", 2)
    for _ in range(5):
        service.start(sub="kim")
    before = service.start(sub="kim")
    service.call("POST", "/oauth/revoke", form={"client_id": "demo-native", "token": before[
        "refresh_token"]})  # fmt: skip
    assert end_all(service, Reason.USER_DISABLED) == 5
    assert end_all(service, Reason.USER_DISABLED) == 0
    assert service.session(before["sid"]).reason is Reason.REVOKED_BY_USER


def test_neither_a_damaged_session_nor_one_that_cannot_be_ended_keeps_others_alive(
    service: Service, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratchet.sign_out.PAGE", 2)
    sids = []
    for _ in range(5):
        sids.append(service.start(sub="kim")["sid"])
        service.now += 1
    item = service.item(sids[3])
    service.put_item({**item, "generation": {"S": "x"}})
    end = service.parts.store.end

    def fails_for_one(sid: str, **arguments: Any) -> Any:
        if sid == sids[2]:
            raise Fault("dynamodb: ThrottlingException")
        return end(sid, **arguments)

    monkeypatch.setattr(service.parts.store, "end", fails_for_one)
    done = signed_out(service, Reason.USER_DISABLED)
    assert len(done.ended) == 3
    assert done.damaged == (f"item {sids[3]} is damaged: KeyError",)
    assert done.left == (f"session {sids[2]}: dynamodb: ThrottlingException",)
    monkeypatch.setattr(service.parts.store, "end", end)
    again = signed_out(service, Reason.USER_DISABLED)
    assert (len(again.ended), len(again.damaged), again.left) == (1, 1, ())
    service.put_item(item)
    assert end_all(service, Reason.USER_DISABLED) == 1


def test_a_damaged_application_keeps_no_session_alive(service: Service, users: Users) -> None:
    others = [service.start(sub="kim") for _ in range(2)]
    service.now += 1
    own = service.start("demo-sensitive", "kim")
    service._written("demo-sensitive")  # is put back afterwards
    item = {"client_id": {"S": "demo-sensitive"}, "confidential": {"S": "perhaps"}}
    service.put_application(item)
    service.now += 60
    assert end_all(service, Reason.USER_DISABLED) == 3
    for session in (own, *others):
        assert service.session(session["sid"]).reason is Reason.USER_DISABLED
    (line,) = [x for x in service.lines() if x["message"] == "ended without its application"]
    assert (line["level"], line["client_id"]) == ("WARNING", "demo-sensitive")


def test_a_session_that_had_expired_keeps_that_as_its_reason(
    service: Service, users: Users
) -> None:
    sid = service.start("demo-sensitive", "kim")["sid"]
    service.now += 3600
    assert end_all(service, Reason.PASSWORD_CHANGED) == 0
    assert service.session(sid).reason is Reason.IDLE_EXPIRED


@pytest.mark.parametrize("what", ["disabled", "changed", "removed"])
def test_a_sign_in_that_races_with_it_hands_out_nothing(
    service: Service, roles: Roles, users: Users, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The operator acts and lists the sessions before this one is stored."""
    create = service.parts.store.create

    def acts_first(session: Any) -> Any:
        with roles.at_work(None):
            if what == "disabled":
                users.disable(KIM, START)
            elif what == "changed":
                users.set_password(KIM, hash_of(users), START)
            else:
                key = {"id": {"S": f"email:{KIM}"}}
                service._dynamodb.delete_item(TableName=service.users_table, Key=key)
            assert end_all(service, Reason.USER_DISABLED) == 0
        return create(session)

    monkeypatch.setattr(service.parts.store, "create", acts_first)
    answer = service.login(KIM, SECRET)
    reason = "password_changed" if what == "changed" else "user_disabled"
    refused(service, answer, f"overtaken: {reason}")
    assert service.session(answer.log["sid"]).reason == reason
    assert [event["reason"] for event in service.told] == [reason]


def test_a_rehash_by_another_sign_in_overtakes_nobody(
    service: Service, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = service.parts.store.create

    def acts_first(session: Any) -> Any:
        user = users.get(KIM)
        assert user is not None
        users.rehash(user, password.rehash(SECRET))
        return create(session)

    monkeypatch.setattr(service.parts.store, "create", acts_first)
    assert service.login(KIM, SECRET).status == 200


# --- users ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("email", "sub", "taken"),
    [
        (KIM, "other", "the e-mail address is taken"),
        ("other@example.com", "kim", "the subject is taken"),
        (KIM, "kim", "the e-mail address and the subject is taken"),
    ],
)
def test_neither_name_of_a_user_can_be_given_twice(
    service: Service, users: Users, email: str, sub: str, taken: str
) -> None:
    before = service.scan(service.users_table)
    user = User(
        email=email, sub=sub, password_hash="x", created_at=START, password_changed_at=START
    )
    with pytest.raises(UserExistsError, match=f"^{taken}$"):
        users.add(user)
    assert service.scan(service.users_table) == before


def test_a_user_is_found_by_either_name(service: Service, users: Users) -> None:
    assert users.of_subject("kim") == users.get(KIM)
    assert users.of_subject(KIM) is None
    assert users.get("kim") is None
    assert {user.sub for user in users.all()} == {"ada", "kim"}


def test_what_is_not_there_is_not_made(service: Service, users: Users) -> None:
    for found in (
        users.set_password("x@example.com", "h", START),
        users.disable("x@example.com", START),
        users.enable("x@example.com"),
    ):
        assert found is None
    assert users.get("x@example.com") is None


def test_a_user_whose_subject_is_an_applications_id_is_not_signed_in(
    service: Service, users: Users
) -> None:
    """RFC 9700 section 4.15.1."""
    user = User(
        email="eve@example.com",
        sub="demo-machine",
        password_hash=password.hash_new(SECRET, email="eve@example.com"),
        created_at=START,
        password_changed_at=START,
    )
    users.add(user)
    answer = service.login("eve@example.com", SECRET)
    assert answer.status == 503
    assert answer.log["fault"] == "verifier: sub is the id of an application"


def test_limits_are_those_that_the_pages_say() -> None:
    assert (throttle.ACCOUNT.attempts, throttle.ACCOUNT.seconds) == (10, 300)
    assert (throttle.ADDRESS.attempts, throttle.ADDRESS.seconds) == (100, 10)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("took_place", [False, True])
def test_whatever_fails_nobody_gets_half_a_sign_in_and_the_next_try_succeeds(
    service: Service, monkeypatch: pytest.MonkeyPatch, step: int, took_place: bool
) -> None:
    """Each call to DynamoDB in turn, failing before or after it took place."""
    client = service.parts.store._client
    call = client._make_api_call  # type: ignore[attr-defined] # where every call goes through
    done: list[str] = []

    def fails(operation: str, arguments: dict[str, Any]) -> Any:
        done.append(operation)
        if len(done) != step + 1:
            return call(operation, arguments)
        if took_place:
            call(operation, arguments)
        error = {"Error": {"Code": "ThrottlingException", "Message": "m"}}
        raise ClientError(error, operation)  # type: ignore[arg-type] # as the SDK makes it

    monkeypatch.setattr(client, "_make_api_call", fails)
    answer = service.login()
    # GetItem of the application; the attempt: known?, address, account; the user; giving back:
    # address, account, known; no application of that name; the session, and its place after the
    # event; the user again
    assert answer.status == (200 if step in (5, 6, 7, 10) else 503), done
    if answer.status == 503:
        assert answer.log["fault"] == "dynamodb: ThrottlingException"
        assert int(answer.headers["retry-after"]) > 0
        lost_answer_to_an_attempt = took_place and step in (2, 3)
        assert lost_answer_to_an_attempt or not counted(service)
        alive = [item for item in service.scan(service._sessions_table) if "ended_at" not in item]
        assert len(alive) == (took_place and step == 9)
    monkeypatch.setattr(client, "_make_api_call", call)
    again = service.login()
    assert again.status == 200
    assert service.refresh(again["refresh_token"]).status == 200


def counted(service: Service) -> list[str]:
    """The buckets that are not empty."""
    return [
        item["id"]["S"]
        for item in service.scan(service.attempts_table)
        if "empty_at" in item and int(item["empty_at"]["N"]) > service.now
    ]


@pytest.mark.parametrize(
    "fails",
    ["users.get", "applications.get", "store.create", "signer.prepare", "verifier.overtaken"],
)
def test_who_keeps_trying_through_an_outage_is_not_held_back_after_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def fault(*_: object) -> None:
        raise Fault("an outage")

    part, name = fails.split(".")
    verifier = service.parts.verifier()
    object.__setattr__(service.parts, "verifier", lambda: verifier)
    adapter = verifier if part == "verifier" else getattr(service.parts, part)
    real = getattr(adapter, name)
    if part == "applications":  # of the subject, not of who asks
        stub = lambda key, now: fault() if key == "ada" else real(key, now)  # noqa: E731 - shorter here
        monkeypatch.setattr(adapter, name, stub)
    else:
        monkeypatch.setattr(adapter, name, fault)
    for _ in range(15):
        answer = service.login()
        assert (answer.status, answer.log["fault"]) == (503, "an outage")
        service.now += 2
    monkeypatch.setattr(adapter, name, real)
    assert service.login().status == 200


def test_a_sign_in_that_cannot_be_confirmed_leaves_no_session(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object) -> None:
        raise Fault("dynamodb: ThrottlingException")

    verifier = service.parts.verifier()
    monkeypatch.setattr(verifier, "overtaken", fault)
    object.__setattr__(service.parts, "verifier", lambda: verifier)
    assert service.login().status == 503
    (item,) = service.scan(service._sessions_table)
    stored = service.session(item["sid"]["S"])
    assert (stored.ended_at, stored.reason) == (service.now, Reason.UNAVAILABLE)
    assert [event["reason"] for event in service.told] == ["unavailable"]
