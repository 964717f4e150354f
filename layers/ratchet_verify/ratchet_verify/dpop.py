"""DPoP at a protected resource (RFC 9449 section 7): a token that only the holder of a key may use.

token   cnf.jkt = thumbprint of a public key
proof   header DPoP: a JWT signed with that key, for this method, this URL and this token
"""

import json
import threading
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

from ratchet_verify import jws
from ratchet_verify.jwk import public_key
from ratchet_verify.jws import InvalidJWS
from ratchet_verify.refusals import DPOP_ALGORITHMS, InvalidProof

TYPE = "dpop+jwt"
MAX_JTI = 256
PROOF_SECONDS = 60
"""How old, or how far in the future, a proof may be: clients' clocks differ."""
MAX_SEEN = 65536

_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_PORTS = {"https": 443, "http": 80}


class SeenProofs:
    """Proofs that were used here, each for as long as it would be good (section 11.1).

    One process knows only its own: another instance would take a copy once more, within seconds.
    Of more than MAX_SEEN within that time the oldest are forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def add(self, name: bytes, until: float, now: float) -> bool:
        """False: seen before."""
        with self._lock:
            while self._seen and (
                next(iter(self._seen.values())) < now or len(self._seen) >= MAX_SEEN
            ):
                self._seen.popitem(last=False)
            if name in self._seen:
                return False
            self._seen[name] = until
            return True


def check(
    proof: str | None,
    *,
    token: str,
    jkt: str,
    method: str,
    url: str,
    seen: SeenProofs,
    now: float,
) -> None:
    """Section 4.3. method, url: of the request, without query. Raises InvalidProof."""
    if proof is None:
        raise InvalidProof("no proof")
    try:
        header, payload, signature = jws.split(proof)
        key = public_key(header.get("jwk"))
        algorithm = header.get("alg")
        if header.get("typ") != TYPE or "crit" in header:
            raise InvalidProof("typ")
        if key is None or algorithm not in DPOP_ALGORITHMS:
            raise InvalidProof("key")
        jws.check(key, str(algorithm), proof, signature)
        claims = jws.json_object(payload)
    except InvalidJWS as invalid:
        raise InvalidProof(str(invalid)) from None
    jti, iat = claims.get("jti"), claims.get("iat")
    if thumbprint(header["jwk"]) != jkt:
        raise InvalidProof("another key")
    if claims.get("htm") != method:
        raise InvalidProof("htm")
    htu = claims.get("htu")
    if not isinstance(htu, str) or _normalized(htu) is None or _normalized(htu) != _normalized(url):
        raise InvalidProof("htu")
    if claims.get("ath") != _base64url(sha256(token.encode()).digest()):
        raise InvalidProof("ath")
    if not isinstance(iat, int | float) or isinstance(iat, bool) or not 0 <= iat < 2**53:
        raise InvalidProof("iat")
    if not abs(iat - now) <= PROOF_SECONDS:
        raise InvalidProof("iat")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
        raise InvalidProof("jti")
    name = sha256(f"{jkt}.{jti}".encode(errors="replace")).digest()
    if not seen.add(name, iat + PROOF_SECONDS, now):
        raise InvalidProof("used before")


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 section 3."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _base64url(sha256(text.encode()).digest())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _normalized(url: str) -> tuple[Any, ...] | None:
    """What makes two URLs the same (RFC 3986 section 6.2.2), without query and fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    # An HTTP API hands paths over decoded, a function URL as they came: both mean the same.
    return parts.scheme, parts.hostname, port, unquote(parts.path or "/")
