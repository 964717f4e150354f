"""The only place that makes clients and adapters: lazily, once a container."""

import os
import threading
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from ratchet import keys
from ratchet.applications import Applications
from ratchet.dead_sessions import DeadSessions
from ratchet.events import Bus
from ratchet.hook import ANSWER_SECONDS, CONNECT_SECONDS, Hook
from ratchet.parts import Parts
from ratchet.secret_cache import CachedSecret
from ratchet.settings import Settings
from ratchet.signing import SecretPeppers, SecretSigner
from ratchet.store import SessionStore

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient

# Three tries of at most 2 seconds each end before a function's 10 do.
CONFIG = Config(
    connect_timeout=1,
    read_timeout=1,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=64,
)
# A function of the deployment's own is asked once: twice may be too late, and one attempt too many.
HOOK_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=ANSWER_SECONDS,
    retries={"total_max_attempts": 1},
    max_pool_connections=64,
)

_lock = threading.Lock()
_parts: Parts | None = None


def parts() -> Parts:
    """The adapters of this container. Raises InvalidSettings."""
    global _parts
    with _lock:
        if _parts is None:
            _parts = build(Settings.from_environment(os.environ))
        return _parts


def build(settings: Settings) -> Parts:
    """The adapters for these settings; makes no call."""
    dynamodb = boto3.client("dynamodb", config=CONFIG)
    secretsmanager = boto3.client("secretsmanager", config=CONFIG)
    signing_keys = CachedSecret(secretsmanager, settings.signing_keys_secret, keys.signing_keys)
    peppers = CachedSecret(secretsmanager, settings.pepper_secret, keys.peppers)
    return Parts(
        issuer=settings.issuer,
        applications=Applications(dynamodb, settings.applications_table),
        store=SessionStore(dynamodb, settings.sessions_table),
        signer=SecretSigner(signing_keys),
        peppers=SecretPeppers(peppers),
        dead_sessions=DeadSessions(),
        bus=Bus(_events_client, settings.event_bus),
        claims_hook=_hook(settings.claims_function),
    )


def _hook(function: str) -> Hook | None:
    return Hook(_lambda_client, function) if function else None


_events: "EventBridgeClient | None" = None


def _events_client() -> "EventBridgeClient":
    # Made at the first event: most containers never send one.
    global _events
    with _lock:
        if _events is None:
            _events = boto3.client("events", config=CONFIG)
        return _events


_lambda: "LambdaClient | None" = None


def _lambda_client() -> "LambdaClient":
    # Likewise: only what starts a session asks a hook.
    global _lambda
    with _lock:
        if _lambda is None:
            _lambda = boto3.client("lambda", config=HOOK_CONFIG)
        return _lambda
