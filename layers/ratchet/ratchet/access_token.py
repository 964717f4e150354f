"""Access tokens as RFC 9068 profiles them: their claims, and how this service checks its own."""

import secrets
from collections.abc import Mapping
from typing import Any

import jwt

from ratchet.application import Application
from ratchet.errors import ExpiredToken, InvalidToken
from ratchet.keys import SigningKeys
from ratchet.session import Session

TYPE = "at+jwt"

# A token comes back to us from the outside; ours are about 1 KB.
MAX_LENGTH = 8192

# Claims this service sets itself, and those a verifier gives a meaning to: not for custom claims.
RESERVED = frozenset(
    {
        *("iss", "sub", "aud", "client_id", "iat", "nbf", "exp", "jti", "scope", "sid"),
        *("auth_time", "amr", "acr", "azp", "cnf", "act", "may_act", "events", "typ", "nonce"),
        # what introspection says besides
        *("active", "username", "token_type", "idle_deadline_at", "absolute_deadline_at"),
    }
)


def session_claims(
    session: Session,
    application: Application,
    *,
    scopes: frozenset[str],
    resources: frozenset[str],
    issuer: str,
    now: int,
    jkt: str | None = None,
) -> dict[str, Any]:
    """Claims of an access token that belongs to a session; it never outlives the session.

    resources: what this one is for, none for all that the session's tokens may be for.
    jkt: of the key to bind it to where the session itself is bound to none.
    """
    audience = resources or audience_of(session, application, issuer)
    expires_at = min(now + application.policy.access_ttl_seconds, session.absolute_deadline_at)
    return {
        **session.claims,
        **_claims(application, session.sub, scopes, audience, issuer, now),
        "exp": expires_at,
        "sid": session.sid,
        **authentication(session),
        **confirmation(session.jkt or jkt),
    }


def audience_of(session: Session, application: Application, issuer: str) -> frozenset[str]:
    """What tokens of this session may be for: the resources it was granted (RFC 8707 section 2.2).

    Without any it follows its application.
    """
    return session.resources or application.allowed_resources(issuer)


def authentication(session: Session) -> dict[str, Any]:
    """auth_time, and amr and acr if there are any.

    They stay those of the sign-in through every refresh (RFC 9068 section 2.2.1).
    """
    about: dict[str, Any] = {"auth_time": session.auth_time}
    if session.amr:
        about["amr"] = list(session.amr)
    if session.acr:
        about["acr"] = session.acr
    return about


def client_claims(
    application: Application,
    *,
    scopes: frozenset[str],
    resources: frozenset[str],
    issuer: str,
    now: int,
    jkt: str | None = None,
) -> dict[str, Any]:
    """Claims of an access token that an application gets for itself: sub is the client id.

    No user's token looks like it: only tokens of sessions have a sid (RFC 9700 section 4.15.1).
    """
    audience = resources or application.allowed_resources(issuer)
    claims = _claims(application, application.client_id, scopes, audience, issuer, now)
    expires_at = now + application.policy.access_ttl_seconds
    return {**claims, "exp": expires_at, **confirmation(jkt)}


def confirmation(jkt: str | None) -> dict[str, Any]:
    """The claim that binds a token to a key (RFC 9449 section 6.1), none without one."""
    return {} if jkt is None else {"cnf": {"jkt": jkt}}


def bound_to(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the key that a verified token is bound to."""
    jkt: str | None = claims.get("cnf", {}).get("jkt")
    return jkt


def token_type(claims: Mapping[str, Any]) -> str:
    """RFC 9449 section 5: "DPoP" tells the client that the token is bound."""
    return "Bearer" if bound_to(claims) is None else "DPoP"


def _claims(
    application: Application,
    sub: str,
    scopes: frozenset[str],
    audience: frozenset[str],
    issuer: str,
    now: int,
) -> dict[str, Any]:
    first, *others = sorted(audience)
    return {
        "iss": issuer,
        "sub": sub,
        "aud": [first, *others] if others else first,
        "client_id": application.client_id,
        "iat": now,
        "jti": secrets.token_urlsafe(16),
        "scope": " ".join(sorted(scopes)),
    }


def verify(token: str, *, keys: SigningKeys, issuer: str, now: int) -> Mapping[str, Any]:
    """The claims of a valid access token of ours, whatever its audience (RFC 9068 section 4).

    Raises InvalidToken. Whether its session still lives is for the caller to ask.
    """
    if len(token) > MAX_LENGTH:
        raise InvalidToken("too long")
    try:
        header = jwt.get_unverified_header(token)
        # kid only picks one of our own keys, and that key knows its one algorithm (RFC 8725
        # section 3.1): the header's alg, jku, jwk and x5u have no say.
        key = keys.find(header.get("kid"))
        if key is None:
            raise InvalidToken("unknown kid")
        if str(header.get("typ", "")).lower().removeprefix("application/") != TYPE:
            raise InvalidToken("wrong typ")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public_key,
            algorithms=[key.algorithm],
            issuer=issuer,
            # Time is an argument here, so exp is checked below.
            options={
                "require": ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"],
                "verify_aud": False,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, UnicodeEncodeError) as error:
        raise InvalidToken(type(error).__name__) from None
    if type(claims["exp"]) is not int or now >= claims["exp"]:
        raise ExpiredToken("expired", sid=claims.get("sid"))
    return claims
