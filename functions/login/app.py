"""POST /login: a sign-in with e-mail address and password."""

from ratchet import dpop, endpoint, wiring
from ratchet.client_authentication import authenticate
from ratchet.login import LoginRequest, login
from ratchet.parts import Parts
from ratchet.refresh_cookie import delivery
from ratchet.request import Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    parameters = request.form_or_json()
    asked = LoginRequest.from_parameters(parameters)
    proof = dpop.proof(request, peppers=parts.peppers, now=now)
    application = authenticate(
        request,
        parameters,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    deliver = delivery(request, application)
    response = login(
        asked,
        application,
        proof=proof,
        source_ip=request.source_ip,
        sender=request.sender,
        verifier=parts.verifier(),
        attempts=parts.attempts,
        issuer=request.issuer,
        applications=parts.applications,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        claims_hook=parts.claims_hook,
        bus=parts.bus,
        now=now,
    )
    return deliver(response)


handler = endpoint.handler("login", {"POST /login": respond}, wiring.parts, nonces=True, pages=True)
