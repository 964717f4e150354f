"""An identity provider whose ID tokens an application takes for a sign-in. Pure rules, no I/O."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ratchet.attributes import Attributes, Invalid, Rule, broken
from ratchet.jwk_set import ALGORITHMS

MAX_TRUSTED_ISSUERS = 10
# A session's item outlives its end by a day at least, and it is what tells a second use of the
# token; so no token may be good for longer.
MAX_AGE_SECONDS = 12 * 3600
DEFAULT_AGE_SECONDS = 600
DEFAULT_ALGORITHMS = ("RS256", "ES256")
MAX_PREFIX = 32
LOOPBACK = "127.0.0.1"


class InvalidTrustedIssuer(Invalid):
    """The message lists every problem at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """issuer: `iss`, to the letter. audience: our client ids there, of which `aud` must have one.

    subject_claim, subject_prefix: `sub` here is the prefix and then that claim. The prefix keeps
    two providers' users apart. required_claims: claim -> the value it must have, or must have among
    its values if it is a list.
    algorithms: that it signs with. max_age_seconds: how old (`iat`) a token may be.
    jwks_hosts: hosts besides the issuer's own that its jwks_uri may be at.
    """

    issuer: str
    audience: tuple[str, ...]
    subject_prefix: str
    subject_claim: str = "sub"
    required_claims: Mapping[str, Any] = field(default_factory=dict)
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    max_age_seconds: int = DEFAULT_AGE_SECONDS
    jwks_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problems := broken(self._rules()):
            raise InvalidTrustedIssuer(problems)

    def _rules(self) -> list[Rule]:
        by_email = self.subject_claim == "email"
        return [
            Rule(
                "issuer",
                fetchable(self.issuer) and "?" not in self.issuer,
                "issuer must be an https URL with a host name, without query and fragment",
            ),
            Rule(
                "audience",
                bool(self.audience) and all(map(_printable, self.audience)),
                "audience must name at least one of your client ids at the provider",
            ),
            Rule(
                "subject_prefix",
                len(self.subject_prefix) <= MAX_PREFIX and _printable(self.subject_prefix + "-"),
                f"subject_prefix must be printable ASCII of up to {MAX_PREFIX} characters",
            ),
            Rule(
                "subject_claim",
                bool(self.subject_claim),
                "subject_claim must be the name of a claim",
            ),
            # anybody can have an account with an address that is not theirs
            Rule(
                "subject_claim required_claims",
                not by_email or self.required_claims.get("email_verified") is True,
                "subject_claim email needs email_verified true among required_claims",
            ),
            Rule(
                "algorithms",
                bool(self.algorithms) and not set(self.algorithms) - set(ALGORITHMS),
                f"algorithms must be some of {', '.join(ALGORITHMS)}",
            ),
            Rule(
                "max_age_seconds",
                1 <= self.max_age_seconds <= MAX_AGE_SECONDS,
                f"max_age_seconds must be from 1 to {MAX_AGE_SECONDS}",
            ),
            Rule(
                "jwks_hosts",
                all(_printable(host) and "/" not in host for host in self.jwks_hosts),
                "jwks_hosts must have host names, without https://",
            ),
        ]

    @property
    def discovery_url(self) -> str:
        """OpenID Connect Discovery section 4.1: "any terminating / MUST be removed"."""
        return self.issuer.removesuffix("/") + "/.well-known/openid-configuration"

    def may_fetch(self, jwks_uri: Any) -> bool:
        """Whether keys may be had from there: https, and the issuer's own host or a listed one."""
        if not isinstance(jwks_uri, str) or not fetchable(jwks_uri):
            return False
        host, own = urlsplit(jwks_uri), urlsplit(self.issuer)
        if (host.scheme, host.netloc) == (own.scheme, own.netloc):
            return True
        return host.scheme == "https" and host.netloc in self.jwks_hosts

    @classmethod
    def from_mapping(cls, written: Mapping[str, Any]) -> "TrustedIssuer":
        """From an application's item. Raises InvalidTrustedIssuer."""
        read = Attributes(written)
        values: dict[str, Any] = {
            "issuer": read.text("issuer", required=True),
            "audience": read.texts("audience"),
            # Even an empty one has to be written: it gives the provider all subjects.
            "subject_prefix": read.text("subject_prefix", required=True),
            "subject_claim": read.text("subject_claim", "sub"),
            "required_claims": read.mapping("required_claims"),
            "algorithms": read.texts("algorithms") or DEFAULT_ALGORITHMS,
            "max_age_seconds": read.number("max_age_seconds", DEFAULT_AGE_SECONDS),
            "jwks_hosts": read.texts("jwks_hosts"),
        }
        read.no_others()
        try:
            trusted = cls(**values)
        except InvalidTrustedIssuer as invalid:
            read.broken += broken(invalid.broken, read.unreadable)
        if read.broken:
            raise InvalidTrustedIssuer(read.broken)
        return trusted


def together(trusted: tuple[TrustedIssuer, ...]) -> list[Rule]:
    """What has to hold for the trusted issuers of one application together."""
    prefixes = sorted(entry.subject_prefix for entry in trusted)
    pairs = list(itertools.pairwise(prefixes))
    name = "trusted_issuers"
    return [
        Rule(
            name,
            len(trusted) <= MAX_TRUSTED_ISSUERS,
            f"there may be {MAX_TRUSTED_ISSUERS} trusted_issuers",
        ),
        Rule(
            name,
            len({entry.issuer for entry in trusted}) == len(trusted),
            "one issuer is among trusted_issuers twice",
        ),
        # else one provider could make a subject that is another one's
        Rule(
            name,
            not any(after.startswith(before) for before, after in pairs),
            "one subject_prefix of trusted_issuers is the beginning of another",
        ),
    ]


def registered(written: Mapping[str, Any]) -> list[TrustedIssuer]:
    """The trusted issuers of an application as it is written; one that cannot be read is of no use
    to anybody, and left out."""
    found = []
    for entry in Attributes(written).mappings("trusted_issuers"):
        with contextlib.suppress(InvalidTrustedIssuer):
            found.append(TrustedIssuer.from_mapping(entry))
    return found


def clashes(trusted: Iterable[TrustedIssuer], others: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What keeps these from being trusted beside what other applications, as written, trust.

    A subject is one person's in all applications, so two issuers, or two claims of one issuer,
    must not be able to make the same.
    """
    mine = list(trusted)
    for other in others:
        for entry, theirs in itertools.product(mine, registered(other)):
            if _may_meet(entry, theirs):
                yield (
                    f'subject_prefix "{entry.subject_prefix}" of {entry.issuer} overlaps'
                    f' "{theirs.subject_prefix}" of {theirs.issuer} ({theirs.subject_claim}) in'
                    f" the application {other.get('client_id')}; choose one with the provider's"
                    " and the tenant's name"
                )


def _may_meet(one: TrustedIssuer, other: TrustedIssuer) -> bool:
    if (one.issuer, one.subject_claim) == (other.issuer, other.subject_claim):
        return False
    prefix, another = one.subject_prefix, other.subject_prefix
    return prefix.startswith(another) or another.startswith(prefix)


def fetchable(url: Any) -> bool:
    """Whether it is an https URL with the name of a host: an address would be a machine near us.

    Also one of 127.0.0.1, by http too: a provider that is played beside a local service. Others do
    not fetch it (`outbound.get_json`).
    """
    if not isinstance(url, str) or not _printable(url) or "#" in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    if host == LOOPBACK:
        return parts.scheme in ("https", "http")
    # 10.0.0.1, 0x7f.1, 2130706433, [::1]: no top-level domain begins with a digit.
    last = host.removesuffix(".").rpartition(".")[2]
    return parts.scheme == "https" and ":" not in host and last[:1].isalpha()


def _printable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
