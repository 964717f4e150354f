"""`ratchet login|token|logout`: keeps a person signed in, with ratchet_client.

An example of a command line of one's own: it uses the service by HTTP and nothing of its code. A
person waits for `ratchet token`, so what only a sign-in needs is imported there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode, urlsplit

import click

from ratchet_cli import running
from ratchet_client import (
    ConnectionFailed,
    FileStore,
    MemoryStore,
    NotSignedIn,
    RatchetClientError,
    RefreshRefused,
    RefreshUnavailable,
    Request,
    Session,
    SessionEnded,
    Store,
    StoreFailed,
)
from ratchet_client.authorization_server import checked
from ratchet_client.credential import loads
from ratchet_client.token_answer import Later, Refused, Terminal, json_object, read
from ratchet_client.transport import send

if TYPE_CHECKING:
    from ratchet_client.keyring_store import KeyringStore

CLIENT_ID = "demo-cli"
SIGN_IN = 1
"""Exit code: only a new sign-in helps. Wrong usage is 2, as everywhere."""
TRY_LATER = os.EX_TEMPFAIL
CORRECT_SOMETHING = os.EX_CONFIG
GIVE_UP_AFTER_SECONDS = 30.0
LOGIN_SECONDS = 30.0
"""A password is hashed, and nobody wants to type it twice."""


@dataclass(frozen=True)
class SignIn:
    """Of one person at one service, with one application.

    path: the file of its own that it is in, unless an empty one beside it says that it is an entry
    of the system's key store.
    """

    issuer: str
    client_id: str
    path: Path

    @property
    def mark(self) -> Path:
        return self.path.with_suffix(".keyring")

    def store(self) -> FileStore | KeyringStore:
        return self.key_store() if self.mark.exists() else FileStore(self.path)

    def key_store(self) -> KeyringStore:
        try:
            from ratchet_client.keyring_store import KeyringStore
        except ModuleNotFoundError:
            raise StoreFailed("for the key store the package keyring is needed") from None
        return KeyringStore("ratchet", self.path.stem, folder=self.path.parent)

    def session(self, store: Store | None = None) -> Session:
        # Not by the issuer's metadata: that would be a request more for each refresh.
        return Session(
            store or self.store(),
            client_id=self.client_id,
            token_endpoint=f"{self.issuer}/oauth/token",
            revocation_endpoint=f"{self.issuer}/oauth/revoke",
            give_up_after_seconds=GIVE_UP_AFTER_SECONDS,
        )


def _sign_in(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name a sign-in, and plain words for what goes wrong."""

    @click.option("--issuer", metavar="URL", help="The service. Left out: the local stack here.")
    @click.option("--client-id", metavar="ID", default=CLIENT_ID, show_default=True)
    @functools.wraps(command)
    def wrapper(*args: Any, issuer: str | None, client_id: str, **options: Any) -> Any:
        url = _address(issuer)
        # What the library logs is in what it raises, too.
        logging.getLogger("ratchet_client").addHandler(logging.NullHandler())
        with _plainly(
            url, shlex.join(["ratchet", "login", "--issuer", url, "--client-id", client_id])
        ):
            sign_in = SignIn(url, client_id, path_of(url, client_id))
            return command(*args, sign_in=sign_in, **options)

    return wrapper


@click.command("login")
@_sign_in
@click.option("--email", help="Who signs in; asked for if left out.")
@click.option("--keyring", is_flag=True, help="Keep the tokens in the system's key store.")
def login_command(sign_in: SignIn, email: str | None, keyring: bool) -> None:
    """Sign in with e-mail address and password, and stay signed in.

    The password is asked for; without a terminal it is the first line of standard input. The tokens
    are kept in a file in your configuration folder that nobody else can read, with --keyring in the
    key store: Keychain, Secret Service. A sign-in that was there before is replaced, and its
    session ended.
    """
    from ratchet_cli.typed_password import typed_password

    if email is None:
        if not sys.stdin.isatty():
            raise click.UsageError("without a terminal --email is needed")
        email = str(click.prompt("E-mail address", err=True))
    store = sign_in.key_store() if keyring else FileStore(sign_in.path)
    if keyring:
        # Whether there is one is better known before a session is started that could not be kept.
        store.load()
    answer, now = _login(sign_in, email, typed_password()), time.time()
    former, moved = MemoryStore(), keyring != sign_in.mark.exists()
    # One that cannot be read is replaced all the same.
    with contextlib.suppress(StoreFailed):
        if text := sign_in.store().load():
            former.save(text)
    try:
        sign_in.session(store).start(answer)
    except StoreFailed:
        # Nobody could end it here any more: its tokens are nowhere.
        lost = sign_in.session(MemoryStore())
        lost.start(answer)
        with contextlib.suppress(RatchetClientError):
            lost.sign_out()
        raise
    if keyring:
        sign_in.mark.touch(mode=0o600)
    else:
        sign_in.mark.unlink(missing_ok=True)
    if moved:
        with contextlib.suppress(StoreFailed):
            _remove(FileStore(sign_in.path) if keyring else sign_in.key_store(), whatever=True)
    try:
        sign_in.session(former).sign_out()
    except (RefreshUnavailable, RefreshRefused) as failure:
        click.echo(f"The session before this one goes on: {failure}.", err=True)
    except RatchetClientError:
        # There was none.
        pass
    click.echo(f"Signed in as {email} at {sign_in.issuer}, application {sign_in.client_id}.")
    for name, field, note in (
        ("idle", "refresh_token_expires_in", ", later with every refresh"),
        ("absolute", "session_expires_in", ""),
    ):
        if isinstance(seconds := answer.get(field), int):
            click.echo(f"{name + ' deadline':<18} {_utc(now + seconds)}{note}")


@click.command("token")
@_sign_in
def token_command(sign_in: SignIn) -> None:
    """Print an access token that is good now, and nothing else.

    Refreshes it ahead of time. May be called by many at once: one of them refreshes. Exits with 1
    if somebody has to sign in (again), with 75 if the service does not answer and the token is past
    its time (nothing is lost, try again), with 78 if something has to be corrected.
    """
    click.echo(sign_in.session().access_token())


@click.command("logout")
@_sign_in
@click.option("--forget", is_flag=True, help="Remove the tokens even if the session goes on.")
def logout_command(sign_in: SignIn, forget: bool) -> None:
    """End the session, and remove its tokens from this machine.

    If the service does not answer they are kept, so that you can try again: nobody can end a
    session here whose tokens are gone. --forget removes them all the same.
    """
    told = f"Signed out at {sign_in.issuer}."
    try:
        sign_in.session().sign_out()
    except NotSignedIn:
        click.echo(f"Nobody is signed in at {sign_in.issuer}.")
        return
    except RatchetClientError as failure:
        if not forget:
            click.echo("The tokens are kept. To remove them all the same: --forget", err=True)
            raise
        click.echo(f"The session goes on until it is ended elsewhere: {failure}.", err=True)
        told = "The tokens are removed."
        _remove(sign_in.store(), whatever=True)
    else:
        _remove(sign_in.store(), whatever=False)
    click.echo(told)


def _address(issuer: str | None) -> str:
    """Of the service, without a slash at its end."""
    if issuer is None:
        found = running.find(Path.cwd())
        if found is None:
            raise click.UsageError(
                "no local stack runs in this tree. Name the service: --issuer https://..."
            )
        return found.url
    try:
        return checked("--issuer", issuer.rstrip("/"))
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def path_of(issuer: str, client_id: str) -> Path:
    """The file of this sign-in. The folder is that of the XDG Base Directory Specification."""
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    folder = configured if configured.is_absolute() else Path.home() / ".config"
    digest = hashlib.sha256(f"{issuer}\n{client_id}".encode()).hexdigest()
    return folder / "ratchet" / f"{urlsplit(issuer).hostname}-{digest[:16]}.json"


def _login(sign_in: SignIn, email: str, password: str) -> dict[str, Any]:
    """The token response of POST /login (docs/http-api.md)."""
    import socket

    form = {
        "client_id": sign_in.client_id,
        "email": email,
        "password": password,
        "device": f"ratchet on {socket.gethostname()}"[:64],
    }
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    response = send(
        Request("POST", f"{sign_in.issuer}/login", headers, urlencode(form).encode(), LOGIN_SECONDS)
    )
    answer = read(response, now=time.time(), private=(password,))
    if isinstance(answer, Terminal):
        _fail(SIGN_IN, answer.description or answer.reason)
    if isinstance(answer, Later):
        raise RefreshUnavailable(answer.detail, retry_after_seconds=answer.after_seconds or 0)
    if isinstance(answer, Refused):
        raise RefreshRefused(answer.status, answer.error, answer.reason, answer.description)
    return json_object(response.body)


def _remove(store: FileStore | KeyringStore, *, whatever: bool) -> None:
    """What is stored, with the lock on it: somebody may be refreshing, or have signed in meanwhile.

    whatever: whatever is in it, and not only if the session in it has ended.
    """
    give_up_at = time.monotonic() + GIVE_UP_AFTER_SECONDS
    while not store.try_lock():
        if time.monotonic() > give_up_at:
            raise RefreshUnavailable("somebody else has the lock all the time")
        time.sleep(0.05)
    try:
        text = None if whatever else store.load()
        if text is None or loads(text).ended:
            store.remove()
    finally:
        store.unlock()


def _utc(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _fail(code: int, message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    raise click.exceptions.Exit(code) from None


@contextlib.contextmanager
def _plainly(issuer: str, login: str) -> Iterator[None]:
    """The exit codes, each with what to do."""
    try:
        yield
    except NotSignedIn:
        _fail(SIGN_IN, f"nobody has signed in. Sign in: {login}")
    except SessionEnded as end:
        said = str(end).rstrip(".")
        _fail(SIGN_IN, f"the session ended: {said}. Sign in again: {login}")
    except (RefreshUnavailable, ConnectionFailed) as outage:
        after = getattr(outage, "retry_after_seconds", 0)
        when = f"in {after:.0f} seconds" if after >= 1 else "later"
        _fail(TRY_LATER, f"{issuer}: {outage}. Nothing is lost, try again {when}")
    except RatchetClientError as problem:
        _fail(CORRECT_SOMETHING, str(problem))
