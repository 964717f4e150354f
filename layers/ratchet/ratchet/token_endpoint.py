"""RFC 6749 section 3.2: the grants by name. A new one is a module in grants, and a line here."""

from collections.abc import Mapping

from ratchet.application import JWT_BEARER, TOKEN_EXCHANGE
from ratchet.errors import UnsupportedGrantType
from ratchet.grants import client_credentials, jwt_bearer, refresh_token, token_exchange
from ratchet.parts import Parts, Respond
from ratchet.request import Request
from ratchet.response import Response

GRANTS: Mapping[str, Respond] = {
    "client_credentials": client_credentials.respond,
    "refresh_token": refresh_token.respond,
    JWT_BEARER: jwt_bearer.respond,
    TOKEN_EXCHANGE: token_exchange.respond,
}


def respond(request: Request, parts: Parts, now: int) -> Response:
    """RFC 6749 section 3.2: hands the request to its grant. Raises UnsupportedGrantType."""
    grant = GRANTS.get(request.form().required("grant_type"))
    if grant is None:
        raise UnsupportedGrantType(", ".join(GRANTS))
    return grant(request, parts, now)
