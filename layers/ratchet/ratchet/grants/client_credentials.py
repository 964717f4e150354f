"""RFC 6749 section 4.4."""

from ratchet import dpop, issue
from ratchet.client_authentication import authenticate
from ratchet.parts import Parts
from ratchet.request import Request
from ratchet.response import Response


def respond(request: Request, parts: Parts, now: int) -> Response:
    """scope and resource are optional.

    Errors: see `authenticate` and `issue.client_credentials`.
    """
    form = request.form()
    # before a client assertion is used up: the same request has to be good with another nonce
    proof = dpop.proof(request, peppers=parts.peppers, now=now)
    application = authenticate(
        request,
        form,
        applications=parts.applications,
        client_assertions=parts.client_assertions,
        now=now,
    )
    return issue.client_credentials(
        application,
        proof=proof,
        scopes=form.scopes(),
        resources=form.resources(),
        issuer=request.issuer,
        signer=parts.signer,
        now=now,
    )
