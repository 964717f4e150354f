"""`ratchet users`: who signs in with an e-mail address and a password."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ratchet_cli.target import Target, target_options, working
from ratchet_cli.typed_password import typed_password

if TYPE_CHECKING:
    from ratchet.parts import Parts
    from ratchet.reasons import Reason
    from ratchet.session import Session
    from ratchet.sign_out import SignedOut
    from ratchet.users import User

# What an ended session says of who ended it: these write no line to the functions' log.
_COMMANDS = {
    "user_disabled": "ratchet users disable",
    "password_changed": "ratchet users set-password",
}
INDEX_SECONDS = 2.0
"""How long a new session may be missing in the list of its subject."""


@click.group("users")
def users_group() -> None:
    """Look after the people who sign in with e-mail address and password."""


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@users_group.command("add")
@click.argument("email")
@click.option("--sub", help="The subject of the access tokens; random if left out.")
@_json_option
@target_options
def add_command(target: Target, email: str, sub: str | None, as_json: bool) -> None:
    """Add a user.

    The password is asked for; without a terminal it is the first line of standard input.
    """
    with _working(target) as parts:
        from ratchet.users import User

        address, now = _address(email), _now()
        subject = _subject(sub, parts, now)
        user = User(
            email=address,
            sub=subject,
            password_hash=_new_password_hash(address),
            created_at=now,
            password_changed_at=now,
        )
        parts.users.add(user)
    _print(user, as_json)


@users_group.command("list")
@_json_option
@target_options
def list_command(target: Target, as_json: bool) -> None:
    """List all users, by address."""
    with _working(target) as parts:
        found = sorted(parts.users.all(), key=lambda user: user.email)
    if as_json:
        click.echo(json.dumps({"users": [_view(user) for user in found]}, indent=2))
        return
    for user in found:
        note = "" if user.disabled_at is None else "  disabled"
        click.echo(f"{user.email}  {user.sub}{note}")


@users_group.command("show")
@click.argument("user")
@_json_option
@target_options
def show_command(target: Target, user: str, as_json: bool) -> None:
    """Show the user with this address or subject."""
    with _working(target) as parts:
        found = _find(user, parts)
    _print(found, as_json)


@users_group.command("disable")
@click.argument("user")
@_json_option
@target_options
def disable_command(target: Target, user: str, as_json: bool) -> None:
    """Lock a user out, and end all sessions that the user has.

    Interrupted? Run it again. USER is an address or a subject.
    """
    with _working(target) as parts:
        from ratchet.reasons import Reason

        found = _known(parts.users.disable(_find(user, parts).email, _now()))
        done = _end_sessions(found, Reason.USER_DISABLED, parts)
    _report(found, as_json, done)


@users_group.command("enable")
@click.argument("user")
@_json_option
@target_options
def enable_command(target: Target, user: str, as_json: bool) -> None:
    """Let a disabled user sign in again. Sessions that were ended stay over."""
    with _working(target) as parts:
        found = _known(parts.users.enable(_find(user, parts).email))
    _print(found, as_json)


@users_group.command("set-password")
@click.argument("user")
@_json_option
@target_options
def set_password_command(target: Target, user: str, as_json: bool) -> None:
    """Give a user another password, and end all sessions that the user has.

    The password is asked for; without a terminal it is the first line of standard input.
    Interrupted? Run it again. USER is an address or a subject.
    """
    with _working(target) as parts:
        from ratchet.reasons import Reason

        email = _find(user, parts).email
        found = _known(parts.users.set_password(email, _new_password_hash(email), _now()))
        done = _end_sessions(found, Reason.PASSWORD_CHANGED, parts)
    _report(found, as_json, done)


@contextlib.contextmanager
def _working(target: Target) -> Iterator[Parts]:
    """As `working`, with what can be wrong with users and their passwords."""
    with working(target) as parts:
        from ratchet.email_address import InvalidEmail
        from ratchet.password import InvalidPassword
        from ratchet.users import UserExistsError

        try:
            yield parts
        except InvalidEmail as invalid:
            raise click.ClickException(f"this is not an e-mail address: {invalid}") from None
        except InvalidPassword as invalid:
            raise click.ClickException(f"this cannot be a password: {invalid}") from None
        except UserExistsError as taken:
            raise click.ClickException(f"nothing was added: {taken}") from None


def _now() -> int:
    return int(time.time())


def _address(text: str) -> str:
    from ratchet.email_address import normalise

    return normalise(text)


def _subject(sub: str | None, parts: Parts, now: int) -> str:
    """A subject that a session may have, no application's id, and of no identity provider."""
    from ratchet import trusted_issuer
    from ratchet.issue import SignIn

    if sub is None:
        return secrets.token_urlsafe(16)
    if parts.applications.get(SignIn(sub=sub).sub, now) is not None:
        raise click.ClickException("the subject is the id of an application")
    for written in parts.applications.every_written():
        for issuer in trusted_issuer.registered(written):
            if sub.startswith(issuer.subject_prefix):
                raise click.ClickException(
                    f"{issuer.issuer} makes subjects like this for {written['client_id']}"
                    f' (subject_prefix "{issuer.subject_prefix}")'
                )
    return sub


def _find(text: str, parts: Parts) -> User:
    """By subject first: one may look like an address, but no address like a random subject."""
    found = parts.users.of_subject(text)
    return _known(found or (parts.users.get(_address(text)) if "@" in text else None))


def _known(user: User | None) -> User:
    if user is None:
        raise click.ClickException("there is no such user")
    return user


def _new_password_hash(email: str) -> str:
    from ratchet.password import hash_new

    return hash_new(typed_password(twice=True), email=email)


def _end_sessions(user: User, reason: Reason, parts: Parts) -> SignedOut:
    """Ends what the list shows, and looks again once it shows everything, as a rule."""
    from ratchet.sign_out import SignedOut, sign_out

    done = SignedOut()
    ended: tuple[Session, ...] = ()
    for pause in (0.0, INDEX_SECONDS):
        time.sleep(pause)
        done = sign_out(
            user.sub,
            reason=reason,
            by=_COMMANDS[reason.value],
            applications=parts.applications,
            store=parts.store,
            bus=parts.bus,
            now=_now(),
        )
        ended += tuple(session for session in done.ended if session.reason is reason)
    return replace(done, ended=ended)


def _report(user: User, as_json: bool, done: SignedOut) -> None:
    """What was done on standard output; what may be left, which nobody may overlook, elsewhere."""
    _print(user, as_json, len(done.ended))
    if done.damaged or done.left:
        left = "\n".join(f"  {text}" for text in (*done.damaged, *done.left))
        raise click.ClickException(f"not all sessions were ended; run this again:\n{left}")
    click.echo(
        "A session that started in the last seconds may not have been listed yet: run this again "
        "to be sure.",
        err=True,
    )


def _view(user: User) -> dict[str, Any]:
    return {
        "email": user.email,
        "sub": user.sub,
        "created_at": user.created_at,
        "password_changed_at": user.password_changed_at,
        "disabled_at": user.disabled_at,
    }


def _print(user: User, as_json: bool, ended: int | None = None) -> None:
    view = _view(user) | ({} if ended is None else {"sessions_ended": ended})
    if as_json:
        click.echo(json.dumps(view, indent=2))
        return
    for name, value in view.items():
        if value is not None:
            shown = (
                datetime.fromtimestamp(value, UTC).isoformat() if name.endswith("_at") else value
            )
            click.echo(f"{name:<20} {shown}")
