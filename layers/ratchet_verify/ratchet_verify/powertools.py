"""A middleware for the event handlers of Powertools for AWS Lambda. Needs Powertools.

@app.get("/orders", middlewares=[requires(verifier, "orders:read")])
def orders() -> dict[str, str]:
    return {"of": app.context["claims"].sub}
"""

import json
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import ApiGatewayResolver, Response

from ratchet_verify.aws_lambda import authenticate
from ratchet_verify.claims import Claims
from ratchet_verify.refusals import Refusal
from ratchet_verify.verifier import Verifier

Next = Callable[[ApiGatewayResolver], Response[Any]]


def requires(
    verifier: Verifier, *scopes: str, session: bool = False
) -> Callable[[ApiGatewayResolver, Next], Response[Any]]:
    """Puts the claims into the context as `claims`, or answers with the refusal.

    For APIGatewayHttpResolver and LambdaFunctionUrlResolver. scopes, session: as in
    `Verifier.authenticate`.
    """

    def middleware(app: ApiGatewayResolver, next_middleware: Next) -> Response[Any]:
        try:
            claims: Claims = authenticate(
                verifier, app.current_event.raw_event, *scopes, session=session
            )
        except Refusal as refusal:
            headers = dict(refusal.headers)
            return Response(
                refusal.status, headers.pop("content-type"), json.dumps(refusal.body), headers
            )
        app.append_context(claims=claims)  # type: ignore[no-untyped-call] # theirs has no types
        return next_middleware(app)

    return middleware
