"""A session in a file that nobody else can read."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ratchet_client.errors import StoreFailed
from ratchet_client.lock_file import LockFile


class FileStore:
    """For a command line, and for the processes of one machine: they share a session by its path.

    path: "~" is the home directory. Its folder is made if there is none, and needs room for two
    more files: the lock, which stays, and a draft, which replaces the file at once. A file that
    others can read, or that belongs to another user, is refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A link stays a link, to a file that is replaced.
        self.path = Path(path).expanduser().resolve()
        with self._plainly():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = LockFile(self.path.with_name(f"{self.path.name}.lock"))
        self.try_lock, self.unlock = self._lock.try_lock, self._lock.unlock

    def load(self) -> str | None:
        with self._plainly():
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, encoding="utf-8") as file:
                found = os.fstat(descriptor)
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise StoreFailed(f"others can read {self.path}: chmod 600 it, or sign in anew")
                if found.st_uid != os.geteuid():
                    raise StoreFailed(f"{self.path} belongs to another user")
                return file.read()

    def save(self, text: str) -> None:
        with self._plainly():
            # In the same folder: a rename does not cross file systems. Whoever has the lock is the
            # only one who writes it, so one that is there is of somebody who died.
            draft = self.path.with_name(f".{self.path.name}.draft")
            draft.unlink(missing_ok=True)
            how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(draft, how, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(descriptor)
                draft.replace(self.path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self) -> None:
        """As if nothing had ever been saved. With the lock, as `save`."""
        with self._plainly():
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            raise StoreFailed(f"{self.path}: {failure.strerror}") from None
        except UnicodeDecodeError:
            raise StoreFailed(f"{self.path} holds no session") from None
