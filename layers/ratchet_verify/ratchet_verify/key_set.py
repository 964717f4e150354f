"""An issuer's key set, fetched when it is needed and kept.

    0                  max_age_seconds                 + stale_seconds
    |  fresh: no fetch |  fetched; while that fails,   |  nothing is verified
    |                  |  the old keys still verify    |

A `kid` that is not in the set has it fetched once more: keys rotate. Made-up ones must not make us
hammer the issuer, so there are `cooldown_seconds` between two fetches of that kind, and between two
that failed. While one thread fetches, only those wait that the old keys cannot help.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from ratchet_verify import fetch, jwk
from ratchet_verify.fetch import FetchFailed
from ratchet_verify.jwk import PublicKey

MAX_AGE_SECONDS = 300
STALE_SECONDS = 3600
COOLDOWN_SECONDS = 30
WITHOUT_KEYS_SECONDS = 2
"""Between two fetches while there are no keys at all: what a refused client waits, too."""

GetJson = Callable[[str], Any]


class KeysUnavailable(Exception):
    """There are no keys, or only too old ones, and none can be fetched."""


class KeySet:
    """The keys of one issuer. Threads may share it; one of them fetches, the others wait."""

    def __init__(
        self,
        issuer: str,
        jwks_uri: str | None = None,
        *,
        max_age_seconds: int = MAX_AGE_SECONDS,
        stale_seconds: int = STALE_SECONDS,
        cooldown_seconds: int = COOLDOWN_SECONDS,
        get_json: GetJson = fetch.get_json,
    ) -> None:
        """jwks_uri: where the keys are, else what the issuer's metadata says (RFC 8414)."""
        self._issuer = fetch.checked(issuer)
        self._jwks_uri = jwks_uri and fetch.checked(jwks_uri)
        self._max_age, self._stale = max_age_seconds, stale_seconds
        self._cooldown = cooldown_seconds
        self._get_json = get_json
        self._lock = threading.Lock()
        self._keys: Sequence[PublicKey] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failed = False

    def keys(self, kid: str | None, now: float) -> Sequence[PublicKey]:
        """The keys, fetched again if they are old or this one is not among them.

        now: epoch seconds. Raises KeysUnavailable.
        """
        if self._good_for(kid, now, self._max_age):
            return self._keys
        good_enough = self._good_for(kid, now, self._max_age + self._stale)
        if self._lock.acquire(blocking=not good_enough):
            try:
                # Somebody may have fetched them while this one waited.
                if not self._good_for(kid, now, self._max_age) and self._may_try(now):
                    self._fetch(now)
            finally:
                self._lock.release()
        # An unknown key is unknown to nobody but us, if the last look at the set failed.
        if not self._good_for(kid, now, self._max_age + self._stale) and (
            self._failed or not self._usable(now, self._max_age + self._stale)
        ):
            raise KeysUnavailable("the key set cannot be fetched")
        return self._keys

    def _fetch(self, now: float) -> None:
        self._tried_at, self._failed = now, True
        try:
            found = jwk.parse(self._get_json(self._uri()))
        except (FetchFailed, ValueError):
            return
        # No issuer signs with nothing: an empty set must not take the place of a good one.
        if found:
            self._keys, self._fetched_at, self._failed = found, now, False

    def _good_for(self, kid: str | None, now: float, seconds: int) -> bool:
        known = kid is None or any(key.kid == kid for key in self._keys)
        return known and self._usable(now, seconds)

    def _usable(self, now: float, seconds: int) -> bool:
        age = self._age(now)
        return age is not None and age <= seconds

    def _may_try(self, now: float) -> bool:
        usable = self._usable(now, self._max_age + self._stale)
        pause = self._cooldown if usable else min(self._cooldown, WITHOUT_KEYS_SECONDS)
        return self._tried_at is None or not 0 <= now - self._tried_at < pause

    def _age(self, now: float) -> float | None:
        # A clock that was set back makes keys old, not young for ever.
        return None if self._fetched_at is None else abs(now - self._fetched_at)

    def _uri(self) -> str:
        if self._jwks_uri is None:
            metadata = self._get_json(metadata_url(self._issuer))
            # RFC 8414 section 3.3: "The issuer value returned MUST be identical"
            if not isinstance(metadata, dict) or metadata.get("issuer") != self._issuer:
                raise ValueError("metadata of another issuer")
            self._jwks_uri = fetch.checked(str(metadata.get("jwks_uri")))
        return self._jwks_uri


def metadata_url(issuer: str) -> str:
    """RFC 8414 section 3.1: the well-known part goes between host and path."""
    scheme, _, rest = issuer.partition("://")
    host, slash, path = rest.partition("/")
    suffix = f"{slash}{path}".rstrip("/")
    return f"{scheme}://{host}/.well-known/oauth-authorization-server{suffix}"
