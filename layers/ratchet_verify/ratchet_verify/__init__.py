"""For APIs that accept access tokens: `Verifier`, and what it says (docs/apis.md)."""

from ratchet_verify.claims import Claims
from ratchet_verify.refusals import (
    EndedSession,
    ExpiredToken,
    InsufficientScope,
    InvalidProof,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    Refusal,
    Unavailable,
)
from ratchet_verify.session_check import SessionCheck
from ratchet_verify.verifier import Verifier

__all__ = [
    "Claims",
    "EndedSession",
    "ExpiredToken",
    "InsufficientScope",
    "InvalidProof",
    "InvalidRequest",
    "InvalidToken",
    "MissingToken",
    "Refusal",
    "SessionCheck",
    "Unavailable",
    "Verifier",
]
