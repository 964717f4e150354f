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
from ratchet.keys import USABLE_SECONDS
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


NO_KMS: Any = None


def signer(client: Any) -> SecretSigner:
    return SecretSigner(CachedSecret(client, "keys", keys.signing_keys), NO_KMS)


def peppers(client: Any) -> SecretPeppers:
    return SecretPeppers(CachedSecret(client, "peppers", keys.peppers))


# --- SecretSigner --------------------------------------------------------------------------------


def p256() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)


@pytest.mark.parametrize("algorithm", keys.ALGORITHMS)
def test_the_current_key_signs_and_another_library_verifies(
    key_secret: str, algorithm: str
) -> None:
    slots = {**json.loads(key_secret), "current": keys.generate_jwk(algorithm)}
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


def test_es256_is_deterministic() -> None:
    """RFC 6979: no weak random number can tell the key."""
    sign = signer(Client({"current": p256()})).prepare(NOW)
    assert sign({"sub": "ada"}) == sign({"sub": "ada"}) != sign({"sub": "bob"})


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


def test_the_pepper_that_the_secret_names_makes_new_tokens() -> None:
    """The one above it is published already, and not used yet."""
    ours = peppers(Client({"current": 9, "8": ONE, "9": TWO, "10": THREE}))
    assert ours.current(NOW) == (9, TWO.encode())


def test_every_pepper_that_is_kept_is_known() -> None:
    client = Client({"current": 1, "1": ONE, "2": TWO})
    ours = peppers(client)
    assert ours.key(1, NOW) == ONE.encode()
    assert ours.key(2, NOW) == TWO.encode()
    assert client.calls == 1


@pytest.mark.parametrize("pepper_id", [0, 2, 6, 65535])
def test_an_unknown_pepper_costs_no_look_and_is_certain(pepper_id: int) -> None:
    client = Client({"current": 1, "1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    assert ours.key(pepper_id, NOW + 299) is None
    assert client.calls == 1


def test_an_instance_with_the_oldest_usable_set_knows_what_the_newest_one_mints_with() -> None:
    """Published for longer than any instance keeps a set, and only then current."""
    client = Client({"current": 1, "1": ONE, "2": TWO})
    old = peppers(client)
    old.current(NOW)
    client.answer = OUTAGE
    newest = peppers(Client({"current": 2, "1": ONE, "2": TWO, "3": THREE}))
    pepper_id, pepper = newest.current(NOW + USABLE_SECONDS)
    assert old.key(pepper_id, NOW + USABLE_SECONDS - 1) == pepper


def test_in_an_outage_the_known_peppers_work_and_the_others_stay_unknown() -> None:
    client = Client({"current": 1, "1": ONE})
    ours = peppers(client)
    ours.current(NOW)
    client.answer = OUTAGE
    for age in (300, 301, 329):
        assert ours.key(2, NOW + age) is None
        assert ours.key(1, NOW + age) == ONE.encode()
    assert client.calls == 2


def test_without_any_pepper_nothing_is_certain() -> None:
    with pytest.raises(Fault, match="InternalServiceError"):
        peppers(Client(OUTAGE)).key(1, NOW)
