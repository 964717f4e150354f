"""Public keys (RFC 7517), each with the algorithms it may verify. No I/O.

An algorithm belongs to a key, never to a token (RFC 8725 section 3.1): a token's header only names
one of those that its key can have. No `none` and no HS*: who can verify cannot sign.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS = (*RSA_ALGORITHMS, *EC_ALGORITHMS.values(), "EdDSA")
MAX_KEYS = 100
_RSA_BITS = range(2048, 8193)
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# CVE-2017-15361 (ROCA): the modulus of such a key is a power of 65537 modulo every small prime.
_PRIMES = [n for n in range(3, 168, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2))]
_POWERS = {p: {pow(65537, power, p) for power in range(p)} for p in _PRIMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """kid: None if it was given none. algorithms: what it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any = field(repr=False)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        if algorithm not in self.algorithms:
            return False
        return jwt.get_algorithm_by_name(algorithm).verify(signed, self.key, signature)


def parse(document: Any) -> tuple[PublicKey, ...]:
    """The keys of a JWK set that verify signatures; others are left out (section 5).

    Raises ValueError for what is no JWK set.
    """
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"no JWK set of at most {MAX_KEYS} keys")
    return tuple(key for key in map(public_key, keys) if key is not None)


def public_key(jwk: Any) -> PublicKey | None:
    """The key of one JWK, None if it is not a sound one to verify signatures with."""
    if not isinstance(jwk, Mapping) or _PRIVATE & jwk.keys():
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kid = jwk.get("kid")
    possible = _algorithms(jwk)
    if "alg" in jwk:
        possible = tuple(name for name in possible if name == jwk["alg"])
    if jwk.get("use", "sig") != "sig" or not possible or not isinstance(kid, str | None):
        return None
    try:
        key = jwt.PyJWK(dict(jwk), possible[0]).key
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
        return None
    if isinstance(key, rsa.RSAPublicKey) and not _sound(key):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey) and jwk["kty"] != "EC":
        return None
    return PublicKey(kid=kid, algorithms=frozenset(possible), key=key)


def choose(keys: Iterable[PublicKey], *, kid: str | None, algorithm: str) -> PublicKey | None:
    """The one key that a token's header means. None if there is none, or more than one."""
    meant = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    return meant[0] if len(meant) == 1 else None


def _algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    kind, curve = jwk.get("kty"), jwk.get("crv")
    # Characters of base64: the number is not made before its size is known.
    if kind == "RSA" and len(str(jwk.get("n"))) <= _RSA_BITS[-1] // 6 + 2:
        return RSA_ALGORITHMS
    if kind == "EC" and isinstance(curve, str) and curve in EC_ALGORITHMS:
        return (EC_ALGORITHMS[curve],)
    if (kind, curve) == ("OKP", "Ed25519"):
        return ("EdDSA",)
    return ()


def _sound(key: rsa.RSAPublicKey) -> bool:
    numbers = key.public_numbers()
    if key.key_size not in _RSA_BITS or not 2**16 < numbers.e < 2**32:
        return False
    return not all(numbers.n % prime in powers for prime, powers in _POWERS.items())
