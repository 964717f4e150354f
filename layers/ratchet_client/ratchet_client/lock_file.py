"""A lock for the threads and processes of a machine; the system opens it when its holder dies."""

import contextlib
import os
import threading
from pathlib import Path

from ratchet_client import forks
from ratchet_client.errors import StoreFailed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment] # a module elsewhere


class LockFile:
    """flock(2) on a file that is never removed: removing one is how two get hold of a lock."""

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise StoreFailed("locks on files need flock(2), which this system does not have")
        self._path = path
        self._mutex = threading.Lock()
        self._descriptor: int | None = None
        forks.tell(self)

    def try_lock(self) -> bool:
        # The file's lock is the process's, this one keeps the threads of the process apart.
        if not self._mutex.acquire(blocking=False):
            return False
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(descriptor)
                raise
        except BlockingIOError:
            self._mutex.release()
            return False
        except OSError as failure:
            self._mutex.release()
            raise StoreFailed(f"{self._path}: {failure.strerror}") from None
        self._descriptor = descriptor
        return True

    def unlock(self) -> None:
        if self._descriptor is not None:
            # Not only closed: a child that was forked meanwhile has the descriptor too.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None
            self._mutex.release()

    def forked(self) -> None:
        """While the child's copy of the descriptor is open, the lock would outlive its parent."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor, self._mutex = None, threading.Lock()
