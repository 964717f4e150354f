"""RFC 8693: an ID token of an issuer that the application trusts for tokens of ours."""

from dataclasses import replace
from typing import Any

from ratchet import dpop
from ratchet.application import TOKEN_EXCHANGE
from ratchet.assertion import RefusedAssertion
from ratchet.client_authentication import authenticate
from ratchet.errors import InvalidRequest, InvalidSubjectToken, InvalidTarget
from ratchet.id_token import check_grant, session_of_id_token
from ratchet.parts import Parts
from ratchet.refresh_cookie import asks_for_cookie, delivery
from ratchet.request import Parameters, Request
from ratchet.response import Response

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - a name, no secret
ACCESS_TOKEN = f"{TOKEN_TYPE}access_token"
REFRESH_TOKEN = f"{TOKEN_TYPE}refresh_token"
SUBJECT_TOKEN_TYPES = (f"{TOKEN_TYPE}id_token", f"{TOKEN_TYPE}jwt")


def respond(request: Request, parts: Parts, now: int) -> Response:
    """subject_token, subject_token_type, optionally requested_token_type, scope, resource, device
    and the Idempotency-Key header. Errors: see `authenticate` and `session_of_id_token`.
    """
    form = request.form()
    text, requested = _asked_for(form)
    key = dpop.proof(request, peppers=parts.peppers, now=now)
    application = authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    check_grant(application, TOKEN_EXCHANGE)
    if requested == REFRESH_TOKEN and asks_for_cookie(request):
        raise InvalidRequest("requested_token_type and the cookie exclude each other.")
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
        about = {"client_id": application.client_id, **refused.log}
        raise InvalidSubjectToken(refused.reason, refused.detail, **about) from None
    answer = deliver(answer)
    return replace(answer, body=_body(dict(answer.body or {}), requested))


def _asked_for(form: Parameters) -> tuple[str, str]:
    """Section 2.1. Subject token and requested token type."""
    text = form.required("subject_token")
    if form.required("subject_token_type") not in SUBJECT_TOKEN_TYPES:
        raise InvalidRequest(f"subject_token_type must be {' or '.join(SUBJECT_TOKEN_TYPES)}.")
    requested = form.text("requested_token_type") or ACCESS_TOKEN
    if requested not in (ACCESS_TOKEN, REFRESH_TOKEN):
        raise InvalidRequest(f"requested_token_type must be {ACCESS_TOKEN} or {REFRESH_TOKEN}.")
    # To ignore these would be to issue something else than was asked for.
    if form.text("actor_token") is not None:
        raise InvalidRequest("The parameter actor_token is not supported.")
    if form.text("audience") is not None:
        raise InvalidTarget("audience; resource is what we know")
    return text, requested


def _body(body: dict[str, Any], requested: str) -> dict[str, Any]:
    """Section 2.2.1. access_token carries the issued token, whatever its type."""
    if requested == ACCESS_TOKEN:
        return {**body, "issued_token_type": ACCESS_TOKEN}
    for name in ("expires_in", "refresh_after"):
        del body[name]
    issued = {"access_token": body.pop("refresh_token"), "issued_token_type": REFRESH_TOKEN}
    return {**body, **issued, "token_type": "N_A", "expires_in": body["refresh_token_expires_in"]}
