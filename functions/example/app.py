"""GET /example/jwt, GET /example/lambda: an API that is not ours, each route protected in a way.

It answers with what API Gateway tells it of the caller. Only there if ProtectedExample is "yes".
"""

from typing import Any


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    authorizer: dict[str, Any] = event["requestContext"]["authorizer"]
    return authorizer
