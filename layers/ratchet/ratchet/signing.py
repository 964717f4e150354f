"""Who signs access tokens, in memory or in KMS, and who keeps the peppers."""

import json
from collections.abc import Callable, Mapping
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
        algorithm = _jws.get_algorithm_by_name(self.key.algorithm)
        return _jwt(self.key, claims, lambda message: algorithm.sign(message, self.key.private_key))


@dataclass(frozen=True, slots=True)
class _InKms:
    key: SigningKey
    kms_key: str
    kms: KmsKeys
    remote = True

    def __call__(self, claims: Mapping[str, Any]) -> str:
        def sign(message: bytes) -> bytes:
            return self.kms.sign(self.kms_key, self.key.algorithm, message)

        try:
            return _jwt(self.key, claims, sign)
        except Fault:
            events.count({}, {"SigningFaults": ("Count", 1)})
            raise


def _jwt(key: SigningKey, claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """RFC 7515 section 5.1; PyJWT's encode signs only with keys it has in its hands."""
    header = {"alg": key.algorithm, "kid": key.kid, "typ": TYPE}
    message = b".".join(base64url_encode(_to_json(part).encode()) for part in (header, claims))
    return b".".join((message, base64url_encode(sign(message)))).decode()


class _DeterministicEs256(ECAlgorithm):
    """RFC 6979: a weak random number, which ECDSA otherwise asks for, would tell the key."""

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        signature = key.sign(msg, ECDSA(self.hash_alg(), deterministic_signing=True))
        return der_to_raw_signature(signature, key.curve)


_to_json = json.JSONEncoder(separators=(",", ":")).encode
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
