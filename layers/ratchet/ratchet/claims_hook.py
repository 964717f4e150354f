"""Claims that a function of the deployment's own adds to a session (docs/claims.md).

It is asked once, when the session starts: what it says is stored, so that a refresh stays one write
and needs nobody else.
"""

from dataclasses import replace
from typing import Any

from ratchet import custom_claims, events
from ratchet.application import Application
from ratchet.errors import Fault, InvalidRequest
from ratchet.hook import Hook
from ratchet.session import Session
from ratchet.session_item import MAX_ITEM_BYTES, largest_bytes


def enriched(session: Session, application: Application, hook: Hook | None) -> Session:
    """The session with the claims that are added to it, if its application wants any.

    If they cannot be had, one for which they are optional starts without them, and a log line and a
    metric say so. Raises Fault for one that requires them.
    """
    if not application.claims_hook:
        return session
    try:
        return _asked(session, hook)
    except Fault as fault:
        about = {"client_id": session.client_id, "sub": session.sub}
        if application.claims_hook == "required":
            fault.log |= about
            raise
        events.log("claims left out", level="WARNING", fault=str(fault), **about)
        metric: dict[str, tuple[events.Unit, float]] = {"ClaimsLeftOut": ("Count", 1)}
        events.count({"client_id": session.client_id}, metric)
        return session


def question(session: Session) -> dict[str, Any]:
    """What the function is told: who has signed in, how, and what for. Nothing that is secret."""
    return {
        "type": "add_claims",
        "client_id": session.client_id,
        "sub": session.sub,
        "scope": session.scope,
        "resource": sorted(session.resources),
        "auth_time": session.auth_time,
        "amr": list(session.amr),
        "acr": session.acr or None,
        "claims": session.claims,
    }


def _asked(session: Session, hook: Hook | None) -> Session:
    if hook is None:
        raise Fault("hook: no function is set")
    claims: Any = hook.call(question(session)).get("claims")
    try:
        custom_claims.check(claims)
    except InvalidRequest as refused:
        raise Fault(f"hook: {refused.description}") from None
    # The deployment's word weighs more than that of an application's backend.
    session = replace(session, claims={**session.claims, **claims})
    if (size := largest_bytes(session)) > MAX_ITEM_BYTES:
        raise Fault(f"hook: the claims are {size - MAX_ITEM_BYTES} bytes too long for a session")
    return session
