"""`ratchet explain`: why was my user signed out?"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ratchet_cli import explain_text
from ratchet_cli.target import Target, target_options, working

if TYPE_CHECKING:
    from ratchet.explain import Explanation
    from ratchet.parts import Parts
    from ratchet.session import Session
    from ratchet.session_log import SessionLog
    from ratchet.timeline import LogLine

LOG_SECONDS = 60
"""How long CloudWatch may take for an answer."""
LOG_DAYS = 365
"""The longest that the template lets log lines be kept."""
_SID = re.compile("[A-Za-z0-9_-]{22}")
_TOKEN = re.compile(r"rt[0-9]+_|eyJ")
# A subject may be any text, so there it takes the start of a token to be one.
_TOKEN_AS_SUBJECT = re.compile(r"rt[0-9]+_|eyJ[A-Za-z0-9_-]+\.")
_IN_HISTORY = """this is a token, or a part of one, and it is not repeated here. On a command line a
token stays in the shell's history, and every user of this machine can see it while the command
runs. Give it on standard input instead, or paste it when you are asked:

  ratchet explain --token < file
  ratchet explain --token

Remove this line from the history (history -d). If others read it, end the session."""


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("sids", metavar="[SID]", nargs=-1)
@click.option("--sub", metavar="SUBJECT", help="The sessions of this subject, newest first.")
@click.option("--client-id", help="With --sub: only those of this application.")
@click.option(
    "--limit",
    default=10,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="With --sub: how many sessions.",
)
@click.option(
    "--token",
    is_flag=True,
    help="The session of a refresh token: asked for, or the first line of standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@target_options
def explain_command(
    target: Target,
    sids: Sequence[str],
    sub: str | None,
    client_id: str | None,
    limit: int,
    token: bool,
    as_json: bool,
) -> None:
    """Say why a session ended, or until when it lives.

    Name it by SID, its id, or with --token by one of its refresh tokens. Nothing is changed, and a
    token is neither used nor printed.
    """
    # A sid may start with a dash, so whatever looks like an option and is none arrives here.
    # One in some hundred thousand sids has the letters of a token's start in it.
    found = [_TOKEN.search(text) for text in sids if not _SID.fullmatch(text)]
    found += [_TOKEN_AS_SUBJECT.match(text) for text in (sub, client_id) if text]
    if any(found):
        raise click.UsageError(_IN_HISTORY)
    if len(sids) + (sub is not None) + token != 1:
        raise click.UsageError("give either a SID, or --sub SUBJECT, or --token")
    if client_id is not None and sub is None:
        raise click.UsageError("--client-id goes with --sub")
    if sids and not _SID.fullmatch(sids[0]):
        raise click.UsageError("a sid has 22 characters: letters, digits, - and _")
    presented = _presented() if token else None
    with working(target) as parts:
        from ratchet import wiring

        desk = _Desk(
            parts=parts,
            log=wiring.session_log(target.settings(), limit_seconds=LOG_SECONDS),
            stack=target.name,
            now=int(time.time()),
        )
        if presented is not None:
            told: Any = desk.token(presented)
        elif sub is not None:
            told = desk.subject(sub, client_id, limit)
        else:
            told = desk.session(sids[0])
    if as_json:
        click.echo(json.dumps(told.to_dict(), indent=2))
        return
    click.echo(told.to_text())


def _presented() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Refresh token", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


@dataclass(frozen=True)
class _One:
    """The explanation of one session. session None: there is no item."""

    sid: str | None
    session: Session | None
    explanation: Explanation
    stack: str | None
    token: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        body: dict[str, Any] = {"sid": self.sid}
        if self.session is not None:
            body |= {"client_id": self.session.client_id, "sub": self.session.sub}
            body |= {"status": "active" if self.explanation.ended_at is None else "ended"}
        if self.token is not None:
            body["token"] = {"standing": self.token[0], "sentence": self.token[1]}
        return body | {"explanation": self.explanation.to_dict()}

    def to_text(self) -> str:
        token = self.token[1] if self.token else ""
        return explain_text.one(self.session, self.explanation, token=token, stack=self.stack)


@dataclass(frozen=True)
class _Many:
    """Those of a subject. more: there are others that are not shown."""

    sub: str
    ones: Sequence[_One]
    more: bool

    def to_dict(self) -> dict[str, Any]:
        return {"sessions": [one.to_dict() for one in self.ones], "more": self.more}

    def to_text(self) -> str:
        pairs = [(one.session, one.explanation) for one in self.ones if one.session]
        return explain_text.many(self.sub, pairs, more=self.more)


@dataclass(frozen=True)
class _Desk:
    """Where a question is answered: what is to be read, and what time it is."""

    parts: Parts
    log: SessionLog
    stack: str | None
    now: int

    def session(self, sid: str) -> _One:
        return self._explained(sid, self.parts.store.get(sid))

    def token(self, presented: str) -> _One:
        from ratchet import refresh_token
        from ratchet.errors import InvalidGrant
        from ratchet.explain import not_ours, standing

        try:
            # At no time is a token expired: one that is has a session, too.
            token = refresh_token.parse(presented, peppers=self.parts.peppers, now=0)
        except InvalidGrant as refusal:
            told = not_ours(refusal.reason, refusal.detail)
            return _One(None, None, told, self.stack, ("not_ours", told.sentence))
        session = self.parts.store.get(token.sid)
        what, sentence = standing(token, session, now=self.now, write=explain_text.instant)
        return self._explained(token.sid, session, (what.value, sentence))

    def subject(self, sub: str, client_id: str | None, limit: int) -> _Many:
        from ratchet.explain import explain

        found: list[_One] = []
        after = None
        while True:
            sessions, after = self.parts.store.of_subject(sub, limit=100, after=after)
            for session in sessions:
                if client_id not in (None, session.client_id):
                    continue
                if len(found) == limit:
                    return _Many(sub, found, more=True)
                application = self.parts.applications.get(session.client_id, self.now)
                told = explain(session, application, now=self.now, write=explain_text.instant)
                found.append(_One(session.sid, session, told, self.stack))
            if after is None:
                return _Many(sub, found, more=False)

    def _explained(
        self, sid: str, session: Session | None, token: tuple[str, str] | None = None
    ) -> _One:
        from ratchet.explain import explain, gone

        lines, missing = self._lines(sid, session)
        if session is None:
            return _One(sid, None, gone(sid, lines, missing=missing), self.stack, token)
        told = explain(
            session,
            self.parts.applications.get(session.client_id, self.now),
            now=self.now,
            lines=lines,
            missing=missing,
            write=explain_text.instant,
        )
        return _One(sid, session, told, self.stack, token)

    def _lines(self, sid: str, session: Session | None) -> tuple[Sequence[LogLine], str]:
        from ratchet.errors import Fault

        since = session.started_at - 60 if session else self.now - LOG_DAYS * 86400
        try:
            return self.log.lines(sid, since=since, until=self.now + 60), ""
        except Fault as fault:
            return (), f"the log could not be read ({fault})"
