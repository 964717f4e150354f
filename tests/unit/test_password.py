"""Passwords: what may be one, what is the same one, and what is stored of it."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from ratchet import password
from ratchet.errors import Fault
from ratchet.password import InvalidPassword, hash_new, matches, needs_rehash, prepare

EMAIL = "ada@example.com"
TYPED = "pass\u00e9 \U0001f408 word"


def test_a_hash_is_argon2id_with_the_parameters_of_owasp() -> None:
    """Password Storage Cheat Sheet: 19 MiB, 2 iterations, 1 lane."""
    found = extract_parameters(hash_new(TYPED, email=EMAIL))
    assert (found.type, found.version) == (Type.ID, 19)
    assert (found.memory_cost, found.time_cost, found.parallelism) == (19456, 2, 1)
    assert (found.hash_len, found.salt_len) == (32, 16)


def test_the_hash_for_unknown_users_is_as_much_work_and_nobodys_password() -> None:
    assert extract_parameters(password.DUMMY_HASH) == extract_parameters(
        hash_new(TYPED, email=EMAIL)
    )
    assert not matches("", password.DUMMY_HASH)


def test_two_hashes_of_one_password_differ_and_both_match() -> None:
    one, other = hash_new(TYPED, email=EMAIL), hash_new(TYPED, email=EMAIL)
    assert one != other
    assert matches(TYPED, one)
    assert matches(TYPED, other)


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (TYPED, True),
        ("passe\u0301 \U0001f408 word", True),
        ("pass\u00e9\u00a0\U0001f408\u3000word", True),
        ("Pass\u00e9 \U0001f408 word", False),
        ("passe \U0001f408 word", False),
        (" pass\u00e9 \U0001f408 word", False),
        ("pass\u00e9 \U0001f408 word\x00", False),
        ("\uff50ass\u00e9 \U0001f408 word", False),
        ("\ud83d\udc08", False),
        ("", False),
    ],
)
def test_composition_and_kind_of_space_do_not_count_all_else_does(typed: str, same: bool) -> None:
    """RFC 8265 section 4.2 (OpaqueString)."""
    assert (prepare(typed) == prepare(TYPED)) is same
    assert matches(typed, hash_new(TYPED, email=EMAIL)) is same


@pytest.mark.parametrize(
    "typed", ["12345678", "x" * 256, "        ", "\U0001f468\u200d\U0001f469\u200d\U0001f467 1234"]
)
def test_any_8_to_256_characters_may_be_a_password(typed: str) -> None:
    assert matches(typed, hash_new(typed, email=EMAIL))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "8 to 256"),
        ("1234567", "8 to 256"),
        ("e\u0301" * 7, "8 to 256"),
        ("x" * 257, "8 to 256"),
        ("12345678\n", "control character"),
        ("1234567\x00", "control character"),
        ("1234567\ud83d", "control character"),
        ("1234567\ue000", "control character"),
        ("ADA@example.com", "must not be the e-mail address"),
    ],
)
def test_what_may_not_be_a_password_is_said_without_quoting_it(typed: str, says: str) -> None:
    with pytest.raises(InvalidPassword, match=says) as caught:
        hash_new(typed, email=EMAIL)
    assert not typed or typed not in str(caught.value)


def test_only_a_hash_with_other_parameters_is_to_be_made_anew() -> None:
    assert not needs_rehash(hash_new(TYPED, email=EMAIL))
    for weak in (PasswordHasher(1, 8192, 1), PasswordHasher(2, 19456, 2)):
        assert needs_rehash(weak.hash(TYPED))


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$x"])
def test_a_stored_hash_that_is_none_is_a_fault_and_quoted_nowhere(stored: str) -> None:
    with pytest.raises(Fault, match=r"^argon2: [A-Za-z]+$"):
        matches(TYPED, stored)
