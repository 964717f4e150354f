"""`ratchet sessions`: copies them out and in, and ends them one by one. For run-books."""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import boto3
import click
from botocore.exceptions import ClientError, ParamValidationError

from ratchet_cli.target import Target, target_options, working

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from ratchet.parts import Parts

WORKERS = 16
_PAGE = 1000
_SID = 22


@click.group("sessions")
def sessions_group() -> None:
    """Copy sessions out of a table and in again, and end them."""


@sessions_group.command("export")
@click.option("--table", metavar="NAME", help="Of this table, such as a restored one.")
@click.option("--client-id", help="Those of one application only.")
@target_options
def export_command(target: Target, table: str | None, client_id: str | None) -> None:
    """Write every session to standard output, one line of JSON each.

    Reads the whole table. What it writes is what the table holds: no token can be made of it, but
    it tells who is signed in where. Sessions that go on meanwhile are ahead of their line.
    """
    out = sys.stdout
    with working(target):
        source = table or target.settings().sessions_table
        count = 0
        for item in _items(boto3.client("dynamodb"), source, client_id):
            print(json.dumps(to_json(item), sort_keys=True), file=out)
            count += 1
        click.echo(f"{count} sessions of {source}.", err=True)


@sessions_group.command("import")
@click.argument(
    "lines", type=click.File(encoding="utf-8", errors="surrogateescape"), metavar="FILE"
)
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@target_options
def import_command(target: Target, lines: IO[str], dry_run: bool) -> None:
    """Put sessions that are missing into the table, from what `export` wrote; - reads it.

    A session that is there stays as it is: it may have gone on. Interrupted? Run it again.
    A session goes on where its peppers are: into another stack, take its pepper secret along.
    """
    with working(target):
        client, name, now = boto3.client("dynamodb"), target.settings().sessions_table, _now()
        done: Counter[str] = Counter()

        def one(line: str) -> str:
            return _put(client, name, line, now, dry_run)

        with ThreadPoolExecutor(WORKERS) as workers:
            for page in _pages(line for line in lines if line.strip()):
                done.update(workers.map(one, page))
    click.echo(json.dumps({**done, "dry_run": dry_run}, sort_keys=True))
    if done["damaged"]:
        raise click.ClickException(f"{done['damaged']} lines hold no session, and were left out")


# A session id may begin with "-".
@sessions_group.command("end", context_settings={"ignore_unknown_options": True})
@click.argument("sids", nargs=-1, metavar="SID...")
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8-sig", errors="replace"),
    help="A file with one a line; `sid` may stand above them.",
)
@target_options
def end_command(target: Target, sids: tuple[str, ...], file: IO[str] | None) -> None:
    """End sessions by their id, as an operator. Those that are over stay as they are.

    All of a user: `ratchet users disable`. All of an application, or of everyone:
    `ratchet apps update --end-sessions-before now`, with --all.
    """
    wanted = [*sids, *(line.strip().strip('"') for line in file or ())]
    # "sid": the head of a query's result in CSV.
    wanted = [sid for sid in dict.fromkeys(wanted) if sid not in ("", "sid")]
    wrong = [sid for sid in wanted if len(sid) != _SID]
    if not wanted or wrong:
        what = f"this is no session id: {wrong[0]}" if wrong else "name a session, or a file"
        raise click.UsageError(what)
    with working(target) as parts, ThreadPoolExecutor(WORKERS) as workers:
        done = Counter(workers.map(lambda sid: _end(sid, parts), wanted))
    click.echo(json.dumps(done, sort_keys=True))
    if done["left"]:
        raise click.ClickException(f"{done['left']} could not be ended; run this again")


def _items(client: DynamoDBClient, table: str, client_id: str | None) -> Iterator[Any]:
    chosen: Any = (
        {
            "FilterExpression": "client_id = :client",
            "ExpressionAttributeValues": {":client": {"S": client_id}},
        }
        if client_id
        else {}
    )
    for page in client.get_paginator("scan").paginate(
        TableName=table, ConsistentRead=True, **chosen
    ):
        yield from page["Items"]


def _put(client: DynamoDBClient, table: str, line: str, now: int, dry_run: bool) -> str:
    from ratchet.errors import Fault
    from ratchet.session_item import from_item

    try:
        parsed = json.loads(line)
        # ValueError where a byte, or an escape, is no character: DynamoDB takes none of these.
        json.dumps(parsed, ensure_ascii=False).encode()
        item = from_json(parsed)
        session = from_item(item)
    except (AttributeError, Fault, RecursionError, TypeError, ValueError):
        return "damaged"
    if session.expires_at <= now:
        return "past"
    key: Any = {"sid": item["sid"]}
    try:
        if dry_run:
            found = client.get_item(TableName=table, Key=key, ConsistentRead=True)
            return "present" if "Item" in found else "imported"
        client.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(sid)")
    except client.exceptions.ConditionalCheckFailedException:
        return "present"
    except ParamValidationError:
        return "damaged"
    except ClientError as error:
        # What is no item to DynamoDB: text as a number, a key that is empty.
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return "damaged"
    return "imported"


def _end(sid: str, parts: Parts) -> str:
    from ratchet.errors import Fault
    from ratchet.policy import PRESETS
    from ratchet.reasons import Reason
    from ratchet.session_end import end_session

    now = _now()
    try:
        session = parts.store.get(sid)
        if session is None:
            return "unknown"
        application = parts.applications.get(session.client_id, now)
        policy = application.policy if application else PRESETS["browser"]
        outcome = end_session(
            sid,
            reason=Reason.REVOKED_BY_OPERATOR,
            by="ratchet sessions end",
            retention_seconds=policy.retention_seconds,
            store=parts.store,
            bus=parts.bus,
            now=now,
        )
    except Fault as fault:
        click.echo(f"{sid}: {fault}", err=True)
        return "left"
    return "ended" if outcome.done else "over"


def to_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item in DynamoDB's JSON: bytes as base64."""
    return {
        name: {kind: b64encode(value).decode() if kind == "B" else value}
        for name, typed in item.items()
        for kind, value in typed.items()
    }


def from_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ValueError, TypeError or AttributeError for what is no item."""
    return {
        name: {kind: b64decode(value, validate=True) if kind == "B" else value}
        for name, typed in item.items()
        for kind, value in typed.items()
    }


def _pages(lines: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(lines)
    while page := list(islice(rest, _PAGE)):
        yield page


def _now() -> int:
    return int(time.time())
