"""What is kept of a session: in its store and, of what that did not take, in memory."""

import logging

from ratchet_client.credential import Credential, loads
from ratchet_client.errors import LockLost, NotSignedIn, StoreFailed
from ratchet_client.store import Store

_log = logging.getLogger("ratchet_client")


class Kept:
    """known: the credential that was loaded or stored last, None before that. Writes need the lock.

    All raise StoreFailed, but `unlock` and `save_again`, which log it, and `save_answer`, which
    raises LockLost and logs the rest.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.known: Credential | None = None
        # What is stored, and what was to replace it: an answer that the store did not take.
        self._unsaved: tuple[Credential, Credential] | None = None

    def __repr__(self) -> str:
        return type(self._store).__name__

    @property
    def whole(self) -> bool:
        """Whether the store has all that is known."""
        return self._unsaved is None

    def load(self) -> Credential:
        """Raises NotSignedIn if there is none."""
        text = self._store.load()
        if text is None:
            raise NotSignedIn("nobody has signed in")
        stored = loads(text)
        if (unsaved := self._unsaved) is not None and stored == unsaved[0]:
            return unsaved[1]
        return stored

    def try_lock(self) -> bool:
        return self._store.try_lock()

    def unlock(self) -> None:
        try:
            self._store.unlock()
        except StoreFailed as failure:
            # What was done is done, and the lock becomes free by itself.
            _log.warning("the lock could not be given back: %s", failure)

    def save(self, credential: Credential) -> None:
        self._store.save(credential.dumps())
        self.known, self._unsaved = credential, None

    def save_answer(self, old: Credential, new: Credential) -> None:
        """In memory, if the store fails: asking again would not mend it, and might be too late."""
        try:
            self.save(new)
        except LockLost:
            raise
        except StoreFailed as failure:
            _log.error("an answer could not be stored, it is in memory only: %s", failure)
            self.known, self._unsaved = new, (old, new)

    def save_again(self) -> None:
        """What the store did not take, unless it has something else by now. Takes the lock."""
        if (unsaved := self._unsaved) is None or not self._store.try_lock():
            return
        try:
            if self.load() is unsaved[1]:
                self.save(unsaved[1])
            if self._unsaved is unsaved:
                self._unsaved = None
        except StoreFailed as failure:
            _log.warning("an answer is still in memory only: %s", failure)
        finally:
            self.unlock()
