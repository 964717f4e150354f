"""Verifying an access token (RFC 9068 section 4), and a whole request that carries one.

Authorization ─ one scheme, one token            400 invalid_request, 401 without an error
token ─ strict JWS, allowed algorithm, known key 401 invalid_token
      ─ typ at+jwt, issuer, audience, exp
      ─ bound to a key? its proof                401 invalid_dpop_proof
      ─ session alive?  (if asked for)           401 invalid_token, 503
      ─ scopes                                   403 insufficient_scope
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ratchet_verify import claims as claim_set
from ratchet_verify import dpop, jwk, jws
from ratchet_verify.claims import Claims
from ratchet_verify.jws import InvalidJWS
from ratchet_verify.key_set import KeySet, KeysUnavailable
from ratchet_verify.refusals import (
    ExpiredToken,
    InsufficientScope,
    InvalidProof,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    Unavailable,
)
from ratchet_verify.session_check import SessionCheck

TYPES = ("at+jwt", "application/at+jwt")
DEFAULT_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256")
CLOCK_SKEW_SECONDS = 5
"""RFC 7519 section 4.1.4 allows "some small leeway": the issuer's clock is another one."""


class Verifier:
    """Verifies the access tokens of one issuer for one API. Make one a process and share it.

    >>> verifier = Verifier("https://id.example.com", "https://api.example.com")
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        jwks_uri: str | None = None,
        jwks: Mapping[str, Any] | None = None,
        algorithms: Sequence[str] = DEFAULT_ALGORITHMS,
        session_check: SessionCheck | None = None,
        clock_skew_seconds: int = CLOCK_SKEW_SECONDS,
        key_set: KeySet | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """audience: what the tokens have to be for, any one of several.

        jwks: keys that never change, instead of those that the issuer publishes. session_check: for
        requests whose session must be alive. clock: epoch seconds.
        Raises ValueError for what would verify nothing, or everything.
        """
        self._issuer = issuer
        self._audience = frozenset([audience] if isinstance(audience, str) else audience)
        self._algorithms = tuple(algorithms)
        if not self._audience or not all(self._audience):
            raise ValueError("an audience is needed")
        if not self._algorithms or not set(self._algorithms) <= set(jwk.ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(jwk.ALGORITHMS)}")
        if jwks is None:
            remote = key_set or KeySet(issuer, jwks_uri)
            self._keys: Callable[[str | None, float], Sequence[jwk.PublicKey]] = remote.keys
        else:
            fixed = jwk.parse(jwks)
            if not fixed:
                raise ValueError("jwks has no key that verifies signatures")
            self._keys = lambda _kid, _now: fixed
        self._session_check = session_check
        self._skew = clock_skew_seconds
        self._clock = clock
        self._seen = dpop.SeenProofs()

    def verify(self, token: str) -> Claims:
        """The claims of a valid bearer token. Raises InvalidToken, ExpiredToken, Unavailable.

        One that is bound to a key is refused: it comes with a proof, so give `authenticate` the
        request (RFC 9449 section 7.2).
        """
        claims = self._verified(token, self._clock())
        if claims.jkt is not None:
            raise InvalidToken("bound to a key")
        return claims

    def authenticate(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        *,
        method: str,
        url: str,
        scopes: Iterable[str] = (),
        session: bool = False,
    ) -> Claims:
        """The claims of the access token that a request carries. Raises a Refusal.

        url: of the request as its client sees it, for proofs. scopes: all of them are needed.
        session: ask whether the session is alive; needs a session_check.
        """
        now = self._clock()
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        scheme, token = _credentials(_values(pairs, "authorization"))
        bound = scheme == "DPoP"
        try:
            claims = self._verified(token, now)
            if (claims.jkt is not None) != bound:
                # "MUST reject a DPoP-bound access token received as a bearer token" (section 7.2)
                raise InvalidToken("the scheme does not fit the token")
            if claims.jkt is not None:
                proofs = _values(pairs, "dpop")
                if len(proofs) > 1:
                    raise InvalidProof("more than one")
                dpop.check(
                    proofs[0] if proofs else None,
                    token=token,
                    jkt=claims.jkt,
                    method=method,
                    url=url,
                    seen=self._seen,
                    now=now,
                )
            if session:
                if self._session_check is None:
                    raise ValueError("session=True needs a session_check")
                self._session_check.check(token, claims, now)
            needed = sorted(scopes)
            if not claims.scopes.issuperset(needed):
                raise InsufficientScope(needed)
        except (InvalidToken, InsufficientScope) as refusal:
            # Who came with DPoP is challenged with DPoP.
            refusal.scheme = "DPoP" if bound else "Bearer"
            raise
        return claims

    def _verified(self, token: str, now: float) -> Claims:
        try:
            header, payload = jws.verify(
                token, lambda kid: self._keys(kid, now), algorithms=self._algorithms
            )
            if str(header.get("typ", "")).lower() not in TYPES:
                raise InvalidToken("typ")
            claims = claim_set.read(jws.json_object(payload))
        except InvalidJWS as invalid:
            raise InvalidToken(str(invalid)) from None
        except KeysUnavailable as away:
            raise Unavailable(str(away)) from None
        if claims.issuer != self._issuer:
            raise InvalidToken("issuer")
        if self._audience.isdisjoint(claims.audience):
            raise InvalidToken("audience")
        if claims.all.get("nbf", 0) > now + self._skew or claims.issued_at > now + 60 + self._skew:
            raise InvalidToken("not yet")
        if now >= claims.expires_at + self._skew:
            raise ExpiredToken("expired")
        return claims


def _values(pairs: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for header, value in pairs if header.lower() == name]


def _credentials(values: list[str]) -> tuple[str, str]:
    """Scheme and token (RFC 9110 section 11.4; schemes have no case)."""
    if not values:
        raise MissingToken
    words = values[0].split(" ")
    scheme = {"bearer": "Bearer", "dpop": "DPoP"}.get(words[0].lower())
    if scheme is None and len(values) == 1:
        raise MissingToken("another scheme")
    # API Gateway joins repeated headers with a comma, which no token has in it.
    if len(values) > 1 or len(words) != 2 or not words[1] or "," in words[1] or scheme is None:
        raise InvalidRequest("not a scheme and one token")
    return scheme, words[1]
