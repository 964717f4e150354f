"""An application (RFC 6749 calls it a client): who it is, what it may do, its policy.

A new attribute is a field here, a line in `from_mapping` and, if there is something to check, a
line in `_rules`; its default means "off".
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

from ratchet import jwk_set, trusted_issuer
from ratchet.attributes import Attributes, Invalid, Rule, broken
from ratchet.policy import PRESETS, InvalidPolicy, Policy
from ratchet.trusted_issuer import InvalidTrustedIssuer, TrustedIssuer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name, no secret
GRANT_TYPES = frozenset({"client_credentials", "refresh_token", JWT_BEARER, TOKEN_EXCHANGE})
CLAIMS_HOOK = ("", "optional", "required")
DPOP = ("off", "optional", "required")


MAX_CLIENT_ID = 64
MAX_NAME = 128
MAX_SECRETS = 2
MAX_FORMER_POLICIES = 8
MAX_ALLOWED_ORIGINS = 20

# RFC 6454 section 6.1, as browsers serialise it. A port of "*" stands for all of them: on a
# developer's own machine every tool takes another one.
_ORIGIN = re.compile(
    r"https://[a-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?"
    r"|http://(localhost|127\.0\.0\.1|\[::1\])(:([1-9][0-9]{0,4}|\*))?"
)


class InvalidApplication(Invalid):
    """The message lists every problem at once, those of the policy too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerPolicy:
    """A policy that was replaced for new sessions only.

    until_at: sessions that started before keep it. over_at: by then all of them are over.
    """

    until_at: int
    over_at: int
    policy: Policy


class Era(NamedTuple):
    """A policy, and when the sessions started that keep it: since inclusive, until exclusive."""

    policy: Policy
    since: int
    until: int | None

    def has(self, started_at: int) -> bool:
        return self.since <= started_at and (self.until is None or started_at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One registered application.

    confidential: it can keep a secret (RFC 6749 section 2.1). secret_hashes: SHA-256 of each secret
    that is valid now, newest first; secrets have 256 random bits, so they need no slow hash.
    former_secret_until_at: when the older of two secrets ends, None: not by itself.
    audience: `aud` of its access tokens unless they are for a part of it (RFC 8707), empty for the
    issuer itself.
    jwks, jwks_uri: its public keys for private_key_jwt, as a JWK set or where to fetch it.
    trusted_issuers: identity providers whose ID tokens start its sessions.
    claims_hook: whether the deployment's own function adds claims to its sessions, one of
    CLAIMS_HOOK; "" for no, "required" for none without.
    starts_sessions_for: client ids it may start sessions for, "*" for every application.
    introspects_any: it may introspect the tokens of other applications too.
    password_login: its users may sign in with e-mail address and password at POST /login.
    dpop: whether what it is given is bound to a key it proves to have (RFC 9449, docs/dpop.md).
    allowed_origins: origins (RFC 6454) whose pages may read its answers (CORS).
    refresh_cookie: such a page may have the refresh token in a cookie (docs/browser.md).
    sessions_valid_after: sessions that started earlier are over (epoch seconds).
    former_policies: those that older sessions keep, oldest first.
    longest_absolute_ttl_seconds: no session of it started with more; 0: with more than it has now.
    longest_access_ttl_seconds: no access token of it was ever valid for longer; 0: than it is now.
    version: how often it has been written; a change names the version it was made of.
    """

    client_id: str
    name: str = ""
    confidential: bool
    secret_hashes: tuple[bytes, ...] = ()
    former_secret_until_at: int | None = None
    jwks: Mapping[str, Any] = field(default_factory=dict)
    jwks_uri: str = ""
    trusted_issuers: tuple[TrustedIssuer, ...] = ()
    grant_types: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    audience: tuple[str, ...] = ()
    claims_hook: str = ""
    starts_sessions_for: frozenset[str] = frozenset()
    introspects_any: bool = False
    password_login: bool = False
    dpop: str = "off"
    allowed_origins: frozenset[str] = frozenset()
    refresh_cookie: bool = False
    policy: Policy
    sessions_valid_after: int = 0
    disabled_at: int | None = None
    former_policies: tuple[FormerPolicy, ...] = ()
    longest_absolute_ttl_seconds: int = 0
    longest_access_ttl_seconds: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        if problems := broken(self._rules()):
            raise InvalidApplication(problems)

    def _rules(self) -> list[Rule]:
        unknown = sorted(self.grant_types - GRANT_TYPES)
        return [
            Rule(
                "client_id",
                len(self.client_id) <= MAX_CLIENT_ID and _printable(self.client_id),
                f"client_id must be 1 to {MAX_CLIENT_ID} printable ASCII characters",
            ),
            Rule(
                "name",
                len(self.name) <= MAX_NAME and (self.name.isprintable() or not self.name),
                f"name must be at most {MAX_NAME} printable characters",
            ),
            Rule(
                "confidential secret_hashes jwks jwks_uri",
                bool(self.secret_hashes or self.has_keys) or not self.confidential,
                "a confidential application needs a secret, jwks or jwks_uri",
            ),
            Rule(
                "confidential secret_hashes",
                self.confidential or not self.secret_hashes,
                "a public application has no secret",
            ),
            *self._keys_rules(),
            *trusted_issuer.together(self.trusted_issuers),
            Rule(
                "secret_hashes",
                len(self.secret_hashes) <= MAX_SECRETS,
                f"at most {MAX_SECRETS} secrets are valid at once",
            ),
            Rule("grant_types", not unknown, f"unknown grant types: {', '.join(unknown)}"),
            # RFC 6749 section 4.4: "MUST only be used by confidential clients"
            Rule(
                "grant_types confidential",
                "client_credentials" not in self.grant_types or self.confidential,
                "client_credentials is for confidential applications only",
            ),
            Rule(
                "scopes",
                all(_printable(s) and '"' not in s and "\\" not in s for s in self.scopes),
                "a scope must be printable ASCII without space, quote and backslash",
            ),
            Rule(
                "audience",
                all(_printable(value) for value in self.audience),
                "an audience must be printable ASCII without space",
            ),
            Rule(
                "claims_hook",
                self.claims_hook in CLAIMS_HOOK,
                "claims_hook must be optional, required or empty",
            ),
            Rule(
                "starts_sessions_for",
                all(
                    _printable(value) and len(value) <= MAX_CLIENT_ID
                    for value in self.starts_sessions_for
                ),
                "starts_sessions_for must have client ids, or *",
            ),
            Rule(
                "former_policies",
                len(self.former_policies) <= MAX_FORMER_POLICIES,
                f"at most {MAX_FORMER_POLICIES} former policies are kept for older sessions;"
                " change this one in another mode",
            ),
            Rule(
                "password_login grant_types",
                not self.password_login or "refresh_token" in self.grant_types,
                "password_login starts sessions, so it needs the grant type refresh_token",
            ),
            Rule("dpop", self.dpop in DPOP, f"dpop must be one of {', '.join(DPOP)}"),
            Rule(
                "allowed_origins",
                len(self.allowed_origins) <= MAX_ALLOWED_ORIGINS,
                f"there may be {MAX_ALLOWED_ORIGINS} allowed_origins",
            ),
            Rule(
                "allowed_origins",
                all(map(_ORIGIN.fullmatch, self.allowed_origins)),
                "an allowed origin must be https://host, or http://localhost or http://127.0.0.1, "
                "in lower case, with a port if it has one, without a path",
            ),
            Rule(
                "refresh_cookie allowed_origins",
                bool(self.allowed_origins) or not self.refresh_cookie,
                "refresh_cookie needs allowed_origins",
            ),
            # OAuth 2.0 for Browser-Based Applications section 6.3.3.1: a page has no secret
            Rule(
                "refresh_cookie confidential",
                not (self.refresh_cookie and self.confidential),
                "refresh_cookie is for public applications only",
            ),
        ]

    def _keys_rules(self) -> list[Rule]:
        return [
            Rule(
                "confidential jwks jwks_uri",
                self.confidential or not self.has_keys,
                "a public application has no jwks and no jwks_uri",
            ),
            # RFC 7591 section 2: "MUST NOT both be present"
            Rule("jwks jwks_uri", not (self.jwks and self.jwks_uri), "jwks or jwks_uri, not both"),
            Rule(
                "jwks_uri",
                not self.jwks_uri or trusted_issuer.fetchable(self.jwks_uri),
                "jwks_uri must be an https URL with a host name, without fragment",
            ),
            *(jwk_set.rules(self.jwks) if self.jwks else ()),
        ]

    @property
    def has_keys(self) -> bool:
        """Whether it can authenticate with private_key_jwt."""
        return bool(self.jwks or self.jwks_uri)

    def valid_secret_hashes(self, now: int) -> tuple[bytes, ...]:
        """Those of the secrets that are good at `now`, newest first."""
        ended = self.former_secret_until_at is not None and now >= self.former_secret_until_at
        return self.secret_hashes[:1] if ended else self.secret_hashes

    def has_secret(self, secret: str, now: int) -> bool:
        """Compares with every secret that is valid at `now`, in constant time."""
        digest = hash_secret(secret)
        known = self.valid_secret_hashes(now)
        return sum(hmac.compare_digest(digest, value) for value in known) > 0

    def allowed_resources(self, issuer: str) -> frozenset[str]:
        """What its access tokens may be for, and are for by default."""
        return frozenset(self.audience) or frozenset({issuer})

    def era(self, started_at: int) -> Era:
        """The policy that a session which started then keeps."""
        return next(era for era in self._eras() if era.has(started_at))

    def likely_era(self, absolute_deadline_at: int, now: int) -> Era:
        """The same, from a session's absolute deadline, as far as that tells.

        Where `absolute_ttl_seconds` has changed, two starts may lead to the same deadline, and this
        says the later: whoever relies on it must make sure of `started_at`.
        """
        eras = self._eras()
        for era in reversed(eras):
            started_at = absolute_deadline_at - era.policy.absolute_ttl_seconds
            if started_at <= now and era.has(started_at):
                return era
        return eras[-1]

    @property
    def counts_use(self) -> bool:
        """Whether API use counts as activity in any of its sessions."""
        return any(era.policy.touch_interval_seconds for era in self._eras())

    def under(self, policy: Policy) -> "Application":
        """This application as a session sees it that keeps this policy."""
        if not self.former_policies:
            return self
        return replace(self, policy=policy, former_policies=())

    def _eras(self) -> list[Era]:
        if not self.former_policies:
            return [Era(self.policy, 0, None)]
        starts = [0, *(former.until_at for former in self.former_policies)]
        ends = [*starts[1:], None]
        policies = [*(former.policy for former in self.former_policies), self.policy]
        return [Era(*era) for era in zip(policies, starts, ends, strict=True)]

    def may_start_sessions_for(self, client_id: str) -> bool:
        return bool({"*", client_id} & self.starts_sessions_for)

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may read its answers; "null" never."""
        host, _, port = origin.rpartition(":")
        any_port = f"{host if port.isascii() and port.isdecimal() else origin}:*"
        return "*" not in origin and bool({origin, any_port} & self.allowed_origins)


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a client secret, 32 bytes."""
    return sha256(secret.encode(errors="surrogatepass")).digest()


def _printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def to_mapping(application: Application, policy: Mapping[str, Any]) -> dict[str, Any]:
    """The item of an application. `policy` is kept as it was written: preset and overrides."""
    return {**_written(application), "policy": dict(policy)}


def _written(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _written(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_written(part) for part in value]
    if isinstance(value, frozenset):
        return sorted(value)
    return value


def from_mapping(item: Mapping[str, Any]) -> Application:
    """The application of an item. Raises InvalidApplication, which has the policy's problems too.

    What is unknown is refused: an older version would not know a restriction that a later one
    wrote, and must not act as if there were none.
    """
    read = Attributes(item)
    values: dict[str, Any] = {
        "client_id": read.text("client_id", required=True),
        "name": read.text("name"),
        "confidential": read.flag("confidential", required=True),
        "secret_hashes": read.hashes("secret_hashes"),
        "former_secret_until_at": read.instant("former_secret_until_at"),
        "jwks": read.mapping("jwks"),
        "jwks_uri": read.text("jwks_uri"),
        "trusted_issuers": _trusted_issuers(read),
        "grant_types": frozenset(read.texts("grant_types")),
        "scopes": frozenset(read.texts("scopes")),
        "audience": read.texts("audience"),
        "claims_hook": read.text("claims_hook"),
        "starts_sessions_for": frozenset(read.texts("starts_sessions_for")),
        "introspects_any": read.flag("introspects_any"),
        "password_login": read.flag("password_login"),
        "dpop": read.text("dpop", "off"),
        "allowed_origins": frozenset(read.texts("allowed_origins")),
        "refresh_cookie": read.flag("refresh_cookie"),
        "policy": _policy(read),
        "sessions_valid_after": read.instant("sessions_valid_after") or 0,
        "disabled_at": read.instant("disabled_at"),
        "former_policies": _former_policies(read),
        "longest_absolute_ttl_seconds": read.number("longest_absolute_ttl_seconds"),
        "longest_access_ttl_seconds": read.number("longest_access_ttl_seconds"),
        "version": read.number("version"),
    }
    read.no_others()
    try:
        application = Application(**values)
    except InvalidApplication as invalid:
        read.broken += broken(invalid.broken, read.unreadable)
    if read.broken:
        raise InvalidApplication(read.broken)
    return application


def _trusted_issuers(read: Attributes) -> tuple[TrustedIssuer, ...]:
    trusted = []
    for written in read.mappings("trusted_issuers"):
        try:
            trusted.append(TrustedIssuer.from_mapping(written))
        except InvalidTrustedIssuer as invalid:
            for problem in invalid.problems:
                read.note("trusted_issuers", f"{problem} (in trusted_issuers)")
    return tuple(trusted)


def _policy(read: Attributes) -> Policy:
    """A policy that stands in for one that is refused, so that the rest can be looked at."""
    written = read.mapping("policy", required=True)
    try:
        if "policy" not in read.unreadable:
            return Policy.from_mapping(written)
    except InvalidPolicy as invalid:
        read.broken += invalid.broken
        read.unreadable.add("policy")
    return PRESETS["browser"]


def _former_policies(read: Attributes) -> tuple[FormerPolicy, ...]:
    found = []
    for written in read.mappings("former_policies"):
        former = Attributes(written)
        # All its numbers are written, so the preset says nothing.
        numbers = {"preset": "browser", **former.mapping("policy", required=True)}
        until_at, over_at = former.instant("until_at"), former.instant("over_at")
        former.no_others()
        try:
            policy = Policy.from_mapping(numbers)
        except InvalidPolicy as invalid:
            former.broken += invalid.broken
        if former.broken or until_at is None or over_at is None:
            told = "; ".join(rule.problem for rule in former.broken)
            read.note("former_policies", f"former_policies: {told or 'an instant is missing'}")
        else:
            found.append(FormerPolicy(until_at=until_at, over_at=over_at, policy=policy))
    return tuple(found)
