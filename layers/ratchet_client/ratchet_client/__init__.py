"""Keeps a program signed in: docs/clients.md has an example of each kind.

session = Session(FileStore("~/.config/shop/session"), client_id="shop", issuer="https://…")
session.start(answer)                      # once: what the token endpoint or /login answered
httpx.Client(auth=SessionAuth(session))    # ratchet_client.httpx_auth, or .requests_auth
session.access_token()                     # or only the token, for any other use
"""

from ratchet_client.errors import (
    BodyNotReplayable,
    ConnectionFailed,
    LockLost,
    NotSignedIn,
    RatchetClientError,
    RefreshRefused,
    RefreshUnavailable,
    SessionEnded,
    StoreFailed,
)
from ratchet_client.file_store import FileStore
from ratchet_client.session import Session
from ratchet_client.store import MemoryStore, Store
from ratchet_client.transport import Request, Response

__all__ = [
    "BodyNotReplayable",
    "ConnectionFailed",
    "FileStore",
    "LockLost",
    "MemoryStore",
    "NotSignedIn",
    "RatchetClientError",
    "RefreshRefused",
    "RefreshUnavailable",
    "Request",
    "Response",
    "Session",
    "SessionEnded",
    "Store",
    "StoreFailed",
]
