"""A session: one sign-in of one subject in one application on one device. Pure rules, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ratchet.policy import Policy
from ratchet.reasons import Reason

MAX_SUB = 128
MAX_NETWORK = len("ffff:ffff:ffff::/48")
MAX_AGENT = 24
ANNOUNCED_WITHIN_SECONDS = 30
"""Longer than the function runs that starts a session, and publishes that itself."""

Deadline = Literal["idle", "absolute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the table holds of a session. Instants in epoch seconds, `_hash` fields 32 bytes.

    current_hash: of the refresh token that is valid now. parent_hash: of the one it replaced.
    sealed: the current token, to be opened only with the parent. request_hash: of the
    Idempotency-Key that came with the last rotation. generation: rotations so far.
    leeway_until_at, retry_until_at: how long the parent may be answered, by time alone or with the
    same key; fixed by the rotation, so that a changed policy takes nothing back.
    attention_at: when the sweep must look at it, None once nothing is left to do.
    unannounced: its `session.started` has not been published yet.
    warned_deadline_at, warned_absolute_deadline_at: the idle and the absolute deadline that
    `session.expiring` was last published for.
    active_at: its last activity, where API use counts as such: its refresh token lasts until the
    absolute deadline then (`touch`). None: only a refresh counts.
    network, agent: where it was last started or refreshed from.
    evidence: what was seen when a reuse ended it.
    claims: custom claims of its access tokens.
    resources: what its access tokens are for (RFC 8707), none for all of the application's.
    auth_time, amr, acr: when, how and how well the subject proved who it is (RFC 9068 section
    2.2.1).
    jkt: RFC 7638 thumbprint of the key it is bound to (RFC 9449), 43 characters, None: to none.
    proof_id: of the DPoP proof that came with the last rotation, 16 bytes.
    """

    sid: str
    client_id: str
    sub: str
    scopes: frozenset[str]
    resources: frozenset[str] = frozenset()
    started_at: int
    auth_time: int
    amr: tuple[str, ...] = ()
    acr: str = ""
    device: str = ""
    network: str = ""
    agent: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    jkt: str | None = None
    proof_id: bytes | None = None
    current_hash: bytes
    parent_hash: bytes | None = None
    sealed: bytes | None = None
    request_hash: bytes | None = None
    generation: int = 0
    rotated_at: int | None = None
    leeway_until_at: int | None = None
    retry_until_at: int | None = None
    active_at: int | None = None
    idle_deadline_at: int
    absolute_deadline_at: int
    ended_at: int | None = None
    reason: Reason | None = None
    ended_by: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    unannounced: bool = False
    attention_at: int | None = None
    warned_deadline_at: int | None = None
    warned_absolute_deadline_at: int | None = None
    expires_at: int

    @property
    def scope(self) -> str:
        return " ".join(sorted(self.scopes))

    @property
    def last_active_at(self) -> int:
        """When it was started, refreshed or used, whichever was last."""
        return max(self.started_at, self.rotated_at or 0, self.active_at or 0)

    def dead_because(self, now: int, sessions_valid_after: int = 0) -> Reason | None:
        """Why it may not be used any more, or None while it is alive.

        The stored reason comes first: a session that was ended keeps the reason it was ended for.
        """
        if self.ended_at is not None:
            return self.reason or Reason.REVOKED_BY_OPERATOR
        expired = now >= self.idle_deadline_at
        cut_off = self.started_at < sessions_valid_after
        if cut_off and not (expired and self.idle_deadline_at <= sessions_valid_after):
            return Reason.POLICY_CUTOFF
        if not expired:
            return None
        if self.idle_deadline_at < self.absolute_deadline_at:
            return Reason.IDLE_EXPIRED
        return Reason.ABSOLUTE_EXPIRED

    def answers_parent(
        self, parent_hash: bytes, request_hash: bytes | None, now: int
    ) -> str | None:
        """Whether the direct parent may be answered with the successor, and by what right.

        "leeway" or "idempotency_key", else None. The parent is known only until the successor is
        used, because that moves parent_hash on.
        """
        if parent_hash != self.parent_hash:
            return None
        if self.leeway_until_at is not None and now <= self.leeway_until_at:
            return "leeway"
        same_request = request_hash is not None and request_hash == self.request_hash
        if same_request and self.retry_until_at is not None and now <= self.retry_until_at:
            return "idempotency_key"
        return None


def idle_deadline(policy: Policy, *, absolute_deadline_at: int, now: int) -> int:
    """Where a refresh at `now` puts the idle deadline: never beyond the absolute one."""
    return min(now + policy.idle_ttl_seconds, absolute_deadline_at)


def warnings(session: Session, policy: Policy) -> dict[Deadline, int]:
    """Which deadlines of a live session are still to be warned of, and from when on.

    Where the idle deadline is the absolute one no refresh moves it, so that one counts alone.
    """
    absolute, idle = session.absolute_deadline_at, session.idle_deadline_at
    found: dict[Deadline, int] = {}
    if policy.absolute_warning_seconds and session.warned_absolute_deadline_at != absolute:
        found["absolute"] = max(absolute - policy.absolute_warning_seconds, session.started_at)
    if idle < absolute and policy.idle_warning_seconds and session.warned_deadline_at != idle:
        found["idle"] = max(idle - policy.idle_warning_seconds, session.started_at)
    return found


def attention_at(session: Session, policy: Policy) -> int:
    """When the sweep must next look at a live session: to publish its start, to warn, or at its
    deadline. May be past: then it is due."""
    if session.unannounced:
        return min(session.started_at + ANNOUNCED_WITHIN_SECONDS, session.idle_deadline_at)
    return min([*warnings(session, policy).values(), session.idle_deadline_at])


def told(session: Session, policy: Policy, now: int) -> Session:
    """What a live session becomes once all that is due by now has been published of it."""
    due = [deadline for deadline, at in warnings(session, policy).items() if at <= now]
    idle, absolute = session.warned_deadline_at, session.warned_absolute_deadline_at
    after = replace(
        session,
        unannounced=False,
        warned_deadline_at=session.idle_deadline_at if "idle" in due else idle,
        warned_absolute_deadline_at=session.absolute_deadline_at if "absolute" in due else absolute,
    )
    return replace(after, attention_at=attention_at(after, policy))
