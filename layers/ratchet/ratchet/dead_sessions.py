"""Sessions that are known to be over, so that hammering with their tokens costs no write.

A session whose end is stored never comes back to life, so what is remembered is not wrong. (One
that has merely expired may be alive by another instance's clock.) It is forgotten after a minute
all the same: a table may be restored from a backup.
"""

import threading

from ratchet.reasons import Reason

REMEMBERED_SECONDS = 60
MAX_REMEMBERED = 10_000


class DeadSessions:
    """Of one container: each pays at most one failed write a minute for a dead session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dead: dict[str, tuple[str, Reason, int]] = {}

    def remember(self, *, sid: str, client_id: str, reason: Reason, now: int) -> None:
        """Notes why a session has ended."""
        with self._lock:
            self._dead.pop(sid, None)
            self._dead[sid] = client_id, reason, now
            if len(self._dead) > MAX_REMEMBERED:
                # the oldest: a dict keeps the order of insertion
                del self._dead[next(iter(self._dead))]

    def reason(self, *, sid: str, client_id: str, now: int) -> Reason | None:
        """Why the session of this application is over, or None when that is not known here."""
        with self._lock:
            known = self._dead.get(sid)
        # Another application goes the long way and is refused as wrong_client.
        if known is None or known[0] != client_id or not 0 <= now - known[2] < REMEMBERED_SECONDS:
            return None
        return known[1]
