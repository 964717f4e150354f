"""Asks the issuer whether a token's session is alive (RFC 7662), for APIs that cannot wait for exp.

Verdicts are kept for seconds: that is how long an ended session may still be served, and how many
requests one question answers for.
"""

import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

from ratchet_verify import fetch
from ratchet_verify.claims import Claims
from ratchet_verify.refusals import EndedSession, Unavailable

KEPT_SECONDS = 10
MAX_KEPT = 4096

Post = Callable[..., Any]


class SessionCheck:
    """Introspection by an application that may introspect (`introspects_any`, docs/http-api.md)."""

    def __init__(
        self,
        introspection_endpoint: str,
        client_id: str,
        client_secret: str,
        *,
        kept_seconds: int = KEPT_SECONDS,
        get_json: Post = fetch.get_json,
    ) -> None:
        self._endpoint = fetch.checked(introspection_endpoint)
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._authorization = "Basic " + b64encode(pair.encode()).decode()
        self._kept_seconds = kept_seconds
        self._get_json = get_json
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()

    def check(self, token: str, claims: Claims, now: float) -> None:
        """Returns if the session is alive. Raises EndedSession, or Unavailable: nobody knows."""
        name = sha256(token.encode()).digest()
        with self._lock:
            until, alive = self._kept.get(name, (0.0, False))
        if now >= until or now < until - self._kept_seconds:
            alive = self._ask(token)
            # A verdict never outlives its token.
            self._keep(name, min(now + self._kept_seconds, claims.expires_at), alive)
        if not alive:
            raise EndedSession("introspection says that it is not active")

    def _ask(self, token: str) -> bool:
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        headers = {
            "Authorization": self._authorization,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            answer = self._get_json(self._endpoint, data=form, headers=headers)
        except fetch.FetchFailed as failed:
            raise Unavailable(f"introspection: {failed}") from None
        if not isinstance(answer, dict) or not isinstance(answer.get("active"), bool):
            raise Unavailable("introspection: no answer of RFC 7662")
        return bool(answer["active"])

    def _keep(self, name: bytes, until: float, alive: bool) -> None:
        with self._lock:
            self._kept[name] = (until, alive)
            self._kept.move_to_end(name)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
