"""Public keys of others: a JWK set (RFC 7517 section 5), each key with what it may verify. No I/O.

An algorithm belongs to a key, never to a token (RFC 8725 section 3.1): a token's header only picks
among the algorithms that the key it names can have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ratchet.attributes import Rule

RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
EC_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALGORITHMS = (*RSA_ALGORITHMS, *EC_ALGORITHMS.values())
"""Signatures only: nobody who can verify can sign, so there is no `none` and no HS*."""

MAX_KEYS = 100
MAX_REGISTERED = 10
MIN_RSA_BITS = 2048
MAX_MODULUS_CHARACTERS = 8192 // 6 + 2
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """kid: None when the set gives it none. algorithms: what it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any = field(repr=False)


def parse(document: Any) -> tuple[PublicKey, ...]:
    """The keys of a set that can verify signatures; others are left out (section 5).

    Raises ValueError for what is no JWK set.
    """
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"no JWK set of at most {MAX_KEYS} keys")
    return tuple(key for key in map(public_key, keys) if key is not None)


def public_key(jwk: Any) -> PublicKey | None:
    """The key of one JWK, or None if it is not one to verify signatures with."""
    if not isinstance(jwk, Mapping) or PRIVATE_MEMBERS & jwk.keys():
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if jwk.get("use", "sig") != "sig":
        return None
    possible = _possible_algorithms(jwk)
    if "alg" in jwk:
        possible = tuple(name for name in possible if name == jwk["alg"])
    kid = jwk.get("kid")
    if not possible or not isinstance(kid, str | None):
        return None
    try:
        key = jwt.PyJWK(dict(jwk), possible[0]).key
    except Exception:  # noqa: BLE001 - whatever is wrong with one key, the others must be of use
        return None
    if isinstance(key, rsa.RSAPublicKey):
        good = key.key_size >= MIN_RSA_BITS
    else:
        good = isinstance(key, ec.EllipticCurvePublicKey)
    return PublicKey(kid=kid, algorithms=frozenset(possible), key=key) if good else None


def _possible_algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    if jwk.get("kty") == "RSA" and len(str(jwk.get("n"))) <= MAX_MODULUS_CHARACTERS:
        return RSA_ALGORITHMS
    curve = jwk.get("crv")
    if jwk.get("kty") == "EC" and isinstance(curve, str) and curve in EC_ALGORITHMS:
        return (EC_ALGORITHMS[curve],)
    return ()


def choose(keys: Iterable[PublicKey], *, kid: str | None, algorithm: str) -> PublicKey | None:
    """The one key that a token's header means, or None.

    kid is only compared. A token without one is good only where one key is possible (OpenID Connect
    Core section 10.1).
    """
    meant = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    return meant[0] if len(meant) == 1 else None


def rules(document: Any) -> list[Rule]:
    """What has to hold for a set that an operator registers: each key in it is of use."""
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_REGISTERED:
        return [Rule("jwks", False, f"jwks must be a JWK set of 1 to {MAX_REGISTERED} keys")]
    private = [isinstance(jwk, Mapping) and bool(PRIVATE_MEMBERS & jwk.keys()) for jwk in keys]
    kids = {str(jwk.get("kid")) for jwk in keys if isinstance(jwk, Mapping)}
    return [
        Rule("jwks", not any(private), "jwks has a private key: replace it, it has been shown"),
        Rule(
            "jwks",
            all(
                public_key(jwk)
                for jwk, is_private in zip(keys, private, strict=True)
                if not is_private
            ),
            f"each key of jwks must be public, for signatures, and RSA of {MIN_RSA_BITS} bits or"
            " more, P-256, P-384 or P-521",
        ),
        Rule("jwks", len(kids) == len(keys), "each key of jwks needs a kid of its own"),
    ]
