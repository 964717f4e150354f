"""Too many sign-ins: who waits, for how long, and who does not (docs/login.md)."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from ratchet import attempts, throttle
from ratchet.errors import Fault
from ratchet.throttle import ACCOUNT, DAY, KNOWN_SECONDS, Limit
from tests.functional.conftest import BACKEND, ROOT, START, Answer, Service

ELSEWHERE = "198.51.100.9"
ADDRESS = Limit(attempts=12, seconds=10)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller limit for an address: a hundred sign-ins take a while."""
    monkeypatch.setattr(attempts, "ADDRESS", ADDRESS)


def guess(service: Service, times: int, source_ip: str = ELSEWHERE, **who: str) -> list[int]:
    """The status of each of so many wrong passwords."""
    return [
        service.login(password="wrong", source_ip=source_ip, **who).status for _ in range(times)
    ]


def held_back(service: Service, answer: Answer, by: str, seconds: int) -> None:
    assert (answer.status, answer.body) == (
        429,
        {
            "error": "slow_down",
            "error_description": "Too many requests; try again later.",
            "error_reason": "throttled",
            "retry": "after",
        },
    )
    assert answer.headers["retry-after"] == str(seconds)
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.log["error_reason"], answer.log["detail"]) == ("throttled", by)
    assert not service.scan(service._sessions_table)


def test_after_ten_wrong_passwords_even_the_right_one_has_to_wait(service: Service) -> None:
    assert guess(service, 11) == [400] * 10 + [429]
    held_back(service, service.login(source_ip=ELSEWHERE), "account", 300)
    service.now += 120
    held_back(service, service.login(source_ip=ELSEWHERE), "account", 180)
    service.now += 180
    assert service.login(source_ip=ELSEWHERE).status == 200


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_it_makes_no_difference_whether_there_is_such_a_user(service: Service, email: str) -> None:
    assert guess(service, 11, email=email) == [400] * 10 + [429]


def test_every_way_to_write_the_address_and_every_source_is_the_same_account(
    service: Service,
) -> None:
    for number in range(10):
        email = "ADA@example.com" if number % 2 else " ada@EXAMPLE.com"
        assert guess(service, 1, f"198.51.100.{number}", email=email) == [400]
    held_back(service, service.login(source_ip="203.0.113.1"), "account", 300)
    assert guess(service, 1, email="kim@example.com") == [400]


def test_however_many_attempts_come_nobody_waits_longer(service: Service) -> None:
    guess(service, 60)
    held_back(service, service.login(source_ip=ELSEWHERE), "account", 300)
    service.now += 300
    assert guess(service, 2) == [400, 429]


def test_others_cannot_hold_back_who_comes_from_a_known_address(service: Service) -> None:
    assert service.login().status == 200
    guess(service, 20)
    assert service.login(source_ip=ELSEWHERE).status == 429
    for _ in range(12):
        assert service.login().status == 200


def test_a_known_address_has_a_limit_of_its_own(service: Service) -> None:
    service.login()
    assert guess(service, 11, "192.0.2.1") == [400] * 10 + [429]
    answer = service.login()
    assert (answer.status, answer.log["detail"]) == (429, "known address")
    # and has used up nobody else's
    assert guess(service, 10) == [400] * 10


def test_an_address_is_known_for_90_days_after_the_last_sign_in(service: Service) -> None:
    service.login()
    service.now += KNOWN_SECONDS - 1
    assert service.login().status == 200
    service.now += KNOWN_SECONDS
    guess(service, 10)
    assert service.login().log["detail"] == "account"


def test_a_sign_in_gives_back_its_own_attempt_and_nobody_elses(service: Service) -> None:
    """Else the owner, by signing in, would give whoever guesses ten more tries."""
    assert guess(service, 9) == [400] * 9
    assert service.login(source_ip="203.0.113.1").status == 200
    assert guess(service, 2) == [400, 429]


def test_people_who_share_an_address_are_not_held_back_by_signing_in(
    service: Service, small: None
) -> None:
    for _ in range(ADDRESS.attempts + 5):
        assert service.login().status == 200


def test_one_address_cannot_try_a_password_on_account_after_account(
    service: Service, small: None
) -> None:
    statuses = [
        service.login(f"user{number}@example.com", "wrong", source_ip=ELSEWHERE).status
        for number in range(ADDRESS.attempts + 5)
    ]
    assert statuses == [400] * 12 + [429] * 5
    held_back(service, service.login(source_ip=ELSEWHERE), "address", 10)
    assert service.login(source_ip="203.0.113.1").status == 200
    # what was refused made no item
    accounts = [
        item for item in service.scan(service.attempts_table) if "account:" in item["id"]["S"]
    ]
    assert len(accounts) == 12 + 1


def test_who_is_known_at_a_shared_address_is_not_held_back_by_others_there(
    service: Service, small: None
) -> None:
    assert service.login().status == 200
    for number in range(ADDRESS.attempts + 5):
        service.login(f"user{number}@example.com", "wrong")
    held = service.login("kim@example.com", "wrong")
    assert (held.status, held.log["detail"]) == (429, "address")
    for _ in range(3):
        assert service.login().status == 200
    # and needs none of the room that the others wait for
    service.now += ADDRESS.seconds
    assert service.login().status == 200
    assert service.login("kim@example.com", "wrong").status == 400


def test_a_sign_in_forgets_nothing_that_failed_from_its_address(service: Service) -> None:
    """Else the owner, behind the same address, would give whoever guesses there ten more tries."""
    service.login()
    assert guess(service, 9, "192.0.2.1") == [400] * 9
    assert service.login().status == 200
    assert guess(service, 2, "192.0.2.1") == [400, 429]


def test_sign_ins_under_way_at_once_forget_nothing_either(service: Service) -> None:
    """Both began before the address was known."""
    attempts = service.parts.attempts
    first = attempts.admit("ada@example.com", "192.0.2.1", START)
    second = attempts.admit("ada@example.com", "192.0.2.1", START)
    attempts.succeeded(first, START)
    assert guess(service, 9, "192.0.2.1") == [400] * 9
    attempts.succeeded(second, START)
    assert guess(service, 2, "192.0.2.1") == [400, 429]


def test_visitors_of_a_confidential_application_do_not_share_its_servers_address(
    service: Service, small: None
) -> None:
    backend = service.parts.applications.get(BACKEND[0], service.now)
    assert backend is not None
    service.change("demo-native", confidential=True, secret_hashes=backend.secret_hashes)
    try:
        for number in range(ADDRESS.attempts + 5):
            email = f"user{number}@example.com"
            answer = service.login(email, "wrong", client_secret=BACKEND[1])
            assert answer.status == 400
        assert service.login(client_secret=BACKEND[1]).status == 200
        assert {item["id"]["S"].partition(":")[0] for item in service.scan(
            service.attempts_table)} == {"account"}  # fmt: skip
        # Of an account there is one limit, wherever the wrong passwords were typed.
        for _ in range(10):
            service.login(password="wrong", client_secret=BACKEND[1])
        answer = service.login(client_secret=BACKEND[1])
        assert (answer.status, answer.log["detail"]) == (429, "account")
    finally:
        service.change("demo-native", confidential=False, secret_hashes=())


def test_addresses_of_one_ipv6_network_are_one(service: Service, small: None) -> None:
    for number in range(ADDRESS.attempts):
        guess(service, 1, f"2001:db8:0:1::{number:x}", email=f"user{number}@example.com")
    assert guess(service, 1, "2001:db8:0:1:ffff::", email="x@example.com") == [429]
    assert guess(service, 1, "2001:db8:0:2::1", email="x@example.com") == [400]


def test_many_at_the_same_time_do_not_slip_through(service: Service) -> None:
    def one(_: int) -> int:
        return service.parts.attempts.admit("ada@example.com", "192.0.2.1", START).wait

    with ThreadPoolExecutor(16) as threads:
        waits = list(threads.map(one, range(64)))
    assert waits.count(0) <= ACCOUNT.attempts
    # and one after the other they would all have been let in
    waits += [one(0) for _ in range(ACCOUNT.attempts)]
    assert waits.count(0) == ACCOUNT.attempts


def test_what_is_stored_names_no_account_but_addresses_and_deletes_itself(
    service: Service,
) -> None:
    guess(service, 3)
    service.login(source_ip="203.0.113.1")
    items = {item["id"]["S"]: item for item in service.scan(service.attempts_table)}
    account = throttle.account_key("ada@example.com")
    pair = throttle.pair_key("ada@example.com", "203.0.113.1")
    assert set(items) == {
        account,
        pair,
        throttle.address_key(ELSEWHERE),
        throttle.address_key("203.0.113.1"),
    }
    assert "ada" not in json.dumps(items)
    assert all(
        int(item["expires_at"]["N"]) >= int(item["empty_at"]["N"])
        for item in items.values()
        if "empty_at" in item
    )
    assert int(items[account]["expires_at"]["N"]) <= START + 5 * ACCOUNT.seconds
    assert int(items[pair]["expires_at"]["N"]) == START + KNOWN_SECONDS
    # Which is said where people look who have to know what is stored of persons.
    page = (ROOT / "docs" / "login.md").read_text(encoding="utf-8")
    rows = page.partition("\n### What is stored\n")[2].partition("\n## ")[0]
    assert "| `address:` and the source address | the address: IPv4 in full" in rows
    assert f"the hash, and the source address | the same | {KNOWN_SECONDS // DAY} days" in rows


def test_an_attempt_that_cannot_be_counted_is_not_made(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")

    monkeypatch.setattr(service.parts.attempts._client, "get_item", fault)
    answer = service.login()
    assert (answer.status, answer.log["fault"]) == (503, "dynamodb: ThrottlingException")
    assert int(answer.headers["retry-after"]) > 0
    assert not service.scan(service._sessions_table)


def test_an_attempt_that_cannot_be_given_back_fails_no_sign_in(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise Fault("dynamodb: ThrottlingException")

    monkeypatch.setattr(service.parts.attempts, "_give_back", fault)
    assert service.login().status == 200
    line = next(line for line in service.lines() if line["message"] == "attempt not given back")
    assert (line["level"], line["fault"]) == ("WARNING", "dynamodb: ThrottlingException")
