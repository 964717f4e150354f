"""A DynamoDB to measure on: Dynoxide, whose tables and indexes are B-trees of SQLite.

The emulator of the local stack looks at every item for every query: a time on it would tell about
the emulator. `npm ci --prefix bench` brings the program for Linux on x86-64; elsewhere install it
as its own page says (https://github.com/nubo-db/dynoxide) and name it in DYNOXIDE.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import listening

HERE = Path(__file__).parent
_BUNDLED = HERE / "node_modules" / "@dynoxide" / "linux-x64" / "dynoxide"

Items = Iterable[Mapping[str, Any]]
Tables = Mapping[str, tuple[Mapping[str, Any], Items]]


def program() -> Path | None:
    """Where the engine is, None if it is not installed."""
    named = os.environ.get("DYNOXIDE")
    found = shutil.which(named) if named else None
    if found:
        return Path(found)
    return _BUNDLED if _BUNDLED.exists() else None


def version(engine: Path) -> str:
    done = subprocess.run([engine, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def running(engine: Path, tables: Tables) -> Iterator[str]:
    """Serves these tables for the time of the block; its endpoint URL.

    tables: name -> what CreateTable takes besides the name, and the items. They come in by the
    engine's own import of a DynamoDB export: through PutItem a million of them took hours.
    """
    # In memory if there is such a place: with a disk underneath every write waits for the disk.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - TemporaryDirectory is our own
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-", dir=place) as name:
        folder = Path(name)
        _export(folder / "export", tables)
        database = folder / "tables.sqlite"
        source = ["--source", f"{folder}/export", "--schema", f"{folder}/export/schema.json"]
        command = [str(engine), "import", *source, "--output", str(database)]
        subprocess.run(command, capture_output=True, check=True)
        shutil.rmtree(folder / "export")
        port = listening.free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [engine, "serve", "--port", str(port), "--db-path", database],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            listening.wait(process, port, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _export(folder: Path, tables: Tables) -> None:
    """As DynamoDB exports tables to S3: one JSON object a line, compressed."""
    for name, (_, items) in tables.items():
        data = folder / name / "data"
        data.mkdir(parents=True)
        with gzip.open(data / "items.json.gz", "wt", compresslevel=1) as file:
            for item in items:
                file.write(json.dumps({"Item": item}, default=_text) + "\n")
    schema = [{"Table": {"TableName": name, **made}} for name, (made, _) in tables.items()]
    (folder / "schema.json").write_text(json.dumps(schema), encoding="utf-8")


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def process_id(endpoint: str) -> int:
    """Of the engine that serves there (/proc: Linux)."""
    asked = f"--port\0{endpoint.rpartition(':')[2]}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if asked in (process / "cmdline").read_bytes():
                return int(process.name)
    raise LookupError(f"nothing serves at {endpoint}")
