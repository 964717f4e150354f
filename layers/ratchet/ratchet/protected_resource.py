"""Who calls a resource of ours with an access token (RFC 6750; RFC 9449 section 7)."""

from ratchet import dpop, sessions
from ratchet.parts import Parts
from ratchet.request import Request
from ratchet.sessions import Caller


def authorize(request: Request, parts: Parts, now: int) -> Caller:
    """The caller behind the access token. Errors: see `dpop.presented`, `sessions.authorize`."""
    token, proof = dpop.presented(request, peppers=parts.peppers, now=now)
    return sessions.authorize(
        token,
        proof=proof,
        seen_proofs=parts.seen_proofs,
        issuer=request.issuer,
        applications=parts.applications,
        store=parts.store,
        signer=parts.signer,
        now=now,
    )
