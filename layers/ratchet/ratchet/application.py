"""An application (RFC 6749 calls it a client): who it is, what it may do, its policy."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ratchet.policy import Policy

GRANT_TYPES = frozenset({"client_credentials", "refresh_token"})


MAX_CLIENT_ID = 64


class InvalidApplication(ValueError):
    """The message lists every problem at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One registered application.

    confidential: it can keep a secret (RFC 6749 section 2.1). secret_hashes: SHA-256 of each secret
    that is valid now; secrets have 256 random bits, so they need no slow hash.
    audience: `aud` of its access tokens, empty for the issuer itself.
    starts_sessions_for: client ids it may start sessions for, "*" for every application.
    introspects_any: it may introspect the tokens of other applications too.
    sessions_valid_after: sessions that started earlier are over (epoch seconds).
    """

    client_id: str
    name: str = ""
    confidential: bool
    secret_hashes: tuple[bytes, ...] = ()
    grant_types: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    audience: tuple[str, ...] = ()
    starts_sessions_for: frozenset[str] = frozenset()
    introspects_any: bool = False
    policy: Policy
    sessions_valid_after: int = 0
    disabled_at: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if len(self.client_id) > MAX_CLIENT_ID or not _printable(self.client_id):
            problems.append(f"client_id must be 1 to {MAX_CLIENT_ID} printable ASCII characters")
        if self.confidential and not self.secret_hashes:
            problems.append("a confidential application needs a secret")
        if not self.confidential and self.secret_hashes:
            problems.append("a public application has no secret")
        if unknown := self.grant_types - GRANT_TYPES:
            problems.append(f"unknown grant types: {', '.join(sorted(unknown))}")
        # RFC 6749 section 4.4: "MUST only be used by confidential clients"
        if "client_credentials" in self.grant_types and not self.confidential:
            problems.append("client_credentials is for confidential applications only")
        if any(not _printable(scope) or '"' in scope or "\\" in scope for scope in self.scopes):
            problems.append("a scope must be printable ASCII without space, quote and backslash")
        if problems:
            raise InvalidApplication("; ".join(problems))

    def has_secret(self, secret: str) -> bool:
        """Compares with every valid secret, in constant time."""
        digest = hash_secret(secret)
        return sum(hmac.compare_digest(digest, known) for known in self.secret_hashes) > 0

    def may_start_sessions_for(self, client_id: str) -> bool:
        return bool({"*", client_id} & self.starts_sessions_for)


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a client secret, 32 bytes."""
    return sha256(secret.encode()).digest()


def _printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def to_mapping(application: Application, policy: Mapping[str, Any]) -> dict[str, Any]:
    """The item of an application. `policy` is kept as it was written: preset and overrides."""
    return {
        "client_id": application.client_id,
        "name": application.name,
        "confidential": application.confidential,
        "secret_hashes": [value.hex() for value in application.secret_hashes],
        "grant_types": sorted(application.grant_types),
        "scopes": sorted(application.scopes),
        "audience": list(application.audience),
        "starts_sessions_for": sorted(application.starts_sessions_for),
        "introspects_any": application.introspects_any,
        "policy": dict(policy),
        "sessions_valid_after": application.sessions_valid_after,
        "disabled_at": application.disabled_at,
    }


def from_mapping(item: Mapping[str, Any]) -> Application:
    """The application of an item. Raises InvalidApplication or InvalidPolicy."""
    return Application(
        client_id=item["client_id"],
        name=item.get("name", ""),
        confidential=item["confidential"],
        secret_hashes=tuple(bytes.fromhex(value) for value in item.get("secret_hashes", ())),
        grant_types=frozenset(item.get("grant_types", ())),
        scopes=frozenset(item.get("scopes", ())),
        audience=tuple(item.get("audience", ())),
        starts_sessions_for=frozenset(item.get("starts_sessions_for", ())),
        introspects_any=item.get("introspects_any", False),
        policy=Policy.from_mapping(item["policy"]),
        sessions_valid_after=item.get("sessions_valid_after", 0),
        disabled_at=item.get("disabled_at"),
    )
