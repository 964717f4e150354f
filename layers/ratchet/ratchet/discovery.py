"""What a client finds out by itself: metadata (RFC 8414), JWK set (RFC 7517), OpenAPI document."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from ratchet import client_authentication, jwk_set
from ratchet.errors import DPOP_ALGORITHMS
from ratchet.keys import SigningKeys
from ratchet.response import Response

MAX_AGE_SECONDS = 300
CACHEABLE = {
    "Cache-Control": f"public, max-age={MAX_AGE_SECONDS}",
    "Access-Control-Allow-Origin": "*",
}


def metadata(*, issuer: str, grant_types: list[str], keys: SigningKeys) -> Response:
    """RFC 8414 section 2. The same for openid-configuration, which is where API Gateway's JWT
    authorizer looks for jwks_uri."""
    methods = list(client_authentication.METHODS)
    confidential_methods = [method for method in methods if method != "none"]
    algorithms = list(jwk_set.ALGORITHMS)
    body: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": confidential_methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "grant_types_supported": grant_types,
        # there is no authorization endpoint
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(
            {key.algorithm for key in keys.published()}
        ),
        "dpop_signing_alg_values_supported": list(DPOP_ALGORITHMS),
    }
    return Response(body=body, headers=CACHEABLE)


def jwks(keys: SigningKeys) -> Response:
    """The public keys, the next one included, so that a verifier's cache never meets an unknown."""
    return Response(body=keys.jwks(), headers=CACHEABLE)


def openapi(issuer: str) -> Response:
    """The description of the HTTP surface; `make openapi` makes its file of docs/openapi.yaml."""
    return Response(body={**_openapi(), "servers": [{"url": issuer}]}, headers=CACHEABLE)


@cache
def _openapi() -> dict[str, Any]:
    text = Path(__file__).with_name("openapi.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
