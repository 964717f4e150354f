"""POST /oauth/introspect (RFC 7662)."""

from ratchet import endpoint, wiring
from ratchet.client_authentication import authenticate_confidential
from ratchet.introspect import introspect
from ratchet.parts import Parts
from ratchet.request import Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    form = request.form()
    caller = authenticate_confidential(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    return introspect(
        form.required("token"),
        caller,
        issuer=request.issuer,
        applications=parts.applications,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        now=now,
    )


handler = endpoint.handler("introspect", {"POST /oauth/introspect": respond}, wiring.parts)
