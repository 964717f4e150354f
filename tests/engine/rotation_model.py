"""The model of rotation: what design section 3 says of one session, without a table and without
cryptography.

`Chain` is the session, `Token` one of its tokens, `Expected` what a refresh has to answer. Whoever
plays by it is in `model_game`.
"""

from dataclasses import dataclass

from ratchet.policy import Policy
from ratchet.reasons import Reason

HOUR = 3600
DAY = 24 * HOUR
# Short enough for a clock that moves at random to reach every edge. The absolute deadline is more
# than a day later than the idle one, so that a token's own last instant is an edge of its own.
IDLE_TTL, ABSOLUTE_TTL, LEEWAY, WINDOW = DAY, 2 * DAY + HOUR, 30, 600
INTERVAL = 60


@dataclass(frozen=True)
class Token:
    text: str
    idle_deadline_at: int
    absolute_deadline_at: int

    @property
    def last_at(self) -> int:
        """From this instant on it is refused without a look at the session."""
        return min(self.idle_deadline_at + DAY, self.absolute_deadline_at)


@dataclass(frozen=True)
class Expected:
    """how: "rotated", "kept", "replayed_…", or a refusal with its reason. token: the one answered,
    None for one nobody has seen yet."""

    how: str
    reason: Reason | None = None
    token: Token | None = None


@dataclass
class Chain:
    """One session: every token it ever had, oldest first, and what the last rotation left."""

    sid: str
    sub: str
    started_at: int
    idle_deadline_at: int
    absolute_deadline_at: int
    tokens: list[Token]
    parent: Token | None = None
    key: str | None = None
    rotated_at: int = 0
    leeway_until: int = -1
    retry_until: int = -1
    active_at: int | None = None
    ended: Reason | None = None

    @property
    def current(self) -> Token:
        return self.tokens[-1]

    def dead(self, now: int, valid_after: int) -> Reason | None:
        """Why nobody may use it, an end first: an ended session keeps its reason."""
        if self.ended is not None:
            return self.ended
        # whichever came first, however long ago
        if self.started_at < valid_after and min(now, valid_after) < self.idle_deadline_at:
            return Reason.POLICY_CUTOFF
        if now < self.idle_deadline_at:
            return None
        idle = self.idle_deadline_at < self.absolute_deadline_at
        return Reason.IDLE_EXPIRED if idle else Reason.ABSOLUTE_EXPIRED

    def present(
        self, token: Token, key: str | None, policy: Policy, valid_after: int, now: int
    ) -> Expected:
        """What a refresh with this token has to answer; ends the session where that has to end."""
        if now >= token.last_at:
            capped = token.idle_deadline_at == token.absolute_deadline_at
            return Expected("refused", Reason.ABSOLUTE_EXPIRED if capped else Reason.IDLE_EXPIRED)
        if reason := self.dead(now, valid_after):
            return Expected("refused", reason)
        if token == self.current:
            lasts = token.idle_deadline_at == token.absolute_deadline_at
            if policy.rotation or not lasts:
                return Expected("rotated")
            return Expected("kept", token=token)
        if token == self.parent:
            if now <= self.leeway_until:
                return Expected("replayed_leeway", token=self.current)
            if key is not None and key == self.key and now <= self.retry_until:
                return Expected("replayed_idempotency_key", token=self.current)
        self.ended = Reason.REUSED
        return Expected("refused", Reason.REUSED)

    def accepted(self, token: Token, key: str | None, policy: Policy, now: int) -> None:
        """The current token was used; `token` is current from now on."""
        self.idle_deadline_at = min(now + policy.idle_ttl_seconds, self.absolute_deadline_at)
        kept = token == self.current
        self.parent, self.key = (None, None) if kept else (self.current, key)
        self.rotated_at = now
        self.active_at = now if policy.touch_interval_seconds else None
        if not kept:
            # by the policy of this moment: a later one takes nothing back (promise 10)
            leeway, window = policy.leeway_seconds, policy.retry_window_seconds
            self.leeway_until = now + leeway if leeway else -1
            self.retry_until = now + window if window else -1
            self.tokens.append(token)

    def used(self, policy: Policy, valid_after: int, now: int) -> str:
        """What an API that tells of a use has to be answered; a refresh counts as one too."""
        if self.dead(now, valid_after):
            return "ended"
        if not policy.touch_interval_seconds or self.active_at is None:
            return "not_counted"
        if now < self.active_at + policy.touch_interval_seconds:
            return "fresh"
        deadline = min(now + policy.idle_ttl_seconds, self.absolute_deadline_at)
        self.idle_deadline_at, self.active_at = max(deadline, self.idle_deadline_at), now
        return "touched"
