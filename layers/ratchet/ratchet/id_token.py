"""Sign-in with an ID token: a JWT of an identity provider becomes a session here.

The rules are those of RFC 7523 section 3 and of OpenID Connect Core section 3.1.3.7.
"""

from collections.abc import Mapping
from typing import Any

from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.assertion import (
    CLOCK_SKEW_SECONDS,
    Assertion,
    RefusedAssertion,
    audiences,
    check_times,
    instant,
    parse,
    verify_signature,
)
from ratchet.dpop import DPoPProof
from ratchet.errors import Fault, UnauthorizedClient
from ratchet.events import Bus
from ratchet.hook import Hook
from ratchet.issue import MAX_ACR, SignIn, start_session
from ratchet.proof import Proof
from ratchet.provider_keys import ProviderKeys
from ratchet.refresh_token import Peppers
from ratchet.request import Parameters, Request
from ratchet.response import Response
from ratchet.session import MAX_SUB
from ratchet.signing import Signer
from ratchet.store import SessionStore
from ratchet.trusted_issuer import TrustedIssuer

TYPES = ("authorization-grant+jwt",)
MAX_METHODS = 8


def session_of_id_token(
    text: str,
    application: Application,
    request: Request,
    form: Parameters,
    *,
    key: DPoPProof | None,
    applications: Applications,
    provider_keys: ProviderKeys,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    claims_hook: Hook | None,
    bus: Bus,
    now: int,
) -> Response:
    """A session of this application for the subject of an ID token of an issuer that it trusts.

    form: scope, resource and device, all optional. key: the DPoP proof of the request, if it had
    one. Raises RefusedAssertion, what `start_session` raises, and Fault, also when the issuer's
    keys cannot be had.
    """
    assertion = parse(text, types=TYPES)
    try:
        trusted = _verified(assertion, application, provider_keys, now)
    except Fault as fault:
        fault.log |= {"client_id": application.client_id}
        raise
    subject = _subject(assertion.claims, trusted)
    # An application's own tokens carry its client id as sub (RFC 9700 section 4.15.1).
    if applications.get(subject, now) is not None:
        raise RefusedAssertion("the subject is the id of an application")
    sign_in = SignIn(
        sub=subject,
        scopes=form.scopes(),
        resources=form.resources(),
        auth_time=_auth_time(assertion.claims, now),
        amr=_amr(assertion.claims),
        acr=_acr(assertion.claims),
        device=form.text("device") or "",
        jkt=key.jkt if key else None,
    )
    proof = Proof(
        identity=assertion.identity(),
        text=assertion.signed_text,
        idempotency_key=request.idempotency_key(),
    )
    return start_session(
        sign_in,
        application,
        issuer=request.issuer,
        store=store,
        signer=signer,
        peppers=peppers,
        claims_hook=claims_hook,
        bus=bus,
        now=now,
        sender=request.sender,
        proof=proof,
    )


def check_grant(application: Application, grant_type: str) -> None:
    """Raises UnauthorizedClient."""
    if grant_type not in application.grant_types:
        raise UnauthorizedClient("grant not allowed", client_id=application.client_id)


def _verified(
    assertion: Assertion, application: Application, provider_keys: ProviderKeys, now: int
) -> TrustedIssuer:
    issuer = assertion.text_claim("iss")
    trusted = next((entry for entry in application.trusted_issuers if entry.issuer == issuer), None)
    if trusted is None:
        raise RefusedAssertion("iss not trusted")
    if assertion.algorithm not in trusted.algorithms:
        raise RefusedAssertion("alg not allowed")
    key = provider_keys.of_issuer(
        trusted, kid=assertion.kid, algorithm=assertion.algorithm, now=now
    )
    if key is None:
        raise RefusedAssertion("unknown kid")
    verify_signature(assertion, key)
    _check_audience(assertion.claims, trusted)
    check_times(
        assertion.claims, max_age_seconds=trusted.max_age_seconds, now=now, iat_required=True
    )
    for name, wanted in trusted.required_claims.items():
        if not _has(assertion.claims.get(name), wanted):
            raise RefusedAssertion(f"claim {name}")
    return trusted


def _check_audience(claims: Mapping[str, Any], trusted: TrustedIssuer) -> None:
    named = audiences(claims)
    if not set(named) & set(trusted.audience):
        raise RefusedAssertion("wrong aud")
    # OpenID Connect Core section 3.1.3.7: of several audiences azp is the one it was issued to.
    if len(named) > 1 and claims.get("azp") not in trusted.audience:
        raise RefusedAssertion("several aud, and azp is not ours")


def _has(value: Any, wanted: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    accepted = wanted if isinstance(wanted, list) else [wanted]
    # true is not 1, and not "true" either
    return any(type(one) is type(other) and one == other for one in values for other in accepted)


def _subject(claims: Mapping[str, Any], trusted: TrustedIssuer) -> str:
    value = claims.get(trusted.subject_claim)
    if not isinstance(value, str) or not value:
        raise RefusedAssertion(f"no {trusted.subject_claim}")
    subject = trusted.subject_prefix + value
    if len(subject) > MAX_SUB or not subject.isprintable() or subject.strip() != subject:
        raise RefusedAssertion(f"unusable {trusted.subject_claim}")
    return subject


def _auth_time(claims: Mapping[str, Any], now: int) -> int:
    """When the user signed in at the provider; at the earliest it can be if it does not say."""
    for name in ("auth_time", "iat"):
        at = instant(claims, name)
        if at is not None:
            if not 0 < at <= now + CLOCK_SKEW_SECONDS:
                raise RefusedAssertion(f"{name} in the future")
            return at
    return now


def _amr(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """How the user signed in, as far as it is said in names like those of RFC 8176."""
    given = claims.get("amr")
    methods = given if isinstance(given, list) else []
    known = [m for m in methods if isinstance(m, str) and m.isascii() and m.isalnum()]
    return tuple(method for method in known if len(method) <= 16)[:MAX_METHODS]


def _acr(claims: Mapping[str, Any]) -> str:
    """How well, in the provider's own classes, if they can be kept."""
    acr = claims.get("acr")
    usable = isinstance(acr, str) and acr.isascii() and acr.isprintable() and " " not in acr
    return str(acr) if usable and len(str(acr)) <= MAX_ACR else ""
