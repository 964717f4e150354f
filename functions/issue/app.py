"""POST /oauth/token (RFC 6749 section 3.2) and POST /sessions."""

from ratchet import endpoint, token_endpoint, wiring
from ratchet.client_authentication import authenticate_backend
from ratchet.errors import InvalidRequest
from ratchet.issue import SignIn, start_session, target_application
from ratchet.parts import Parts
from ratchet.refresh_cookie import asks_for_cookie
from ratchet.request import Request
from ratchet.response import Response
from ratchet.sender import UNKNOWN


def sessions(request: Request, parts: Parts, now: int) -> Response:
    parameters = request.form_or_json()
    if asks_for_cookie(request):
        raise InvalidRequest("A backend has no cookie; see docs/browser.md.")
    sign_in, client_id = SignIn.from_parameters(parameters), parameters.required("client_id")
    backend = authenticate_backend(
        request,
        parameters,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    return start_session(
        sign_in,
        target_application(client_id, backend, sign_in, applications=parts.applications, now=now),
        issuer=request.issuer,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        claims_hook=parts.claims_hook,
        # The request is the backend's, so nothing is known of the device before its first refresh.
        sender=UNKNOWN,
        started_by=backend.client_id,
        bus=parts.bus,
        now=now,
    )


handler = endpoint.handler(
    "issue",
    {"POST /oauth/token": token_endpoint.respond, "POST /sessions": sessions},
    wiring.parts,
    nonces=True,
    pages=True,
)
