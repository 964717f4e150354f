"""An assertion: a JWT that somebody else signed (RFC 7523 section 3). How it is read and checked.

Nothing here believes a header: `alg` and `kid` only pick a key that was configured, and a key has
its algorithms (RFC 8725 section 3.1). Headers that would bring a key along are refused.
"""

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn

import jwt

from ratchet.jwk_set import ALGORITHMS, PublicKey
from ratchet.reasons import Reason

MAX_LENGTH = 8192
"""Characters. ID tokens have 1 to 2 thousand."""
MAX_KID = 256
MAX_JTI = 1024
CLOCK_SKEW_SECONDS = 60
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# A header may not bring the key it is to be checked with (RFC 8725 section 3.10), and what `crit`
# names must be understood (RFC 7515 section 4.1.11); there is nothing that we would.
_REFUSED_HEADERS = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")


class RefusedAssertion(Exception):
    """reason: for the wire. The message is for the log and never quotes the assertion.

    log: more fields of the log line.
    """

    def __init__(self, detail: str, reason: Reason = Reason.ASSERTION_INVALID, **log: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        self.log = log


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What a JWT says. Nothing of it is true before `verify_signature`."""

    text: str = field(repr=False)
    algorithm: str
    kid: str | None
    claims: Mapping[str, Any] = field(repr=False)

    def text_claim(self, name: str) -> str:
        """A claim that is a text. Raises RefusedAssertion."""
        value = self.claims.get(name)
        if not isinstance(value, str) or not value:
            raise RefusedAssertion(f"no {name}")
        return value

    @property
    def signed_text(self) -> str:
        """Header and claims. A signature can be spelt differently and still be good."""
        return self.text.rpartition(".")[0]

    def identity(self) -> bytes:
        """32 bytes that a second use of this assertion has in common with the first.

        Issuer and `jti`; without one all that is signed.
        """
        jti = self.claims.get("jti")
        if isinstance(jti, str) and jti:
            if len(jti) > MAX_JTI:
                raise RefusedAssertion("jti too long")
            unique = f"jti {json.dumps([self.claims.get('iss'), jti])}"
        else:
            unique = f"all {self.signed_text}"
        return sha256(unique.encode()).digest()


def parse(text: str, *, types: Iterable[str]) -> Assertion:
    """Reads a JWS in compact form. types: besides "JWT", what its `typ` may be if it has one.

    Raises RefusedAssertion.
    """
    if len(text) > MAX_LENGTH:
        raise RefusedAssertion("too long")
    if not _COMPACT.fullmatch(text):
        raise RefusedAssertion("no signed JWT")
    encoded_header, encoded_claims, _ = text.split(".")
    header, claims = _object(encoded_header), _object(encoded_claims)
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise RefusedAssertion("alg not allowed")
    if brought := [name for name in _REFUSED_HEADERS if name in header]:
        raise RefusedAssertion(f"header {brought[0]}")
    if not isinstance(typ, str) or typ.lower() not in {"jwt", *types}:
        raise RefusedAssertion("wrong typ")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise RefusedAssertion("unusable kid")
    return Assertion(text=text, algorithm=algorithm, kid=kid, claims=claims)


def verify_signature(assertion: Assertion, key: PublicKey) -> None:
    """Raises RefusedAssertion."""
    if assertion.algorithm not in key.algorithms:
        raise RefusedAssertion("alg is not the key's")
    try:
        jwt.PyJWS().decode_complete(assertion.text, key.key, algorithms=[assertion.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        raise RefusedAssertion("wrong signature") from None


def check_times(
    claims: Mapping[str, Any], *, max_age_seconds: int, now: int, iat_required: bool
) -> int:
    """Checks exp, nbf and iat, and tells the last second at which the assertion is good.

    That is before `exp` and at most max_age_seconds after `iat` ("reject JWTs with an exp that is
    unreasonably far in the future", RFC 7523 section 3). Without an iat, exp itself must not be
    further away. Raises RefusedAssertion.
    """
    expires_at, issued_at, not_before = (instant(claims, n) for n in ("exp", "iat", "nbf"))
    if expires_at is None:
        raise RefusedAssertion("no exp")
    if issued_at is None and iat_required:
        raise RefusedAssertion("no iat")
    if now >= expires_at:
        raise RefusedAssertion("expired", Reason.ASSERTION_EXPIRED)
    if max(issued_at or 0, not_before or 0) > now + CLOCK_SKEW_SECONDS:
        raise RefusedAssertion("iat or nbf in the future")
    if issued_at is None:
        if expires_at > now + max_age_seconds + CLOCK_SKEW_SECONDS:
            raise RefusedAssertion("exp too far in the future, and no iat")
        return expires_at
    if now > issued_at + max_age_seconds:
        raise RefusedAssertion("iat too long ago", Reason.ASSERTION_EXPIRED)
    return min(expires_at, issued_at + max_age_seconds)


def audiences(claims: Mapping[str, Any]) -> list[str]:
    """`aud`, a text or a list of texts (RFC 7519 section 4.1.3). Raises RefusedAssertion."""
    value = claims.get("aud")
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(n, str) for n in found):
        raise RefusedAssertion("no aud")
    return found


def _object(encoded: str) -> dict[str, Any]:
    try:
        raw = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        value = json.loads(raw.decode(), object_pairs_hook=_members, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RefusedAssertion("unreadable") from None
    if not isinstance(value, dict):
        raise RefusedAssertion("unreadable")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 7519 section 4: a claim that is there twice may be refused; others may read the other one.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_number(_: str) -> NoReturn:
    raise ValueError


def instant(claims: Mapping[str, Any], name: str) -> int | None:
    """A NumericDate (RFC 7519 section 2), fractions left out, or None. Raises RefusedAssertion."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedAssertion(f"{name} is not an instant")
    return int(value)
