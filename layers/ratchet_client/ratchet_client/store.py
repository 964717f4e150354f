"""Where a session is kept: the protocol of a store, and the one in memory."""

import threading
from typing import Protocol


class Store(Protocol):
    """One text and one lock: a store of your own has these four methods.

    The text has the tokens in it, so whoever can read the store can use the session. Every method
    may raise StoreFailed. They are called from any thread.
    """

    def load(self) -> str | None:
        """What was saved last, by whichever process; None if nothing was."""

    def save(self, text: str) -> None:
        """Replace it, whole or not at all, and durably. Only called between try_lock and unlock.

        Raises LockLost, and changes nothing, if the lock is somebody else's by now. A lock that
        becomes free after a time begins that time anew.
        """

    def try_lock(self) -> bool:
        """Take the lock if it is free, without waiting for it.

        It is one for all threads and processes that share the session. It becomes free by itself if
        whoever has it dies.
        """

    def unlock(self) -> None:
        """Give it back."""


class MemoryStore:
    """For one process that need not stay signed in when it ends. Do not fork with it."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._lock = threading.Lock()

    def load(self) -> str | None:
        return self._text

    def save(self, text: str) -> None:
        self._text = text

    def try_lock(self) -> bool:
        return self._lock.acquire(blocking=False)

    def unlock(self) -> None:
        self._lock.release()
