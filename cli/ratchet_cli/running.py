"""How the commands of one tree find the local stack that runs there: `.ratchet/local.json`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = ".ratchet"
_FILE = "local.json"


class AlreadyRunningError(Exception):
    """A local stack runs in this tree."""


@dataclass(frozen=True)
class Running:
    """A local stack that answers at `url`. `environment` is what its functions run with."""

    url: str
    endpoint_url: str
    region: str
    pid: int
    template: str
    environment: Mapping[str, str]


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder for one stack. Raises AlreadyRunningError if another stack holds it.

    The operating system lets go of the lock when its process dies, however it dies: unlike a
    process id in a file it is never stale.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError from None
        # Left behind by a stack that was killed.
        (folder / _FILE).unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def published(folder: Path, running: Running) -> Iterator[None]:
    """Let other commands find the stack for the time of a `with` block."""
    path = folder / _FILE
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(running), file, indent=2)
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find(start: Path) -> Running | None:
    """Return the stack that runs in the tree `start` is in, None if none runs."""
    for parent in (start, *start.parents):
        folder = parent / FOLDER
        if folder.is_dir():
            return read(folder)
    return None


def read(folder: Path) -> Running | None:
    """Return the stack that holds this folder, None if none does. A file left behind is ignored."""
    try:
        found = Running(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except FileNotFoundError:
        pass
    return None
