"""What happened to a session, in order: its log lines and its item as one time-line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ratchet.reasons import Reason
from ratchet.session import Session

LINE_SECONDS = 60
"""A log line is written when its request is done: this much later than what it tells, at most."""
SHOWN_LAST = 5
"""Of a run of refreshes and uses the last ones are shown, those before them as one entry."""
MAX_ENTRIES = 200
BY_SUBJECT = "by the subject"
BY_APPLICATION = "by an application"
"""Whose access token a sign-out everywhere came with: `detail` of its line."""


class What(StrEnum):
    """Kinds of entries."""

    STARTED = "started"
    REFRESHED = "refreshed"
    REPLAYED = "replayed"
    USED = "used"
    REFUSED = "refused"
    FAILED = "failed"
    REUSE_DETECTED = "reuse_detected"
    SIGNED_OUT = "signed_out"
    WARNED = "warned"
    SWEPT = "swept"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """at: when it was written, epoch seconds. fields: the line, see `events.FIELDS`."""

    at: int
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """The field as a text, "" where there is none."""
        value = self.fields.get(name)
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """at, until_at: epoch seconds; until_at is that of the last of `count`, None for a single one.

    client_id, network, agent: of the request, "" where that is not known. A backend that starts a
    session is in the text: its address is not the device's.
    """

    at: int
    what: What
    text: str
    count: int = 1
    until_at: int | None = None
    client_id: str = ""
    network: str = ""
    agent: str = ""
    request_id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Without what is empty."""
        body: dict[str, Any] = {
            "at": self.at,
            "what": self.what.value,
            "text": self.text,
            "count": self.count,
        }
        more = {
            "until_at": self.until_at,
            "client_id": self.client_id,
            "network": self.network,
            "agent": self.agent,
            "request_id": self.request_id,
        }
        return body | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """missing: why it is not complete, "" if it is."""

    entries: tuple[Entry, ...]
    missing: str = ""


def timeline(
    session: Session | None,
    lines: Sequence[LogLine],
    *,
    ended_at: int | None = None,
    reason: Reason | None = None,
    missing: str = "",
) -> Timeline:
    """lines: of this session, in any order. session None: its item is gone, only the log is left.

    ended_at, reason: when and why it ended, None while it is alive. missing: what kept the log from
    being read.
    """
    entries = [entry for line in lines if (entry := _entry(line))]
    if session is not None:
        missing = missing or _lost(session, entries)
        entries = list(_completed(session, entries, ended_at, reason))
    # In the second of the end: what brought it about, the end, what came after it.
    entries.sort(
        key=lambda entry: (entry.at, _ORDER.get(entry.what, 0) if entry.at == ended_at else 0)
    )
    entries = list(_folded(entries))
    if len(entries) > MAX_ENTRIES:
        missing = missing or f"only the last {MAX_ENTRIES - 1} entries are shown"
        entries = [entries[0], *entries[1 - MAX_ENTRIES :]]
    return Timeline(entries=tuple(entries), missing=missing)


_ORDER = {
    What.SIGNED_OUT: 1,
    What.REUSE_DETECTED: 1,
    What.ENDED: 2,
    What.REFUSED: 3,
    What.FAILED: 3,
    What.SWEPT: 4,
}


def _entry(line: LogLine) -> Entry | None:
    """None for a line that tells nothing about the session's life, such as an introspection."""
    if not (told := _told(line)):
        return None
    what, text = told
    backend = what is What.STARTED and line.text("route") == "POST /sessions"
    return Entry(
        at=line.at,
        what=what,
        text=text,
        client_id=line.text("client_id"),
        network="" if backend else line.text("network"),
        agent="" if backend else line.text("agent"),
        request_id=line.text("request_id"),
    )


_OUTCOMES = {
    "started": (What.STARTED, "the session was started"),
    "rotated": (What.REFRESHED, "refreshed"),
    "kept": (What.REFRESHED, "refreshed; rotation is off, so the refresh token stayed"),
    "touched": (What.USED, "used at an API, which counts as activity"),
    "replayed_leeway": (
        What.REPLAYED,
        "the direct parent came again inside the leeway: answered with the same successor",
    ),
    "replayed_idempotency_key": (
        What.REPLAYED,
        "the same request came again, with its Idempotency-Key: answered with the same tokens",
    ),
    "revoked": (What.SIGNED_OUT, "signed out with one of its tokens (POST /oauth/revoke)"),
    "ignored": (What.REFUSED, "a sign-out (POST /oauth/revoke) that ended nothing"),
}


def _told(line: LogLine) -> tuple[What, str] | None:
    function, outcome = line.text("message"), line.text("outcome")
    route, reason = line.text("route"), line.text("error_reason")
    if function == "sweep":
        if outcome == "warned":
            deadline = line.text("deadline")
            which = f"the {deadline}" if deadline else "a"
            return What.WARNED, f"warned of {which} deadline (session.expiring)"
        if outcome == "ended":
            return What.SWEPT, "the sweep stored the end and published it"
        return None
    if outcome == "started" and route == "POST /sessions":
        by = line.text("started_by") or "a backend"
        return What.STARTED, f"the session was started by {by} ({route})"
    if outcome in _OUTCOMES:
        return _OUTCOMES[outcome]
    if route.startswith("DELETE /sessions") and line.fields.get("ended"):
        by = line.text("detail")
        return What.SIGNED_OUT, f"signed out{f' everywhere {by}' if by else ''} ({route})"
    if line.text("status").startswith("5"):
        fault = line.text("fault") or "a fault"
        return What.FAILED, f"a request failed and could be repeated: {fault}"
    if not line.text("error"):
        return None
    detail = line.text("detail")
    if reason == Reason.REUSED and detail.startswith("token of generation"):
        return What.REUSE_DETECTED, f"a replaced refresh token was presented ({detail})"
    of = "a refresh" if function in ("refresh", "issue") else route or "a request"
    why = reason or line.text("error")
    known = ("", "known", "the session is over", "its session is over")
    more = "" if detail in known else f" ({detail})"
    return What.REFUSED, f"{of} was refused: {why}{more}"


def _completed(
    session: Session, entries: Sequence[Entry], ended_at: int | None, reason: Reason | None
) -> Iterator[Entry]:
    """With what the item knows by itself: it outlives the log."""
    started = next((entry for entry in entries if entry.what is What.STARTED), None)
    text = "the session was started"
    first = started or Entry(at=0, what=What.STARTED, text=text, client_id=session.client_id)
    yield replace(first, at=session.started_at)
    brought_about = {What.SIGNED_OUT, What.REUSE_DETECTED}
    for entry in entries:
        if entry is started:
            continue
        late = entry.at - ended_at if ended_at is not None else -1
        if entry.what in brought_about and ended_at is not None and 0 <= late <= LINE_SECONDS:
            brought_about.discard(entry.what)
            yield replace(entry, at=ended_at)
        else:
            yield entry
    last = max((entry.at for entry in entries if entry.what is What.REFRESHED), default=0)
    if session.rotated_at is not None and last < session.rotated_at:
        yield Entry(
            at=session.rotated_at,
            what=What.REFRESHED,
            text="refreshed (the last time)",
            client_id=session.client_id,
            network=session.network,
            agent=session.agent,
        )
    if ended_at is not None and reason is not None:
        text = f"the session ended: {reason.value}"
        if reason is Reason.POLICY_CUTOFF and session.last_active_at > ended_at:
            text += "; what follows was answered before the functions knew"
        yield Entry(at=ended_at, what=What.ENDED, text=text)


def _lost(session: Session, entries: Sequence[Entry]) -> str:
    """What the log no longer has, or has not got yet."""
    refreshes = sum(entry.what is What.REFRESHED for entry in entries)
    if refreshes < session.generation:
        return (
            f"the log has {refreshes} of the {session.generation} refreshes: older lines are gone,"
            " or those of the last minutes are not there yet"
        )
    if not any(entry.what is What.STARTED for entry in entries):
        return "the log does not have the start"
    return ""


def _folded(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Of a run of what is usual only the last are shown, of one of equal refusals the first."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _alike(run[-1], entry):
            yield from _run(run)
            run = []
        run.append(entry)
    yield from _run(run)


_USUAL = {
    What.REFRESHED: "refresh{es}",
    What.REPLAYED: "repeated and answered again",
    What.USED: "use{s} at an API",
}


def _alike(one: Entry, other: Entry) -> bool:
    if one.what in _USUAL and other.what in _USUAL:
        return True
    same = one.what is other.what and one.text == other.text
    return same and one.client_id == other.client_id


def _run(run: Sequence[Entry]) -> Iterator[Entry]:
    if run and run[0].what in _USUAL:
        # One entry for a single one would hide it and save nothing.
        folded = len(run) - SHOWN_LAST if len(run) > SHOWN_LAST + 1 else 0
        if folded:
            yield _one_for(run[:folded], _summary(run[:folded]))
        yield from run[folded:]
    elif len(run) > 2:
        yield run[0]
        yield _one_for(run[1:], f"{len(run) - 1} more times: {run[0].text}")
    else:
        yield from run


def _summary(run: Sequence[Entry]) -> str:
    """`41 refreshes, 2 repeated and answered again, from 2 networks`."""
    parts = []
    for what, name in _USUAL.items():
        if number := sum(entry.what is what for entry in run):
            plural = {"es": "", "s": ""} if number == 1 else {"es": "es", "s": "s"}
            parts.append(f"{number} {name.format_map(plural)}")
    networks = {entry.network for entry in run if entry.network}
    if len(networks) > 1:
        parts.append(f"from {len(networks)} networks")
    return ", ".join(parts)


def _one_for(run: Sequence[Entry], text: str) -> Entry:
    def shared(name: str) -> str:
        values = {str(getattr(entry, name)) for entry in run}
        return values.pop() if len(values) == 1 else ""

    return Entry(
        at=run[0].at,
        until_at=run[-1].at,
        what=next((entry.what for entry in run if entry.what is What.REFRESHED), run[0].what),
        count=len(run),
        text=text,
        client_id=shared("client_id"),
        network=shared("network"),
        agent=shared("agent"),
    )
