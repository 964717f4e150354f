"""What the two secrets hold: signing keys in their slots, and peppers by their ids. No I/O."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from ratchet.errors import Fault

ALGORITHMS = {"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "ES256": "EC"}
"""JWS algorithm (RFC 7518 section 3.1) to key type. The first of a type is its default."""
SLOTS = ("next", "current", "previous")
MADE_FROM = "made_from"
"""Beside the slots: the version of the secret that this one was made from by a rotation."""
RETIRED_AT = "retired_at"
USABLE_SECONDS = 24 * 3600
"""How long an instance goes on with an old set while it cannot get a newer one."""
MIN_RSA_BITS = 2048
MIN_PEPPER_CHARACTERS = 32
_THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")
_RSA_MEMBERS = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
_PEPPER_ID = re.compile("[1-9][0-9]{0,4}")


class InvalidSecret(Fault):
    """A secret is not of the shape this module documents. The message never quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key with its one algorithm (RFC 8725 section 3.1) and its RFC 7638 thumbprint.

    Its private half is either here or in KMS: one of private_key and kms_key (an ARN) is None.
    """

    kid: str
    algorithm: str
    private_key: Any = field(repr=False)
    kms_key: str | None = None
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

    A JWK (RFC 7517) is a private RSA or P-256 key, or a public one with the member `kms_key`, the
    ARN of the KMS key that holds its private half. Raises InvalidSecret.
    """
    slots = _json_object(secret, "signing keys")
    if slots.keys() - {*SLOTS, MADE_FROM}:
        raise InvalidSecret("signing keys: has other members than next, current and previous")
    if not slots.get("current"):
        raise InvalidSecret("signing keys: the slot current is empty")
    keys = {slot: _signing_key(slots[slot], slot) for slot in SLOTS if slots.get(slot)}
    if len({key.kid for key in keys.values()}) < len(keys):
        raise InvalidSecret("signing keys: one key is in two slots")
    return SigningKeys(
        next=keys.get("next"), current=keys["current"], previous=keys.get("previous")
    )


def _signing_key(jwk: Any, slot: str) -> SigningKey:
    try:
        algorithm = jwk.get("alg") or default_algorithm(jwk["kty"])
        if ALGORITHMS[algorithm] != jwk["kty"]:
            raise InvalidSecret(f"signing keys: slot {slot} has the alg of another kind of key")
        # A key object, loaded once.
        whole = jwk.keys() >= set(_RSA_MEMBERS)
        key = _private_rsa_key(jwk) if whole else jwt.PyJWK(jwk, algorithm).key
        kms_key = jwk.get("kms_key")
    except (AttributeError, KeyError, TypeError, ValueError, jwt.PyJWTError):
        raise InvalidSecret(f"signing keys: slot {slot} holds no RSA or P-256 JWK") from None
    if (kms_key is None) != isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InvalidSecret(f"signing keys: slot {slot} needs a private key or a kms_key, not both")
    public_key = key.public_key() if kms_key is None else key
    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size < MIN_RSA_BITS:
        raise InvalidSecret(f"signing keys: slot {slot} is shorter than {MIN_RSA_BITS} bits")
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name != "secp256r1":
        raise InvalidSecret(f"signing keys: slot {slot} is not on the curve P-256")
    members = public_members(public_key)
    kid = thumbprint(members)
    return SigningKey(
        kid=kid,
        algorithm=algorithm,
        private_key=key if kms_key is None else None,
        kms_key=kms_key,
        public_key=public_key,
        public_jwk={**members, "kid": kid, "use": "sig", "alg": algorithm},
    )


def _private_rsa_key(jwk: Mapping[str, str]) -> rsa.RSAPrivateKey:
    """RFC 7518 section 6.3, with all its members. Raises TypeError, ValueError.

    To look for factors of p and q takes OpenSSL 35 ms a key, of each cold start and again with each
    fresh look at the secret. That the numbers belong together takes none, and primes they are if
    the public half verifies what the private one signs.
    """
    n, e, d, p, q, dp, dq, qi = (jwt.utils.from_base64url_uint(jwk[name]) for name in _RSA_MEMBERS)
    if min(p, q) <= 2 or n != p * q:
        raise ValueError("it is not the product of its primes")
    one = (e * dp % (p - 1), e * dq % (q - 1), q * qi % p)
    if (dp, dq) != (d % (p - 1), d % (q - 1)) or one != (1, 1, 1):
        raise ValueError("its numbers do not belong together")
    public = rsa.RSAPublicNumbers(e, n)
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    try:
        signature = key.sign(b"", PKCS1v15(), SHA256())
        key.public_key().verify(signature, b"", PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ValueError("it does not verify what it signs") from None
    return key


def default_algorithm(key_type: str) -> str:
    """RS256 for RSA, ES256 for EC. Raises KeyError."""
    return {kind: name for name, kind in reversed(ALGORITHMS.items())}[key_type]


def public_members(public_key: Any) -> dict[str, str]:
    """The required public members of a key's JWK (RFC 7638 section 3.2).

    Spelt anew, not copied: one key must not get two thumbprints by another spelling.
    """
    rsa_key = isinstance(public_key, rsa.RSAPublicKey)
    spell = jwt.algorithms.RSAAlgorithm.to_jwk if rsa_key else jwt.algorithms.ECAlgorithm.to_jwk
    jwk: dict[str, str] = spell(public_key, as_dict=True)
    return {name: jwk[name] for name in _THUMBPRINT_MEMBERS if name in jwk}


def thumbprint(members: dict[str, str]) -> str:
    """RFC 7638: SHA-256 of the members in lexicographic order, without white space."""
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return urlsafe_b64encode(sha256(canonical).digest()).rstrip(b"=").decode()


def generate_jwk(algorithm: str, *, rsa_bits: int = MIN_RSA_BITS) -> dict[str, str]:
    """A new private key as a JWK with its algorithm."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    jwk: dict[str, str]
    if ALGORITHMS[algorithm] == "RSA":
        key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)
    return {**jwk, "alg": algorithm}


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

    Besides, `retired_at`: when an id ceased to be current, by id. Raises InvalidSecret.
    """
    texts = _json_object(secret, "peppers")
    current = texts.pop("current", None)
    for name in (MADE_FROM, RETIRED_AT):
        texts.pop(name, None)
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
