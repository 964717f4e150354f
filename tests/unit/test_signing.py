"""Signers and peppers behind a secret (design sections 3 and 8, promise 7)."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from ratchet import keys
from ratchet.errors import Fault
from ratchet.secret_cache import CachedSecret
from ratchet.signing import SecretPeppers, SecretSigner

NOW = 1_800_000_000
OUTAGE = ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue")
ONE, TWO, THREE = "1" * 32, "2" * 32, "3" * 32


class Client:
    """Answers get_secret_value with `answer`, a value or an error, and counts the calls."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls = 0

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"SecretString": json.dumps(self.answer)}


def signer(client: Any) -> SecretSigner:
    return SecretSigner(CachedSecret(client, "keys", keys.signing_keys))


def peppers(client: Any) -> SecretPeppers:
    return SecretPeppers(CachedSecret(client, "peppers", keys.peppers))


# --- SecretSigner --------------------------------------------------------------------------------


def p256() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_the_current_key_signs_and_another_library_verifies(
    key_secret: str, algorithm: str
) -> None:
    slots = json.loads(key_secret)
    if algorithm == "ES256":
        slots["current"] = p256()
    ours = signer(Client(slots))
    claims = {"iss": "https://id.test", "sub": "ada", "exp": NOW}

    token = ours.prepare(NOW)(claims)

    published = ours.keys(NOW)
    key_set = KeySet.import_key_set(published.jwks())  # type: ignore[arg-type] # plain JSON
    verified = joserfc_jwt.decode(token, key_set, algorithms=[algorithm])
    assert verified.claims == claims
    assert verified.header == {
        "typ": "at+jwt",
        "kid": published.current.kid,
        "alg": algorithm,
    }


def test_a_signature_is_not_verified_by_the_key_of_another_slot(key_secret: str) -> None:
    ours = signer(Client(json.loads(key_secret)))
    token = ours.prepare(NOW)({"sub": "ada"})
    following = ours.keys(NOW).next
    assert following
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, following.public_key, algorithms=["RS256"])


def test_a_missing_key_is_a_fault_before_anything_is_signed() -> None:
    with pytest.raises(Fault):
        signer(Client(OUTAGE)).prepare(NOW)
    with pytest.raises(Fault):
        signer(Client({"current": None})).prepare(NOW)


def test_signing_itself_only_computes(key_secret: str) -> None:
    """What can fail has failed before the write; an outage that begins now changes nothing."""
    client = Client(json.loads(key_secret))
    sign = signer(client).prepare(NOW)
    client.answer = OUTAGE
    assert sign({"sub": "ada"}).count(".") == 2
    assert client.calls == 1


def test_signing_leaves_the_claims_as_they_were(key_secret: str) -> None:
    claims = {"sub": "ada", "exp": NOW}
    signer(Client(json.loads(key_secret))).prepare(NOW)(claims)
    assert claims == {"sub": "ada", "exp": NOW}


# --- SecretPeppers -------------------------------------------------------------------------------


def test_the_highest_pepper_is_the_current_one() -> None:
    assert peppers(Client({"8": ONE, "10": THREE, "9": TWO})).current(NOW) == (10, THREE.encode())


def test_every_pepper_that_is_kept_is_known() -> None:
    client = Client({"1": ONE, "2": TWO})
    ours = peppers(client)
    assert ours.key(1, NOW) == ONE.encode()
    assert ours.key(2, NOW) == TWO.encode()
    assert client.calls == 1


@pytest.mark.parametrize("newest", [2, 5])
def test_one_of_the_next_peppers_is_looked_for_once(newest: int) -> None:
    """Another instance has already loaded it; its tokens are genuine."""
    client = Client({"1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    client.answer = {str(number): TWO for number in range(1, newest + 1)}

    assert ours.key(newest, NOW + 10) == TWO.encode()
    assert client.calls == 2
    assert ours.current(NOW + 10) == (newest, TWO.encode())
    assert client.calls == 2


@pytest.mark.parametrize("pepper_id", [0, 6, 7, 65535])
def test_any_other_unknown_pepper_costs_no_look(pepper_id: int) -> None:
    client = Client({"1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    assert ours.key(pepper_id, NOW + 299) is None
    assert client.calls == 1


def test_a_pepper_that_was_removed_is_none() -> None:
    client = Client({"2": TWO, "3": THREE})
    assert peppers(client).key(1, NOW) is None


def test_a_next_pepper_that_does_not_exist_is_none_after_a_look() -> None:
    client = Client({"1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    assert ours.key(2, NOW + 10) is None
    assert client.calls == 2


@pytest.mark.parametrize("age", [0, 9])
def test_inside_the_cooldown_the_next_pepper_is_uncertain(age: int) -> None:
    """A fault, not a refusal: the token may well be genuine. And no look, however many ask."""
    client = Client({"1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    for _ in range(100):
        with pytest.raises(Fault, match="pepper 2"):
            ours.key(2, NOW + age)
    assert client.calls == 1


def test_in_an_outage_the_next_pepper_is_uncertain_and_the_known_ones_work() -> None:
    client = Client({"1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    client.answer = OUTAGE
    for age in (10, 11, 39):
        with pytest.raises(Fault, match="pepper 2"):
            ours.key(2, NOW + age)
        assert ours.key(1, NOW + age) == ONE.encode()
    assert client.calls == 2
