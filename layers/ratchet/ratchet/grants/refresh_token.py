"""RFC 6749 section 6, at the token endpoint and at POST /oauth/refresh alike."""

from typing import Any

from ratchet import dpop, refresh_token
from ratchet.application import Application
from ratchet.client_authentication import authenticate
from ratchet.dead_sessions import REMEMBERED_SECONDS
from ratchet.dpop import DPoPProof
from ratchet.errors import Fault, InvalidGrant, OAuthError, UnauthorizedClient
from ratchet.parts import Parts
from ratchet.reasons import Reason
from ratchet.refresh import refresh
from ratchet.refresh_cookie import asks_for_cookie, refresh_cookie
from ratchet.refresh_token import RefreshToken
from ratchet.request import Parameters, Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    """refresh_token or the cookie; optionally scope, resource and the Idempotency-Key header.

    Errors: see `refresh` and `refresh_cookie`.
    """
    form = request.form()
    if asks_for_cookie(request):
        return _with_cookie(request, form, parts, now)
    # First what costs nothing: garbage and expired tokens are refused before any lookup.
    token = refresh_token.parse(form.required("refresh_token"), peppers=parts.peppers, now=now)
    try:
        # before a client assertion is used up: the same request has to be good with another nonce
        proof = dpop.proof(request, peppers=parts.peppers, now=now)
        application = _application(request, form, parts, now)
        return _rotate(token, proof, application, request, form, parts, now)
    except (OAuthError, Fault) as refusal:
        # The token is genuine, so the line is about its session, whoever presents it.
        refusal.log.setdefault("sid", token.sid)
        raise


def _with_cookie(request: Request, form: Parameters, parts: Parts, now: int) -> Response:
    """The answer's refresh token goes into the cookie; the request's comes from there.

    Unless it is in the body: so a page moves a session into the cookie that its backend started.
    """
    proof = dpop.proof(request, peppers=parts.peppers, now=now)
    application = _application(request, form, parts, now)
    cookie = refresh_cookie(request, application)
    in_body, in_cookie = form.text("refresh_token"), cookie.value(request)
    presented = in_body or in_cookie
    if presented is None:
        raise InvalidGrant(Reason.NO_COOKIE, client_id=application.client_id)
    try:
        try:
            token = refresh_token.parse(presented, peppers=parts.peppers, now=now)
        except InvalidGrant as refusal:
            # A pepper that is missing may come back.
            refusal.final = refusal.reason is not Reason.UNKNOWN_PEPPER
            raise
        return cookie.carry(_rotate(token, proof, application, request, form, parts, now))
    except InvalidGrant as refusal:
        # Only where it can never work again: no race, no outage, no mistake in a request or in an
        # application, no clock of one instance takes the cookie away.
        if in_body is None and refusal.final:
            refusal.cookies = (cookie.cleared(),)
        raise


def _application(request: Request, form: Parameters, parts: Parts, now: int) -> Application:
    return authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )


def _rotate(
    token: RefreshToken,
    proof: DPoPProof | None,
    application: Application,
    request: Request,
    form: Parameters,
    parts: Parts,
    now: int,
) -> Response:
    allowed = "refresh_token" in application.grant_types and application.policy.refresh_tokens
    if not allowed:
        raise UnauthorizedClient("grant not allowed", client_id=application.client_id)
    about: dict[str, Any] = {"sid": token.sid, "client_id": application.client_id}
    if reason := parts.dead_sessions.reason(**about, now=now):
        # A client that comes back with a token it was told is dead costs no write.
        raise InvalidGrant(
            reason, "known", final=True, retry_after_seconds=REMEMBERED_SECONDS, **about
        )
    try:
        return refresh(
            token,
            application,
            proof=proof,
            scopes=form.scopes(),
            resources=form.resources(),
            idempotency_key=request.idempotency_key(),
            sender=request.sender,
            issuer=request.issuer,
            store=parts.store,
            signer=parts.signer,
            peppers=parts.peppers,
            bus=parts.bus,
            now=now,
        )
    except Fault as fault:
        # so that after an outage the log tells whom it hit
        fault.log |= about
        raise
    except InvalidGrant as refusal:
        if refusal.final:
            parts.dead_sessions.remember(**about, reason=refusal.reason, now=now)
        raise
