"""Introspection (RFC 7662): is this token good, and until when. Rotates and extends nothing."""

from collections.abc import Mapping
from typing import Any

from ratchet import access_token, refresh_token
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.errors import InvalidGrant, InvalidToken
from ratchet.refresh_token import Peppers, looks_like_refresh_token
from ratchet.response import Response
from ratchet.session import Session
from ratchet.signing import Signer
from ratchet.store import SessionStore


class _Inactive(Exception):
    """Why a token is not active; for the log only (section 2.2)."""


def introspect(
    token: str,
    caller: Application,
    *,
    issuer: str,
    applications: Applications,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    now: int,
) -> Response:
    """Section 2.2's answer, `{"active": false}` and nothing more for anything that is not good.

    For the tokens of a session also idle_deadline_at and absolute_deadline_at, epoch seconds.
    The caller sees its own tokens, and those of others if it `introspects_any`. Raises Fault.
    """
    try:
        if looks_like_refresh_token(token):
            body, session = _refresh_token(token, applications, store, peppers, now)
        else:
            body, session = _access_token(token, issuer, applications, store, signer, now)
        if body["client_id"] != caller.client_id and not caller.introspects_any:
            raise _Inactive("of another application")
    except (_Inactive, InvalidGrant, InvalidToken) as inactive:
        detail = str(inactive)
        return Response(body={"active": False}, log=_log(caller, outcome="inactive", detail=detail))
    if session is not None:
        body = {
            **body,
            "idle_deadline_at": session.idle_deadline_at,
            "absolute_deadline_at": session.absolute_deadline_at,
        }
    log = _log(caller, outcome="active", sid=body.get("sid"), sub=body["sub"])
    return Response(body={**body, "iss": issuer, "active": True}, log=log)


def _log(caller: Application, **fields: Any) -> Mapping[str, Any]:
    return {"client_id": caller.client_id, **fields}


def _refresh_token(
    text: str, applications: Applications, store: SessionStore, peppers: Peppers, now: int
) -> tuple[Mapping[str, Any], Session | None]:
    token = refresh_token.parse(text, peppers=peppers, now=now)
    session = _live_session(token.sid, applications, store, now)
    current = session.current_hash == token.hash()
    if not current and session.answers_parent(token.hash(), None, now) is None:
        raise _Inactive("replaced")
    body = {
        "token_type": "refresh_token",
        "client_id": session.client_id,
        "sub": session.sub,
        "scope": session.scope,
        "sid": session.sid,
        "iat": session.rotated_at or session.started_at,
        "exp": session.idle_deadline_at,
        **access_token.authentication(session),
        **access_token.confirmation(session.jkt),
    }
    return body, session


def _access_token(
    text: str,
    issuer: str,
    applications: Applications,
    store: SessionStore,
    signer: Signer,
    now: int,
) -> tuple[Mapping[str, Any], Session | None]:
    claims = access_token.verify(text, keys=signer.keys(now), issuer=issuer, now=now)
    body = {**claims, "token_type": access_token.token_type(claims)}
    if "sid" in claims:
        # Waiting for exp is not revocation (ASVS 7.4.1): the session itself is asked.
        return body, _live_session(claims["sid"], applications, store, now)
    application = applications.get(claims["client_id"], now)
    if application is None or application.disabled_at is not None:
        raise _Inactive("application disabled")
    return body, None


def _live_session(sid: str, applications: Applications, store: SessionStore, now: int) -> Session:
    session = store.get(sid)
    if session is None:
        raise _Inactive("session unknown")
    application = applications.get(session.client_id, now)
    if application is None or application.disabled_at is not None:
        raise _Inactive("application disabled")
    if reason := session.dead_because(now, application.sessions_valid_after):
        raise _Inactive(reason.value)
    return session
