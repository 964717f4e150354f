"""Why was my user signed out? What is known of a session, in plain words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ratchet.advice import Advice, advice, cut_short
from ratchet.application import Application
from ratchet.instants import duration, utc
from ratchet.reasons import Reason
from ratchet.refresh_token import RefreshToken
from ratchet.reuse import AT_ONCE_SECONDS
from ratchet.session import Session
from ratchet.timeline import BY_APPLICATION, BY_SUBJECT, LogLine, Timeline, What, timeline

Write = Callable[[int], str]
"""Epoch seconds as a person reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """sentence: what happened. cause: None while the session is alive, or if nothing is known.

    deadline: which one ended it, "idle" or "absolute", "" where none did. by: who ended it, "" for
    Ratchet itself. network, agent: where it was last started or refreshed from. evidence: of a
    reuse. timeline: None if nobody asked for it.
    """

    sentence: str
    cause: Reason | None = None
    ended_at: int | None = None
    deadline: str = ""
    by: str = ""
    device: str = ""
    network: str = ""
    agent: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()
    timeline: Timeline | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON. timeline and timeline_missing only if the time-line was asked for."""
        body: dict[str, Any] = {
            "sentence": self.sentence,
            "cause": self.cause.value if self.cause else None,
            "ended_at": self.ended_at,
            "deadline": self.deadline or None,
            "by": self.by or None,
            "device": self.device,
            "network": self.network,
            "agent": self.agent,
            "evidence": dict(self.evidence) or None,
            "evidence_text": evidence_text(self.evidence) or None,
            "advice": [piece.to_dict() for piece in self.advice],
        }
        if self.timeline is not None:
            body["timeline"] = [entry.to_dict() for entry in self.timeline.entries]
            body["timeline_missing"] = self.timeline.missing or None
        return body


def explain(
    session: Session,
    application: Application | None,
    *,
    now: int,
    lines: Sequence[LogLine] | None = None,
    missing: str = "",
    write: Write = utc,
) -> Explanation:
    """What became of the session.

    lines: its log lines, None if no time-line is wanted; without them the item alone has to do.
    missing: what kept them from being read.
    """
    cause, ended_at = ending(session, application, now)
    told = None
    if lines is not None:
        told = timeline(session, lines, ended_at=ended_at, reason=cause, missing=missing)
    over = ended_at is not None
    deadline = {Reason.IDLE_EXPIRED: "idle", Reason.ABSOLUTE_EXPIRED: "absolute"}
    whose = _whose_request(lines or ())
    return Explanation(
        sentence=_sentence(session, application, cause, ended_at, told, whose, write),
        cause=cause,
        ended_at=ended_at,
        deadline=deadline.get(cause, "") if cause and not cut_short(session) else "",
        by=session.ended_by,
        device=session.device,
        network=session.network,
        agent=session.agent,
        evidence=session.evidence if over else {},
        advice=advice(
            session, application, cause, away_seconds=_away(session, told), asked_by=whose
        ),
        timeline=told,
    )


def ending(
    session: Session, application: Application | None, now: int
) -> tuple[Reason | None, int | None]:
    """Why it is over, and since when. A disabled application ends nothing: a reason, no instant."""
    valid_after = application.sessions_valid_after if application else 0
    reason = session.dead_because(now, valid_after)
    if reason is not None:
        over_since = valid_after if reason is Reason.POLICY_CUTOFF else session.idle_deadline_at
        return reason, over_since if session.ended_at is None else session.ended_at
    if application is not None and application.disabled_at is not None:
        return Reason.APPLICATION_DISABLED, None
    return None, None


def gone(sid: str, lines: Sequence[LogLine], *, missing: str = "") -> Explanation:
    """A session without an item: it was deleted, or there never was one."""
    told = timeline(None, lines, missing=missing)
    if not told.entries:
        sentence = (
            f"There is no session {sid}, and the log has no line of it. Either it ended longer ago"
            " than ended sessions and log lines are kept, or it is of another deployment."
        )
        return Explanation(sentence=sentence, cause=Reason.SESSION_UNKNOWN, timeline=told)
    sentence = (
        f"The session {sid} is no longer kept (an ended session is, for retention_seconds, 30 days"
        " by default), and its reason is gone with it. What the log still has is in the time-line."
    )
    return Explanation(sentence=sentence, cause=Reason.SESSION_UNKNOWN, timeline=told)


def plain(session: Session, application: Application | None, now: int) -> str:
    """The sentence for the subject: no instant, and nobody else's details."""
    cause, _ = ending(session, application, now)
    if cause is None:
        return "You are signed in here."
    if cause is Reason.REUSED:
        return (
            "A key of this session that had been replaced was used again. To be safe, the session"
            " was ended; sign in again."
        )
    return cause.description


# --- sentences -----------------------------------------------------------------------------------

_CAUSES = {
    "lost_response": "most likely the answer to the refresh before was lost, and the client asked"
    " again too late or without its Idempotency-Key",
    "concurrent": "most likely two processes or tabs of the client refreshed with the same token",
    "stale_copy": "most likely the client kept an old copy of it",
    "theft_like": "it came from elsewhere than the session's own requests, so this may be theft",
    "unknown": "the evidence does not say whether the client or somebody else did",
}


_EVERYWHERE = {
    BY_SUBJECT: "the user asked for it, in {by}",
    BY_APPLICATION: "the application {by} asked for it",
    "": "it was asked for through {by}",
}


def _sentence(
    session: Session,
    application: Application | None,
    cause: Reason | None,
    ended_at: int | None,
    told: Timeline | None,
    whose: str,
    write: Write,
) -> str:
    if cause is None:
        return _alive(session, write) + _last_failure(session, told, write)
    if ended_at is None:
        since = application.disabled_at if application else None
        return (
            f"The session has not ended, but its application {session.client_id} is disabled"
            f"{f' since {write(since)}' if since else ''}: every request is refused until it is"
            " enabled again."
        )
    at = write(ended_at)
    if cause in (Reason.IDLE_EXPIRED, Reason.ABSOLUTE_EXPIRED) and cut_short(session):
        return (
            f"A shorter policy, applied to the live sessions at once, ended the session at {at};"
            f" its own idle deadline was {write(session.idle_deadline_at)}."
        )
    by = session.ended_by or "an unknown application"
    started = write(session.started_at)
    if cause is Reason.IDLE_EXPIRED:
        used_at = session.last_active_at
        last = "the last refresh was" if session.rotated_at else "it was never refreshed after"
        if used_at > (session.rotated_at or session.started_at):
            last = "an API last told of its use"
        done = "refreshed it" if session.active_at is None else "refreshed or used it"
        return (
            f"The session ended at its idle deadline, {at}: nobody had {done} for"
            f" {duration(ended_at - used_at)} ({last} {write(used_at)})."
        )
    if cause is Reason.ABSOLUTE_EXPIRED:
        return (
            f"The session reached its absolute deadline, {at}: it had lived for"
            f" {duration(ended_at - session.started_at)} since {started}, which no refresh extends."
        )
    if cause is Reason.REUSED:
        return (
            f"The session was ended at {at}, because a refresh token that had been replaced was"
            f" presented again{_from(told)}: {_why_reused(session)}."
        )
    sentences = {
        Reason.REVOKED_BY_USER: f"The user signed out at {at}, in {by}.",
        Reason.REVOKED_BY_OPERATOR: f"An operator ended the session at {at}, through {by}.",
        Reason.REVOKED_EVERYWHERE: f"All sessions of {session.sub} were ended at {at}:"
        f" {_EVERYWHERE[whose].format(by=by)} (DELETE /sessions).",
        Reason.APPLICATION_DISABLED: f"The application {session.client_id} was deleted at {at}, and"
        " its sessions were ended with it.",
        Reason.POLICY_CUTOFF: f"All sessions of {session.client_id} that started before"
        f" {write(_cutoff(application, ended_at))} were ended; this one started at {started}."
        + _answered_after(session, ended_at, write),
        Reason.PASSWORD_CHANGED: f"The password of {session.sub} was changed at {at}, which ended"
        " all sessions of the user.",
        Reason.USER_DISABLED: f"The user {session.sub} was disabled at {at}, which ended all"
        " sessions of the user.",
        Reason.UNAVAILABLE: f"The sign-in could not be confirmed at {at}, so the session was ended;"
        " nobody ever got its tokens.",
    }
    return sentences.get(cause, f"The session ended at {at}: {cause.description}")


def _alive(session: Session, write: Write) -> str:
    last = f"the last refresh was {write(session.rotated_at)}" if session.rotated_at else ""
    last = last or f"it has not been refreshed since its start, {write(session.started_at)}"
    if session.idle_deadline_at == session.absolute_deadline_at:
        until = f"It ends at {write(session.absolute_deadline_at)}, refreshed or not"
    else:
        until = (
            f"It ends at {write(session.idle_deadline_at)} unless it is"
            f" {'refreshed' if session.active_at is None else 'refreshed or used'} before, and at"
            f" {write(session.absolute_deadline_at)} in any case"
        )
    return f"The session has not ended. {until}; {last}."


def _last_failure(session: Session, told: Timeline | None, write: Write) -> str:
    """A session may be alive and its user signed out all the same.

    Requests of other applications are none of its own: to them its tokens are of no use.
    """
    for last in reversed(told.entries if told else ()):
        if last.what not in (What.REFUSED, What.FAILED, What.WARNED):
            return ""
        if last.what is not What.WARNED and last.client_id in ("", session.client_id):
            at = write(last.until_at or last.at)
            return f" But its last request had no success, {at}: {last.text}."
    return ""


def _cutoff(application: Application | None, ended_at: int) -> int:
    return (application.sessions_valid_after if application else 0) or ended_at


def _answered_after(session: Session, ended_at: int, write: Write) -> str:
    """Of a cut-off that no sweep has stored yet."""
    if session.last_active_at <= ended_at:
        return ""
    return (
        f" It was still answered at {write(session.last_active_at)}: a cut-off may be set to a past"
        " instant, and functions learn of it within 60 seconds."
    )


def _whose_request(lines: Sequence[LogLine]) -> str:
    """Whose token a sign-out everywhere came with, "" if the log does not say."""
    for line in lines:
        if line.text("route") == "DELETE /sessions" and line.text("outcome") == "ended":
            detail = line.text("detail")
            return detail if detail in _EVERYWHERE else ""
    return ""


def _from(told: Timeline | None) -> str:
    """Where the reused token came from, if the log has the request."""
    for entry in told.entries if told else ():
        if entry.what is What.REUSE_DETECTED and entry.network:
            return f" from {entry.network}" + (f" ({entry.agent})" if entry.agent else "")
    return ""


def _why_reused(session: Session) -> str:
    cause = str(session.evidence.get("reuse_cause", "unknown"))
    return _CAUSES.get(cause, _CAUSES["unknown"])


def evidence_text(evidence: Mapping[str, Any]) -> str:
    """The evidence of a reuse (`reuse.evidence`) in words, "" for none."""
    if not evidence:
        return ""
    facts = []
    if (behind := evidence.get("behind")) is not None:
        facts.append(f"{behind} generation{'' if behind == 1 else 's'} behind")
    if (since := evidence.get("since_rotation_seconds")) is not None:
        seconds = int(since)
        after = "within seconds of" if seconds < AT_ONCE_SECONDS else f"{duration(seconds)} after"
        facts.append(f"{after} the last rotation")
    for name, what in (("same_network", "network"), ("same_agent", "client program")):
        if (same := evidence.get(name)) is not None:
            facts.append(f"the same {what}" if same else f"another {what}")
    return ", ".join([*facts, _key(evidence)])


def _key(evidence: Mapping[str, Any]) -> str:
    if not evidence.get("key_sent"):
        return "without an Idempotency-Key"
    told = {
        "same": "with the same Idempotency-Key, too late",
        "other": "with another Idempotency-Key",
        "none": "with an Idempotency-Key, where the request before had none that counts",
    }
    unknown = "with an Idempotency-Key that does not allow it"
    return told.get(str(evidence.get("key_before")), unknown)


def _away(session: Session, told: Timeline | None) -> int | None:
    """How long nobody had refreshed when the client came back to an expired session."""
    used_at = session.last_active_at
    for entry in told.entries if told else ():
        if entry.what is What.REFUSED and entry.at >= session.idle_deadline_at:
            return entry.at - used_at
    return None


# --- a refresh token -----------------------------------------------------------------------------


class Standing(StrEnum):
    """What a refresh token is to its session."""

    CURRENT = "current"
    DIRECT_PARENT = "direct_parent"
    REPLACED = "replaced"
    NEWER = "newer"
    EXPIRED = "expired"
    WITHOUT_SESSION = "without_session"
    NOT_OURS = "not_ours"


def standing(
    token: RefreshToken, session: Session | None, *, now: int, write: Write = utc
) -> tuple[Standing, str]:
    """What this genuine token is, and a sentence that says so."""
    if session is None:
        return Standing.WITHOUT_SESSION, "The token is genuine, but its session is gone."
    if token.expired(now):
        last = "idle" if token.expired_reason is Reason.IDLE_EXPIRED else "absolute"
        at = token.idle_deadline_at if last == "idle" else token.absolute_deadline_at
        text = f"The token is past the {last} deadline it was made with, {write(at)}"
        behind = session.generation - token.generation
        if behind > 0:
            text += f", and {_generations(behind)} behind its session"
        return Standing.EXPIRED, f"{text}."
    presented = token.hash()
    if presented == session.current_hash:
        return Standing.CURRENT, "The token is the newest one of its session."
    if presented == session.parent_hash:
        return Standing.DIRECT_PARENT, _parent(session, now, write)
    behind = session.generation - token.generation
    if behind > 0:
        return Standing.REPLACED, (
            f"The token is {_generations(behind)} behind: its successor was replaced too."
        )
    return Standing.NEWER, (
        "The token is genuine, but not one that the session knows: newer than its item, as after a"
        " restore from a backup."
    )


def _parent(session: Session, now: int, write: Write) -> str:
    replaced_at = write(session.rotated_at or session.started_at)
    text = f"The token is the direct parent of the newest one: it was replaced at {replaced_at}"
    if session.dead_because(now):
        return f"{text}."
    if session.leeway_until_at is not None and now <= session.leeway_until_at:
        return f"{text}, and still inside the leeway."
    return f"{text}. Presented now without the Idempotency-Key of that request, it is a reuse."


def _generations(number: int) -> str:
    return f"{number} generation{'' if number == 1 else 's'}"


def not_ours(reason: Reason, detail: str) -> Explanation:
    """A text that is no refresh token of this deployment, so nothing says of which session."""
    why = {
        Reason.MALFORMED: "It was cut off, altered or made up, or it is of another deployment. A"
        " refresh token has 108 characters and starts with rt1_: compare what the client stores.",
        Reason.UNKNOWN_PEPPER: "The secret PepperSecret has no pepper with its id: it was removed"
        " too early, or the token is of another deployment. Put the pepper back under the same id,"
        " and the token is good again.",
    }
    return Explanation(
        sentence=f"{reason.description} ({detail})",
        cause=reason,
        advice=(Advice(text=why.get(reason, reason.description)),),
    )
