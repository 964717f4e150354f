"""Who signs access tokens and who keeps the peppers. KMS will be another `Signer`."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jwt

from ratchet.access_token import TYPE
from ratchet.keys import PepperSet, SigningKeys
from ratchet.secret_cache import CachedSecret

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

    def __init__(self, secret: CachedSecret[PepperSet]) -> None:
        self._secret = secret

    def current(self, now: int) -> tuple[int, bytes]:
        peppers = self._secret.get(now)
        return peppers.current, peppers.by_id[peppers.current]

    def key(self, pepper_id: int, now: int) -> bytes | None:
        return self._secret.get(now).by_id.get(pepper_id)
