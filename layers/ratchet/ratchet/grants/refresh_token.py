"""RFC 6749 section 6, at the token endpoint and at POST /oauth/refresh alike."""

from typing import Any

from ratchet import dpop, refresh_token
from ratchet.client_authentication import authenticate
from ratchet.dead_sessions import REMEMBERED_SECONDS
from ratchet.errors import Fault, InvalidGrant, UnauthorizedClient
from ratchet.parts import Parts
from ratchet.refresh import refresh
from ratchet.request import Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    """refresh_token; optionally scope, resource and the Idempotency-Key header.

    Errors: see `refresh`.
    """
    form = request.form()
    # First what costs nothing: garbage and expired tokens are refused before any lookup.
    token = refresh_token.parse(form.required("refresh_token"), peppers=parts.peppers, now=now)
    application = authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    allowed = "refresh_token" in application.grant_types and application.policy.refresh_tokens
    if not allowed:
        raise UnauthorizedClient("grant not allowed", client_id=application.client_id)
    about: dict[str, Any] = {"sid": token.sid, "client_id": application.client_id}
    if reason := parts.dead_sessions.reason(**about, now=now):
        # A client that comes back with a token it was told is dead costs no write.
        raise InvalidGrant(reason, "known", retry_after_seconds=REMEMBERED_SECONDS, **about)
    try:
        return refresh(
            token,
            application,
            proof=dpop.proof(request, peppers=parts.peppers, now=now),
            scopes=form.scopes(),
            resources=form.resources(),
            idempotency_key=request.idempotency_key(),
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
