"""What to change if the end of a session was not wanted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

from ratchet.application import Application
from ratchet.instants import duration, option, utc
from ratchet.policy import (
    DAY,
    HOUR,
    MAX_RETRY_WINDOW_SECONDS,
    MAX_SECONDS,
    MINUTE,
    InvalidPolicy,
    Policy,
)
from ratchet.reasons import Reason
from ratchet.session import Session
from ratchet.timeline import BY_APPLICATION, BY_SUBJECT

_SWEEP_SECONDS = 5 * MINUTE
"""How often the sweep looks, which warns: no shorter time is of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """command: what to type, "" where no command does it."""

    text: str
    command: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"text": self.text, **({"command": self.command} if self.command else {})}


def advice(
    session: Session,
    application: Application | None,
    reason: Reason | None,
    *,
    away_seconds: int | None,
    asked_by: str = "",
) -> tuple[Advice, ...]:
    """The first is the most likely one.

    away_seconds: for how long nobody had refreshed when the client came back, None if it did not.
    asked_by: whose token a sign-out everywhere came with, BY_SUBJECT or BY_APPLICATION, "" if that
    is not known.
    """
    if reason is None or application is None:
        return ()
    if reason in (Reason.IDLE_EXPIRED, Reason.ABSOLUTE_EXPIRED) and cut_short(session):
        return (_CUT_SHORT,)
    if reason is Reason.IDLE_EXPIRED:
        return tuple(_idle(session, application, away_seconds))
    if reason is Reason.ABSOLUTE_EXPIRED:
        return tuple(_absolute(session, application))
    if reason is Reason.REUSED:
        return tuple(_reused(session, application))
    return tuple(_other(session, application, reason, asked_by))


def cut_short(session: Session) -> bool:
    """Whether a session that expired ended before its own deadline, as `--mode now` makes it."""
    return session.ended_at is not None and session.ended_at < session.idle_deadline_at


_CUT_SHORT = Advice(
    text="Its end is stored, so it cannot be taken back. In the mode next-refresh the session would"
    " have kept its deadline until its next refresh; --dry-run tells beforehand how many sessions a"
    " change would end."
)


def _idle(session: Session, application: Application, away_seconds: int | None) -> Iterator[Advice]:
    policy = application.policy
    had = session.idle_deadline_at - session.last_active_at
    if away_seconds is not None and away_seconds > had:
        # What would have been enough: at the deadline itself it is too late.
        unit = DAY if away_seconds > 2 * DAY else HOUR if away_seconds > 2 * HOUR else MINUTE
        wanted = (away_seconds // unit + 1) * unit
    else:
        wanted = 2 * had
    wanted = min(wanted, policy.absolute_ttl_seconds)
    came = (
        f"and the client came back after {duration(away_seconds)}"
        if away_seconds
        else "and the client has not come back since"
    )
    what = "a refresh" if session.active_at is None else "a refresh or use"
    was = f"The session had {duration(had)} without {what}, {came}."
    if abs(had - policy.idle_ttl_seconds) > MINUTE:
        was += f" (The policy has changed since: now it gives {duration(policy.idle_ttl_seconds)}.)"
    longer: tuple[Advice, ...] = ()
    if wanted > policy.idle_ttl_seconds:
        text = (
            f"{was} To keep people signed in for longer, raise the idle time; this only tells what"
            " it would do:"
        )
        longer = _change(application, text, idle_ttl_seconds=wanted)
    yield from longer or (Advice(text=was),)
    if session.active_at is None and not policy.touch_interval_seconds:
        yield from _change(
            application,
            "Was the user active at an API all the while? Then let its use count as activity:",
            touch_interval_seconds=min(HOUR, max(MINUTE, _even(policy.idle_ttl_seconds // 4))),
        )
    if session.warned_deadline_at != session.idle_deadline_at and not policy.idle_warning_seconds:
        least = max(policy.idle_ttl_seconds // 7, _SWEEP_SECONDS)
        yield from _change(
            application,
            "Nothing warned of it. Let session.expiring tell your backend in time:",
            idle_warning_seconds=_even(min(least, policy.idle_ttl_seconds // 2)),
        )
    yield Advice(
        text="A client in use refreshes after refresh_after seconds. If the user was there and no"
        " refresh came, look at the client: does it run in the background, does it see errors?"
    )


def _absolute(session: Session, application: Application) -> Iterator[Advice]:
    policy = application.policy
    had = session.absolute_deadline_at - session.started_at
    was = f"No session may live longer ({duration(had)}), in use or not."
    if had != policy.absolute_ttl_seconds:
        now_has = duration(policy.absolute_ttl_seconds)
        was = f"This session had {duration(had)}, in use or not. (Those that start now: {now_has}.)"
    longer: tuple[Advice, ...] = ()
    wanted = min(2 * had, MAX_SECONDS)
    if wanted > policy.absolute_ttl_seconds:
        text = f"{was} A longer time holds for sessions that start after the change:"
        longer = _change(application, text, absolute_ttl_seconds=wanted)
    yield from longer or (Advice(text=was),)
    warned = session.warned_absolute_deadline_at == session.absolute_deadline_at
    if not warned and not policy.absolute_warning_seconds:
        yield from _change(
            application,
            "Nothing warned of it. Let session.expiring tell your backend before the deadline, so"
            " that the user can sign in again at a good moment:",
            absolute_warning_seconds=_even(min(DAY, policy.absolute_ttl_seconds // 8)),
        )


def _reused(session: Session, application: Application) -> Iterator[Advice]:
    policy = application.era(session.started_at).policy
    evidence = session.evidence
    cause = evidence.get("reuse_cause")
    if cause == "lost_response":
        yield from _key(evidence, application, policy)
        yield from _longer_leeway(evidence, application)
    elif cause == "concurrent":
        yield Advice(
            text="Several processes or tabs of the client share one refresh token. Let one of them"
            " refresh, under a lock, and the others read its result."
        )
        yield from _longer_leeway(evidence, application)
    elif cause == "stale_copy":
        yield Advice(
            text="The client presented a token it had replaced before: a restored backup, a"
            " second copy of its storage, or a new token that was not stored. It has to store the"
            " new refresh token before it uses it, in one place."
        )
    elif cause == "theft_like":
        yield Advice(
            text="Treat it as theft. The session is over for both; the access tokens of the last"
            f" {duration(policy.access_ttl_seconds)} are good until they expire. Ask the user, and"
            " end the user's other sessions if in doubt: DELETE /sessions?sub=..."
        )
        # Sessions of confidential applications are bound to the application instead.
        if session.jkt is None and not application.confidential:
            yield Advice(
                text="This session was bound to no key. Bind sessions to a key of the client (DPoP,"
                " docs/dpop.md): then a copied token is of no use."
            )
    else:
        yield Advice(text="The evidence does not say which it was.")
        # An older token has been replaced and its successor used: no answer was lost.
        if evidence.get("behind", 1) == 1:
            yield from _key(evidence, application, policy)
        yield Advice(text="Was it not the client? Then treat it as theft, and ask the user.")


def _key(evidence: Mapping[str, Any], application: Application, policy: Policy) -> Iterator[Advice]:
    """How the client could have asked for the lost answer again. policy: the session's."""
    window = duration(policy.retry_window_seconds)
    before = evidence.get("key_before")
    if not policy.retry_window_seconds:
        text = "An Idempotency-Key counts for nothing here (retry_window_seconds is 0)."
    elif before == "same":
        text = (
            "The client repeated the refresh with the same Idempotency-Key, but too late: it counts"
            f" for {window}."
        )
    elif before == "other":
        how = (
            "with another Idempotency-Key than"
            if evidence.get("key_sent")
            else "without the Idempotency-Key of"
        )
        text = (
            f"The client repeated the refresh {how} the request whose answer was lost. It has to"
            " send the very same Idempotency-Key: then a lost answer can be asked for again for"
            f" {window}."
        )
    else:
        text = (
            "Let the client send an Idempotency-Key with each refresh, from the first try on, and"
            " the same one when it repeats the request: then a lost answer can be asked for again"
            f" for {window}."
        )
    longer: tuple[Advice, ...] = ()
    if before == "same" or not policy.retry_window_seconds:
        longer = _change(
            application,
            f"{text} Let it count for {duration(MAX_RETRY_WINDOW_SECONDS)}:",
            retry_window_seconds=MAX_RETRY_WINDOW_SECONDS,
        )
    yield from longer or (Advice(text=text),)


def _longer_leeway(evidence: Mapping[str, Any], application: Application) -> Iterator[Advice]:
    """Where one of a minute would have been enough."""
    leeway = application.policy.leeway_seconds
    if leeway < MINUTE and evidence.get("since_rotation_seconds", 0) <= MINUTE:
        yield from _change(
            application,
            "Until then a longer leeway helps; for its length a thief who holds the direct parent"
            f" passes for the client (now {duration(leeway)}):",
            leeway_seconds=MINUTE,
        )


def _other(
    session: Session, application: Application, reason: Reason, asked_by: str
) -> Iterator[Advice]:
    by = session.ended_by or "an application"
    if reason is Reason.REVOKED_BY_USER:
        yield Advice(
            text="The user did not sign out? The time-line says from which network and program the"
            f" request came. Some clients sign out on start, or on any error: look at {by}."
        )
    elif reason is Reason.REVOKED_EVERYWHERE and asked_by == BY_SUBJECT:
        yield Advice(
            text="The user did not ask for it? Then somebody else has an access token of theirs, or"
            f" {by} did it by itself: the time-line says from which network and program."
        )
    elif reason is Reason.REVOKED_EVERYWHERE and asked_by != BY_APPLICATION:
        yield Advice(
            text=f"The request came with a token of {by}, its own or the user's. If the application"
            " should not be able to do this for any user, take the scope sessions:revoke from it; a"
            " user needs none."
        )
    elif reason in (Reason.REVOKED_BY_OPERATOR, Reason.REVOKED_EVERYWHERE):
        yield Advice(
            text=f"The request came with {by}'s own token. If it should not be able to do this for"
            " any user, take the scope sessions:revoke from it."
        )
    elif reason is Reason.APPLICATION_DISABLED:
        if application.disabled_at is not None:
            yield Advice(
                text="Switched on again, it serves the sessions that have not ended meanwhile:",
                command=_update(application, "--enable"),
            )
    elif reason is Reason.POLICY_CUTOFF:
        if session.ended_at is None:
            yield Advice(
                text="It can be taken back as long as the sweep has not come by. This session would"
                " live again until its deadline, and so would all others of the application that"
                f" started since {utc(session.started_at)} and that no sweep has ended yet:",
                command=_update(application, f"--end-sessions-before {session.started_at}"),
            )
        else:
            yield Advice(text="Its end is stored, so it cannot be taken back for this session.")
    elif reason is Reason.USER_DISABLED:
        yield Advice(
            text="To let the user sign in again, with a new session:",
            command=f"ratchet users enable {quote(session.sub)}",
        )
    elif reason is Reason.PASSWORD_CHANGED:
        yield Advice(text="A new password always ends all sessions; the user signs in with it.")


def _change(application: Application, text: str, **numbers: Any) -> tuple[Advice, ...]:
    """What to type for these numbers of the policy, which changes nothing yet.

    Nothing where that is what the policy says already, or what it may not say.
    """
    policy = application.policy
    try:
        changed = replace(policy, **numbers)
    except InvalidPolicy:
        return ()
    if changed == policy or not policy.refresh_tokens:
        return ()
    options = [
        f"--{name.removesuffix('_seconds').replace('_', '-')} {option(seconds)}"
        for name, seconds in numbers.items()
    ]
    return (Advice(text=text, command=_update(application, f"{' '.join(options)} --dry-run")),)


def _even(seconds: int) -> int:
    """Without what is left over of its largest unit: 102 minutes are an hour."""
    unit = next((unit for unit in (DAY, HOUR, MINUTE) if seconds >= unit), 1)
    return seconds - seconds % unit


def _update(application: Application, options: str) -> str:
    return f"ratchet apps update {quote(application.client_id)} {options}"
