"""The servers that are measured side by side: how each is started, asked, and looked into."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from bench import listening
from bench.load import HttpCaller
from bench.service import ROOT
from ratchet.session_item import item_bytes
from ratchet_cli.seed import SECRETS

FOLDER = Path(__file__).parent / "peers"
PYTHON = FOLDER / ".venv-python" / "bin"
NODE_MODULES = FOLDER / "node_modules"
THREADS = 16
_NO_FORM: tuple[str, Mapping[str, str], Mapping[str, str]] = ("/start", {}, {})


def _basic(client_id: str) -> str:
    pair = f"{client_id}:{SECRETS[client_id]}"
    return "Basic " + b64encode(pair.encode()).decode()


@dataclass(frozen=True)
class Peer:
    """name: as the results have it. program: beside this file, in its folder.

    tables: DynamoDB tables, with what CreateTable takes; none: it has a SQLite file.
    lasting: the attribute with the instant at which DynamoDB deletes an item by itself.
    clears: its program does what `fill` and `clear` ask for.
    """

    name: str
    program: str
    access_token: str
    start: tuple[str, Mapping[str, str], Mapping[str, str]] = _NO_FORM
    token_path: str = "/token"  # noqa: S105 - a path
    parameters: Mapping[str, str] = field(
        default_factory=lambda: {"grant_type": "refresh_token", "client_id": "app"}
    )
    token_name: str = "refresh_token"  # noqa: S105 - a name
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lasting: str = ""
    clears: bool = False

    @property
    def installed(self) -> bool:
        if self.program.endswith(".mjs"):
            return NODE_MODULES.is_dir() and shutil.which("node") is not None
        return self.program == RATCHET.program or PYTHON.is_dir()

    @property
    def on_dynamodb(self) -> bool:
        return bool(self.lasting)

    def command(self, port: int) -> list[str]:
        if self.program.endswith(".mjs"):
            return [shutil.which("node") or "node", self.program]
        if self.program == RATCHET.program:
            return [sys.executable, "-m", "bench.peers.ratchet_server"]
        serve = ["--workers", "1", "--threads", str(THREADS), "--keep-alive", "600"]
        where = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        return [str(PYTHON / "gunicorn"), *serve, *where, f"{Path(self.program).stem}:app"]


def _table(partition: str, sort: str = "", index: str = "") -> dict[str, Any]:
    names = [name for name in (partition, sort, index) if name]
    keys = [{"AttributeName": partition, "KeyType": "HASH"}]
    keys += [{"AttributeName": sort, "KeyType": "RANGE"}] if sort else []
    described: dict[str, Any] = {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": keys,
        "BillingMode": "PAY_PER_REQUEST",
    }
    if index:
        described["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index,
                "KeySchema": [{"AttributeName": index, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ]
    return described


RATCHET = Peer(
    "Ratchet",
    "ratchet_server.py",
    "JWT, RS256",
    start=(
        "/sessions",
        {"client_id": "demo-native", "sub": "ada"},
        {"Authorization": _basic("demo-backend")},
    ),
    token_path="/oauth/refresh",  # noqa: S106 - a path
    parameters={"client_id": "demo-native"},
    lasting="expires_at",
)
PEERS = (
    RATCHET,
    Peer(
        "SST OpenAuth",
        "openauth.mjs",
        "JWT, ES256",
        tables={"openauth": _table("pk", "sk")},
        lasting="expiry",
    ),
    Peer(
        "oidc-provider",
        "oidc_provider.mjs",
        "JWT, RS256",
        tables={"oidc-provider": _table("id", index="grant")},
        lasting="expires_at",
    ),
    Peer("Authlib on Flask", "authlib_server.py", "random"),
    Peer("django-oauth-toolkit", "toolkit_server.py", "random", clears=True),
    Peer(
        "simplejwt",
        "simplejwt_server.py",
        "JWT, HS256",
        clears=True,
        parameters={},
        token_name="refresh",  # noqa: S106 - a name
    ),
)


@dataclass(frozen=True)
class Server:
    """A peer that runs."""

    peer: Peer
    pid: int
    port: int
    database: Path
    dynamodb: str
    table: str

    def caller(self) -> HttpCaller:
        return HttpCaller(
            self.port,
            start=self.peer.start,
            token_path=self.peer.token_path,
            parameters=self.peer.parameters,
            name=self.peer.token_name,
        )

    def stored(self) -> tuple[int, int, int]:
        """Rows (or items) and bytes it keeps; and how many of the rows stay for over an hour."""
        return self._stored_in_dynamodb() if self.peer.on_dynamodb else self._stored_in_sqlite()

    def _stored_in_dynamodb(self) -> tuple[int, int, int]:
        client = boto3.client("dynamodb", endpoint_url=self.dynamodb)
        pages = client.get_paginator("scan").paginate(TableName=self.table)
        items = [item for page in pages for item in page["Items"]]
        soon = time.time() + 3600
        last = [
            item for item in items if float(item.get(self.peer.lasting, {}).get("N", soon)) >= soon
        ]
        return len(items), sum(map(item_bytes, items)), len(last)

    def _stored_in_sqlite(self) -> tuple[int, int, int]:
        packed = self.database.with_suffix(".packed")
        packed.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.execute("VACUUM INTO ?", (str(packed),))
        with contextlib.closing(sqlite3.connect(packed)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            counts = [
                connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - its own
                for (name,) in names.fetchall()
            ]
        return sum(counts), packed.stat().st_size, sum(counts)


@contextlib.contextmanager
def running(
    peer: Peer,
    variables: Mapping[str, str],
    folder: Path,
    *,
    dynamodb: str,
    grace_seconds: int,
    counted: bool = False,
) -> Iterator[Server]:
    """Serves for the time of the block. variables: of Ratchet's functions.

    dynamodb: its address. counted: its SQL statements are counted, which takes time.
    """
    port, database = (
        listening.free_port(),
        folder / f"{Path(peer.program).stem}-{grace_seconds}.sqlite",
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "PORT": str(port)}
    if peer.program == RATCHET.program:
        environment |= {**variables, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb}
    else:
        own = {name: text for name, text in variables.items() if name.startswith("AWS_")}
        environment |= {**own, "DYNAMODB": dynamodb, "DATABASE": str(database)}
        environment |= {"GRACE_SECONDS": str(grace_seconds), "COUNTED": "yes" if counted else ""}
        # Both web frameworks are as fast as they are deployed, not as they are developed with.
        environment |= {"NODE_ENV": "production"}
    log = folder / f"{Path(peer.program).stem}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            peer.command(port),
            cwd=ROOT if peer.program == RATCHET.program else FOLDER,
            env=environment,
            # Log lines cost what they cost, and go nowhere.
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        listening.wait(process, port, log)
        table = next(iter(peer.tables), variables["RATCHET_SESSIONS_TABLE"])
        yield Server(peer, process.pid, port, database, dynamodb, table)
    finally:
        process.terminate()
        process.wait()


def create_tables(peers: Sequence[Peer], dynamodb: str) -> None:
    client: Any = boto3.client("dynamodb", endpoint_url=dynamodb)
    for name, described in [pair for peer in peers for pair in peer.tables.items()]:
        client.create_table(TableName=name, **described)
