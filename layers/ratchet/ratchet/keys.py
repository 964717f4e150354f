"""What the two secrets hold: signing keys in their slots, and peppers by their ids. No I/O."""

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ratchet.errors import Fault

ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
SLOTS = ("next", "current", "previous")
MIN_RSA_BITS = 2048
MIN_PEPPER_CHARACTERS = 32
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")
_PEPPER_ID = re.compile("[1-9][0-9]{0,4}")


class InvalidSecret(Fault):
    """A secret is not of the shape this module documents. The message never quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key with its one algorithm (RFC 8725 section 3.1) and its RFC 7638 thumbprint."""

    kid: str
    algorithm: str
    private_key: Any = field(repr=False)
    public_key: Any = field(repr=False)
    public_jwk: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """next is published but does not sign yet, current signs, previous still verifies."""

    next: SigningKey | None
    current: SigningKey
    previous: SigningKey | None

    def published(self) -> list[SigningKey]:
        return [key for key in (self.next, self.current, self.previous) if key is not None]

    def find(self, kid: object) -> SigningKey | None:
        return next((key for key in self.published() if key.kid == kid), None)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The JWK set (RFC 7517 section 5), public members only."""
        return {"keys": [key.public_jwk for key in self.published()]}


def signing_keys(secret: str) -> SigningKeys:
    """From the secret's JSON: `{"next": JWK | null, "current": JWK, "previous": JWK | null}`.

    The JWKs are private RSA or P-256 keys (RFC 7517). Raises InvalidSecret.
    """
    slots = _json_object(secret, "signing keys")
    if slots.keys() - set(SLOTS) or not slots.get("current"):
        raise InvalidSecret("signing keys: needs the slots next, current and previous")
    keys = {slot: _signing_key(slots[slot], slot) for slot in SLOTS if slots.get(slot)}
    if len({key.kid for key in keys.values()}) < len(keys):
        raise InvalidSecret("signing keys: one key is in two slots")
    return SigningKeys(
        next=keys.get("next"), current=keys["current"], previous=keys.get("previous")
    )


def _signing_key(jwk: Any, slot: str) -> SigningKey:
    try:
        algorithm = ALGORITHMS[jwk["kty"]]
        # A key object, loaded once: handing PyJWT a PEM costs 35 ms a call.
        private_key = jwt.PyJWK(jwk, algorithm).key
    except (KeyError, TypeError, ValueError, jwt.PyJWTError):
        raise InvalidSecret(f"signing keys: slot {slot} holds no RSA or P-256 JWK") from None
    if isinstance(private_key, rsa.RSAPrivateKey):
        if private_key.key_size < MIN_RSA_BITS:
            raise InvalidSecret(f"signing keys: slot {slot} is shorter than {MIN_RSA_BITS} bits")
        public = jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    elif isinstance(private_key, ec.EllipticCurvePrivateKey) and jwk.get("crv") == "P-256":
        public = jwt.algorithms.ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    else:
        raise InvalidSecret(f"signing keys: slot {slot} holds no private RSA or P-256 key")
    # Spelt anew, not copied: one key must not get two thumbprints by another spelling.
    members = {name: public[name] for name in _THUMBPRINT_MEMBERS if name in public}
    # RFC 7638: the required members in lexicographic order, without white space.
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    kid = urlsafe_b64encode(sha256(canonical).digest()).rstrip(b"=").decode()
    return SigningKey(
        kid=kid,
        algorithm=algorithm,
        private_key=private_key,
        public_key=private_key.public_key(),
        public_jwk={**members, "kid": kid, "use": "sig", "alg": algorithm},
    )


def generate_signing_keys(*, rsa_bits: int = 2048) -> str:
    """A first secret: two new RSA keys, in the slots next and current."""
    new = [rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits) for _ in range(2)]
    jwks = [jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True) for key in new]
    return json.dumps({"next": jwks[0], "current": jwks[1], "previous": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class PepperSet:
    """The MAC keys of the refresh tokens by pepper id; `current` makes new tokens.

    A pepper has been in the set for longer than any instance keeps an old set before it becomes
    current, so an id that an instance does not know is no genuine token's.
    """

    current: int
    by_id: dict[int, bytes] = field(repr=False)


def peppers(secret: str) -> PepperSet:
    """From the secret's JSON: `{"current": 1, "1": text of at least 32 characters, …}`.

    Raises InvalidSecret.
    """
    texts = _json_object(secret, "peppers")
    current = texts.pop("current", None)
    if not all(_PEPPER_ID.fullmatch(name) and int(name) < 1 << 16 for name in texts):
        raise InvalidSecret("peppers: needs numbers from 1 to 65535 as names")
    if type(current) is not int or str(current) not in texts:
        raise InvalidSecret("peppers: `current` is not the id of one of them")
    if any(
        not isinstance(text, str) or len(text) < MIN_PEPPER_CHARACTERS for text in texts.values()
    ):
        raise InvalidSecret(f"peppers: each needs {MIN_PEPPER_CHARACTERS} characters or more")
    return PepperSet(
        current=current, by_id={int(name): text.encode() for name, text in texts.items()}
    )


def _json_object(secret: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(secret)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidSecret(f"{what}: the secret is not a JSON object")
    return value
