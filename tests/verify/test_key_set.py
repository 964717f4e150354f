"""The issuer's keys: fetched when needed, kept, and of use while the issuer is away."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ratchet_verify import InvalidToken, Unavailable
from ratchet_verify.key_set import KeySet, metadata_url
from tests.verify.conftest import ISSUER, NOW, Issuer

KEYS = f"{ISSUER}/keys"


def test_the_keys_are_found_by_the_issuers_metadata_and_fetched_once(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    for _ in range(3):
        verifier.verify(issuer.token())
    assert issuer.fetched == [f"{ISSUER}/.well-known/oauth-authorization-server", KEYS]


def test_fresh_keys_are_not_fetched_again(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    for seconds in (0, 60, 300):
        issuer.now = NOW + seconds
        verifier.verify(issuer.token())
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(header={"typ": "JWT"}))
    assert issuer.fetched.count(KEYS) == 1


@pytest.mark.parametrize(
    ("of", "url"),
    [
        ("https://id.test", "https://id.test/.well-known/oauth-authorization-server"),
        ("https://id.test/a/b", "https://id.test/.well-known/oauth-authorization-server/a/b"),
    ],
)
def test_the_well_known_part_stands_before_the_path(of: str, url: str) -> None:
    """RFC 8414 section 3.1"""
    assert metadata_url(of) == url


@pytest.mark.parametrize("change", [{"issuer": "https://id.test/"}, {"jwks_uri": "http://id.test"}])
def test_metadata_of_another_issuer_or_without_https_is_of_no_use(
    issuer: Issuer, change: dict[str, Any]
) -> None:
    issuer.metadata |= change
    with pytest.raises(Unavailable) as caught:
        issuer.verifier().verify(issuer.token())
    assert caught.value.status == 503
    assert caught.value.headers["retry-after"] == "2"


def test_a_new_key_is_fetched_at_its_first_token(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    issuer.add("two", "ES256")
    issuer.now += 30
    verifier.verify(issuer.token("two"))
    assert issuer.fetched.count(KEYS) == 2


def test_made_up_kids_fetch_nothing_more_than_once_a_cooldown(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    for number in range(50):
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(header={"kid": f"made-up-{number}"}))
    assert issuer.fetched.count(KEYS) == 1
    issuer.now += 30
    for number in range(50):
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(header={"kid": f"made-up-{number}"}))
    assert issuer.fetched.count(KEYS) == 2


def test_a_key_that_was_taken_out_is_refused_once_the_keys_are_old(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    token = issuer.token(exp=NOW + 10_000)
    verifier.verify(token)
    del issuer.keys["one"]
    issuer.add("two", "RS256")
    issuer.now += 300
    verifier.verify(token)
    issuer.now += 1
    with pytest.raises(InvalidToken):
        verifier.verify(token)


def test_while_the_issuer_is_away_the_old_keys_verify_for_an_hour(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    token = issuer.token(exp=NOW + 10_000)
    verifier.verify(token)
    issuer.away = True
    for seconds in (301, 302, 303, 3600, 3900):
        issuer.now = NOW + seconds
        verifier.verify(token)
    assert issuer.fetched.count(KEYS) <= 4
    issuer.now = NOW + 3901
    with pytest.raises(Unavailable):
        verifier.verify(token)
    issuer.away = False
    issuer.now += 30
    verifier.verify(token)


def test_without_any_keys_nobody_is_told_that_a_token_is_bad(issuer: Issuer) -> None:
    issuer.away = True
    with pytest.raises(Unavailable) as caught:
        issuer.verifier().verify(issuer.token())
    assert caught.value.error == "temporarily_unavailable"


def test_keys_that_are_none_do_not_replace_good_ones(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    monkeypatch.setattr(issuer, "jwks", lambda: {"keys": "none"})
    issuer.now += 301
    assert verifier.verify(issuer.token()).sub == "ada"


def test_an_empty_set_does_not_replace_good_keys(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    monkeypatch.setattr(issuer, "jwks", lambda: {"keys": []})
    issuer.now += 301
    assert verifier.verify(issuer.token()).sub == "ada"


def test_an_unknown_key_is_no_bad_token_while_the_set_cannot_be_fetched(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    issuer.add("two", "ES256")
    issuer.now += 30
    issuer.away = True
    with pytest.raises(Unavailable):
        verifier.verify(issuer.token("two"))
    verifier.verify(issuer.token())
    issuer.away = False
    issuer.now += 30
    assert verifier.verify(issuer.token("two")).sub == "ada"


def test_without_keys_the_next_try_is_as_soon_as_the_client_was_told(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    issuer.away = True
    with pytest.raises(Unavailable) as caught:
        verifier.verify(issuer.token())
    issuer.away = False
    issuer.now += int(caught.value.headers["retry-after"])
    assert verifier.verify(issuer.token()).sub == "ada"


def test_while_one_thread_fetches_the_others_go_on_with_the_old_keys(issuer: Issuer) -> None:
    asked, answered = threading.Event(), threading.Event()

    def get_json(url: str) -> Any:
        if issuer.fetched:
            asked.set()
            assert answered.wait(timeout=10)
        return issuer.get_json(url)

    keys = KeySet(ISSUER, KEYS, get_json=get_json)
    keys.keys("one", NOW)
    first = threading.Thread(target=keys.keys, args=("one", NOW + 301))
    first.start()
    assert asked.wait(timeout=10)
    assert len(keys.keys("one", NOW + 301)) == 1
    answered.set()
    first.join(timeout=10)
    assert issuer.fetched == [KEYS, KEYS]


def test_a_clock_that_is_set_back_makes_keys_old(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    verifier.verify(issuer.token())
    issuer.now -= 10_000
    verifier.verify(issuer.token())
    assert issuer.fetched.count(KEYS) == 2


def test_threads_that_come_at_once_fetch_once(issuer: Issuer) -> None:
    all_there = threading.Barrier(8)
    keys = KeySet(ISSUER, KEYS, get_json=issuer.get_json)
    found: list[int] = []

    def ask() -> None:
        all_there.wait(timeout=10)
        found.append(len(keys.keys("one", NOW)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert found == [1] * 8
    assert issuer.fetched == [KEYS]
