"""Which claims an access token may have besides its own."""

import json
from typing import Any

from ratchet.access_token import RESERVED
from ratchet.errors import InvalidRequest

MAX_BRACKETS = 50


def check(claims: Any) -> None:
    """Raises InvalidRequest unless it is a JSON object without a claim that means something."""
    try:
        text = json.dumps(claims, allow_nan=False)
    except (ValueError, RecursionError):
        claims, text = None, ""
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise InvalidRequest(f"claims may have {MAX_BRACKETS} objects and lists.")
    if not isinstance(claims, dict):
        raise InvalidRequest("claims must be a JSON object.")
    if taken := RESERVED & claims.keys():
        raise InvalidRequest(f"claims must not have {', '.join(sorted(taken))}.")
