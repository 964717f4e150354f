"""DPoP (RFC 9449): proofs that a request comes from the holder of a key, and our nonces in them.

    proof   JWT, in the header DPoP, signed with the key whose public half is in its own header
    jkt     thumbprint of that key (RFC 7638): what sessions and access tokens are bound to
    nonce   base64url( pepper id 2 | issued at 4 | about 6 | MAC 18 )        40 characters

A proof is as old as its nonce, by our own clock: the client's may be wrong (section 11.1). So every
proof needs one. It is its own evidence that we issued it: none is stored.

`about` is the start of a refresh token's hash where that token, an old one, was answered with the
nonce, else zeros. A proof with such a nonce was made by somebody who has the key now and insists.
"""

import hmac
import re
import struct
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from ratchet.application import Application
from ratchet.errors import DPOP_ALGORITHMS, InvalidDPoPProof, RefusedProof, UseDPoPNonce
from ratchet.keys import thumbprint
from ratchet.policy import DAY
from ratchet.refresh_token import Peppers
from ratchet.request import Request

TYPE = "dpop+jwt"
MAX_LENGTH = 4096
MAX_JTI = 256
NONCE_SECONDS = 300
IAT_SKEW_SECONDS = DAY
"""A clock may be hours off and still get a nonce right; milliseconds are a mistake."""

# The last character has two bits to spare, which are 0.
_THUMBPRINT = re.compile("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_INSTANCE_SKEW_SECONDS = 60
_RSA_BITS = range(2048, 4097)
_ABOUT_BYTES = 6
_NO_TOKEN = bytes(_ABOUT_BYTES)
_NONCE = struct.Struct(f">HI{_ABOUT_BYTES}s")
_MAC_BYTES = 18
# RFC 8725 section 3.1: an algorithm belongs to one kind of key, whatever the header says.
_KINDS = {"ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
_RSA = ("RSA", None)
_MEMBERS = {"EC": ("x", "y"), "OKP": ("x",), "RSA": ("e", "n")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_UNCHECKED: Any = {
    f"verify_{name}": False for name in ("aud", "exp", "iat", "iss", "jti", "nbf", "sub")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DPoPProof:
    """A valid proof. id: 16 bytes that no other proof has, made of its key and its jti.

    about: what its nonce says of a refresh token.
    """

    jkt: str
    id: bytes
    about: bytes = _NO_TOKEN

    def insists_on(self, token_hash: bytes) -> bool:
        """Whether its nonce was the answer to an earlier request with this refresh token."""
        return self.about == token_hash[:_ABOUT_BYTES]


def proof(request: Request, *, peppers: Peppers, now: int) -> DPoPProof | None:
    """The proof of a request to the authorization server, None if it has none.

    One that is there is checked, whatever the application takes. Raises InvalidDPoPProof,
    UseDPoPNonce, Fault.
    """
    header = request.headers.get("dpop")
    if header is None:
        return None
    return _check(header, request, access_token=None, peppers=peppers, now=now)


def presented(request: Request, *, peppers: Peppers, now: int) -> tuple[str, DPoPProof | None]:
    """The access token of a request to a resource, with its proof if its scheme is DPoP.

    Raises MissingToken, RefusedProof, Fault. Whether the token is bound to that key is for
    `matches` to say.
    """
    scheme, token = request.access_token()
    if scheme == "Bearer":
        return token, None
    try:
        header = request.headers.get("dpop")
        if header is None:
            raise InvalidDPoPProof("no proof")
        return token, _check(header, request, access_token=token, peppers=peppers, now=now)
    except (InvalidDPoPProof, UseDPoPNonce) as refusal:
        raise RefusedProof(refusal) from None


def binding(application: Application, jkt: str | None) -> str | None:
    """The key to bind new tokens of this application to, of the one that was proven or vouched for.

    Raises InvalidDPoPProof where there has to be one (section 5.2).
    """
    if jkt is None and application.dpop == "required":
        raise InvalidDPoPProof("no proof", client_id=application.client_id)
    return None if application.dpop == "off" else jkt


def is_thumbprint(text: str) -> bool:
    """Whether it is the SHA-256 of something in base64url, 43 characters."""
    return _THUMBPRINT.fullmatch(text) is not None


def nonce(peppers: Peppers, now: int, *, token_hash: bytes = _NO_TOKEN) -> str:
    """A nonce that proofs may carry for the next NONCE_SECONDS (section 8). Raises Fault.

    token_hash: of the refresh token that a proof with it is to insist on.
    """
    pepper_id, pepper = peppers.current(now)
    body = _NONCE.pack(pepper_id, now, token_hash[:_ABOUT_BYTES])
    return urlsafe_b64encode(body + _mac(pepper, body)).decode()


def _check(
    header: str, request: Request, *, access_token: str | None, peppers: Peppers, now: int
) -> DPoPProof:
    """Section 4.3, in its order."""
    # API Gateway joins repeated headers with a comma, which no JWT has in it.
    if "," in header:
        raise InvalidDPoPProof("more than one")
    if len(header) > MAX_LENGTH:
        raise InvalidDPoPProof("too long")
    jkt, claims = _verified(header)
    jti, iat = claims.get("jti"), claims.get("iat")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
        raise InvalidDPoPProof("jti")
    if claims.get("htm") != request.method:
        raise InvalidDPoPProof("htm")
    htu = claims.get("htu")
    asked = normalized(htu) if isinstance(htu, str) else None
    if asked is None or asked != normalized(request.url):
        raise InvalidDPoPProof("htu")
    about, problem = _nonce_about(claims.get("nonce"), peppers, now)
    if problem:
        raise UseDPoPNonce(nonce(peppers, now), problem)
    # bool is an int to isinstance, and NaN compares as false
    if not isinstance(iat, int | float) or isinstance(iat, bool):
        raise InvalidDPoPProof("iat")
    if not abs(iat - now) <= IAT_SKEW_SECONDS:
        raise InvalidDPoPProof("iat")
    if access_token is not None and claims.get("ath") != _base64url(sha256(access_token.encode())):
        raise InvalidDPoPProof("ath")
    proof_id = sha256(f"{jkt}.{jti}".encode(errors="replace")).digest()[:16]
    return DPoPProof(jkt=jkt, id=proof_id, about=about)


def _verified(header: str) -> tuple[str, Mapping[str, Any]]:
    """Thumbprint and claims of a proof whose signature is that of the key it carries."""
    try:
        fields = jwt.get_unverified_header(header)
        if fields.get("typ") != TYPE:
            raise InvalidDPoPProof("typ")
        if "crit" in fields:
            raise InvalidDPoPProof("crit")
        algorithm = fields.get("alg")
        if algorithm not in DPOP_ALGORITHMS:
            raise InvalidDPoPProof("alg")
        key = _public_key(fields.get("jwk"), algorithm)
        claims = jwt.decode(header, key, algorithms=[algorithm], options=_UNCHECKED)
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
        raise InvalidDPoPProof(type(error).__name__) from None
    return _jkt(key, algorithm), claims


def _jkt(key: Any, algorithm: str) -> str:
    """The thumbprint of the key spelt anew: one key must not get two by another spelling."""
    spelt = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    kind, _ = _KINDS.get(algorithm, _RSA)
    members = {name: spelt[name] for name in ("kty", "crv", *_MEMBERS[kind]) if name in spelt}
    return thumbprint(members)


def _public_key(jwk: Any, algorithm: str) -> Any:
    if not isinstance(jwk, dict):
        raise InvalidDPoPProof("jwk")
    if _PRIVATE & jwk.keys():
        raise InvalidDPoPProof("private key")
    kind, curve = _KINDS.get(algorithm, _RSA)
    if (jwk.get("kty"), jwk.get("crv")) != (kind, curve):
        raise InvalidDPoPProof("alg of another kind of key")
    members = {name: jwk.get(name) for name in ("kty", "crv", *_MEMBERS[kind])}
    key = jwt.PyJWK(members, algorithm).key
    # A large or odd exponent would make us work; nobody makes such keys.
    if isinstance(key, rsa.RSAPublicKey) and not (
        key.key_size in _RSA_BITS and key.public_numbers().e == 65537
    ):
        raise InvalidDPoPProof("RSA key")
    return key


def _nonce_about(text: Any, peppers: Peppers, now: int) -> tuple[bytes, str]:
    """What a nonce is about, and why it is none of ours that is fresh, "" if it is."""
    if text is None:
        return _NO_TOKEN, "no nonce"
    try:
        raw = b64decode(text, altchars=b"-_", validate=True)
        pepper_id, issued_at, about = _NONCE.unpack(raw[:-_MAC_BYTES])
    except (TypeError, ValueError, struct.error):
        return _NO_TOKEN, "not a nonce of ours"
    pepper = peppers.key(pepper_id, now)
    if pepper is None or not hmac.compare_digest(
        raw[-_MAC_BYTES:], _mac(pepper, raw[:-_MAC_BYTES])
    ):
        return _NO_TOKEN, "not a nonce of ours"
    # Another instance, whose clock is ahead, may have issued it.
    if not -_INSTANCE_SKEW_SECONDS <= now - issued_at < NONCE_SECONDS:
        return _NO_TOKEN, "expired nonce"
    return about, ""


def _mac(pepper: bytes, body: bytes) -> bytes:
    return hmac.digest(pepper, b"ratchet dpop nonce 2" + body, "sha256")[:_MAC_BYTES]


def _base64url(digest: Any) -> str:
    return urlsafe_b64encode(digest.digest()).decode().rstrip("=")


_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
_ENCODED = re.compile("%([0-9A-Fa-f]{2})")
_PORTS = {"https": 443, "http": 80}


def normalized(url: str) -> tuple[Any, ...] | None:
    """What makes two URLs the same, query and fragment left out (RFC 3986 sections 6.2.2, 6.2.3).

    None for what is no http URL.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        return None
    port = _PORTS[parts.scheme] if port is None else port
    return parts.scheme, host, port, _path(parts.path)


def _path(path: str) -> str:
    def spelled(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if _UNRESERVED.fullmatch(character) else found[0].upper()

    kept: list[str] = []
    segments = _ENCODED.sub(spelled, path).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
