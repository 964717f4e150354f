"""GET /.well-known/…: metadata (RFC 8414) and JWK set (RFC 7517). GET /openapi.json."""

from ratchet import discovery, endpoint, wiring
from ratchet.parts import Parts
from ratchet.request import Request
from ratchet.response import Response
from ratchet.token_endpoint import GRANTS


def metadata(request: Request, parts: Parts, now: int) -> Response:
    keys = parts.signer.keys(now)
    return discovery.metadata(issuer=request.issuer, grant_types=list(GRANTS), keys=keys)


def jwks(_request: Request, parts: Parts, now: int) -> Response:
    return discovery.jwks(parts.signer.keys(now))


def openapi(request: Request, _parts: Parts, _now: int) -> Response:
    return discovery.openapi(request.issuer)


handler = endpoint.handler(
    "discovery",
    {
        "GET /.well-known/oauth-authorization-server": metadata,
        "GET /.well-known/openid-configuration": metadata,
        "GET /.well-known/jwks.json": jwks,
        "GET /openapi.json": openapi,
    },
    wiring.parts,
)
