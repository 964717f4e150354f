"""Fills a fresh local stack with what a first look needs. For local use only: it is all public."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ratchet.users import Users

SCOPES = {"profile", "orders:read", "orders:write"}
SECRETS = {
    "demo-backend": "demo-backend-secret",
    "demo-machine": "demo-machine-secret",
    "demo-operator": "demo-operator-secret",
}
ADA = {"email": "ada@example.com", "sub": "ada", "password": "correct-horse-battery-staple"}
# Fixed, so that scripts can rely on them.
APPLICATIONS: dict[str, dict[str, Any]] = {
    "demo-browser": {
        "preset": "browser",
        "grant_types": {"refresh_token"},
        "scopes": SCOPES,
        # a page of any tool on this machine
        "allowed_origins": {"http://localhost:*", "http://127.0.0.1:*"},
        "refresh_cookie": True,
        "password_login": True,
    },
    "demo-native": {
        "preset": "native",
        "grant_types": {"refresh_token"},
        "scopes": SCOPES,
        "password_login": True,
        "dpop": "optional",
    },
    "demo-cli": {
        "preset": "cli",
        "grant_types": {"refresh_token"},
        "scopes": SCOPES,
        "password_login": True,
    },
    "demo-sensitive": {"preset": "sensitive", "grant_types": {"refresh_token"}, "scopes": SCOPES},
    "demo-backend": {
        "preset": "machine",
        "grant_types": {"client_credentials"},
        "scopes": {"sessions:read", "sessions:revoke", "sessions:touch"},
        "starts_sessions_for": {"demo-browser", "demo-native", "demo-sensitive"},
        "introspects_any": True,
    },
    "demo-machine": {
        "preset": "machine",
        "grant_types": {"client_credentials"},
        "scopes": {"reports:read", "reports:write"},
        "dpop": "optional",
    },
    "demo-operator": {
        "preset": "machine",
        "grant_types": {"client_credentials"},
        "scopes": {"applications:read", "applications:write"},
    },
}


def seed(environment: Mapping[str, str]) -> None:
    """Write the demo applications, and keys and the user unless a kept state has them already.

    environment: the functions' variables, of a stack on this machine. Raises ratchet's Fault.
    """
    # Imported here: the functions' log lines go to where standard output is at that time.
    import boto3

    from ratchet import wiring
    from ratchet.application import Application, hash_secret
    from ratchet.policy import PRESETS
    from ratchet.settings import Settings
    from ratchet_cli.rotation import rotate_here

    settings = Settings.from_environment(environment)
    rotation = wiring.rotation(settings, settings.signing_keys_secret)
    if not rotation.promotes(rotation.versions.value()):
        # On AWS the first deployment ends with this rotation.
        rotate_here(
            rotation,
            boto3.client("secretsmanager"),
            longest_access_ttl_seconds=0,
            now=int(time.time()),
        )
    parts = wiring.build(settings)
    applications = parts.applications
    for client_id, described in APPLICATIONS.items():
        preset = described["preset"]
        secret = SECRETS.get(client_id)
        grant_types, wanted = described["grant_types"], settings.claims_function
        application = Application(
            client_id=client_id,
            name=f"Demo: {preset}",
            confidential=secret is not None,
            secret_hashes=(hash_secret(secret),) if secret else (),
            grant_types=frozenset(grant_types),
            scopes=frozenset(described["scopes"]),
            starts_sessions_for=frozenset(described.get("starts_sessions_for", ())),
            claims_hook="optional" if wanted and "refresh_token" in grant_types else "",
            introspects_any=described.get("introspects_any", False),
            password_login=described.get("password_login", False),
            dpop=described.get("dpop", "off"),
            allowed_origins=frozenset(described.get("allowed_origins", ())),
            refresh_cookie=described.get("refresh_cookie", False),
            policy=PRESETS[preset],
        )
        applications.put(application, {"preset": preset})
    add_ada(parts.users)


def add_ada(users: Users) -> None:
    """Write the demo user, unless she is there."""
    from ratchet.password import hash_new
    from ratchet.users import User, UserExistsError

    now = int(time.time())
    user = User(
        email=ADA["email"],
        sub=ADA["sub"],
        password_hash=hash_new(ADA["password"], email=ADA["email"]),
        created_at=now,
        password_changed_at=now,
    )
    with contextlib.suppress(UserExistsError):
        users.add(user)
