"""The log lines of one session: of CloudWatch Logs, or of the file that `ratchet local` writes.

Nobody keeps a second history: what a session's item does not say is in the lines that every request
writes anyway. They are read when an operator asks, never for a client's request.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault
from ratchet.instants import epoch_seconds
from ratchet.timeline import LogLine

FILE = "file:"
"""What a setting starts with that names a file. No log group's name has a colon."""
MAX_LINES = 10_000
"""The most that Logs Insights answers with."""
LEFT_OUT = "authorizer"
"""The function whose lines tell of an API's requests, one each: they would crowd out the rest."""
_SID = re.compile("[A-Za-z0-9_-]{22}")
_POLL_SECONDS = 0.5


class SessionLog(Protocol):
    """Where the functions' log lines can be read."""

    def lines(self, sid: str, *, since: int, until: int) -> list[LogLine]:
        """The session's lines from `since` to `until`, epoch seconds, oldest first; the newest ones
        if there are too many. Raises Fault when they cannot be read, or not in time."""


@dataclass(frozen=True, slots=True)
class InsightsLog:
    """A log group of CloudWatch, read with Logs Insights.

    limit_seconds: how long an answer may take.
    """

    client: Callable[[], Any]
    log_group: str
    limit_seconds: float

    def lines(self, sid: str, *, since: int, until: int) -> list[LogLine]:
        """See `SessionLog`. The template has an index of the field, so only its lines are read."""
        if not _SID.fullmatch(sid):
            return []
        query = (
            f'fields @timestamp, @message | filter sid = "{sid}" and message != "{LEFT_OUT}"'
            f" | sort @timestamp desc | limit {MAX_LINES}"
        )
        deadline = time.monotonic() + self.limit_seconds
        try:
            rows = self._run(query, since, until, deadline)
        except ClientError as error:
            raise Fault(f"logs: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"logs: {type(error).__name__}") from None
        found = (_line(row["@message"], sid, row["@timestamp"]) for row in reversed(rows))
        return [line for line in found if line]

    def _run(self, query: str, since: int, until: int, deadline: float) -> list[dict[str, str]]:
        client = self.client()
        started = client.start_query(
            logGroupName=self.log_group, startTime=since, endTime=until, queryString=query
        )
        while True:
            answer = client.get_query_results(queryId=started["queryId"])
            status = answer["status"]
            if status == "Complete":
                results = answer["results"]
                while token := answer.get("nextToken"):
                    answer = client.get_query_results(queryId=started["queryId"], nextToken=token)
                    results += answer["results"]
                return [{cell["field"]: cell["value"] for cell in row} for row in results]
            if status not in ("Scheduled", "Running", "Unknown"):
                raise Fault(f"logs: the query is {status}")
            if time.monotonic() + _POLL_SECONDS > deadline:
                # Else it goes on for up to an hour, is paid for, and is one of those that may run
                # at the same time.
                with contextlib.suppress(ClientError, BotoCoreError):
                    client.stop_query(queryId=started["queryId"])
                raise Fault(f"logs: no answer within {self.limit_seconds:g} seconds")
            time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class FileLog:
    """A file with one line for each line of the log, other text among them."""

    path: Path

    def lines(self, sid: str, *, since: int, until: int) -> list[LogLine]:
        """See `SessionLog`."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                found = [line for text in file if sid in text and (line := _line(text, sid))]
        except OSError as error:
            raise Fault(f"the log file: {error.strerror}") from None
        return [line for line in found if since <= line.at <= until][-MAX_LINES:]


def session_log(setting: str, client: Callable[[], Any], *, limit_seconds: float) -> SessionLog:
    """What the setting names: a log group, or with `file:` before it a file."""
    if setting.startswith(FILE):
        return FileLog(Path(setting.removeprefix(FILE)))
    return InsightsLog(client, setting, limit_seconds)


def _line(text: str, sid: str, written_at: str | None = None) -> LogLine | None:
    """A line of this session, or None: a metric, the text of another program, another's line."""
    try:
        fields: Any = json.loads(text)
        if not isinstance(fields, dict) or fields.get("sid") != sid:
            return None
        if fields.get("message") == LEFT_OUT:
            return None
        return LogLine(at=epoch_seconds(written_at or str(fields["timestamp"])), fields=fields)
    except (KeyError, ValueError, RecursionError):
        return None
