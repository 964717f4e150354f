"""Refreshing (RFC 6749 section 6): the refresh token moves one notch on, whoever else is trying.

    presented                       the item says                       answer
    ---------                       -------------                       ------
    the current token               alive                               its successor      rotated
    its direct parent, within the   the successor is unused             the same successor replayed
      leeway or with the same
      Idempotency-Key
    any older one, or the parent    bound to a key, and the nonce of    another nonce, which
      beyond that                     the proof is not about it           is; nothing changes
                                    else                                the session ends   reused
    any of them                     ended, expired, another client's,   the reason; nothing changes
                                    bound to a key not proven here

docs/decisions.md has the reasons for the leeway, which RFC 9700 does not know.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from ratchet import access_token, dpop, events, refresh_token, reuse
from ratchet.application import Application
from ratchet.dpop import DPoPProof
from ratchet.errors import (
    Fault,
    InvalidDPoPProof,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UseDPoPNonce,
)
from ratchet.events import Bus
from ratchet.policy import Policy
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers, RefreshToken
from ratchet.response import Response
from ratchet.sender import Sender
from ratchet.session import Session, attention_at, idle_deadline
from ratchet.session_end import end_session
from ratchet.signing import Signer
from ratchet.store import Rotation, SessionStore
from ratchet.token_response import token_response

MAX_NARROWED_SCOPES = 32
"""Each is a term of the write's condition, which DynamoDB limits to 4 KB."""


def refresh(
    token: RefreshToken,
    application: Application,
    *,
    proof: DPoPProof | None,
    scopes: frozenset[str],
    resources: frozenset[str],
    idempotency_key: str | None,
    sender: Sender,
    issuer: str,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    bus: Bus,
    now: int,
) -> Response:
    """New tokens for a genuine refresh token, presented by an authenticated application.

    scopes, resources: a part of the session's, or none for all of them; the session keeps what it
    has. proof: of the request, if it had one; a session that started without one takes no notice.
    Raises InvalidGrant with its reason, InvalidScope, InvalidTarget, InvalidDPoPProof,
    UseDPoPNonce, Fault (nothing is lost: ask again). sender: is kept with the session.
    """
    everyones, era = application, application.likely_era(token.absolute_deadline_at, now)
    application = everyones.under(era.policy)
    policy = application.policy
    about: dict[str, Any] = {"sid": token.sid, "client_id": application.client_id}
    if token.bound and proof is None:
        # RFC 9449 section 5: "the client MUST present a DPoP proof for the same key"
        raise InvalidGrant(Reason.WRONG_KEY, "no proof", **about)
    # Refresh tokens of confidential clients are bound to the client instead (section 5), so that it
    # may change its key: each access token has the one of its own request.
    jkt = proof.jkt if proof else None
    own_key = dpop.binding(application, jkt) if application.confidential else None
    if len(scopes) > MAX_NARROWED_SCOPES:
        raise InvalidScope("too many", **about)
    # Whatever can fail without the table fails here, before the write.
    sign = signer.prepare(now)

    def access(session: Session) -> tuple[dict[str, Any], str]:
        claims = access_token.session_claims(
            session,
            application,
            scopes=scopes or session.scopes,
            resources=resources,
            issuer=issuer,
            now=now,
            jkt=own_key,
        )
        return claims, sign(claims)

    signed = None
    if sign.remote:
        seen = _worth_signing_for(token, application, jkt, scopes, resources, issuer, store)
        signed = access(seen) if seen else None
    idle_deadline_at = idle_deadline(
        policy, absolute_deadline_at=token.absolute_deadline_at, now=now
    )
    # With rotation off the token stays, if it was made to last; one that was not is replaced once.
    rotates = policy.rotation or token.idle_deadline_at < token.absolute_deadline_at
    successor = refresh_token.mint(
        session_bytes=token.session_bytes,
        generation=token.generation + 1,
        idle_deadline_at=token.absolute_deadline_at if policy.lasting_tokens else idle_deadline_at,
        absolute_deadline_at=token.absolute_deadline_at,
        bound=token.bound,
        peppers=peppers,
        now=now,
    )
    request_hash = _request_hash(token, idempotency_key)
    outcome = store.rotate(
        Rotation(
            sid=token.sid,
            client_id=application.client_id,
            presented_hash=token.hash(),
            successor_hash=successor.hash() if rotates else None,
            sealed=refresh_token.seal(successor, parent=token, peppers=peppers, now=now),
            request_hash=request_hash,
            generation=successor.generation,
            scopes=scopes,
            resources=resources,
            unless_granted=resources <= application.allowed_resources(issuer),
            idle_deadline_at=idle_deadline_at,
            expires_at=idle_deadline_at + policy.retention_seconds,
            leeway_seconds=policy.leeway_seconds,
            retry_window_seconds=policy.retry_window_seconds,
            sessions_valid_after=application.sessions_valid_after,
            started_since=era.since,
            started_before=era.until,
            sender=sender,
            jkt=jkt if token.bound else None,
            proof_id=proof.id if proof and token.bound else None,
            counts_use=policy.touch_interval_seconds > 0,
        ),
        now,
    )
    session = outcome.session
    if session is None:
        raise InvalidGrant(Reason.SESSION_UNKNOWN, "no item", sid=token.sid)
    if not outcome.done and not era.has(session.started_at):
        return refresh(
            token,
            everyones.under(everyones.era(session.started_at).policy),
            proof=proof,
            scopes=scopes,
            resources=resources,
            idempotency_key=idempotency_key,
            sender=sender,
            issuer=issuer,
            store=store,
            signer=signer,
            peppers=peppers,
            bus=bus,
            now=now,
        )
    answer, how = (successor, "rotated") if rotates else (token, "kept")
    if not outcome.done:
        _refuse_others(session, application, jkt, now)
        right = session.answers_parent(token.hash(), request_hash, now)
        if successor.hash() in (session.current_hash, session.parent_hash):
            # Our own write, which the SDK repeated after its answer was lost: it had taken effect.
            pass
        elif right is not None and session.sealed is not None:
            answer = refresh_token.unseal(session.sealed, parent=token, peppers=peppers, now=now)
            how = f"replayed_{right}"
        elif proof and session.proof_id == proof.id:
            # A copied proof shows that somebody had the key once, not that it is they who ask. So
            # it neither rotates nor counts as reuse.
            raise InvalidDPoPProof("used before", sub=session.sub, **about)
        elif session.current_hash != token.hash():
            if session.jkt is not None and not (proof and proof.insists_on(token.hash())):
                # Any earlier proof may be a copy, not only the last one. Whoever has the key now
                # makes one with this nonce, whatever the clocks; only then is it reuse.
                nonce = dpop.nonce(peppers, now, token_hash=token.hash())
                raise UseDPoPNonce(nonce, "a replaced token", sub=session.sub, **about)
            evidence = reuse.evidence(token, session, sender, request_hash=request_hash, now=now)
            raise _reuse(token, session, application, evidence, store=store, bus=bus, now=now)
        # After all else: a wrong scope or target must neither cost anyone a session nor hide a
        # reuse.
        if not scopes <= session.scopes:
            raise InvalidScope("not the session's", sid=session.sid, sub=session.sub)
        if not resources <= access_token.audience_of(session, application, issuer):
            raise InvalidTarget("not the session's", sid=session.sid, sub=session.sub)
        if session.current_hash == token.hash():
            raise Fault("the item meets the condition that failed")
    elif _filed_too_late(session, policy, now):
        _file_earlier(session, policy, store, now)
    claims, signed_token = signed or access(session)
    return token_response(
        signed_token, claims, now=now, session=session, refresh_token=str(answer), outcome=how
    )


def _worth_signing_for(
    token: RefreshToken,
    application: Application,
    jkt: str | None,
    scopes: frozenset[str],
    resources: frozenset[str],
    issuer: str,
    store: SessionStore,
) -> Session | None:
    """The session, read before the write, because KMS may fail and so has to sign before it.

    Its claims never change, so they are those of what comes back from the write. None where the
    write will be refused anyway.
    """
    session = store.get(token.sid)
    if session is None or session.ended_at is not None:
        return None
    fits = (
        session.client_id == application.client_id
        and session.jkt in (None, jkt)
        and scopes <= session.scopes
        and resources <= access_token.audience_of(session, application, issuer)
    )
    return session if fits else None


def _filed_too_late(session: Session, policy: Policy, now: int) -> bool:
    """Whether a changed policy has an instant before the one the sweep would come at.

    A refresh moves a deadline later, so without a change it has none: but for a session that has
    been warned of the deadline before, and stands filed under that one. The next warning may be
    earlier, if the policy warns for half of the idle time; it can wait for that visit.
    """
    filed_at = session.attention_at
    if filed_at is None:
        return False
    if filed_at == session.warned_deadline_at:
        return filed_at > session.idle_deadline_at
    return filed_at > max(attention_at(session, policy), now)


def _file_earlier(session: Session, policy: Policy, store: SessionStore, now: int) -> None:
    """A changed policy has moved a deadline, or its warning, before the instant the sweep would
    come at.

    The one case of a second write: once a session, and only after such a change.
    """
    at = max(attention_at(session, policy), now)
    try:
        store.rearm(session, replace(session, attention_at=at))
    except Fault as fault:
        # The rotation has taken place; the next one will come here again.
        events.log("not filed earlier", level="WARNING", sid=session.sid, fault=str(fault))


def _refuse_others(session: Session, application: Application, jkt: str | None, now: int) -> None:
    """Refuses, without touching the session, whoever may not refresh it at all.

    Before anything counts as reuse: else whoever holds an old token could sign its owner out.
    """
    about: dict[str, Any] = {
        "sid": session.sid,
        "sub": session.sub,
        "client_id": application.client_id,
    }
    if session.client_id != application.client_id:
        # RFC 6749 section 6: "MUST ... ensure that the refresh token was issued to the
        # authenticated client"
        raise InvalidGrant(Reason.WRONG_CLIENT, f"it is of {session.client_id}", **about)
    if session.jkt is not None and session.jkt != jkt:
        raise InvalidGrant(Reason.WRONG_KEY, "the proof of another key", **about)
    if reason := session.dead_because(now, application.sessions_valid_after):
        final = session.ended_at is not None
        raise InvalidGrant(reason, "the session is over", final=final, **about)


def _reuse(
    token: RefreshToken,
    session: Session,
    application: Application,
    evidence: Mapping[str, Any],
    *,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> InvalidGrant:
    """Ends the session of a token that has been replaced and used (RFC 9700 section 4.14.2)."""
    about: dict[str, Any] = {
        "sid": session.sid,
        "sub": session.sub,
        "client_id": application.client_id,
    }
    if token.generation >= session.generation:
        # Newer than what the table knows, as after a restore from a backup: nobody reused anything.
        return InvalidGrant(Reason.SESSION_UNKNOWN, "newer than the item", **about)
    outcome = end_session(
        session.sid,
        reason=Reason.REUSED,
        by="",
        retention_seconds=application.policy.retention_seconds,
        store=store,
        bus=bus,
        now=now,
        evidence=evidence,
    )
    if outcome.session is None:
        return InvalidGrant(Reason.SESSION_UNKNOWN, "the item is gone", **about)
    # Somebody else may have ended it in between; then that is the true reason.
    reason = outcome.session.dead_because(now) or Reason.REUSED
    detail = f"token of generation {token.generation}, session at {session.generation}"
    if reason is Reason.REUSED:
        about |= evidence
    return InvalidGrant(reason, detail, final=outcome.session.ended_at is not None, **about)


def _request_hash(token: RefreshToken, idempotency_key: str | None) -> bytes | None:
    """Ties the key to the token it came with: the key alone says nothing about another request."""
    if idempotency_key is None:
        return None
    return sha256(token.hash() + idempotency_key.encode()).digest()
