"""What the secrets may hold: signing keys in slots, RFC 7638 thumbprints, peppers (section 8)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk as joserfc_jwk
from jwt.utils import from_base64url_uint, to_base64url_uint

from ratchet.keys import (
    ALGORITHMS,
    InvalidSecret,
    SigningKeys,
    generate_jwk,
    peppers,
    signing_keys,
)

Slots = Callable[..., str]

# The private key of RFC 7517 appendix A.2. Its public half is the key of RFC 7638 section 3.1.
RFC_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
    "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2"
    "QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6W"
    "eZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbF"
    "AKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8"
    "d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJ"
    "k19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q",
}
RFC_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def rsa_jwk(bits: int = 2048) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)


def written(number: int) -> str:
    return to_base64url_uint(number).decode()


def ec_jwk(curve: ec.EllipticCurve) -> dict[str, Any]:
    return jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(curve), as_dict=True)


def public(jwk: dict[str, Any]) -> dict[str, Any]:
    return {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}


def secret(**slots: Any) -> str:
    return json.dumps(slots)


P256 = ec_jwk(ec.SECP256R1())


# --- signing keys --------------------------------------------------------------------------------


def test_each_slot_has_its_part(key_secret: str, keys: SigningKeys) -> None:
    slots = json.loads(key_secret)
    assert keys.next
    assert keys.next.public_jwk["n"] == slots["next"]["n"]
    assert keys.current.public_jwk["n"] == slots["current"]["n"]
    assert keys.previous is None
    assert keys.published() == [keys.next, keys.current]


def test_all_three_slots_are_published_and_found_by_their_kid(key_secret: str) -> None:
    keys = signing_keys(json.dumps({**json.loads(key_secret), "previous": P256}))
    assert keys.published() == [keys.next, keys.current, keys.previous]
    for key in keys.published():
        assert keys.find(key.kid) is key
    unknowns: tuple[Any, ...] = (None, "", "x", 1, [], keys.current)
    for unknown in unknowns:
        assert keys.find(unknown) is None


@pytest.mark.parametrize("slots", [{}, {"next": None}, {"next": None, "previous": None}])
def test_only_the_current_slot_must_be_filled(slots: dict[str, None]) -> None:
    keys = signing_keys(secret(current=P256, **slots))
    assert keys.published() == [keys.current]


def test_the_kid_is_the_thumbprint_of_rfc_7638s_own_example() -> None:
    assert signing_keys(secret(current=RFC_KEY)).current.kid == RFC_THUMBPRINT


@pytest.mark.parametrize("jwk", [RFC_KEY, P256, rsa_jwk(), rsa_jwk(3072)])
def test_the_kid_is_the_thumbprint_that_another_library_reckons(jwk: dict[str, Any]) -> None:
    assert joserfc_jwk.import_key(jwk).thumbprint() == signing_keys(secret(current=jwk)).current.kid


def test_the_kid_does_not_depend_on_what_else_the_jwk_says() -> None:
    named = {"kid": "mine", "use": "enc", "x-note": "x", **RFC_KEY}
    key = signing_keys(secret(current=named)).current
    assert key.kid == RFC_THUMBPRINT
    assert (key.public_jwk["use"], key.public_jwk["alg"]) == ("sig", "RS256")


@pytest.mark.parametrize(
    ("jwk", "algorithm", "members"),
    [(RFC_KEY, "RS256", {"n", "e"}), (P256, "ES256", {"crv", "x", "y"})],
)
def test_the_jwk_set_has_public_members_only(
    jwk: dict[str, Any], algorithm: str, members: set[str]
) -> None:
    keys = signing_keys(secret(current=jwk))
    (shown,) = keys.jwks()["keys"]
    assert shown.keys() == {"kty", "kid", "use", "alg"} | members
    assert shown["alg"] == keys.current.algorithm == algorithm
    assert jwk["d"] not in json.dumps(keys.jwks())


def test_no_key_shows_in_a_repr() -> None:
    for jwk in (RFC_KEY, P256):
        assert jwk["d"] not in repr(signing_keys(secret(current=jwk)))
        assert "PrivateKey" not in repr(signing_keys(secret(current=jwk)))


def test_a_key_in_kms_is_public_here_and_names_its_home() -> None:
    arn = "arn:aws:kms:eu-central-1:000000000000:key/1"
    key = signing_keys(secret(current={**public(RFC_KEY), "alg": "PS256", "kms_key": arn})).current
    assert (key.kid, key.algorithm) == (RFC_THUMBPRINT, "PS256")
    assert (key.kms_key, key.private_key) == (arn, None)
    assert "kms_key" not in key.public_jwk


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_new_key_says_its_algorithm(algorithm: str) -> None:
    key = signing_keys(secret(current=generate_jwk(algorithm))).current
    assert key.algorithm == key.public_jwk["alg"] == algorithm


WRONG: dict[str, str] = {
    "no text": "",
    "no json": "{",
    "no object": "[]",
    "null": "null",
    "a text": json.dumps("secret"),
    "no slots": "{}",
    "no current": secret(next=P256),
    "an empty current": secret(current=None, next=P256),
    "an unknown slot": secret(current=P256, future=rsa_jwk()),
    "a misspelled slot": secret(Current=P256),
    "one key in two slots": secret(current=P256, next=P256),
    "one key in two slots, described twice": secret(
        current=RFC_KEY, previous={**RFC_KEY, "kid": "another"}
    ),
    "a jwk as a text": secret(current=json.dumps(P256)),
    "a list of keys": secret(current=[P256]),
    "a jwk without a type": secret(current={"d": P256["d"]}),
    "an unknown type": secret(current={**P256, "kty": "XY"}),
    "a type that is no text": secret(current={**P256, "kty": ["EC"]}),
    "an RSA key of 1024 bits": secret(current=rsa_jwk(1024)),
    "a weak key in another slot": secret(current=P256, previous=rsa_jwk(1024)),
    "P-384": secret(current=ec_jwk(ec.SECP384R1())),
    "P-521": secret(current=ec_jwk(ec.SECP521R1())),
    "secp256k1": secret(current=ec_jwk(ec.SECP256K1())),
    "HMAC": secret(current={"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256"}),
    "Ed25519": secret(current={"kty": "OKP", "crv": "Ed25519", "x": P256["x"], "d": P256["d"]}),
    "a public RSA key": secret(current=public(RFC_KEY)),
    "a public EC key": secret(current=public(P256)),
    "a public key in another slot": secret(current=P256, next=public(RFC_KEY)),
    "the algorithm of another kind of key": secret(current={**P256, "alg": "RS256"}),
    "no algorithm": secret(current={**P256, "alg": "none"}),
    "a symmetric algorithm": secret(current={**RFC_KEY, "alg": "HS256"}),
    "a private key that is in KMS too": secret(current={**P256, "kms_key": "arn"}),
    "a weak key in KMS": secret(current={**public(rsa_jwk(1024)), "kms_key": "arn"}),
    "P-384 in KMS": secret(current={**public(ec_jwk(ec.SECP384R1())), "kms_key": "arn"}),
    "a damaged key": secret(current={**P256, "d": "AAAA"}),
    "a key with a piece missing": secret(current={k: v for k, v in P256.items() if k != "x"}),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_secret_of_another_shape_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(InvalidSecret) as caught:
        signing_keys(text)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for value in values(text):
        assert value not in str(caught.value)


def values(text: str) -> list[str]:
    """All longer texts in a JSON text."""
    found: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, str) and len(value) > 8:
            found.append(value)
        for part in value.values() if isinstance(value, dict) else value or ():
            if not isinstance(value, str):
                visit(part)

    with suppress(ValueError):
        visit(json.loads(text))
    return found


# --- peppers -------------------------------------------------------------------------------------


def test_peppers_come_by_their_ids() -> None:
    ours = peppers(json.dumps({"current": 9, "9": "a" * 32, "10": "é" * 32, "65535": "c" * 64}))
    assert ours.by_id == {9: b"a" * 32, 10: "é".encode() * 32, 65535: b"c" * 64}
    assert ours.current == 9
    assert "aaaa" not in repr(ours)


NO_PEPPER_IDS = ("0", "65536", "-1", "1.0", "one", "", "²")


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        "a" * 32,
        {"current": 1},
        {"1": "a" * 32},
        {"current": 2, "1": "a" * 32},
        {"current": "1", "1": "a" * 32},
        {"current": True, "1": "a" * 32},
        {"current": None, "1": "a" * 32},
        {"current": [1], "1": "a" * 32},
        *({"current": 1, "1": "a" * 32, name: "b" * 32} for name in NO_PEPPER_IDS),
        {"current": 1, "1": "a" * 31},
        {"current": 1, "1": "a" * 32, "2": ""},
        {"current": 1, "1": None},
        {"current": 1, "1": 10**40},
        {"current": 1, "1": ["a" * 32]},
    ],
)
def test_peppers_of_another_shape_are_refused_and_never_quoted(value: Any) -> None:
    with pytest.raises(InvalidSecret) as caught:
        peppers(json.dumps(value))
    assert "aaaa" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "1: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
def test_peppers_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(InvalidSecret, match="not a JSON object"):
        peppers(text)


@pytest.mark.parametrize("name", ["n", "e", "d", "p", "q", "dp", "dq", "qi"])
@pytest.mark.parametrize(
    "changed", [lambda _: 0, lambda _: 1, lambda _: 2, lambda number: number ^ 4]
)
def test_a_private_rsa_key_whose_numbers_do_not_belong_together_is_none(
    name: str, changed: Callable[[int], int]
) -> None:
    """It would sign what nobody can verify, or, worse, tell its primes."""
    whole = rsa_jwk()
    broken = {**whole, name: written(changed(from_base64url_uint(whole[name])))}
    with pytest.raises(InvalidSecret, match="holds no RSA"):
        signing_keys(json.dumps({"current": broken}))


def test_a_private_rsa_key_of_something_else_than_primes_is_none() -> None:
    """All its numbers fit, and its signatures do not."""
    q, p = from_base64url_uint(rsa_jwk()["q"]), 3 * (1 << 1022) + 1
    d = 0
    while not d:
        p += 2
        with suppress(ValueError):
            d = pow(65537, -1, math.lcm(p - 1, q - 1))
            qi = pow(q, -1, p)
    numbers = {"n": p * q, "e": 65537, "d": d, "p": p, "q": q}
    numbers |= {"dp": d % (p - 1), "dq": d % (q - 1), "qi": qi}
    jwk = {"kty": "RSA"} | {name: written(number) for name, number in numbers.items()}
    with pytest.raises(InvalidSecret, match="holds no RSA"):
        signing_keys(json.dumps({"current": jwk}))
