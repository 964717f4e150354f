"""A session in the key store of the operating system. Needs the extra `keyring`."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.errors

from ratchet_client.errors import StoreFailed
from ratchet_client.lock_file import LockFile


class KeyringStore:
    """service, name: what the entry is called, as `keyring.get_password` takes it.

    folder: for the lock, one file without anything in it. A key store has no lock of its own.
    """

    def __init__(
        self, service: str, name: str, *, folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._entry = (service, name)
        where = folder or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ratchet_client"
        path = Path(where).expanduser()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as failure:
            raise StoreFailed(f"{path}: {failure.strerror}") from None
        digest = hashlib.sha256("\0".join(self._entry).encode()).hexdigest()
        self._lock = LockFile(path / f"{digest}.lock")
        self.try_lock, self.unlock = self._lock.try_lock, self._lock.unlock

    def load(self) -> str | None:
        with _plainly():
            return keyring.get_password(*self._entry)

    def save(self, text: str) -> None:
        with _plainly():
            keyring.set_password(*self._entry, text)

    def remove(self) -> None:
        """As if nothing had ever been saved. With the lock, as `save`."""
        with _plainly():
            if keyring.get_password(*self._entry) is not None:
                keyring.delete_password(*self._entry)


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except keyring.errors.KeyringError as failure:
        raise StoreFailed(f"the key store: {type(failure).__name__}: {failure}") from None
