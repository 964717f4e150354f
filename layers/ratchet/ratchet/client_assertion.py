"""private_key_jwt: an application proves itself with a JWT it has signed (RFC 7523 section 2.2)."""

from hashlib import sha256
from secrets import token_bytes

from ratchet import jwk_set
from ratchet.application import Application
from ratchet.assertion import (
    Assertion,
    RefusedAssertion,
    audiences,
    check_times,
    parse,
    verify_signature,
)
from ratchet.provider_keys import ProviderKeys
from ratchet.request import Request
from ratchet.single_use import SingleUse

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPES = ("client-authentication+jwt",)
MAX_AGE_SECONDS = 600


class ClientAssertions:
    """Checks client assertions. `single_use` has those that were used, until they expire."""

    def __init__(self, keys: ProviderKeys, single_use: SingleUse) -> None:
        self._keys = keys
        self._single_use = single_use

    def check(
        self, assertion: Assertion, application: Application, request: Request, now: int
    ) -> int:
        """Checks everything but that it is used once. Returns its last second.

        Raises RefusedAssertion, Fault (the application's keys cannot be fetched).
        """
        if not application.has_keys:
            raise RefusedAssertion("the application has no keys")
        kid, algorithm = assertion.kid, assertion.algorithm
        if application.jwks:
            key = jwk_set.choose(jwk_set.parse(application.jwks), kid=kid, algorithm=algorithm)
        else:
            key = self._keys.of_uri(application.jwks_uri, kid=kid, algorithm=algorithm, now=now)
        if key is None:
            raise RefusedAssertion("unknown kid")
        verify_signature(assertion, key)
        # RFC 7523bis wants the issuer and nothing else, OpenID Connect Core section 9 the token
        # endpoint, and some libraries name the address they call. All are ours alone. A second
        # audience could use the assertion with us.
        paths = ("", "/oauth/token", request.resource)
        if audiences(assertion.claims) not in [[request.issuer + path] for path in paths]:
            raise RefusedAssertion("wrong aud")
        assertion.text_claim("jti")
        return check_times(
            assertion.claims, max_age_seconds=MAX_AGE_SECONDS, now=now, iat_required=False
        )

    def use(self, assertion: Assertion, request: Request, last_at: int) -> None:
        """Uses the assertion up: for this request, which may be repeated with its Idempotency-Key.

        Raises RefusedAssertion for another one, Fault.
        """
        key = request.idempotency_key()
        same = token_bytes(32)
        if key is not None:
            parts = (key.encode(), request.resource.encode(), request.body)
            same = sha256(b"".join(sha256(part).digest() for part in parts)).digest()
        if not self._single_use.use(assertion.identity(), request=same, expires_at=last_at + 1):
            raise RefusedAssertion("used before")


def parse_client_assertion(text: str) -> tuple[Assertion, str]:
    """The assertion and the client id it is of, unproven (section 3: iss and sub are both that).

    Raises RefusedAssertion.
    """
    assertion = parse(text, types=TYPES)
    client_id = assertion.text_claim("iss")
    if assertion.text_claim("sub") != client_id:
        raise RefusedAssertion("iss and sub differ")
    return assertion, client_id
