"""The answer of every flow that hands out tokens (RFC 6749 section 5.1), with both deadlines."""

import secrets
from typing import Any

from ratchet.access_token import token_type
from ratchet.response import Response
from ratchet.session import Session


def token_response(
    access_token: str,
    claims: dict[str, Any],
    *,
    now: int,
    session: Session | None = None,
    refresh_token: str | None = None,
    **log: Any,
) -> Response:
    """Durations in seconds from now.

    refresh_token_expires_in: until the idle deadline. session_expires_in: until the absolute one.
    refresh_after: when to refresh, at 75 to 80 % of the lifetime at random, so that clients that
    started together do not come back together; of the idle time where that is shorter.
    """
    lifetime = claims["exp"] - now
    due = lifetime if session is None else min(lifetime, session.idle_deadline_at - now)
    body: dict[str, Any] = {
        "access_token": access_token,
        "token_type": token_type(claims),
        "expires_in": lifetime,
        "refresh_after": due * (7500 + secrets.randbelow(501)) // 10000,
        "scope": claims["scope"],
    }
    if session is not None:
        body["sid"] = session.sid
        body["session_expires_in"] = session.absolute_deadline_at - now
        log |= {"sid": session.sid, "generation": session.generation}
    if session is not None and refresh_token is not None:
        body["refresh_token"] = refresh_token
        body["refresh_token_expires_in"] = session.idle_deadline_at - now
    return Response(body=body, log={"client_id": claims["client_id"], "sub": claims["sub"], **log})
