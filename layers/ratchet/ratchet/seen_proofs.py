"""The proofs that came to this function instance with an access token, while they would be taken.

A copy of a proof is good for one address and one access token, for as long as its nonce is
(RFC 9449 section 11.1). Another instance does not know it; docs/decisions.md says what that means.
"""

import threading

from ratchet.dpop import NONCE_SECONDS, DPoPProof

MAX_REMEMBERED = 10_000


class SeenProofs:
    """Bounded: when it is full, the oldest is forgotten first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[bytes, int] = {}

    def add(self, proof: DPoPProof, now: int) -> bool:
        """False if this proof has been here before."""
        with self._lock:
            seen = self._until.get(proof.id, 0) > now
            if not seen:
                self._until.pop(proof.id, None)
                if len(self._until) >= MAX_REMEMBERED:
                    del self._until[next(iter(self._until))]
                self._until[proof.id] = now + 2 * NONCE_SECONDS
        return not seen
