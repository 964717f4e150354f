"""What one session may be started with, once: an assertion, and the request that brought it.

The session's id is made of the proof, so the session's item itself says that the proof was used:
one conditional write starts the session and uses the proof up, or does neither. There is no moment
between the two at which a fault could leave a client with a used proof and no session.

If the answer is lost, the same request with its Idempotency-Key is answered with the same refresh
token, until that has been used. It lies in the item like any successor, sealed: here under proof
and key together, as if the proof were the token before the first.
"""

from dataclasses import dataclass, field, replace
from hashlib import sha256

from ratchet import refresh_token
from ratchet.refresh_token import Peppers, RefreshToken
from ratchet.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """identity: 32 bytes that every use of the same proof has in common. text: the proof itself."""

    identity: bytes
    text: str = field(repr=False)
    idempotency_key: str | None = field(repr=False)

    @property
    def session_bytes(self) -> bytes:
        return self.identity[:16]

    def bind(
        self,
        session: Session,
        token: RefreshToken,
        *,
        retry_window_seconds: int,
        peppers: Peppers,
        now: int,
    ) -> Session:
        """The session with its first token sealed for the same request again. Raises Fault."""
        if self.idempotency_key is None or retry_window_seconds == 0:
            return session
        pepper_id, _ = peppers.current(now)
        parent = self._parent(self.idempotency_key, pepper_id)
        return replace(
            session,
            parent_hash=parent.hash(),
            sealed=refresh_token.seal(token, parent=parent, peppers=peppers, now=now),
            request_hash=_request_hash(parent),
            retry_until_at=now + retry_window_seconds,
        )

    def first_token(self, session: Session, *, peppers: Peppers, now: int) -> RefreshToken | None:
        """The first token of the session that this proof has started, if this is that request.

        Raises Fault.
        """
        if self.idempotency_key is None or session.sealed is None:
            return None
        current, _ = peppers.current(now)
        # Made before the last rotation of the pepper, or by an instance that knows of a newer one.
        for pepper_id in (current, current - 1, current + 1):
            if peppers.key(pepper_id, now) is None:
                continue
            parent = self._parent(self.idempotency_key, pepper_id)
            if session.answers_parent(parent.hash(), _request_hash(parent), now) is not None:
                return refresh_token.unseal(session.sealed, parent=parent, peppers=peppers, now=now)
        return None

    def _parent(self, idempotency_key: str, pepper_id: int) -> RefreshToken:
        said = b"".join(sha256(part.encode()).digest() for part in (self.text, idempotency_key))
        return RefreshToken(
            pepper_id=pepper_id,
            session_bytes=self.session_bytes,
            bound=False,
            generation=0,
            idle_deadline_at=0,
            absolute_deadline_at=0,
            secret=sha256(b"ratchet proof 1" + said).digest(),
            mac=b"",
        )


def _request_hash(parent: RefreshToken) -> bytes:
    # not the secret itself: table and pepper together must not open the seal
    return sha256(b"ratchet request 1" + parent.secret).digest()
