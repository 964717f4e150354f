"""For Lambda handlers behind an HTTP API or a function URL (payload format 2.0)."""

import functools
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ratchet_verify.claims import Claims
from ratchet_verify.refusals import Refusal
from ratchet_verify.verifier import Verifier

PATH = "/%:@!$&'()*+,;=~"

Handler = Callable[[dict[str, Any], Any], Any]


def requires(
    verifier: Verifier, *scopes: str, session: bool = False
) -> Callable[[Callable[[dict[str, Any], Any, Claims], Any]], Handler]:
    """Calls the handler with the claims as a third argument, or answers with the refusal.

    scopes, session: as in `Verifier.authenticate`.
    """

    def decorate(handler: Callable[[dict[str, Any], Any, Claims], Any]) -> Handler:
        @functools.wraps(handler)
        def checked(event: dict[str, Any], context: Any) -> Any:
            try:
                claims = authenticate(verifier, event, *scopes, session=session)
            except Refusal as refusal:
                return answer(refusal)
            return handler(event, context, claims)

        return checked

    return decorate


def authenticate(
    verifier: Verifier, event: dict[str, Any], *scopes: str, session: bool = False
) -> Claims:
    """The claims of the token that came with an event. Raises a Refusal."""
    headers = event.get("headers") or {}
    http = event["requestContext"]["http"]
    scheme = headers.get("x-forwarded-proto", "https")
    host = headers.get("host") or event["requestContext"].get("domainName")
    return verifier.authenticate(
        headers,
        method=http["method"],
        # What an HTTP API has decoded must not become a query or a fragment.
        url=f"{scheme}://{host}{quote(event['rawPath'], safe=PATH)}",
        scopes=scopes,
        session=session,
    )


def answer(refusal: Refusal) -> dict[str, Any]:
    """The refusal as a response of a Lambda function."""
    return {
        "statusCode": refusal.status,
        "headers": dict(refusal.headers),
        "body": json.dumps(refusal.body),
    }
