"""The only place that makes clients and adapters: lazily, once a container."""

import functools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ratchet import events, keys, outbound
from ratchet.applications import Applications
from ratchet.attempts import Attempts
from ratchet.client_assertion import ClientAssertions
from ratchet.dead_sessions import DeadSessions
from ratchet.errors import Fault
from ratchet.events import Bus
from ratchet.hook import Hook
from ratchet.kms_keys import KmsKeys
from ratchet.parts import Parts
from ratchet.provider_keys import ProviderKeys
from ratchet.response import Response
from ratchet.secret_cache import CachedSecret
from ratchet.seen_proofs import SeenProofs
from ratchet.settings import AuthorizerSettings, Settings
from ratchet.signing import SecretPeppers, SecretSigner
from ratchet.single_use import SingleUse
from ratchet.store import SessionStore
from ratchet.sweep_positions import SweepPositions
from ratchet.users import Users

if TYPE_CHECKING:
    from ratchet.rotate_keys import Rotation
    from ratchet.secret_versions import SecretVersions
    from ratchet.session_log import SessionLog
    from ratchet.verifier import Verifier

LOG_SECONDS = 6
"""How long a query of the log may take."""

_lock = threading.Lock()
_parts: Parts | None = None


def parts() -> Parts:
    """The adapters of this container. Raises InvalidSettings."""
    global _parts
    with _lock:
        if _parts is None:
            _start_log()
            _parts = build(settings())
        return _parts


def _start_log() -> None:
    # Before the settings are checked: that they are wrong has to be told, too.
    events.start(
        stack=os.environ.get("RATCHET_STACK", ""),
        # Lambda's name for the ApplicationLogLevel of template.yaml.
        level=os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO"),
    )


def settings() -> Settings:
    """Of this container's environment. Raises InvalidSettings."""
    return Settings.from_environment(os.environ)


def build(settings: Settings) -> Parts:
    """The adapters for these settings; makes no call."""
    dynamodb = _client("dynamodb", "CONFIG", settings.transport)
    secretsmanager = _client("secretsmanager", "CONFIG", settings.transport)
    signing_keys = CachedSecret(secretsmanager, settings.signing_keys_secret, keys.signing_keys)
    peppers = CachedSecret(secretsmanager, settings.pepper_secret, keys.peppers)
    fetch = functools.partial(outbound.get_json, this_machine=settings.local)
    provider_keys = ProviderKeys(fetch)
    single_use = SingleUse(dynamodb, settings.single_use_table)
    users = Users(dynamodb, settings.users_table)
    return Parts(
        issuer=settings.issuer,
        applications=Applications(dynamodb, settings.applications_table),
        store=SessionStore(dynamodb, settings.sessions_table),
        signer=SecretSigner(signing_keys, kms_keys(settings)),
        peppers=SecretPeppers(peppers),
        dead_sessions=DeadSessions(),
        seen_proofs=SeenProofs(),
        bus=Bus(lambda: _lazily("events", "EVENTS_CONFIG"), settings.event_bus),
        provider_keys=provider_keys,
        client_assertions=ClientAssertions(provider_keys, single_use),
        claims_hook=_hook(settings.claims_function),
        users=users,
        attempts=Attempts(dynamodb, settings.attempts_table),
        sweep_positions=SweepPositions(dynamodb, settings.sweep_table),
        verifier=lambda: _verifier(users, settings.verifier_function),
        session_log=lambda: session_log(settings),
    )


Authorize = Callable[[dict[str, Any], int], Response]
_authorize: Authorize | None = None


def authorize(clock: Callable[[], int]) -> Authorize:
    """The flow `authorizer.authorize` with the adapters of this container; makes no call.

    clock: epoch seconds, for the token. Raises InvalidSettings.
    """
    global _authorize
    with _lock:
        if _authorize is None:
            _start_log()
            _authorize = _build_authorize(clock)
        return _authorize


def _build_authorize(clock: Callable[[], int]) -> Authorize:
    # Only one function has the layer with ratchet_verify.
    from ratchet import authorizer
    from ratchet_verify import Verifier

    known, own = settings(), AuthorizerSettings.from_environment(os.environ)
    issuer = known.issuer or own.service_url
    verifier, check = Verifier(issuer, own.audience or issuer, clock=clock), None
    if own.session_check:
        dynamodb = _client("dynamodb", "CONFIG", known.transport)
        applications = Applications(dynamodb, known.applications_table)
        store = SessionStore(dynamodb, known.sessions_table)
        check = authorizer.SessionCheck(applications, store)
    return lambda event, now: authorizer.authorize(
        event, verifier=verifier, session_check=check, now=now
    )


def _verifier(users: Users, function: str) -> "Verifier":
    # argon2 and its tables are for the function login alone.
    from ratchet.verifier import HookVerifier, UsersVerifier

    return HookVerifier(Hook(_verifier_client, function)) if function else UsersVerifier(users)


def session_log(settings: Settings, *, limit_seconds: float = LOG_SECONDS) -> "SessionLog":
    """The log lines of one session; makes no call. limit_seconds: how long an answer may take."""
    from ratchet import session_log

    return session_log.session_log(
        settings.log_group, lambda: _lazily("logs", "LOG_CONFIG"), limit_seconds=limit_seconds
    )


def _hook(function: str) -> Hook | None:
    return Hook(_lambda_client, function) if function else None


def _lambda_client() -> Any:
    return _lazily("lambda", "HOOK_CONFIG")


def _verifier_client() -> Any:
    return _lazily("lambda", "VERIFIER_CONFIG")


def kms_keys(settings: Settings, config: str = "CONFIG") -> KmsKeys:
    """The stack's keys in KMS; makes no call, and no client before the first one.

    config: by its name in `sdk`.
    """
    return KmsKeys(
        lambda: _lazily("kms", config, settings.transport),
        lambda: _lazily("resourcegroupstaggingapi", config),
        settings.stack,
    )


def rotation(settings: Settings, secret_id: str) -> "Rotation":
    """How the secret with this id or ARN is rotated. Raises Fault when it is not of this stack."""
    # Only one function needs it, and not the one that is asked most.
    from ratchet import rotate_keys

    versions = _versions(secret_id)
    if secret_id == settings.pepper_secret:
        return rotate_keys.pepper_rotation(versions)
    if secret_id != settings.signing_keys_secret:
        raise Fault("not a secret of this stack")
    return rotate_keys.signing_key_rotation(
        versions,
        kms_keys(settings, "ROTATION_CONFIG"),
        backend=settings.signing_backend,
        algorithm=settings.signing_algorithm,
        rsa_bits=settings.signing_rsa_bits,
    )


def key_secrets() -> "dict[str, SecretVersions]":
    """The secrets whose age the sweep reports, by the names of its metrics."""
    known = settings()
    return {
        "SigningKey": _versions(known.signing_keys_secret),
        "Pepper": _versions(known.pepper_secret),
    }


def _versions(secret_id: str) -> "SecretVersions":
    from ratchet.secret_versions import SecretVersions

    return SecretVersions(lambda: _lazily("secretsmanager"), secret_id)


_clients: dict[tuple[str, str, str], Any] = {}


def _lazily(service: str, config: str = "CONFIG", transport: str = "boto3") -> Any:
    # Made at the first use: most containers never need them.
    with _lock:
        key = service, config, transport
        if key not in _clients:
            _clients[key] = _client(*key)
        return _clients[key]


def _client(service: str, config: str, transport: str) -> Any:
    # The other one is not even imported.
    if transport == "lean" and config == "CONFIG":
        from ratchet import lean_client

        if (lean := lean_client.client(service, os.environ)) is not None:
            return lean
        events.log("the lean transport cannot do what the environment asks for", level="WARNING")
    from ratchet import sdk

    return sdk.client(service, getattr(sdk, config))
