"""Every way to write an address is one account, and no trick makes two people one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.email_address import InvalidEmail, normalise

DOTLESS_I = "\u0131"
DOTTED_CAPITAL_I = "\u0130"
FULL_WIDTH = {character: character + 0xFEE0 for character in range(0x21, 0x7F)}


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada@EXAMPLE.Com\t\r\n", "ada@example.com"),
        ("\u3000ada@example.com\u00a0", "ada@example.com"),
        ("ada@example.com".translate(FULL_WIDTH), "ada@example.com"),
        ("ada@example\u3002com", "ada@example.com"),
        ("ada+shop@example.com", "ada+shop@example.com"),
        ("a.d.a@example.com", "a.d.a@example.com"),
        ("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com"),
        # composed and decomposed
        ("jos\u00e9@example.com", "jos\u00e9@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
        # two marks in either order
        ("q\u0307\u0323@example.com", "q\u0323\u0307@example.com"),
        ("q\u0323\u0307@example.com", "q\u0323\u0307@example.com"),
        # letters that fold to others, whatever the locale
        ("stra\u00dfe@example.com", "strasse@example.com"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("\ufb01sh@example.com", "fish@example.com"),
        ("\u212aim@example.com", "kim@example.com"),
        # the two forms of a small sigma
        ("\u03c3\u03bf\u03c2@example.com", "\u03c3\u03bf\u03c3@example.com"),
        # domains: IDNA 2008
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@B\u00dcCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
        ("ada@fa\u00df.example", "ada@xn--fa-hia.example"),
        ("ada@localhost", "ada@localhost"),
    ],
)
def test_every_way_to_write_an_address_is_one(written: str, address: str) -> None:
    assert normalise(written) == address
    assert normalise(address) == address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # Turkish: upper-casing first would make these one
        (f"m{DOTLESS_I}ke@example.org", "mike@example.org"),
        (f"M{DOTTED_CAPITAL_I}KE@example.org", "mike@example.org"),
        (f"ada@g{DOTLESS_I}thub.com", "ada@github.com"),
        # another script
        ("\u0430da@example.com", "ada@example.com"),
        ("ada@ex\u0430mple.com", "ada@example.com"),
        # two domains that IDNA 2003 made one
        ("ada@fa\u00df.example", "ada@fass.example"),
        # sub-addresses and dots are the mail server's business
        ("ada+x@example.com", "ada@example.com"),
        ("a.da@example.com", "ada@example.com"),
        ("jose@example.com", "jos\u00e9@example.com"),
    ],
)
def test_what_only_looks_the_same_is_not(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", "ada", "ada@", "@example.com", "a@b@example.com", "ada@example.com@"),
        "ada\uff20evil.example@example.com",
        "ada@evil.example\ufe6bexample.com",
        # control, format and invisible characters
        *("a\x00da@example.com", "ada\n@example.com", "ada@exam\x7fple.com"),
        *("a\u200bda@example.com", "a\u200dda@example.com", "a\u00adda@example.com"),
        *("\u202eada@example.com", "ada@exam\u200bple.com", "a\ufeffda@example.com"),
        *("a\u3164da@example.com", "a\u034fda@example.com", "a\ufe0fda@example.com"),
        *("a da@example.com", "a\u3000da@example.com", "ada@exa mple.com"),
        # halves of surrogate pairs, private use, not assigned
        *("a\ud83dda@example.com", "a\ue000da@example.com", "a\U000e1000da@example.com"),
        "\u0301ada@example.com",
        # RFC 5322: a dot-atom, no quotes, comments or routes
        *(".ada@example.com", "ada.@example.com", "a..da@example.com", '"a da"@example.com'),
        *('"ada"@example.com', "ada(x)@example.com", "<ada@example.com>", "a,b@example.com"),
        *("a:b@example.com", "a\\b@example.com", "Ada <ada@example.com>"),
        # domains
        *("ada@example.com.", "ada@.com", "ada@example..com", "ada@-example.com"),
        *("ada@exam_ple.com", "ada@[192.0.2.1]", "ada@xn--zz--.com", "ada@\u2603.com"),
        "ada@\u0301a.com",
        # too long
        *("a" * 65 + "@example.com", "\u00e9" * 33 + "@example.com", "a@" + "b" * 64 + ".com"),
        "a@" + ".".join(["b" * 60] * 5),
        "a" * 100_000 + "@example.com",
        "ada@" + "\u00df" * 200,
    ],
)
def test_what_is_no_address_is_refused_and_quoted_nowhere(text: str) -> None:
    with pytest.raises(InvalidEmail) as caught:
        normalise(text)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 60
    assert len(text) < 2 or text not in message


@given(st.text(max_size=40), st.sampled_from(["example.com", "b\u00fccher.example"]))
def test_an_address_that_is_normalised_stays_as_it_is(local: str, domain: str) -> None:
    try:
        address = normalise(f"{local}@{domain}")
    except InvalidEmail:
        return
    assert normalise(address) == address
    assert address == unicodedata.normalize("NFKC", address) == address.casefold()
    assert len(address.encode()) <= 254


def test_no_single_character_folds_two_ways() -> None:
    """Normalising twice is normalising once, in either case."""
    for point in (*range(0x3000), *range(0xA640, 0xAC00), *range(0xF900, 0x10000)):
        character = chr(point)
        try:
            address = normalise(f"a{character}@example.com")
        except InvalidEmail:
            continue
        assert normalise(address) == address, hex(point)
        assert normalise(f"a{character.casefold()}@example.com") == address, hex(point)
