"""Which pages may read an answer: the CORS protocol of the Fetch standard, for each application.

A preflight carries neither body nor credentials, so the application is named in the address, as
`?client_id=`; RFC 6749 section 3.2 lets endpoint addresses have a query.
"""

from collections.abc import Mapping

from ratchet.application import Application
from ratchet.errors import DPOP_NONCE, InvalidRequest, OriginNotAllowed
from ratchet.request import Request
from ratchet.response import NO_STORE, Response

VARY = {"Vary": "Origin"}
ALLOWED_HEADERS = "Authorization, Content-Type, DPoP, Idempotency-Key, Ratchet-Refresh-Token"
EXPOSED_HEADERS = f"{DPOP_NONCE}, Retry-After, WWW-Authenticate"
MAX_AGE_SECONDS = 600


def named_client_id(request: Request) -> str | None:
    """The application that a page asks for: named in the address or in the body, not two of them.

    None without an Origin: nobody needs to know it then.
    """
    if "origin" not in request.headers:
        return None
    names = set()
    for parameters in (request.query_parameters, request.form_or_json):
        try:
            names.add(parameters().text("client_id"))
        except InvalidRequest:
            continue
    names.discard(None)
    return names.pop() if len(names) == 1 else None


def headers(request: Request, application: Application | None) -> Mapping[str, str]:
    """What every answer has that a page may ask for; never a wildcard."""
    origin = request.headers.get("origin")
    if origin is None or application is None or not application.allows_origin(origin):
        return VARY
    allowed = {
        **VARY,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
    }
    if application.refresh_cookie:
        allowed["Access-Control-Allow-Credentials"] = "true"
    return allowed


def is_preflight(request: Request) -> bool:
    sent = request.headers.keys()
    return request.method == "OPTIONS" and sent >= {"origin", "access-control-request-method"}


def preflight(request: Request, application: Application | None, methods: str) -> Response:
    """The answer to a preflight; `headers` are not in it. Raises InvalidRequest, OriginNotAllowed.

    methods: those of the address, as in Allow.
    """
    if application is None:
        raise InvalidRequest("Name the application in the address: ?client_id=", status=403)
    origin = request.headers["origin"]
    if not application.allows_origin(origin):
        raise OriginNotAllowed(origin, client_id=application.client_id)
    allowed = {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
    }
    log = {"client_id": application.client_id, "outcome": "preflight"}
    return Response(status=204, headers={**NO_STORE, **allowed}, log=log)
