"""An explanation as a person reads it in a terminal, perhaps at night."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratchet.explain import Explanation
    from ratchet.session import Session
    from ratchet.timeline import Entry, Timeline

WIDTH = 96


def instant(at: int) -> str:
    """In the time zone of this machine, and in UTC where that is another one."""
    local, utc = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(at, UTC)
    if not local.utcoffset():
        return utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    same_day = local.date() == utc.date()
    in_utc = utc.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M:%S UTC")
    return f"{local.strftime('%Y-%m-%d %H:%M:%S %Z')} ({in_utc})"


def one(
    session: Session | None, told: Explanation, *, token: str = "", stack: str | None = None
) -> str:
    """Everything about one session, the answer first."""
    blocks = [_wrapped(told.sentence)]
    if token and token != told.sentence:
        blocks.append(_wrapped(token))
    if session is not None:
        blocks.append("\n".join(_facts(session, told)))
    if told.timeline is not None and (told.timeline.entries or told.timeline.missing):
        blocks.append("\n".join(_timeline(told.timeline)))
    if told.advice:
        blocks.append("\n".join(_advice(told, stack)))
    return "\n\n".join(blocks)


def many(sub: str, pairs: Sequence[tuple[Session, Explanation]], *, more: bool) -> str:
    """The sessions of a subject, one paragraph each."""
    if not pairs:
        return _wrapped(
            f"No sessions of {sub} are kept: there never were any, or they ended longer ago than"
            " ended sessions are kept (retention_seconds, 30 days by default)."
        )
    blocks = []
    for session, told in pairs:
        state = "alive" if told.ended_at is None else f"ended: {told.cause}"
        device = f"  {session.device}" if session.device else ""
        head = f"{session.sid}  {session.client_id}{device}  {state}"
        blocks.append(head + "\n" + textwrap.indent(_wrapped(told.sentence, WIDTH - 2), "  "))
    if more:
        blocks.append("There are more; see --limit and --client-id.")
    blocks.append("With its time-line, and what to change: ratchet explain SID")
    return "\n\n".join(blocks)


def _facts(session: Session, told: Explanation) -> Iterator[str]:
    from ratchet.explain import evidence_text

    seen = " from ".join(filter(None, (told.agent, told.network)))
    rows = {
        "session": session.sid,
        "subject": session.sub,
        "application": session.client_id,
        "device": told.device,
        "last refresh by": seen,
        "started": instant(session.started_at),
        "refreshed": {0: "never", 1: "once"}.get(session.generation, f"{session.generation} times"),
        "ended": f"{instant(told.ended_at)}, {told.cause}" if told.ended_at else "",
        "ended by": told.by,
        "evidence": evidence_text(told.evidence),
    }
    for name, value in rows.items():
        if value:
            yield _wrapped(value, head=f"  {name:<16} ", indent=" " * 19)


def _timeline(told: Timeline) -> Iterator[str]:
    zone = datetime.now().astimezone().strftime("%Z")
    yield f"Time-line ({zone}{'' if zone == 'UTC' else ', UTC in brackets'})"
    for entry in told.entries:
        yield from _entry(entry)
    if told.missing:
        yield _wrapped(f"Not complete: {told.missing}.", head="  ", indent="  ")


def _entry(entry: Entry) -> Iterator[str]:
    where = " from ".join(filter(None, (entry.agent, entry.network)))
    last = entry.until_at or entry.at
    until = f", until {_short(last)}" if last > entry.at else ""
    text = entry.text + until + (f"  [{where}]" if where else "")
    head = f"  {_short(entry.at)}  "
    yield _wrapped(text, head=head, indent=" " * len(head))


def _short(at: int) -> str:
    local, utc = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(at, UTC)
    shown = local.strftime("%Y-%m-%d %H:%M:%S")
    return shown if not local.utcoffset() else f"{shown} ({utc.strftime('%H:%M')})"


def _advice(told: Explanation, stack: str | None) -> Iterator[str]:
    yield "If this was not wanted"
    for piece in told.advice:
        yield _wrapped(piece.text, head="  - ", indent="    ")
        if piece.command:
            yield f"      {piece.command}{f' --stack {stack}' if stack else ''}"


def _wrapped(text: str, width: int = WIDTH, *, head: str = "", indent: str = "") -> str:
    """head: what the first line starts with, indent: the others."""
    return textwrap.fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=indent,
        # An id or a date stays whole.
        break_long_words=False,
        break_on_hyphens=False,
    )
