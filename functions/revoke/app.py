"""POST /oauth/revoke (RFC 7009)."""

from ratchet import endpoint, wiring
from ratchet.client_authentication import authenticate
from ratchet.parts import Parts
from ratchet.request import Request
from ratchet.response import Response
from ratchet.revoke import revoke


def respond(request: Request, parts: Parts, now: int) -> Response:
    form = request.form()
    application = authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    return revoke(
        form.required("token"),
        application,
        issuer=request.issuer,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        bus=parts.bus,
        now=now,
    )


handler = endpoint.handler("revoke", {"POST /oauth/revoke": respond}, wiring.parts)
