"""The adapters a request is answered with. `wiring` makes them; tests may make others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratchet.applications import Applications
from ratchet.attempts import Attempts
from ratchet.client_assertion import ClientAssertions
from ratchet.dead_sessions import DeadSessions
from ratchet.events import Bus
from ratchet.hook import Hook
from ratchet.provider_keys import ProviderKeys
from ratchet.refresh_token import Peppers
from ratchet.request import Request
from ratchet.response import Response
from ratchet.seen_proofs import SeenProofs
from ratchet.signing import Signer
from ratchet.store import SessionStore
from ratchet.sweep_positions import SweepPositions
from ratchet.users import Users

if TYPE_CHECKING:
    from ratchet.session_log import SessionLog
    from ratchet.verifier import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """issuer: from the settings, "" for the address of the API that is being called.

    claims_hook: a function of the deployment's own that adds claims, None where there is none.
    verifier: who checks passwords; made when it is asked for, because it loads argon2.
    session_log: made when it is asked for, because only operators ask for it.
    """

    issuer: str
    applications: Applications
    store: SessionStore
    signer: Signer
    peppers: Peppers
    dead_sessions: DeadSessions
    seen_proofs: SeenProofs
    bus: Bus
    claims_hook: Hook | None
    provider_keys: ProviderKeys
    client_assertions: ClientAssertions
    users: Users
    attempts: Attempts
    sweep_positions: SweepPositions
    verifier: Callable[[], "Verifier"]
    session_log: Callable[[], "SessionLog"]


Respond = Callable[[Request, Parts, int], Response]
"""What answers a route: the request, the adapters, and now in epoch seconds."""
