"""What a verified access token says (RFC 9068 section 2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ratchet_verify.jws import InvalidJWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """sub: the user, or the application itself (then there is no sid).

    sid: the session. scopes: what the token is good for. audience: the APIs it is for. issued_at,
    expires_at, auth_time: epoch seconds. amr, acr: how and how well the user signed in. jkt: the
    key it is bound to (RFC 9449), None for a bearer token. all: every claim, custom ones too.
    """

    sub: str
    client_id: str
    issuer: str
    audience: tuple[str, ...]
    scopes: frozenset[str]
    sid: str | None
    issued_at: int
    expires_at: int
    jti: str
    auth_time: int | None
    amr: tuple[str, ...]
    acr: str | None
    jkt: str | None
    all: Mapping[str, Any]


def read(claims: Mapping[str, Any]) -> Claims:
    """Checks types, not values. Raises InvalidJWS for one that is missing or of another type."""
    confirmation = claims.get("cnf", {})
    audience = claims.get("aud")
    listed = [audience] if isinstance(audience, str) else audience
    amr = claims.get("amr", [])
    good = (
        all(_text(claims.get(name)) for name in ("iss", "sub", "client_id", "jti"))
        and all(_instant(claims.get(name)) for name in ("iat", "exp"))
        and isinstance(listed, list)
        and all(map(_text, listed))
        and isinstance(claims.get("scope", ""), str)
        and all(_text(claims.get(name, "-")) for name in ("sid", "acr"))
        and _instant(claims.get("auth_time", 0))
        and _instant(claims.get("nbf", 0))
        and isinstance(amr, list)
        and all(map(_text, amr))
        and isinstance(confirmation, dict)
        and _text(confirmation.get("jkt", "-"))
    )
    # A confirmation method that we do not know must not be passed over (RFC 7800 section 3.1).
    if not good or confirmation.keys() - {"jkt"}:
        raise InvalidJWS("claims")
    return Claims(
        sub=claims["sub"],
        client_id=claims["client_id"],
        issuer=claims["iss"],
        audience=tuple(listed or ()),
        scopes=frozenset(claims.get("scope", "").split()),
        sid=claims.get("sid"),
        issued_at=int(claims["iat"]),
        expires_at=int(claims["exp"]),
        jti=claims["jti"],
        auth_time=claims.get("auth_time"),
        amr=tuple(amr),
        acr=claims.get("acr"),
        jkt=confirmation.get("jkt"),
        all=claims,
    )


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _instant(value: Any) -> bool:
    # NumericDate may have a fraction (RFC 7519 section 2); bool is an int, infinity a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
