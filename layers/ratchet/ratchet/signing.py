"""Who signs access tokens and who keeps the peppers. KMS will be another `Signer`."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jwt

from ratchet.access_token import TYPE
from ratchet.errors import Fault
from ratchet.keys import SigningKeys
from ratchet.secret_cache import CachedSecret

PEPPER_COOLDOWN_SECONDS = 10
PEPPERS_AHEAD = 4

Sign = Callable[[Mapping[str, Any]], str]


class Signer(Protocol):
    """Signs access tokens and knows the keys that verify them."""

    def prepare(self, now: int) -> Sign:
        """A function from claims to a signed JWT, which only computes and cannot fail.

        Called before a flow writes anything, so that a missing key costs nobody a token.
        Raises Fault.
        """

    def keys(self, now: int) -> SigningKeys:
        """The published keys. Raises Fault."""


class SecretSigner:
    """Signs in memory with the key in the slot `current` of the secret."""

    def __init__(self, secret: CachedSecret[SigningKeys]) -> None:
        self._secret = secret

    def keys(self, now: int) -> SigningKeys:
        return self._secret.get(now)

    def prepare(self, now: int) -> Sign:
        key = self._secret.get(now).current
        headers = {"typ": TYPE, "kid": key.kid}

        def sign(claims: Mapping[str, Any]) -> str:
            return jwt.encode(dict(claims), key.private_key, key.algorithm, headers)

        return sign


class SecretPeppers:
    """The peppers of the secret; implements `refresh_token.Peppers`."""

    def __init__(self, secret: CachedSecret[dict[int, bytes]]) -> None:
        self._secret = secret

    def current(self, now: int) -> tuple[int, bytes]:
        peppers = self._secret.get(now)
        pepper_id = max(peppers)
        return pepper_id, peppers[pepper_id]

    def key(self, pepper_id: int, now: int) -> bytes | None:
        peppers = self._secret.get(now)
        # Only one of the next few ids can be unknown here and still be genuine: another instance
        # has already loaded it. Any other unknown id costs no I/O.
        if not 0 < pepper_id - max(peppers) <= PEPPERS_AHEAD:
            return peppers.get(pepper_id)
        newer = self._secret.get(now, max_age_seconds=PEPPER_COOLDOWN_SECONDS)
        if pepper_id in newer or newer is not peppers:
            return newer.get(pepper_id)
        raise Fault(f"pepper {pepper_id} may be newer than what this instance knows")
