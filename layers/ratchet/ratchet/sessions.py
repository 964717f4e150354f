"""Looking at sessions and ending them: a subject its own, an application's backend any."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet import access_token, events
from ratchet.applications import Applications
from ratchet.dpop import DPoPProof
from ratchet.errors import (
    Fault,
    InsufficientScope,
    InvalidDPoPProof,
    InvalidRequest,
    InvalidToken,
    RefusedProof,
    SessionNotFound,
)
from ratchet.events import Bus
from ratchet.explain import explain, plain
from ratchet.policy import DAY, HOUR, Policy
from ratchet.reasons import Reason
from ratchet.response import Response
from ratchet.seen_proofs import SeenProofs
from ratchet.sender import Sender
from ratchet.session import MAX_SUB, Session
from ratchet.session_end import end_session
from ratchet.session_item import LAST_SECOND
from ratchet.sign_out import sign_out
from ratchet.signing import Signer
from ratchet.store import SessionStore
from ratchet.timeline import BY_APPLICATION, BY_SUBJECT, LINE_SECONDS, LogLine

if TYPE_CHECKING:
    from ratchet.session_log import SessionLog

READ = "sessions:read"
REVOKE = "sessions:revoke"
PAGE = 100
_DEFAULT_RETENTION_SECONDS = 30 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking. sub and sid are those of a signed-in subject, None for an application."""

    client_id: str
    sub: str | None
    sid: str | None
    scopes: frozenset[str]

    def subject(self, asked: str | None, scope: str) -> str:
        """The subject this is about: the caller itself, or the one an application asks for."""
        if self.sub is not None:
            if asked not in (None, self.sub):
                raise InsufficientScope(scope, client_id=self.client_id, sub=self.sub)
            return self.sub
        self.needs(scope)
        if asked is None or len(asked) > MAX_SUB:
            raise InvalidRequest(f"Name a subject of up to {MAX_SUB} characters in sub.")
        return asked

    def needs(self, scope: str) -> None:
        """A subject needs no scope for its own sessions; an application does."""
        if self.sub is None and scope not in self.scopes:
            raise InsufficientScope(scope, client_id=self.client_id)


def authorize(
    token: str,
    *,
    proof: DPoPProof | None,
    seen_proofs: SeenProofs,
    issuer: str,
    applications: Applications,
    store: SessionStore,
    signer: Signer,
    now: int,
) -> Caller:
    """The caller behind an access token for this service whose session is alive.

    proof: that came with the token, None for a bearer token.
    Raises InvalidToken, RefusedProof, Fault.
    """
    claims = access_token.verify(token, keys=signer.keys(now), issuer=issuer, now=now)
    # RFC 9449 section 7.2: "MUST reject a DPoP-bound access token received as a bearer token"; and
    # section 7.1: with the scheme DPoP the token is bound to the key of the proof.
    if access_token.bound_to(claims) != (proof.jkt if proof else None):
        about = {"sid": claims.get("sid"), "client_id": claims["client_id"]}
        raise InvalidToken("bound to another key", reason=Reason.WRONG_KEY, **about)
    if proof is not None and not seen_proofs.add(proof, now):
        raise RefusedProof(InvalidDPoPProof("used before", client_id=claims["client_id"]))
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if issuer not in audience:
        raise InvalidToken("for another audience", client_id=claims["client_id"])
    application = applications.get(claims["client_id"], now)
    if application is None or application.disabled_at is not None:
        raise InvalidToken(
            "application disabled",
            reason=Reason.APPLICATION_DISABLED,
            client_id=claims["client_id"],
        )
    sid = claims.get("sid")
    if sid is not None:
        session = store.get(sid)
        valid_after = application.sessions_valid_after
        reason = session.dead_because(now, valid_after) if session else Reason.SESSION_UNKNOWN
        if reason is not None:
            about = {"sid": sid, "client_id": claims["client_id"]}
            raise InvalidToken("its session is over", reason=reason, **about)
    return Caller(
        client_id=claims["client_id"],
        sub=claims["sub"] if sid is not None else None,
        sid=sid,
        scopes=frozenset(claims.get("scope", "").split(" ")),
    )


def list_sessions(
    caller: Caller,
    *,
    sub: str | None,
    cursor: str | None,
    applications: Applications,
    store: SessionStore,
    now: int,
) -> Response:
    """`{"sessions": […], "next": cursor}`: newest first, ended ones as long as they are kept."""
    subject = caller.subject(sub, READ)
    sessions, after = store.of_subject(subject, limit=PAGE, after=_after(cursor))
    shown = [view(session, caller, applications, now) for session in sessions]
    body: dict[str, Any] = {"sessions": shown}
    if after is not None:
        body["next"] = f"{after[0]}.{after[1]}"
    return Response(body=body, log=_log(caller, subject))


def show(
    sid: str,
    caller: Caller,
    *,
    timeline: str | None,
    applications: Applications,
    store: SessionStore,
    session_log: Callable[[], "SessionLog"],
    now: int,
) -> Response:
    """One session, and what became of it in plain words (`explain.Explanation`).

    timeline: "true" for a time-line besides, which only an application gets: it tells of requests.
    Raises SessionNotFound, InsufficientScope, InvalidRequest, Fault.
    """
    if timeline not in (None, "true", "false"):
        raise InvalidRequest("timeline must be true or false.", client_id=caller.client_id)
    if timeline == "true" and caller.sub is not None:
        raise InsufficientScope(READ, client_id=caller.client_id, sub=caller.sub)
    session = _find(sid, caller, READ, store)
    application = applications.get(session.client_id, now)
    body = dict(view(session, caller, applications, now))
    if caller.sub is not None:
        body["explanation"] = {"sentence": plain(session, application, now)}
    else:
        lines, missing = None, ""
        if timeline == "true":
            lines, missing = _lines(session, session_log(), now)
        told = explain(session, application, now=now, lines=lines, missing=missing)
        body["explanation"] = told.to_dict()
    return Response(body=body, log=_log(caller, session.sub, sid))


def _lines(session: Session, log: "SessionLog", now: int) -> tuple[Sequence[LogLine], str]:
    """What the log has, and why it has nothing: a log that cannot be read refuses nobody."""
    since, until = session.started_at - LINE_SECONDS, now + LINE_SECONDS
    try:
        return log.lines(session.sid, since=since, until=until), ""
    except Fault as fault:
        events.log("time-line incomplete", level="WARNING", sid=session.sid, fault=str(fault))
        return (), "the log could not be read"


def end_one(
    sid: str, caller: Caller, *, applications: Applications, store: SessionStore, bus: Bus, now: int
) -> Response:
    """Ends one session; one that is over already stays as it is. 204 both times."""
    session = _find(sid, caller, REVOKE, store)
    reason = Reason.REVOKED_BY_OPERATOR if caller.sub is None else Reason.REVOKED_BY_USER
    ended = _end(session, caller, reason, applications, store, bus, now)
    return Response(status=204, log={**_log(caller, session.sub, sid), "ended": int(ended)})


def end_all(
    caller: Caller,
    *,
    sub: str | None,
    sender: Sender,
    request_id: str,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> Response:
    """Signs a subject out everywhere: `{"ended": number}`.

    sender, request_id: of the request, for the line of each session.
    """
    subject = caller.subject(sub, REVOKE)
    done = sign_out(
        subject,
        reason=Reason.REVOKED_EVERYWHERE,
        by=caller.client_id,
        applications=applications,
        store=store,
        bus=bus,
        now=now,
        last=caller.sid,
    )
    for problem in done.damaged:
        events.log("sessions", level="ERROR", fault=problem)
    for session in done.ended:
        # The request's own line has no sid.
        events.log(
            "sessions",
            route="DELETE /sessions",
            outcome="ended",
            ended=1,
            detail=BY_APPLICATION if caller.sub is None else BY_SUBJECT,
            request_id=request_id,
            network=sender.network or None,
            agent=sender.agent or None,
            **_log(caller, subject, session.sid),
        )
    if done.left:
        # Repeated, it ends those that are left.
        raise Fault("; ".join(done.left[:3]))
    log = {**_log(caller, subject), "ended": len(done.ended)}
    return Response(body={"ended": len(done.ended)}, log=log)


def view(
    session: Session, caller: Caller, applications: Applications, now: int
) -> Mapping[str, Any]:
    """A session as JSON: instants in epoch seconds, no hash, nothing sealed.

    A subject sees `_seen_by_subject` while it lives. The evidence of a reuse is for operators only:
    whoever presented the token is to learn nothing.
    """
    application = applications.get(session.client_id, now)
    valid_after = application.sessions_valid_after if application else 0
    reason = session.dead_because(now, valid_after)
    body: dict[str, Any] = {
        "sid": session.sid,
        "client_id": session.client_id,
        "sub": session.sub,
        "scope": session.scope,
        "device": session.device,
        "network": session.network,
        "agent": session.agent,
        "current": session.sid == caller.sid,
        "status": "active" if reason is None else "ended",
        "started_at": session.started_at,
        "auth_time": session.auth_time,
        "refreshed_at": session.rotated_at,
        "active_at": session.last_active_at,
        "idle_deadline_at": session.idle_deadline_at,
        "absolute_deadline_at": session.absolute_deadline_at,
    }
    if caller.sub is None:
        body["generation"] = session.generation
    elif reason is None:
        policy = application.era(session.started_at).policy if application else None
        body |= _seen_by_subject(session, policy, now)
    if reason is not None:
        over_since = valid_after if reason is Reason.POLICY_CUTOFF else session.idle_deadline_at
        body |= {
            "reason": reason.value,
            "description": reason.description,
            "ended_at": session.ended_at or over_since,
            "ended_by": session.ended_by or None,
        }
    if caller.sub is None and session.evidence:
        body["evidence"] = session.evidence
    return body


def _seen_by_subject(session: Session, policy: Policy | None, now: int) -> dict[str, int | None]:
    """What a refresh or a use moves: told so that it changes at full hours, not at that moment.

    The moment would tell a thief, who has an access token and a copy of the refresh token, when to
    present the copy inside the leeway. So nothing is told of the hour that is running, nor of as
    many before it as an access token lasts: a session that it was issued to in these looks the same
    before and after the next refresh. (Who has the access token of another session of the subject
    sees a refresh that comes after a longer pause than that.)

    idle_deadline_at: moved back by the same, so at most that much too early. None where the idle
    time is shorter: it would be past while the session is in use.
    """
    hidden = HOUR * max(1, -(-policy.access_ttl_seconds // HOUR)) if policy else HOUR
    last = now - now % HOUR - hidden

    def told(at: int) -> int:
        return max(session.started_at, min(at - at % HOUR, last))

    refreshed_at, active_at = told(session.rotated_at or 0), told(session.last_active_at)
    idle_ttl = session.idle_deadline_at - session.last_active_at
    if policy:
        # Less is left near the absolute deadline, which a refresh is what brings about.
        idle_ttl = max(idle_ttl, policy.idle_ttl_seconds)
    return {
        "refreshed_at": refreshed_at if refreshed_at > session.started_at else None,
        "active_at": active_at,
        "idle_deadline_at": min(active_at + idle_ttl, session.idle_deadline_at)
        if idle_ttl >= hidden + HOUR
        else None,
    }


def _end(
    session: Session,
    caller: Caller,
    reason: Reason,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> bool:
    """False if it was over already."""
    # Only a stored end is for good: a cut-off can be taken back, another clock may be behind.
    if session.ended_at is not None:
        return False
    application = applications.get(session.client_id, now)
    retention = application.policy.retention_seconds if application else _DEFAULT_RETENTION_SECONDS
    return end_session(
        session.sid,
        reason=reason,
        by=caller.client_id,
        retention_seconds=retention,
        store=store,
        bus=bus,
        now=now,
        sessions_valid_after=application.sessions_valid_after if application else 0,
    ).done


def _find(sid: str, caller: Caller, scope: str, store: SessionStore) -> Session:
    caller.needs(scope)
    session = store.get(sid) if len(sid) == 22 else None
    # Another subject's session and none at all look the same.
    if session is None or caller.sub not in (None, session.sub):
        raise SessionNotFound("not found", client_id=caller.client_id)
    return session


def _after(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    started_at, _, sid = cursor.partition(".")
    if not re.fullmatch("[0-9]{1,10}", started_at) or len(sid) != 22:
        raise InvalidRequest("cursor must be the value of next.")
    return min(int(started_at), LAST_SECOND), sid


def _log(caller: Caller, sub: str, sid: str | None = None) -> Mapping[str, Any]:
    return {"client_id": caller.client_id, "sub": sub, "sid": sid}
