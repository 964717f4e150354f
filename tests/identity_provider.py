"""An identity provider, played on 127.0.0.1: discovery, keys, ID tokens, and every way to fail."""

import contextlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ALGORITHMS = ["RS256", "RS512", "PS256", "ES256", "ES384"]
Key = RSAKey | ECKey


@cache
def rsa_key(name: str) -> RSAKey:
    """The same key for the same name: to make one takes long."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


@cache
def ec_key(name: str, curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": name, "use": "sig"})


def public(*keys: Key, **members: Any) -> dict[str, Any]:
    """A JWK set of the public halves."""
    return {"keys": [{**key.as_dict(private=False), **members} for key in keys]}


def sign(claims: Mapping[str, Any], key: Key, algorithm: str = "RS256", **header: Any) -> str:
    """A JWT; a header that is None is left out."""
    headers = {"alg": algorithm, "kid": key.kid, **header}
    sent = {name: value for name, value in headers.items() if value is not None}
    return str(jwt.encode(sent, dict(claims), key, algorithms=ALGORITHMS))


def by_hand(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, end: bytes) -> str:
    """A JWT that no library would make; `end` is its signature."""
    parts = [
        part.encode() if isinstance(part, str) else json.dumps(part).encode()
        for part in (header, claims)
    ]
    encoded = (urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, end))
    return ".".join(encoded)


class IdentityProvider:
    """What it publishes and how it behaves is for a test to set."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key: Key = rsa_key("first")
        self.jwks: Any = public(self.key)
        self.metadata: Any = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.asked: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.raw: bytes | None = None
        self.delay_seconds = 0.0
        self.drip_seconds = 0.0

    def id_token(self, *, now: int, key: Key | None = None, **changes: Any) -> str:
        """What it would give to the client "shop" for Ada; a claim that is None is left out."""
        claims = {
            "iss": self.url,
            "sub": "248289761001",
            "aud": "shop",
            "iat": now,
            "exp": now + 3600,
            **changes,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        return sign(given, key or self.key)

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        if self.raw is not None:
            return self.raw
        return json.dumps(self.jwks if path == "/keys" else self.metadata).encode()


@contextlib.contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = provider.answer(self.path)
            time.sleep(provider.delay_seconds)
            with contextlib.suppress(OSError):
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in provider.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(body), 1 if provider.drip_seconds else len(body)):
                    step = 1 if provider.drip_seconds else len(body)
                    self.wfile.write(body[start : start + step])
                    self.wfile.flush()
                    time.sleep(provider.drip_seconds)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    provider = IdentityProvider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
