"""The keys of identity providers and of applications that publish theirs, fetched and remembered.

                           fresh        older              none, or a kid that is not among them
    ----------------       -----        -----              -------------------------------------
    the provider answers   used         fetched anew       fetched anew, at most every 30 seconds;
                                                           in between 503: it may be a newer key
    it does not            used         used, for a day    503: it may be the provider's newest key

So forged kids cost a provider one fetch in 30 seconds from each function instance, and neither they
nor an outage of the provider make us refuse anybody wrongly.
"""

import threading
from collections.abc import Callable
from typing import Any

from ratchet import jwk_set
from ratchet.errors import Fault
from ratchet.jwk_set import PublicKey
from ratchet.trusted_issuer import TrustedIssuer

FRESH_SECONDS = 3600
"""How long keys are used without looking for newer ones."""
USABLE_SECONDS = 24 * 3600
"""How long they are used while their provider cannot be reached."""
PAUSE_SECONDS = 30
"""How long after a look the next one may be, whatever came of it."""
MAX_REMEMBERED = 1000

Fetch = Callable[[str], Any]
Load = Callable[[], tuple[PublicKey, ...]]


class _Remembered:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.keys: tuple[PublicKey, ...] = ()
        self.loaded_at: int | None = None
        self.next_look_at = 0
        self.fault: str | None = None

    def younger_than(self, seconds: int, now: int) -> bool:
        return self.loaded_at is not None and 0 <= now - self.loaded_at < seconds


class ProviderKeys:
    """fetch: the JSON document at a URL, or Fault."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, ...], _Remembered] = {}

    def of_issuer(
        self, trusted: TrustedIssuer, *, kid: str | None, algorithm: str, now: int
    ) -> PublicKey | None:
        """The issuer's key by this id, or None if it has no such key. Raises Fault."""
        name = ("issuer", trusted.issuer, *trusted.jwks_hosts)
        return self._find(name, lambda: self._discover(trusted), kid, algorithm, now)

    def of_uri(
        self, jwks_uri: str, *, kid: str | None, algorithm: str, now: int
    ) -> PublicKey | None:
        """The key by this id in the set at this address, or None. Raises Fault."""
        return self._find(("uri", jwks_uri), lambda: self._load(jwks_uri), kid, algorithm, now)

    def _find(
        self, name: tuple[str, ...], load: Load, kid: str | None, algorithm: str, now: int
    ) -> PublicKey | None:
        with self._lock:
            if len(self._remembered) >= MAX_REMEMBERED and name not in self._remembered:
                self._remembered.clear()
            known = self._remembered.setdefault(name, _Remembered())
        with known.lock:
            usable = known.keys if known.younger_than(USABLE_SECONDS, now) else ()
            found = jwk_set.choose(usable, kid=kid, algorithm=algorithm)
            looked = 0 < known.next_look_at - now <= PAUSE_SECONDS
            if found is not None and (known.younger_than(FRESH_SECONDS, now) or looked):
                return found
            if looked:
                if known.fault is not None:
                    raise Fault(f"{known.fault} (a moment ago)")
                if kid is not None and all(key.kid != kid for key in usable):
                    raise Fault("unknown kid, and the keys were fetched a moment ago")
                return None
            known.next_look_at = now + PAUSE_SECONDS
            try:
                keys = load()
            except Exception as error:
                # Whatever a provider sends, the keys that are known stay of use.
                fault = error if isinstance(error, Fault) else Fault(_unexpected(name, error))
                known.fault = str(fault)
                if found is not None:
                    return found
                raise fault from error
            known.keys, known.loaded_at, known.fault = keys, now, None
            return jwk_set.choose(keys, kid=kid, algorithm=algorithm)

    def _discover(self, trusted: TrustedIssuer) -> tuple[PublicKey, ...]:
        """OpenID Connect Discovery section 4: issuer -> jwks_uri -> keys."""
        metadata = self._fetch(trusted.discovery_url)
        # Section 4.3: "The issuer value returned MUST be identical to the Issuer URL"
        if not isinstance(metadata, dict) or metadata.get("issuer") != trusted.issuer:
            raise Fault(f"{trusted.issuer}: its metadata is not of this issuer")
        jwks_uri = metadata.get("jwks_uri")
        if not trusted.may_fetch(jwks_uri):
            raise Fault(f"{trusted.issuer}: the host of its jwks_uri is not among jwks_hosts")
        return self._load(str(jwks_uri))

    def _load(self, jwks_uri: str) -> tuple[PublicKey, ...]:
        try:
            return jwk_set.parse(self._fetch(jwks_uri))
        except ValueError as error:
            raise Fault(f"{jwks_uri.partition('?')[0]}: {error}") from None


def _unexpected(name: tuple[str, ...], error: Exception) -> str:
    return f"{name[1].partition('?')[0]}: its keys are unreadable, {type(error).__name__}"
