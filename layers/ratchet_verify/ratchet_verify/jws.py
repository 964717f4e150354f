"""Signed tokens in compact form (RFC 7515 section 7.1), read as strictly as RFC 8725 asks."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from ratchet_verify.jwk import PublicKey, choose

MAX_LENGTH = 8192
"""Characters of a token. API Gateway takes 10,240 bytes of headers in all."""
MAX_HEADER = 1024
MAX_KID = 256
# A header may not bring the key it is checked with (RFC 8725 section 3.10), and what `crit` names
# must be understood (RFC 7515 section 4.1.11): there is nothing that we would.
_REFUSED = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")

Keys = Callable[[str | None], Sequence[PublicKey]]
"""The keys among which the one with this kid may be."""


class InvalidJWS(Exception):
    """The message says what is wrong, and quotes nothing."""


def verify(token: str, keys: Keys, *, algorithms: Sequence[str]) -> tuple[Mapping[str, Any], bytes]:
    """Header and payload of a token whose signature is good. Raises InvalidJWS."""
    header, payload, signature = split(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise InvalidJWS("alg")
    if not isinstance(kid, str | None) or len(kid or "") > MAX_KID:
        raise InvalidJWS("kid")
    if refused := [name for name in _REFUSED if name in header]:
        raise InvalidJWS(refused[0])
    key = choose(keys(kid), kid=kid, algorithm=algorithm)
    if key is None:
        raise InvalidJWS("unknown kid")
    check(key, algorithm, token, signature)
    return header, payload


def check(key: PublicKey, algorithm: str, token: str, signature: bytes) -> None:
    """Raises InvalidJWS unless the signature over the token's first two parts is the key's."""
    signed = token.rpartition(".")[0].encode()
    try:
        good = key.verifies(algorithm, signed, signature)
    except (jwt.PyJWTError, TypeError, ValueError):
        good = False
    if not good:
        raise InvalidJWS("signature")


def split(token: str) -> tuple[Mapping[str, Any], bytes, bytes]:
    """Header, payload and signature, unchecked. Raises InvalidJWS."""
    if len(token) > MAX_LENGTH:
        raise InvalidJWS("length")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidJWS("parts")
    header, payload, signature = map(_decoded, parts)
    if len(header) > MAX_HEADER:
        raise InvalidJWS("length of the header")
    return json_object(header), payload, signature


def json_object(text: bytes) -> Mapping[str, Any]:
    """A JSON object in UTF-8 whose names are unique (RFC 7515 section 4). Raises InvalidJWS."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise InvalidJWS("JSON") from None
    if not isinstance(value, dict):
        raise InvalidJWS("JSON")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _decoded(part: str) -> bytes:
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise InvalidJWS("base64url") from None
    # One value has one spelling: nothing is passed over, and the last character's spare bits are 0.
    if urlsafe_b64encode(raw).decode().rstrip("=") != part:
        raise InvalidJWS("base64url")
    return raw
