"""What the unit tests share: sockets are off, and the smallest valid values of the core's types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from pytest_socket import disable_socket, enable_socket

from ratchet import events
from ratchet.application import Application
from ratchet.key_rotation import first_signing_keys
from ratchet.keys import SigningKeys, generate_jwk, signing_keys
from ratchet.policy import PRESETS
from ratchet.session import Session

NOW = 1_800_000_000

# A busy machine makes no test fail, and no run leaves files behind.
hypothesis.settings.register_profile("unit", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_sockets() -> Iterator[None]:
    """Whatever opens a socket in a unit test fails it."""
    disable_socket()
    yield
    enable_socket()


@pytest.fixture(autouse=True)
def _namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `events.start` leaves it in every function."""
    monkeypatch.setattr(events, "_namespace", "Ratchet/ratchet")


@dataclass(frozen=True)
class FixedPeppers:
    """`refresh_token.Peppers` without a secret behind it: these ids and no other."""

    keys: Mapping[int, bytes]

    def current(self, now: int) -> tuple[int, bytes]:
        return max(self.keys.items())

    def key(self, pepper_id: int, now: int) -> bytes | None:
        return self.keys.get(pepper_id)


@pytest.fixture(scope="session")
def make_peppers() -> Callable[[Mapping[int, bytes]], FixedPeppers]:
    return FixedPeppers


@pytest.fixture(scope="session")
def peppers() -> FixedPeppers:
    """An old pepper, 1, and the current one, 2."""
    return FixedPeppers({1: b"one" * 16, 2: b"two" * 16})


@pytest.fixture(scope="session")
def make_session() -> Callable[..., Session]:
    """A session that started at NOW, with any field replaced."""

    def build(**fields: Any) -> Session:
        defaults: dict[str, Any] = {
            "sid": "A" * 22,
            "client_id": "app",
            "sub": "ada",
            "scopes": frozenset({"profile"}),
            "started_at": NOW,
            "auth_time": NOW,
            "current_hash": b"c" * 32,
            "idle_deadline_at": NOW + 1000,
            "absolute_deadline_at": NOW + 5000,
            "expires_at": NOW + 9000,
        }
        return Session(**{**defaults, **fields})

    return build


@pytest.fixture(scope="session")
def make_application() -> Callable[..., Application]:
    """A public application with the preset browser, with any field replaced."""

    def build(**fields: Any) -> Application:
        defaults: dict[str, Any] = {
            "client_id": "app",
            "confidential": False,
            "grant_types": frozenset({"refresh_token"}),
            "scopes": frozenset({"profile"}),
            "policy": PRESETS["browser"],
        }
        return Application(**{**defaults, **fields})

    return build


@pytest.fixture(scope="session")
def key_secret() -> str:
    """The text of a signing-keys secret: RSA keys in the slots next and current."""
    return first_signing_keys(lambda: generate_jwk("RS256"))


@pytest.fixture(scope="session")
def keys(key_secret: str) -> SigningKeys:
    return signing_keys(key_secret)
