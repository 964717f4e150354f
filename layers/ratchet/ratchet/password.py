"""Passwords: how they are prepared, hashed and compared. argon2 is imported here and only here.

Prepared as RFC 8265 section 4.2 (OpaqueString) says: any space becomes U+0020, then NFC; case and
width are kept. So a password means the same on a keyboard that composes "é" and on one that does
not. Unlike there, format characters are kept: emoji are made with them.
"""

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from ratchet.errors import Fault

MIN_LENGTH = 8
MAX_LENGTH = 256
"""Characters as prepared. OWASP ASVS 5.0, 6.2.1 and 6.2.9; NIST SP 800-63B asks for at least 64."""
MAX_TYPED_LENGTH = 4 * MAX_LENGTH
"""Characters before that: NFC makes one of up to four."""

# OWASP Password Storage Cheat Sheet: argon2id with 19 MiB, 2 iterations, 1 lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16)

# Of 32 random bytes that were thrown away: nobody's password, and as much work as everybody's.
DUMMY_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$S1ebJH4agIbU630nYWkzQA$j7zgBO"
    "qRO94EpwxtyrUrX+DXFHYIRP4ZzaEa3RvqpaE"
)

_FORBIDDEN = {"Cc", "Cs", "Co", "Cn"}


class InvalidPassword(ValueError):
    """A password that may not be set. The message says what to change."""


def hash_new(password: str, *, email: str) -> str:
    """The argon2id hash of a new password, in PHC form. Raises InvalidPassword."""
    if any(unicodedata.category(character) in _FORBIDDEN for character in password):
        raise InvalidPassword("it has a control character or one that Unicode does not know")
    prepared = prepare(password).decode()
    if not MIN_LENGTH <= len(prepared) <= MAX_LENGTH:
        raise InvalidPassword(f"it must have {MIN_LENGTH} to {MAX_LENGTH} characters")
    if prepared.casefold() in (email, email.partition("@")[0]):
        raise InvalidPassword("it must not be the e-mail address")
    return HASHER.hash(prepared)


def prepare(password: str) -> bytes:
    """What is hashed. Never fails: a password that cannot be set matches no hash."""
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in password)
    return unicodedata.normalize("NFC", spaced).encode(errors="surrogatepass")


def matches(password: str, password_hash: str) -> bool:
    """Whether this is the password of the hash. Raises Fault for a hash that is none."""
    try:
        return HASHER.verify(password_hash, prepare(password))
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        raise Fault(f"argon2: {type(error).__name__}") from None


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(password_hash)


def rehash(password: str) -> str:
    """The hash, with today's parameters, of a password that has just been found right."""
    return HASHER.hash(prepare(password))
