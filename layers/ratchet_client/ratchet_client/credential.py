"""What is kept of a session, as one text, and the rules about time. No I/O and no clock."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, auto
from typing import Any

from ratchet_client.errors import SessionEnded, StoreFailed
from ratchet_client.token_answer import MAX_RETRY_AFTER_SECONDS, Tokens

VERSION = 1
# A token that is about to expire does not arrive in time: 10 seconds, or a tenth of a short life.
MARGIN_SECONDS = 10
MARGIN_PART = 0.1
# A server that says less, 0 mostly, knows none: to believe it would be a refresh a call.
SHORTEST_LIFE_SECONDS = 1
# `Date` has whole seconds, and the answer took its time: a smaller difference says nothing.
SKEW_SECONDS = 2.0
# A token that will be got only later than this from now was got before our clock was put back (or
# by a machine whose clock is wrong). Its age is not known, so it is better replaced.
CLOCK_BACK_SECONDS = 300
# An access token that was got because the one before it was refused, and is refused too: that is
# not about its age. Another refresh is worth trying only after a while.
REFUSED_AGAIN_SECONDS = 60


class Step(Enum):
    """What to do with a credential now."""

    USE = auto()
    # It is good, and will not be for long: refresh if nobody else does, and if not, use it.
    REFRESH_EARLY = auto()
    REFRESH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of the session, kept in the place of its tokens."""

    reason: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Instants are epoch seconds of the clock of whoever got the tokens.

    expires_at, refresh_at: None if the server does not say how long the access token lives.
    server_ahead_seconds: how far the server's clock was ahead of that clock; None: not known.
    after_refusal: it was got because an API had refused the access token before it.
    idempotency_key: of a refresh that has been started and whose answer has not been stored.
    failures, retry_at: refreshes in a row without an answer, and when the next one may be sent.
    """

    access_token: str = field(default="", repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    issued_at: float = 0
    expires_at: float | None = None
    refresh_at: float | None = None
    server_ahead_seconds: float | None = None
    scope: str = ""
    sid: str = ""
    after_refusal: bool = False
    idempotency_key: str | None = field(default=None, repr=False)
    failures: int = 0
    retry_at: float = 0
    ended: Ended | None = None

    def dumps(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)})

    def step(self, *, now: float, api_ahead_seconds: float | None, refused: str | None) -> Step:
        """What to do now; raises SessionEnded if there is nothing left to do.

        api_ahead_seconds: how far the API's clock is ahead of ours, None: not known.
        refused: an access token that an API has refused.
        """
        if self.ended is not None:
            raise SessionEnded(self.ended.reason, self.ended.description, sid=self.sid)
        life = None if self.expires_at is None else max(self.expires_at - self.issued_at, 0)
        soon = now + self._buffer(api_ahead_seconds, life)
        if refused is not None and refused == self.access_token:
            step = Step.USE if self._refused_again(now, life) else Step.REFRESH
        elif self.expires_at is None or life is None:
            step = Step.USE
        elif soon >= self.expires_at - min(MARGIN_SECONDS, life * MARGIN_PART):
            step = Step.REFRESH
        elif now >= self.retry_at and (
            (self.refresh_at is not None and soon >= self.refresh_at)
            or now < self.issued_at - CLOCK_BACK_SECONDS
        ):
            step = Step.REFRESH_EARLY
        else:
            step = Step.USE
        if step is Step.USE or self.refresh_token:
            return step
        if step is Step.REFRESH_EARLY:
            return Step.USE
        raise SessionEnded("no_refresh_token", "The server gave no refresh token.", sid=self.sid)

    def _refused_again(self, now: float, life: float | None) -> bool:
        """Whether a token that has just replaced a refused one is refused: do not try it again."""
        patience = min(REFUSED_AGAIN_SECONDS, math.inf if life is None else life / 2)
        return self.after_refusal and now - self.issued_at < patience

    def _buffer(self, api_ahead_seconds: float | None, life: float | None) -> float:
        """How much sooner the token expires at an API whose clock is ahead of the server's.

        At most half of its life: no API gets a refresh a call by telling a wrong time.
        """
        if api_ahead_seconds is None or self.server_ahead_seconds is None or life is None:
            return 0
        ahead = api_ahead_seconds - self.server_ahead_seconds - SKEW_SECONDS
        return min(max(ahead, 0), life / 2)

    def replaces(self, refused: "Credential") -> bool:
        """Whether a request that was refused may be sent again with this one.

        Not if somebody has signed in meanwhile: it would be done in another user's name.
        """
        return self.access_token != refused.access_token and self.sid == refused.sid

    def renewed(
        self,
        tokens: Tokens,
        *,
        now: float,
        uniform: Callable[[float, float], float],
        server_ahead_seconds: float | None = None,
        after_refusal: bool = False,
    ) -> "Credential":
        """With the tokens of an answer to a request that was sent at `now`, or later."""
        life, after = tokens.expires_in_seconds, tokens.refresh_after_seconds
        if life is not None and life < SHORTEST_LIFE_SECONDS:
            life = None
        if life is not None and (after is None or not 0 < after < life):
            after = life * uniform(0.75, 0.8)
        return Credential(
            access_token=tokens.access_token,
            # RFC 6749 section 6: the server MAY give a new one, else the old one stays.
            refresh_token=tokens.refresh_token or self.refresh_token,
            issued_at=now,
            expires_at=None if life is None else now + life,
            refresh_at=None if after is None else now + after,
            server_ahead_seconds=server_ahead_seconds,
            scope=tokens.scope or self.scope,
            sid=tokens.sid or self.sid,
            after_refusal=after_refusal,
        )

    def wait(self, now: float) -> float:
        """Seconds until the next attempt. A clock that was put back does not make it endless."""
        wait = self.retry_at - now
        return wait if 0 < wait <= 2 * MAX_RETRY_AFTER_SECONDS else 0

    def tombstone(self, end: SessionEnded) -> "Credential":
        """The end in the place of the tokens."""
        return Credential(sid=self.sid, ended=Ended(reason=end.reason, description=end.description))

    def delayed(self, *, until: float) -> "Credential":
        return replace(self, failures=self.failures + 1, retry_at=until)


def loads(text: str) -> Credential:
    """What `dumps` has written, fields it does not know left out; raises StoreFailed."""
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored.get("version") != VERSION:
            raise StoreFailed("the store holds a session of another version of ratchet_client")
        known = {name: stored[name] for name in Credential.__dataclass_fields__ if name in stored}
        if known.get("ended"):
            known["ended"] = Ended(**known["ended"])
        return Credential(**known)
    except (ValueError, TypeError, AttributeError):
        raise StoreFailed("the store holds something that is no session") from None
