"""An issuer of the tests' own: it signs whatever it is asked to, with a library of others."""

from __future__ import annotations

import functools
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from joserfc.jwk import Key

from ratchet_verify import Verifier
from ratchet_verify.key_set import KeySet
from tests import proofs

ISSUER = "https://id.test"
API = "https://api.test"
NOW = 1_800_000_000
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


class Issuer:
    """keys: by their kid. `now` is the verifiers' clock too."""

    def __init__(self) -> None:
        self.now = NOW
        self.keys: dict[str, tuple[str, Key]] = {}
        self.fetched: list[str] = []
        self.away = False
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.add("one", "RS256")

    def add(self, kid: str, algorithm: str) -> None:
        self.keys[kid] = (algorithm, made_key(algorithm, kid))

    def jwks(self) -> dict[str, Any]:
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": kid, "alg": algorithm, "use": "sig"}
                for kid, (algorithm, key) in self.keys.items()
            ]
        }

    def get_json(self, url: str) -> Any:
        from ratchet_verify.fetch import FetchFailed

        self.fetched.append(url)
        if self.away:
            raise FetchFailed("HTTP 503")
        return self.jwks() if url.endswith("/keys") else self.metadata

    def token(
        self, kid: str = "one", *, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        """An access token; what is in header and claims replaces a value, None takes it out."""
        algorithm, key = self.keys[kid]
        fields = {"typ": "at+jwt", "alg": algorithm, "kid": kid}
        payload = {
            "iss": ISSUER,
            "sub": "ada",
            "aud": API,
            "client_id": "shop",
            "iat": self.now,
            "exp": self.now + 300,
            "jti": secrets.token_urlsafe(8),
            "scope": "orders:read profile",
            "sid": "a-session",
        }
        return signed(key, algorithm, {**fields, **(header or {})}, {**payload, **claims})

    def verifier(self, **options: Any) -> Verifier:
        named = {"audience": API, "key_set": KeySet(ISSUER, get_json=self.get_json), **options}
        return Verifier(ISSUER, clock=lambda: self.now, **named)


@functools.cache
def made_key(algorithm: str, _kid: str) -> Key:
    """RSA keys take their time, so that the tests share them."""
    return proofs.new_key(algorithm)


def signed(key: Key, algorithm: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Whatever the header says: no library would make some of these."""
    parts = [
        base64url(
            json.dumps({name: value for name, value in part.items() if value is not None}).encode()
        )
        for part in (header, claims)
    ]
    text = ".".join(parts)
    made_with: Any = jwt.get_algorithm_by_name(algorithm)
    private: Any = key
    return f"{text}.{base64url(made_with.sign(text.encode(), private.private_key))}"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
