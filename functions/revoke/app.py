"""POST /oauth/revoke (RFC 7009)."""

from ratchet import endpoint, wiring
from ratchet.application import Application
from ratchet.client_authentication import authenticate
from ratchet.errors import InvalidRequest
from ratchet.parts import Parts
from ratchet.refresh_cookie import asks_for_cookie, refresh_cookie
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
    if not asks_for_cookie(request):
        return _revoke(form.required("token"), application, request, parts, now)
    cookie = refresh_cookie(request, application)
    if form.text("token") is not None:
        raise InvalidRequest("Send the token or ask for the cookie, not both.")
    # Without a cookie there is nothing to end, which is no error (RFC 7009 section 2.2).
    return cookie.clear(_revoke(cookie.value(request) or "", application, request, parts, now))


def _revoke(
    token: str, application: Application, request: Request, parts: Parts, now: int
) -> Response:
    return revoke(
        token,
        application,
        issuer=request.issuer,
        store=parts.store,
        signer=parts.signer,
        peppers=parts.peppers,
        bus=parts.bus,
        sender=request.sender,
        now=now,
    )


handler = endpoint.handler("revoke", {"POST /oauth/revoke": respond}, wiring.parts, pages=True)
