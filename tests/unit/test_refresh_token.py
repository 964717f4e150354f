"""Refresh tokens: format, MAC, deadlines, hash and seal (design sections 2 and 3)."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet import refresh_token
from ratchet.errors import Fault, InvalidGrant
from ratchet.policy import DAY
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers, RefreshToken

NOW = 1_800_000_000
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MakePeppers = Callable[[Mapping[int, bytes]], Peppers]

# Every character there is, lone surrogates included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def mint(peppers: Peppers, **changes: Any) -> RefreshToken:
    arguments: dict[str, Any] = {
        "session_bytes": bytes(range(16)),
        "generation": 7,
        "idle_deadline_at": NOW + 14 * DAY,
        "absolute_deadline_at": NOW + 180 * DAY,
        "now": NOW,
    }
    return refresh_token.mint(peppers=peppers, **{**arguments, **changes})


def refused(text: str, peppers: Peppers, now: int = NOW) -> Reason | None:
    """The reason that `text` is refused with; anything else but a refusal fails the test."""
    with pytest.raises(InvalidGrant) as caught:
        refresh_token.parse(text, peppers=peppers, now=now)
    return caught.value.reason


def spelled(raw: bytes) -> str:
    return "rt1_" + urlsafe_b64encode(raw).decode()


# --- format --------------------------------------------------------------------------------------


@given(
    session_bytes=st.binary(min_size=16, max_size=16),
    bound=st.booleans(),
    generation=st.integers(0, 2**31 - 1),
    idle_deadline_at=st.integers(NOW + 1, 2**32 - 1),
    after=st.integers(0, 2**31),
)
def test_a_minted_token_parses_to_itself(
    peppers: Peppers,
    session_bytes: bytes,
    bound: bool,
    generation: int,
    idle_deadline_at: int,
    after: int,
) -> None:
    token = mint(
        peppers,
        session_bytes=session_bytes,
        bound=bound,
        generation=generation,
        idle_deadline_at=idle_deadline_at,
        absolute_deadline_at=min(idle_deadline_at + after, 2**32 - 1),
    )
    assert refresh_token.parse(str(token), peppers=peppers, now=NOW) == token
    assert re.fullmatch(r"rt1_[A-Za-z0-9_-]{104}", str(token))


def test_a_token_has_108_characters_and_holds_what_the_design_lists(peppers: Peppers) -> None:
    token = mint(peppers)
    raw = urlsafe_b64decode(str(token).removeprefix("rt1_"))

    assert len(str(token)) == 108
    assert len(raw) == 78
    assert raw[:2] == (2).to_bytes(2, "big")
    assert raw[2:18] == bytes(range(16))
    assert raw[18:22] == (7).to_bytes(4, "big")
    assert raw[22:26] == (NOW + 14 * DAY).to_bytes(4, "big")
    assert raw[26:30] == (NOW + 180 * DAY).to_bytes(4, "big")
    assert raw[30:62] == token.secret
    assert raw[62:] == token.mac


def test_two_tokens_never_share_their_secret(peppers: Peppers) -> None:
    assert len({mint(peppers).secret for _ in range(100)}) == 100
    assert len(mint(peppers).secret) == 32


def test_the_session_id_is_22_characters_of_base64url(peppers: Peppers) -> None:
    assert mint(peppers).sid == "AAECAwQFBgcICQoLDA0ODw"


@pytest.mark.parametrize(
    ("text", "looks"), [("rt1_", True), ("rt1_x", True), ("rt2_x", False), ("eyJ.a.b", False)]
)
def test_the_prefix_tells_a_refresh_token_from_an_access_token(text: str, looks: bool) -> None:
    assert refresh_token.looks_like_refresh_token(text) is looks


# --- damage --------------------------------------------------------------------------------------


def test_a_token_with_any_one_bit_flipped_is_refused(peppers: Peppers) -> None:
    """Promise 6: it takes no store to see it. The first 16 bits name the pepper."""
    genuine = mint(peppers).to_bytes()
    for bit in range(len(genuine) * 8):
        damaged = bytearray(genuine)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        expected = Reason.UNKNOWN_PEPPER if bit < 16 else Reason.MALFORMED
        assert refused(spelled(bytes(damaged)), peppers) is expected, bit


def test_a_token_with_any_one_byte_changed_is_refused(peppers: Peppers) -> None:
    genuine = mint(peppers).to_bytes()
    for index in range(len(genuine)):
        for mask in (0x01, 0x55, 0xFF):
            damaged = bytearray(genuine)
            damaged[index] ^= mask
            assert refused(spelled(bytes(damaged)), peppers) in {
                Reason.MALFORMED,
                Reason.UNKNOWN_PEPPER,
            }


def test_a_token_has_exactly_one_spelling(peppers: Peppers) -> None:
    """Whichever character is replaced by whichever other, it is not the same token any more."""
    text = str(mint(peppers))
    for index in range(len(text)):
        for character in ALPHABET:
            if character != text[index]:
                changed = text[:index] + character + text[index + 1 :]
                assert refused(changed, peppers) in {Reason.MALFORMED, Reason.UNKNOWN_PEPPER}


def test_the_standard_base64_alphabet_is_another_spelling(peppers: Peppers) -> None:
    tokens = (mint(peppers) for _ in range(1000))
    token = next(token for token in tokens if set("-_") & set(str(token)[4:]))
    standard = "rt1_" + b64encode(token.to_bytes()).decode()
    assert len(standard) == 108
    assert refused(standard, peppers) is Reason.MALFORMED


def test_a_token_cut_short_anywhere_is_malformed(peppers: Peppers) -> None:
    text = str(mint(peppers))
    for length in range(len(text)):
        assert refused(text[:length], peppers) is Reason.MALFORMED
        assert refused(text[len(text) - length :], peppers) is Reason.MALFORMED


@pytest.mark.parametrize("tail", ["A", "AAAA", "=", "==", "====", " ", "\n", "\0", "rt1_", "é"])
def test_a_token_with_something_added_is_malformed(peppers: Peppers, tail: str) -> None:
    text = str(mint(peppers))
    for changed in (text + tail, tail + text, text[:50] + tail + text[50:]):
        assert refused(changed, peppers) is Reason.MALFORMED


@pytest.mark.parametrize("prefix", ["", "rt2_", "RT1_", "rt1-", " rt1", "rt1_rt1_"])
def test_a_token_with_another_prefix_is_malformed(peppers: Peppers, prefix: str) -> None:
    text = prefix + str(mint(peppers)).removeprefix("rt1_")
    assert refused(text, peppers) is Reason.MALFORMED
    fitted = refused(text[:108].ljust(108, "A"), peppers)
    assert fitted in {Reason.MALFORMED, Reason.UNKNOWN_PEPPER}


@pytest.mark.parametrize(
    "character", ["+", "/", "=", " ", "\n", "\t", "\0", "é", "\uff21", "\ud800"]
)
def test_a_character_outside_the_alphabet_is_malformed(peppers: Peppers, character: str) -> None:
    text = str(mint(peppers))
    for index in (0, 4, 50, 107):
        changed = text[:index] + character + text[index + 1 :]
        assert refused(changed, peppers) is Reason.MALFORMED


@pytest.mark.parametrize(
    "text",
    ["", "rt1_", "rt1_" + "A" * 103, "rt1_" + "A" * 105, "A" * 108, "x" * 1_000_000, "=" * 108],
)
def test_what_has_not_the_shape_of_a_token_is_malformed(peppers: Peppers, text: str) -> None:
    assert refused(text, peppers) is Reason.MALFORMED


def test_a_well_shaped_token_of_zeros_names_a_pepper_that_does_not_exist(peppers: Peppers) -> None:
    assert refused("rt1_" + "A" * 104, peppers) is Reason.UNKNOWN_PEPPER


@given(text=ANY_TEXT | ANY_TEXT.map(lambda text: "rt1_" + text))
def test_arbitrary_text_is_refused_and_raises_nothing_else(peppers: Peppers, text: str) -> None:
    assert refused(text, peppers) in {Reason.MALFORMED, Reason.UNKNOWN_PEPPER}


@given(body=st.binary(min_size=76, max_size=76), pepper_id=st.integers(0, 3))
def test_a_well_shaped_forgery_is_refused(peppers: Peppers, body: bytes, pepper_id: int) -> None:
    expected = Reason.MALFORMED if pepper_id in {1, 2} else Reason.UNKNOWN_PEPPER
    assert refused(spelled(pepper_id.to_bytes(2, "big") + body), peppers) is expected


@given(data=st.data())
def test_a_mutated_token_is_refused_and_raises_nothing_else(
    peppers: Peppers, data: st.DataObject
) -> None:
    text = str(mint(peppers))
    start = data.draw(st.integers(0, 108))
    end = data.draw(st.integers(start, 108))
    changed = text[:start] + data.draw(ANY_TEXT) + text[end:]
    if changed != text:
        assert refused(changed, peppers) in {Reason.MALFORMED, Reason.UNKNOWN_PEPPER}


@pytest.mark.parametrize(
    "change",
    [
        {"session_bytes": bytes(16)},
        {"generation": 8},
        {"bound": True},
        {"idle_deadline_at": NOW + 15 * DAY},
        {"absolute_deadline_at": NOW + 181 * DAY},
        {"secret": bytes(32)},
        {"pepper_id": 1},
    ],
)
def test_no_field_can_be_changed_under_the_same_mac(
    peppers: Peppers, change: dict[str, Any]
) -> None:
    assert refused(str(replace(mint(peppers), **change)), peppers) is Reason.MALFORMED


# --- peppers -------------------------------------------------------------------------------------


def test_new_tokens_use_the_highest_pepper(peppers: Peppers) -> None:
    assert mint(peppers).pepper_id == 2


def test_a_token_made_with_an_old_pepper_still_parses(make_peppers: MakePeppers) -> None:
    token = mint(make_peppers({1: b"1" * 32}))
    later = make_peppers({1: b"1" * 32, 2: b"2" * 32})
    assert refresh_token.parse(str(token), peppers=later, now=NOW) == token


def test_a_token_whose_pepper_is_gone_says_so(make_peppers: MakePeppers) -> None:
    token = mint(make_peppers({1: b"1" * 32}))
    assert refused(str(token), make_peppers({2: b"1" * 32})) is Reason.UNKNOWN_PEPPER


def test_another_pepper_of_the_same_id_makes_no_genuine_token(make_peppers: MakePeppers) -> None:
    token = mint(make_peppers({1: b"1" * 32}))
    assert refused(str(token), make_peppers({1: b"2" * 32})) is Reason.MALFORMED


# --- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("idle", "absolute", "last", "reason"),
    [
        # A lost answer may be asked for again for a day after the idle deadline,
        (NOW + 900, NOW + 100 * DAY, NOW + 900 + DAY, Reason.IDLE_EXPIRED),
        (NOW + 900, NOW + 900 + DAY, NOW + 900 + DAY, Reason.IDLE_EXPIRED),
        # but never past the absolute one.
        (NOW + 900, NOW + 901, NOW + 901, Reason.IDLE_EXPIRED),
        (NOW + 900, NOW + 900, NOW + 900, Reason.ABSOLUTE_EXPIRED),
    ],
)
def test_a_token_dies_at_its_last_possible_second_and_says_why(
    peppers: Peppers, idle: int, absolute: int, last: int, reason: Reason
) -> None:
    token = mint(peppers, idle_deadline_at=idle, absolute_deadline_at=absolute)

    assert refresh_token.parse(str(token), peppers=peppers, now=last - 1) == token
    assert refused(str(token), peppers, now=last) is reason
    assert refused(str(token), peppers, now=last + 10 * DAY) is reason


def test_a_forged_token_is_malformed_however_old_it_claims_to_be(peppers: Peppers) -> None:
    """Nobody learns a session's fate with a token that is not genuine."""
    token = replace(mint(peppers), idle_deadline_at=1, absolute_deadline_at=1)
    assert refused(str(token), peppers) is Reason.MALFORMED


# --- what is seen and stored of a token ----------------------------------------------------------


def test_no_secret_shows_in_a_repr(peppers: Peppers) -> None:
    token = mint(peppers)
    for shown in (repr(token), f"{token!r}", repr([token]), repr({"token": token})):
        for hidden in (str(token), repr(token.secret), token.secret.hex(), repr(token.mac)):
            assert hidden not in shown
    assert repr(token) == "<RefreshToken of AAECAwQFBgcICQoLDA0ODw, generation 7>"


def test_the_error_of_a_refused_token_does_not_quote_it(peppers: Peppers) -> None:
    text = str(replace(mint(peppers), generation=8))
    with pytest.raises(InvalidGrant) as caught:
        refresh_token.parse(text, peppers=peppers, now=NOW)
    assert text not in f"{caught.value!r}{caught.value.detail}{caught.value.log}"


def test_the_hash_changes_with_every_field(peppers: Peppers) -> None:
    token = mint(peppers)
    changed: dict[str, Any] = {
        "pepper_id": 1,
        "session_bytes": bytes(16),
        "bound": True,
        "generation": 8,
        "idle_deadline_at": NOW,
        "absolute_deadline_at": NOW,
        "secret": bytes(32),
        "mac": bytes(16),
    }
    assert set(changed) == {field.name for field in fields(RefreshToken)}
    hashes = {replace(token, **{name: value}).hash() for name, value in changed.items()}
    assert len(hashes | {token.hash()}) == len(changed) + 1
    assert {len(value) for value in hashes} == {32}


# --- the sealed successor ------------------------------------------------------------------------


def family(peppers: Peppers) -> tuple[RefreshToken, RefreshToken, RefreshToken]:
    """A grandparent, its successor, and the successor of that."""
    first, second, third = (mint(peppers, generation=number) for number in range(3))
    return first, second, third


def test_the_parent_opens_the_seal(peppers: Peppers) -> None:
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    assert refresh_token.unseal(sealed, parent=parent, peppers=peppers, now=NOW) == successor


def test_the_parent_opens_the_seal_after_the_pepper_has_changed(make_peppers: MakePeppers) -> None:
    old, both = make_peppers({1: b"1" * 32}), make_peppers({1: b"1" * 32, 2: b"2" * 32})
    parent, successor = mint(old), mint(both)
    sealed = refresh_token.seal(successor, parent=parent, peppers=both, now=NOW)
    assert refresh_token.unseal(sealed, parent=parent, peppers=both, now=NOW) == successor


def test_a_seal_has_106_bytes_and_shows_nothing_of_the_successor(peppers: Peppers) -> None:
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    assert len(sealed) == 106
    for part in (successor.secret, successor.mac, successor.session_bytes, parent.secret):
        assert part not in sealed


def test_two_seals_of_the_same_successor_differ(peppers: Peppers) -> None:
    """Racing callers seal under the same key, so a nonce must not come twice."""
    _, parent, successor = family(peppers)
    seals = [
        refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW) for _ in range(50)
    ]
    assert len({sealed[:12] for sealed in seals}) == 50
    assert len({sealed[12:] for sealed in seals}) == 50


def test_the_table_with_an_older_token_does_not_open_the_seal(peppers: Peppers) -> None:
    """Promise 5, even for a thief who can use the service's pepper."""
    grandparent, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    with pytest.raises(Fault):
        refresh_token.unseal(sealed, parent=grandparent, peppers=peppers, now=NOW)


def test_the_table_and_the_pepper_without_the_parent_do_not_open_the_seal(peppers: Peppers) -> None:
    """Everything but the secret is known, and everything in the item is tried as the secret."""
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    for guess in (bytes(32), parent.hash(), successor.hash(), sealed[:32], sealed[-32:]):
        with pytest.raises(Fault):
            refresh_token.unseal(
                sealed, parent=replace(parent, secret=guess), peppers=peppers, now=NOW
            )


def test_the_parent_without_its_pepper_does_not_open_the_seal(make_peppers: MakePeppers) -> None:
    genuine, other = make_peppers({1: b"1" * 32}), make_peppers({1: b"x" * 32})
    parent, successor = mint(genuine), mint(genuine)
    sealed = refresh_token.seal(successor, parent=parent, peppers=genuine, now=NOW)
    with pytest.raises(Fault, match="cannot be opened"):
        refresh_token.unseal(sealed, parent=parent, peppers=other, now=NOW)


def test_a_seal_is_bound_to_its_session(peppers: Peppers) -> None:
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    with pytest.raises(Fault):
        refresh_token.unseal(
            sealed, parent=replace(parent, session_bytes=bytes(16)), peppers=peppers, now=NOW
        )


def test_a_seal_whose_pepper_is_gone_is_a_fault(make_peppers: MakePeppers) -> None:
    """Not a refusal: the client may ask again once the pepper is back."""
    old, new = make_peppers({1: b"1" * 32}), make_peppers({2: b"2" * 32})
    parent = mint(old)
    sealed = refresh_token.seal(mint(old), parent=parent, peppers=old, now=NOW)
    with pytest.raises(Fault, match="pepper 1 is gone"):
        refresh_token.unseal(sealed, parent=parent, peppers=new, now=NOW)
    with pytest.raises(Fault, match="pepper 1 is gone"):
        refresh_token.seal(mint(old), parent=parent, peppers=new, now=NOW)


def test_a_seal_with_any_one_bit_flipped_is_a_fault(peppers: Peppers) -> None:
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    for bit in range(len(sealed) * 8):
        tampered = bytearray(sealed)
        tampered[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises(Fault):
            refresh_token.unseal(bytes(tampered), parent=parent, peppers=peppers, now=NOW)


@pytest.mark.parametrize("length", [0, 7, 12, 27, 28, 105])
def test_a_seal_cut_short_is_a_fault(peppers: Peppers, length: int) -> None:
    _, parent, successor = family(peppers)
    sealed = refresh_token.seal(successor, parent=parent, peppers=peppers, now=NOW)
    with pytest.raises(Fault):
        refresh_token.unseal(sealed[:length], parent=parent, peppers=peppers, now=NOW)
