"""RFC 7523 section 2.1: an ID token of an issuer that the application trusts is the grant."""

from ratchet import dpop
from ratchet.application import JWT_BEARER
from ratchet.assertion import RefusedAssertion
from ratchet.client_authentication import authenticate
from ratchet.errors import InvalidGrant
from ratchet.id_token import check_grant, session_of_id_token
from ratchet.parts import Parts
from ratchet.refresh_cookie import delivery
from ratchet.request import Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    """assertion, optionally scope, resource, device and the Idempotency-Key header.

    Errors: see `authenticate` and `session_of_id_token`.
    """
    form = request.form()
    text = form.required("assertion")
    key = dpop.proof(request, peppers=parts.peppers, now=now)
    application = authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    check_grant(application, JWT_BEARER)
    deliver = delivery(request, application)
    try:
        answer = session_of_id_token(
            text,
            application,
            request,
            form,
            key=key,
            applications=parts.applications,
            provider_keys=parts.provider_keys,
            store=parts.store,
            signer=parts.signer,
            peppers=parts.peppers,
            claims_hook=parts.claims_hook,
            bus=parts.bus,
            now=now,
        )
    except RefusedAssertion as refused:
        # section 3.1: "the value of the "error" parameter MUST be the "invalid_grant" error code"
        about = {"client_id": application.client_id, **refused.log}
        raise InvalidGrant(refused.reason, refused.detail, **about) from None
    return deliver(answer)
