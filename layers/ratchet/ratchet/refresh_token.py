"""Refresh tokens: their format, their MAC, their hash, and the seal around a successor.

    rt1_ base64url( pepper id 2 | session id 16 | bound 1 bit, generation 31 bits |
                    idle deadline 4 | absolute deadline 4 | secret 32 | MAC 16 )  108 characters

78 bytes encode to base64 without padding or spare bits: every token has exactly one spelling.
The MAC (HMAC-SHA-256 under the pepper, 128 bits) is no credential. It says "we issued this", so
that garbage is refused without I/O, and only a genuine old token can count as reuse (RFC 6749
section 10.4: tokens cannot be "generated, modified, or guessed").
"""

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ratchet.errors import Fault, InvalidGrant
from ratchet.policy import MAX_RETRY_WINDOW_SECONDS
from ratchet.reasons import Reason

PREFIX = "rt1_"
LENGTH = 108
_BODY = struct.Struct(">H16sIII32s")
_MAC_BYTES = 16
_NONCE_BYTES = 12
_BOUND = 1 << 31
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Peppers(Protocol):
    """The MAC keys by pepper id."""

    def current(self, now: int) -> tuple[int, bytes]:
        """Id and key that new tokens are made with. Raises Fault."""

    def key(self, pepper_id: int, now: int) -> bytes | None:
        """The key, or None when there is no such pepper. Raises Fault when there is none at all."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RefreshToken:
    """A token of ours. Instants in epoch seconds; the idle deadline never exceeds the absolute one.

    idle_deadline_at is the one that held when the token was made; the session's own may be later.
    bound: its session is bound to a key, so that without a proof it is refused without I/O.
    """

    pepper_id: int
    session_bytes: bytes
    bound: bool
    generation: int
    idle_deadline_at: int
    absolute_deadline_at: int
    secret: bytes
    mac: bytes

    def __repr__(self) -> str:
        return f"<RefreshToken of {self.sid}, generation {self.generation}>"

    def __str__(self) -> str:
        """The token as its holder presents it. Secret: never log it."""
        return PREFIX + urlsafe_b64encode(self.to_bytes()).decode()

    @property
    def sid(self) -> str:
        return sid_of(self.session_bytes)

    @property
    def body(self) -> bytes:
        """What the MAC covers, 62 bytes."""
        return _BODY.pack(
            self.pepper_id,
            self.session_bytes,
            self.generation | (_BOUND if self.bound else 0),
            self.idle_deadline_at,
            self.absolute_deadline_at,
            self.secret,
        )

    def to_bytes(self) -> bytes:
        return self.body + self.mac

    def hash(self) -> bytes:
        """SHA-256, 32 bytes: all that is stored of a token. Its 256-bit secret needs no salt."""
        return sha256(self.to_bytes()).digest()

    def expired(self, now: int) -> bool:
        """Whether it is past its last possible instant.

        That is later than its idle deadline: its holder may have refreshed just before, lost the
        answer, and ask again with the Idempotency-Key.
        """
        last = min(self.idle_deadline_at + MAX_RETRY_WINDOW_SECONDS, self.absolute_deadline_at)
        return now >= last

    @property
    def expired_reason(self) -> Reason:
        """Why it is dead once it has expired."""
        if self.idle_deadline_at < self.absolute_deadline_at:
            return Reason.IDLE_EXPIRED
        return Reason.ABSOLUTE_EXPIRED


def sid_of(session_bytes: bytes) -> str:
    """16 bytes as the session id that the table, the log and the access token show."""
    return urlsafe_b64encode(session_bytes).rstrip(b"=").decode()


def looks_like_refresh_token(text: str) -> bool:
    """Whether it claims to be a refresh token; says nothing about its being genuine."""
    return text.startswith(PREFIX)


def mint(
    *,
    session_bytes: bytes,
    generation: int,
    idle_deadline_at: int,
    absolute_deadline_at: int,
    bound: bool = False,
    peppers: Peppers,
    now: int,
) -> RefreshToken:
    """A new token with a fresh 256-bit secret. Raises Fault when there is no pepper to be had."""
    pepper_id, pepper = peppers.current(now)
    body = _BODY.pack(
        pepper_id,
        session_bytes,
        generation | (_BOUND if bound else 0),
        idle_deadline_at,
        absolute_deadline_at,
        secrets.token_bytes(32),
    )
    return _unpack(body + _mac(pepper, body))


def parse(text: str, *, peppers: Peppers, now: int) -> RefreshToken:
    """The genuine, not yet expired token behind `text`, without any call to the store.

    Raises InvalidGrant: malformed (also: a wrong MAC), unknown_pepper, idle_expired,
    absolute_expired. Raises Fault when the pepper cannot be had.
    """
    token = _unpack(_decode(text))
    pepper = peppers.key(token.pepper_id, now)
    if pepper is None:
        raise InvalidGrant(Reason.UNKNOWN_PEPPER, f"pepper {token.pepper_id}")
    if not hmac.compare_digest(token.mac, _mac(pepper, token.body)):
        raise InvalidGrant(Reason.MALFORMED, "wrong MAC")
    if token.expired(now):
        raise InvalidGrant(token.expired_reason, "past its last possible instant", sid=token.sid)
    return token


def _decode(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    if len(text) != LENGTH or len(encoded) != LENGTH - len(PREFIX):
        raise InvalidGrant(Reason.MALFORMED, "wrong prefix or length")
    if not _ALPHABET.issuperset(encoded):
        raise InvalidGrant(Reason.MALFORMED, "not base64url")
    return urlsafe_b64decode(encoded)


def _unpack(raw: bytes) -> RefreshToken:
    pepper_id, session_bytes, generation, idle_deadline_at, absolute_deadline_at, secret = (
        _BODY.unpack(raw[: _BODY.size])
    )
    return RefreshToken(
        pepper_id=pepper_id,
        session_bytes=session_bytes,
        bound=bool(generation & _BOUND),
        generation=generation & ~_BOUND,
        idle_deadline_at=idle_deadline_at,
        absolute_deadline_at=absolute_deadline_at,
        secret=secret,
        mac=raw[_BODY.size :],
    )


def _mac(pepper: bytes, body: bytes) -> bytes:
    return hmac.digest(pepper, b"ratchet refresh token 1" + body, "sha256")[:_MAC_BYTES]


# The sealed successor. The session's item keeps the token that replaced the presented one,
# encrypted so that only whoever presents the parent to this service can be given it again: the key
# needs the parent's secret, which the table does not hold, and the pepper, which no client knows.


def seal(successor: RefreshToken, *, parent: RefreshToken, peppers: Peppers, now: int) -> bytes:
    """nonce 12 | AES-256-GCM of the successor's 78 bytes | tag 16: 106 bytes. Raises Fault."""
    # Two callers who present the same parent seal different successors under the same key, so the
    # nonce is random, not fixed.
    nonce = secrets.token_bytes(_NONCE_BYTES)
    cipher = _cipher(parent, peppers, now)
    return nonce + cipher.encrypt(nonce, successor.to_bytes(), parent.session_bytes)


def unseal(sealed: bytes, *, parent: RefreshToken, peppers: Peppers, now: int) -> RefreshToken:
    """The successor that was sealed under `parent`. Raises Fault when it cannot be opened."""
    nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    cipher = _cipher(parent, peppers, now)
    try:
        return _unpack(cipher.decrypt(nonce, encrypted, parent.session_bytes))
    except (InvalidTag, ValueError):
        raise Fault("the sealed successor cannot be opened") from None


def _cipher(parent: RefreshToken, peppers: Peppers, now: int) -> AESGCM:
    pepper = peppers.key(parent.pepper_id, now)
    if pepper is None:
        raise Fault(f"pepper {parent.pepper_id} is gone")
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=pepper, info=b"ratchet sealed successor 1")
    return AESGCM(hkdf.derive(parent.secret))
