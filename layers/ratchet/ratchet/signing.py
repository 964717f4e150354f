"""Who signs access tokens, in memory or in KMS, and who keeps the peppers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_encode, der_to_raw_signature

from ratchet import events
from ratchet.access_token import TYPE
from ratchet.errors import Fault
from ratchet.keys import PepperSet, SigningKey, SigningKeys
from ratchet.kms_keys import KmsKeys
from ratchet.secret_cache import CachedSecret


class Sign(Protocol):
    """Makes a signed JWT of claims.

    remote: it asks KMS and may raise Fault, so a flow calls it before it writes anything. Otherwise
    it only computes and cannot fail.
    """

    @property
    def remote(self) -> bool: ...

    def __call__(self, claims: Mapping[str, Any]) -> str: ...


class Signer(Protocol):
    """Signs access tokens and knows the keys that verify them."""

    def prepare(self, now: int) -> Sign:
        """How to sign from now on, asked for before a flow writes anything. Raises Fault."""

    def keys(self, now: int) -> SigningKeys:
        """The published keys. Raises Fault."""


class SecretSigner:
    """Signs with the key in the slot `current` of the secret, wherever its private half is."""

    def __init__(self, secret: CachedSecret[SigningKeys], kms: KmsKeys) -> None:
        self._secret = secret
        self._kms = kms

    def keys(self, now: int) -> SigningKeys:
        return self._secret.get(now)

    def prepare(self, now: int) -> Sign:
        return signs_with(self._secret.get(now).current, self._kms)


def signs_with(key: SigningKey, kms: KmsKeys) -> Sign:
    return _InMemory(key) if key.kms_key is None else _InKms(key, key.kms_key, kms)


@dataclass(frozen=True, slots=True)
class _InMemory:
    key: SigningKey
    remote = False

    def __call__(self, claims: Mapping[str, Any]) -> str:
        payload = json.dumps(claims, separators=(",", ":")).encode()
        headers = {"typ": TYPE, "kid": self.key.kid}
        return _jws.encode(payload, self.key.private_key, self.key.algorithm, headers)


@dataclass(frozen=True, slots=True)
class _InKms:
    key: SigningKey
    kms_key: str
    kms: KmsKeys
    remote = True

    def __call__(self, claims: Mapping[str, Any]) -> str:
        """RFC 7515 section 5.1; PyJWT signs only with keys it has in its hands."""
        header = {"alg": self.key.algorithm, "kid": self.key.kid, "typ": TYPE}
        message = b".".join(
            base64url_encode(json.dumps(part, separators=(",", ":")).encode())
            for part in (header, claims)
        )
        try:
            signature = self.kms.sign(self.kms_key, self.key.algorithm, message)
        except Fault:
            events.count({}, {"SigningFaults": ("Count", 1)})
            raise
        return b".".join((message, base64url_encode(signature))).decode()


class _DeterministicEs256(ECAlgorithm):
    """RFC 6979: a weak random number, which ECDSA otherwise asks for, would tell the key."""

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        signature = key.sign(msg, ECDSA(self.hash_alg(), deterministic_signing=True))
        return der_to_raw_signature(signature, key.curve)


_jws = jwt.PyJWS()
_jws.unregister_algorithm("ES256")
_jws.register_algorithm("ES256", _DeterministicEs256(ECAlgorithm.SHA256))


class SecretPeppers:
    """The peppers of the secret; implements `refresh_token.Peppers`."""

    def __init__(self, secret: CachedSecret[PepperSet]) -> None:
        self._secret = secret

    def current(self, now: int) -> tuple[int, bytes]:
        peppers = self._secret.get(now)
        return peppers.current, peppers.by_id[peppers.current]

    def key(self, pepper_id: int, now: int) -> bytes | None:
        return self._secret.get(now).by_id.get(pepper_id)
