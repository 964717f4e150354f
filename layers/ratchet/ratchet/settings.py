"""The functions' environment as one frozen, checked value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from ratchet.errors import Fault
from ratchet.keys import ALGORITHMS
from ratchet.trusted_issuer import LOOPBACK

PREFIX = "RATCHET_"
MAY_BE_EMPTY = {"issuer", "claims_function", "verifier_function"}
_CHOICES = {
    "RATCHET_SIGNING_BACKEND": ("secretsmanager", "kms"),
    "RATCHET_SIGNING_ALGORITHM": tuple(ALGORITHMS),
    "RATCHET_SIGNING_RSA_BITS": ("2048", "3072", "4096"),
    "RATCHET_TRANSPORT": ("boto3", "lean"),
}


class InvalidSettings(Fault):
    """The environment is wrong; the message lists every problem at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field for each RATCHET_ variable of template.yaml.

    issuer: issuer identifier (RFC 8414 section 2), or "" for the address of the API being called.
    sessions_table, applications_table, users_table, attempts_table, single_use_table, sweep_table:
    names of DynamoDB tables.
    signing_keys_secret, pepper_secret: Secrets Manager ids or ARNs.
    event_bus: EventBridge bus name.
    claims_function: ARN of the Lambda function that adds claims (docs/claims.md), or "" for none.
    verifier_function: ARN of the one that checks passwords (docs/login.md), or "" for our table.
    signing_backend: where new signing keys live, `secretsmanager` or `kms`. signing_algorithm: of
    new ones, see `keys.ALGORITHMS`. signing_rsa_bits: their size, for RSA.
    stack: the name that the stack's KMS keys are tagged with.
    log_group: where the functions' log lines are, or `file:` and the path of a file.
    transport: who asks DynamoDB, Secrets Manager and KMS: `boto3`, or `lean` (docs/performance.md).
    """

    issuer: str
    sessions_table: str
    applications_table: str
    single_use_table: str
    users_table: str
    attempts_table: str
    sweep_table: str
    signing_keys_secret: str
    pepper_secret: str
    event_bus: str
    claims_function: str
    verifier_function: str
    signing_backend: str
    signing_algorithm: str
    signing_rsa_bits: int
    stack: str
    log_group: str
    transport: str

    @property
    def local(self) -> bool:
        """Whether this is a service on a developer's own machine, and nobody else's."""
        issuer = urlsplit(self.issuer)
        return (issuer.scheme, issuer.hostname) == ("http", LOOPBACK)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises InvalidSettings for a missing, an empty or an unknown RATCHET_ variable."""
        given = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
        names = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        problems = [f"{key} is unknown" for key in sorted(given.keys() - names.keys())]
        for key, name in names.items():
            if key not in given:
                problems.append(f"{key} is missing")
            elif not given[key] and name not in MAY_BE_EMPTY:
                problems.append(f"{key} is empty")
        issuer = given.get(PREFIX + "ISSUER", "")
        if issuer.endswith("/") or "?" in issuer or "#" in issuer:
            problems.append(f"{PREFIX}ISSUER has a trailing slash, a query or a fragment")
        for key, allowed in _CHOICES.items():
            if given.get(key) and given[key] not in allowed:
                problems.append(f"{key} is not one of {', '.join(allowed)}")
        if problems:
            raise InvalidSettings("; ".join(problems))
        values: dict[str, Any] = {name: given[key] for key, name in names.items()}
        return cls(**{**values, "signing_rsa_bits": int(values["signing_rsa_bits"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """What the function authorizer has besides: one field for each of its AUTHORIZER_ variables.

    They are its own because no other function may refer to the API: that refers to them.

    service_url: the address of the API that issues the tokens, their issuer if no other is set.
    audience: what they have to be for, any one of these; empty for the issuer.
    session_check: whether a session that was ended counts at once, not with the token's expiry.
    """

    service_url: str
    audience: tuple[str, ...]
    session_check: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AuthorizerSettings":
        """Raises InvalidSettings."""
        given = {key: value for key, value in environment.items() if key.startswith("AUTHORIZER_")}
        names = {"AUTHORIZER_" + field.name.upper() for field in fields(cls)}
        problems = [f"{key} is unknown" for key in sorted(given.keys() - names)]
        problems += [f"{key} is missing" for key in sorted(names - given.keys())]
        session_check = given.get("AUTHORIZER_SESSION_CHECK", "yes")
        if session_check not in ("yes", "no"):
            problems.append("AUTHORIZER_SESSION_CHECK is not one of yes, no")
        if problems:
            raise InvalidSettings("; ".join(problems))
        audience = (text.strip() for text in given["AUTHORIZER_AUDIENCE"].split(","))
        return cls(
            service_url=given["AUTHORIZER_SERVICE_URL"],
            audience=tuple(filter(None, audience)),
            session_check=session_check == "yes",
        )
