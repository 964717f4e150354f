"""Revocation (RFC 7009): revoking either token ends the whole session."""

from ratchet import access_token, refresh_token
from ratchet.application import Application
from ratchet.errors import InvalidGrant, InvalidToken
from ratchet.events import Bus
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers, looks_like_refresh_token
from ratchet.response import NO_STORE, Response
from ratchet.session_end import end_session
from ratchet.signing import Signer
from ratchet.store import SessionStore


def revoke(
    token: str,
    application: Application,
    *,
    issuer: str,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    bus: Bus,
    now: int,
) -> Response:
    """200 whatever becomes of it: "invalid tokens do not cause an error response" (section 2.2).

    A token of another application is not touched (section 2.1). Raises Fault: not revoked, retry.
    """
    about = {"client_id": application.client_id}
    sid, problem = _session_of(token, issuer=issuer, signer=signer, peppers=peppers, now=now)
    if sid is None:
        return Response(log={"outcome": "ignored", "detail": problem, **about})
    outcome = end_session(
        sid,
        reason=Reason.REVOKED_BY_USER,
        by=application.client_id,
        retention_seconds=application.policy.retention_seconds,
        client_id=application.client_id,
        store=store,
        bus=bus,
        now=now,
    )
    ended = "revoked" if outcome.done else "ignored"
    return Response(headers=NO_STORE, log={"outcome": ended, "sid": sid, **about})


def _session_of(
    token: str, *, issuer: str, signer: Signer, peppers: Peppers, now: int
) -> tuple[str | None, str]:
    """The session of a genuine token, or None and why there is none. The hint is not needed."""
    if looks_like_refresh_token(token):
        try:
            return refresh_token.parse(token, peppers=peppers, now=now).sid, ""
        except InvalidGrant as error:
            return None, error.detail
    try:
        claims = access_token.verify(token, keys=signer.keys(now), issuer=issuer, now=now)
    except InvalidToken as error:
        return None, error.detail
    return claims.get("sid"), "an access token without a session"
