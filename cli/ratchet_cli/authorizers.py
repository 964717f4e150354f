"""API Gateway's authorizers for HTTP APIs: its own for JWTs, and Lambda functions.

Documented at https://docs.aws.amazon.com/apigateway/latest/developerguide/ under
http-api-jwt-authorizer, http-api-troubleshooting-jwt and http-api-lambda-authorizer. What is said
there of neither is marked with "not documented" below, and listed in docs/apis.md.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ratchet_cli import payload
from ratchet_cli.aws import REGION
from ratchet_cli.template import JwtAuthorizer, LambdaAuthorizer, Route
from ratchet_verify import jws
from ratchet_verify.jwk import RSA_ALGORITHMS
from ratchet_verify.jws import InvalidJWS
from ratchet_verify.key_set import KeySet, KeysUnavailable

Invoke = Callable[[str, Any], Any]
Event = dict[str, Any]

UNAUTHORIZED = payload.failure(401, "Unauthorized")
FORBIDDEN = payload.failure(403, "Forbidden")


class _NotValidError(Exception):
    """The message is what the client is told."""


class Authorizers:
    """Those of one gateway. `invoke(function, event)` is called in many threads at once."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._key_sets: dict[str, KeySet] = {}

    def refusal(self, route: Route, event: Event) -> payload.Response | None:
        """The answer to a request that may not pass, else None, and the event says who calls."""
        if route.authorizer is None:
            return None
        if isinstance(route.authorizer, JwtAuthorizer):
            found = self._jwt(route.authorizer, route, event)
        else:
            found = self._lambda(route.authorizer, event)
        if isinstance(found, payload.Response):
            return found
        event["requestContext"]["authorizer"] = found
        return None

    def _jwt(
        self, authorizer: JwtAuthorizer, route: Route, event: Event
    ) -> payload.Response | dict[str, Any]:
        header = event["headers"].get("authorization", "")
        if not header:
            # not documented: whether there is a challenge, and which
            return _challenged(UNAUTHORIZED, "Bearer")
        try:
            claims = self._verified(header.removeprefix("Bearer "), authorizer)
        except _NotValidError as error:
            shown = f'Bearer scope="" error="invalid_token" error_description="{error}"'
            return _challenged(UNAUTHORIZED, shown)
        granted = str(claims.get("scope", "")).split()
        if route.scopes and not set(route.scopes) & set(granted):
            return FORBIDDEN
        texts = {name: _text(claim) for name, claim in claims.items()}
        # not documented: `scopes` of a route that needs none
        return {"jwt": {"claims": texts, "scopes": list(route.scopes) or None}}

    def _verified(self, token: str, authorizer: JwtAuthorizer) -> Mapping[str, Any]:
        now = time.time()
        keys = self._key_sets.setdefault(authorizer.issuer, KeySet(authorizer.issuer))
        try:
            _, body = jws.verify(token, lambda kid: keys.keys(kid, now), algorithms=RSA_ALGORITHMS)
            claims = jws.json_object(body)
        except InvalidJWS as invalid:
            # not documented: the text
            raise _NotValidError(f"the token is not valid: {invalid}") from None
        except KeysUnavailable:
            # not documented: what it answers while the issuer is away
            raise _NotValidError("the signing keys cannot be fetched") from None
        # An id of the client stands in for an audience only where there is none.
        audience = claims.get("aud", claims.get("client_id"))
        listed = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != authorizer.issuer:
            raise _NotValidError("invalid issuer")
        if not set(listed) & set(authorizer.audience):
            raise _NotValidError("the token does not have a valid audience")
        if not now < claims.get("exp", 0):
            raise _NotValidError("the token has expired")
        if max(claims.get("nbf", 0), claims.get("iat", 0)) > now:
            raise _NotValidError("the token is not valid yet")
        return claims

    def _lambda(
        self, authorizer: LambdaAuthorizer, event: Event
    ) -> payload.Response | dict[str, Any]:
        sources = [event["headers"].get(name.lower(), "") for name in authorizer.headers]
        if not all(sources):
            return UNAUTHORIZED
        try:
            decision = self._invoke(authorizer.function, request_event(event, sources))
            # It goes over the wire, so it has to be JSON.
            decision = json.loads(json.dumps(decision))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as on AWS: a 500 and a trace
            if str(error) == "Unauthorized":
                return UNAUTHORIZED
            traceback.print_exc()
            return payload.INTERNAL_SERVER_ERROR
        if not isinstance(decision, dict) or not isinstance(decision.get("isAuthorized"), bool):
            return payload.INTERNAL_SERVER_ERROR
        if not decision["isAuthorized"]:
            return FORBIDDEN
        return {"lambda": decision.get("context") or None}


def request_event(event: Event, sources: list[str]) -> Event:
    """The event of a request as its authorizer gets it: no body, and where it is bound for."""
    http = event["requestContext"]["http"]
    arn = f"arn:aws:execute-api:{REGION}:000000000000:local/$default/{http['method']}{http['path']}"
    left_out = {"body", "isBase64Encoded", "version"}
    return {
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": arn,
        "identitySource": sources,
        **{name: part for name, part in event.items() if name not in left_out},
    }


def _challenged(response: payload.Response, challenge: str) -> payload.Response:
    headers = [*response.headers, ("www-authenticate", challenge)]
    return payload.Response(response.status, headers, response.body)


def _text(claim: Any) -> str:
    """A claim as the function gets it. Not documented but for texts: a list is `[a b]`."""
    if isinstance(claim, list):
        return f"[{' '.join(map(_text, claim))}]"
    return claim if isinstance(claim, str) else json.dumps(claim, separators=(",", ":"))
