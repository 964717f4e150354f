"""Revocation (RFC 7009): revoking either token ends the whole session."""

from collections.abc import Mapping
from typing import Any

from ratchet import access_token, refresh_token, reuse
from ratchet.application import Application
from ratchet.errors import InvalidGrant, InvalidToken
from ratchet.events import Bus
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers, RefreshToken, looks_like_refresh_token
from ratchet.response import Response
from ratchet.sender import Sender
from ratchet.session_end import end_session
from ratchet.signing import Signer
from ratchet.store import Outcome, SessionStore


def revoke(
    token: str,
    application: Application,
    *,
    issuer: str,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    bus: Bus,
    sender: Sender,
    now: int,
) -> Response:
    """200 whatever becomes of it: "invalid tokens do not cause an error response" (section 2.2).

    A token of another application is not touched (section 2.1). Raises Fault: not revoked, retry.
    """
    about: dict[str, Any] = {"client_id": application.client_id}
    sid, presented, problem = _session_of(
        token, issuer=issuer, signer=signer, peppers=peppers, now=now
    )
    if sid is None:
        return Response(log={"outcome": "ignored", "detail": problem, **about})

    def end(
        reason: Reason,
        by: str,
        token_hash: bytes | None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Outcome:
        return end_session(
            sid,
            reason=reason,
            by=by,
            retention_seconds=application.policy.retention_seconds,
            client_id=application.client_id,
            token_hash=token_hash,
            store=store,
            bus=bus,
            now=now,
            sessions_valid_after=application.sessions_valid_after,
            evidence=evidence,
        )

    by = application.client_id
    outcome = end(Reason.REVOKED_BY_USER, by, presented.hash() if presented else None)
    session = outcome.session
    if not outcome.done and session is not None and presented is not None:
        if presented.generation >= session.generation:
            # newer than a table that was restored from a backup
            outcome = end(Reason.REVOKED_BY_USER, by, None)
        elif presented.bound:
            # A copy too, but its holder may not have the key: as at a refresh, that is no reuse.
            return Response(log={"outcome": "ignored", "detail": "replaced", "sid": sid, **about})
        else:
            # Whoever signs out with a token that has been replaced and used holds a copy of it. The
            # session ends all the same, and for what it was (RFC 9700 section 4.14.2).
            evidence = reuse.evidence(presented, session, sender, request_hash=None, now=now)
            outcome = end(Reason.REUSED, "", None, evidence)
            if outcome.done and outcome.session and outcome.session.reason is Reason.REUSED:
                about |= evidence
    ended = "revoked" if outcome.done else "ignored"
    return Response(log={"outcome": ended, "sid": sid, **about})


def _session_of(
    token: str, *, issuer: str, signer: Signer, peppers: Peppers, now: int
) -> tuple[str | None, RefreshToken | None, str]:
    """The session of a genuine token, the token if it is a refresh token, or why there is none.

    The hint is not needed.
    """
    if looks_like_refresh_token(token):
        try:
            presented = refresh_token.parse(token, peppers=peppers, now=now)
        except InvalidGrant as error:
            return None, None, error.detail
        return presented.sid, presented, ""
    try:
        claims = access_token.verify(token, keys=signer.keys(now), issuer=issuer, now=now)
    except InvalidToken as error:
        return None, None, error.detail
    return claims.get("sid"), None, "an access token without a session"
