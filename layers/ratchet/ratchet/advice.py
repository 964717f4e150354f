"""What to change if the end of a session was not wanted."""

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from ratchet.application import Application
from ratchet.instants import duration, option
from ratchet.policy import DAY, HOUR, MINUTE, Policy
from ratchet.reasons import Reason
from ratchet.session import Session


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
) -> tuple[Advice, ...]:
    """The first is the most likely one.

    away_seconds: for how long nobody had refreshed when the client came back, None if it did not.
    """
    if reason is None or application is None:
        return ()
    policy = application.era(session.started_at).policy
    if reason is Reason.IDLE_EXPIRED:
        return tuple(_idle(session, application, policy, away_seconds))
    if reason is Reason.ABSOLUTE_EXPIRED:
        return tuple(_absolute(session, application, policy))
    if reason is Reason.REUSED:
        cause = str(session.evidence.get("reuse_cause", "unknown"))
        return tuple(_reused(session, application, policy, cause))
    return tuple(_other(session, application, reason))


def _idle(
    session: Session, application: Application, policy: Policy, away_seconds: int | None
) -> Iterator[Advice]:
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
    if wanted > policy.idle_ttl_seconds:
        yield Advice(
            text=f"{was} To keep people signed in for longer, raise the idle time; this only tells"
            " what it would do:",
            command=_update(application, f"--idle-ttl {option(wanted)} --dry-run"),
        )
    else:
        yield Advice(text=was)
    if not policy.touch_interval_seconds:
        yield Advice(
            text="Was the user active at an API all the while? Then let its use count as activity:",
            command=_update(application, f"--touch-interval {option(HOUR)} --dry-run"),
        )
    if not policy.idle_warning_seconds:
        yield Advice(
            text="Nothing warned of it. Let session.expiring tell your backend in time:",
            command=_update(
                application, f"--idle-warning {option(max(MINUTE, policy.idle_ttl_seconds // 7))}"
            ),
        )
    yield Advice(
        text="A client in use refreshes after refresh_after seconds. If the user was there and no"
        " refresh came, look at the client: does it run in the background, does it see errors?"
    )


def _absolute(session: Session, application: Application, policy: Policy) -> Iterator[Advice]:
    had = session.absolute_deadline_at - session.started_at
    yield Advice(
        text=f"No session may live longer ({duration(had)}), in use or not. A longer time holds for"
        " sessions that start after the change:",
        command=_update(
            application, f"--absolute-ttl {option(2 * policy.absolute_ttl_seconds)} --dry-run"
        ),
    )
    if not policy.absolute_warning_seconds:
        yield Advice(
            text="Nothing warned of it. Let session.expiring tell your backend before the deadline,"
            " so that the user can sign in again at a good moment:",
            command=_update(application, f"--absolute-warning {option(DAY)}"),
        )


def _reused(
    session: Session, application: Application, policy: Policy, cause: str
) -> Iterator[Advice]:
    send_key = (
        "Let the client send an Idempotency-Key with each refresh, and the same one when it repeats"
        " the request: then a lost answer can be asked for again"
        f" for {duration(policy.retry_window_seconds)}."
    )
    if cause == "lost_response":
        if not session.evidence.get("key_sent"):
            yield Advice(text=send_key)
        else:
            yield Advice(
                text="The client sent another Idempotency-Key than with the request whose answer"
                " was lost: it has to repeat the very same one."
            )
        yield from _longer_leeway(application, policy)
    elif cause == "concurrent":
        yield Advice(
            text="Several processes or tabs of the client share one refresh token. Let one of them"
            " refresh, under a lock, and the others read its result."
        )
        yield from _longer_leeway(application, policy)
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
        if application.dpop == "off":
            yield Advice(
                text="Bind sessions to a key of the client (DPoP, docs/dpop.md): then a copied"
                " token is of no use."
            )
    else:
        yield Advice(text="The evidence does not say which it was. " + send_key)
        yield Advice(text="Was it not the client? Then treat it as theft, and ask the user.")


def _longer_leeway(application: Application, policy: Policy) -> Iterator[Advice]:
    if policy.leeway_seconds < MINUTE:
        yield Advice(
            text="Until then a longer leeway helps; for its length a thief who holds the direct"
            f" parent passes for the client (now {duration(policy.leeway_seconds)}):",
            command=_update(application, f"--leeway {option(MINUTE)} --dry-run"),
        )


def _other(session: Session, application: Application, reason: Reason) -> Iterator[Advice]:
    by = session.ended_by or "an application"
    if reason is Reason.REVOKED_BY_USER:
        yield Advice(
            text="The user did not sign out? The time-line says from which network and program the"
            f" request came. Some clients sign out on start, or on any error: look at {by}."
        )
    elif reason in (Reason.REVOKED_BY_OPERATOR, Reason.REVOKED_EVERYWHERE):
        yield Advice(
            text=f"The request came with a token of {by}. If it should not be able to do this for"
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
                text="It can be taken back as long as the sweep has not come by; this session would"
                " live again until its deadline:",
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


def _update(application: Application, options: str) -> str:
    return f"ratchet apps update {quote(application.client_id)} {options}"
