"""DPoP proofs as a client makes them, with a library of others (joserfc)."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA"]


def new_key(algorithm: str = "ES256") -> Key:
    if algorithm == "ES256":
        return ECKey.generate_key("P-256")
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519")
    return RSAKey.generate_key(2048)


def jkt(key: Key) -> str:
    """The RFC 7638 thumbprint, as the client itself reckons it."""
    return key.thumbprint()


def ath(access_token: str) -> str:
    """RFC 9449 section 4.2."""
    return urlsafe_b64encode(sha256(access_token.encode()).digest()).decode().rstrip("=")


def proof(
    key: Key,
    method: str,
    url: str,
    *,
    now: int,
    nonce: str | None = None,
    access_token: str | None = None,
    algorithm: str = "ES256",
    header: Mapping[str, Any] | None = None,
    **claims: Any,
) -> str:
    """Whatever is in `header` and `claims` replaces what a proof has, None takes it out."""
    fields = {"typ": "dpop+jwt", "alg": algorithm, "jwk": key.as_dict(private=False)}
    payload = {
        "jti": secrets.token_urlsafe(12),
        "htm": method,
        "htu": url,
        "iat": now,
        "nonce": nonce,
        "ath": ath(access_token) if access_token else None,
    }
    return signed(key, {**fields, **(header or {})}, {**payload, **claims})


def signed(key: Key, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    import json

    fields = {name: value for name, value in header.items() if value is not None}
    payload = json.dumps({name: value for name, value in claims.items() if value is not None})
    registry = jws.JWSRegistry(algorithms=[fields["alg"]], strict_check_header=False)
    return jws.serialize_compact(fields, payload, key, registry=registry)
