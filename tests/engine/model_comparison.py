"""Model and handlers side by side: the same done to both, and compared.

`Compared` is the state machine without its rules: it begins sessions, presents tokens, changes the
policy, and after every step looks whether the table holds what the model says. `model_game` has the
rules.

A model can share a mistake with the code. So `Witness` knows nothing of the rules, only what went
over the wire, and holds the promises themselves: one successor, reuse ends the session, nothing
works after an end or a deadline, an honest retry is answered.
"""

import dataclasses
from base64 import urlsafe_b64decode
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant

from ratchet import refresh_token
from ratchet.policy import Policy
from ratchet.reasons import Reason
from ratchet.session_item import MAX_ITEM_BYTES, Item, from_item, item_bytes
from tests.engine.rotation_model import ABSOLUTE_TTL, IDLE_TTL, WINDOW, Chain, Token
from tests.functional.conftest import START, Answer, Service

APPLICATION = "demo-native"


# --- what went over the wire ----------------------------------------------------------------------


@dataclass
class Witness:
    """The promises, held by what was sent and answered. Knows no rule of the model."""

    idle_deadline_at: int
    absolute_deadline_at: int
    successors: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    used: set[str] = field(default_factory=set)
    final: Reason | None = None

    def successor_used(self, token: str) -> bool:
        return any(successor in self.used for successor in self.successors[token] - {token})

    def saw(self, token: str, answer: Answer, now: int) -> None:
        if answer.status == 200:
            assert self.final is None, f"answered after it had ended: {self.final}"
            assert now < self.absolute_deadline_at, "answered after the absolute deadline"
            assert now < self.idle_deadline_at, "answered after the idle deadline"
            assert not self.successor_used(token), "answered although its successor has been used"
            self.used.add(token)
            self.successors[token].add(answer["refresh_token"])
            fork = self.successors[token] - {token}
            assert len(fork) <= 1, f"{len(fork)} successors of one token"
            idle_deadline_at = now + answer["refresh_token_expires_in"]
            assert self.idle_deadline_at <= idle_deadline_at <= self.absolute_deadline_at
            assert now + answer["session_expires_in"] == self.absolute_deadline_at
            self.idle_deadline_at = idle_deadline_at
            return
        reason = Reason(answer["error_reason"])
        newest = not self.successors[token] - {token}
        early = reason is Reason.IDLE_EXPIRED and now < self.idle_deadline_at
        assert not (newest and early), "expired before the deadline that was promised"
        if reason is Reason.REUSED or reason.name.startswith("REVOKED"):
            assert self.final in (None, reason), f"{self.final} became {reason}"
            self.final = reason

    def saw_use(self, idle_deadline_at: int, now: int) -> None:
        assert self.final is None, f"in use after it had ended: {self.final}"
        assert now < self.idle_deadline_at, "revived"
        assert self.idle_deadline_at <= idle_deadline_at <= self.absolute_deadline_at
        self.idle_deadline_at = idle_deadline_at


# --- who plays ------------------------------------------------------------------------------------


@dataclass
class Request:
    token: Token
    key: str | None
    sent_at: int
    leeway_seconds: int


@dataclass
class Actors:
    """The session's owner, whose tabs share one credential, and a thief."""

    credential: Token
    access_token: str
    lost: Request | None = None
    loot: list[Token] = field(default_factory=list)


@dataclass
class Played:
    """What a run did, for its figures."""

    examples: int = 0
    steps: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)


# --- side by side ---------------------------------------------------------------------------------


class Compared(RuleBasedStateMachine):
    """One application and its sessions: chains, actors and witnesses have the same order."""

    def __init__(self, service: Service, played: Played) -> None:
        super().__init__()
        self.service = service
        self.played = played
        self.chains: list[Chain] = []
        self.actors: list[Actors] = []
        self.witnesses: list[Witness] = []
        self.keys = 0
        self.valid_after = 0
        self.policy = Policy.from_mapping({"preset": "native"})
        played.examples += 1
        service.now = START
        service.handed_out.clear()
        service.log.seek(0)
        service.log.truncate()

    # --- after every step ---

    @invariant()
    def the_table_holds_what_the_model_says(self) -> None:
        if not self.chains:
            return
        for chain, item in zip(self.chains, self._items(), strict=True):
            session = from_item(item)
            assert session.current_hash == _hash(chain.current), "not one current token"
            assert session.parent_hash == (_hash(chain.parent) if chain.parent else None)
            assert session.generation == len(chain.tokens) - 1
            assert session.idle_deadline_at == chain.idle_deadline_at
            assert session.absolute_deadline_at == chain.absolute_deadline_at
            assert session.active_at == chain.active_at
            assert session.reason is chain.ended, f"{session.reason} stored, true: {chain.ended}"
            assert (session.ended_at is None) == (chain.ended is None)
            assert session.sealed is None or chain.ended is None
            assert item_bytes(item) <= MAX_ITEM_BYTES

    def teardown(self) -> None:
        if self.chains:
            self.service.audit()
        for chain in self.chains:
            self.service.delete_item(chain.sid)

    # --- how it is done ---

    def _note(self, name: str) -> None:
        self.played.steps += 1
        self.played.rules[name] += 1

    def _at(self, at: int) -> tuple[Chain, Actors]:
        alive = [index for index, chain in enumerate(self.chains) if not self._dead(chain)]
        index = alive[at % len(alive)] if alive and at < 6 else at % len(self.chains)
        return self.chains[index], self.actors[index]

    def _those(self, wanted: Callable[[Actors], object], at: int) -> tuple[Chain, Actors]:
        found = [index for index, actors in enumerate(self.actors) if wanted(actors)]
        index = found[at % len(found)]
        return self.chains[index], self.actors[index]

    def _dead(self, chain: Chain) -> Reason | None:
        return chain.dead(self.service.now, self.valid_after)

    def _ended(self, chain: Chain, reason: Reason) -> None:
        if chain.ended is None:
            # A cut-off can be taken back, so it does not keep an end from being stored.
            expired = chain.dead(self.service.now, 0)
            chain.ended = self._dead(chain) if expired else reason

    def _key(self) -> str:
        self.keys += 1
        return f"the-owners-key-{self.keys:04}"

    def _change(self, **changes: Any) -> None:
        """A policy that every function knows of at once, not only a minute later."""
        self.policy = dataclasses.replace(
            self.policy,
            idle_ttl_seconds=IDLE_TTL,
            absolute_ttl_seconds=ABSOLUTE_TTL,
            retry_window_seconds=WINDOW,
            idle_warning_seconds=0,
            absolute_warning_seconds=0,
            **changes,
        )
        applications = self.service.parts.applications
        application = applications.get(APPLICATION, self.service.now)
        assert application is not None
        applications.put(
            dataclasses.replace(application, sessions_valid_after=self.valid_after),
            {"preset": "native", **dataclasses.asdict(self.policy)},
        )
        applications._remembered.clear()

    def _start(self) -> None:
        sub = f"ada{len(self.chains) % 2}"
        answer = self.service.start(APPLICATION, sub)
        now = self.service.now
        absolute = now + ABSOLUTE_TTL
        idle = now + IDLE_TTL
        token = Token(answer["refresh_token"], absolute if self._lasting else idle, absolute)
        active_at = now if self.policy.touch_interval_seconds else None
        chain = Chain(answer["sid"], sub, now, idle, absolute, [token], active_at=active_at)
        self.chains.append(chain)
        self._made_like(token)
        self.actors.append(Actors(token, answer["access_token"]))
        self.witnesses.append(Witness(idle, absolute))

    @property
    def _lasting(self) -> bool:
        """Whether a new token has to last as long as its session may."""
        return not self.policy.rotation or self.policy.touch_interval_seconds > 0

    def _items(self) -> list[Item]:
        # one call, and none that the service makes
        found = self.service._dynamodb.batch_get_item(
            RequestItems={
                self.service._sessions_table: {
                    "Keys": [{"sid": {"S": chain.sid}} for chain in self.chains],
                    "ConsistentRead": True,
                }
            }
        )["Responses"][self.service._sessions_table]
        by_sid = {item["sid"]["S"]: item for item in found}
        return [by_sid[chain.sid] for chain in self.chains]

    def _made_like(self, token: Token) -> None:
        """Its last instant is in it, and no day may be long enough to reach it."""
        made = refresh_token.parse(token.text, peppers=self.service.parts.peppers, now=0)
        assert made.idle_deadline_at == token.idle_deadline_at, "a token of another length"

    def _token(self, chain: Chain, text: str) -> Token:
        return next(token for token in chain.tokens if token.text == text)

    def _keep(self, chain: Chain, owner: Actors, answer: Answer) -> None:
        if answer.status == 200:
            owner.credential = self._token(chain, answer["refresh_token"])
            owner.access_token = answer["access_token"]
            owner.lost = None

    def _present(self, chain: Chain, token: Token, key: str | None) -> Answer:
        """A refresh, by model and service alike."""
        now = self.service.now
        seen = self.witnesses[self.chains.index(chain)]
        reused = seen.successor_used(token.text)
        expected = chain.present(token, key, self.policy, self.valid_after, now)
        self.service.parts.applications.get(APPLICATION, now)
        self.service.calls.clear()
        answer = self.service.refresh(token.text, APPLICATION, key=key)
        if expected.how == "rotated" and answer.status == 200:
            idle = min(now + IDLE_TTL, chain.absolute_deadline_at)
            new = Token(
                answer["refresh_token"],
                chain.absolute_deadline_at if self._lasting else idle,
                chain.absolute_deadline_at,
            )
            self._made_like(new)
            assert new.text not in {known.text for known in chain.tokens}
            chain.accepted(new, key, self.policy, now)
        elif expected.how == "kept":
            chain.accepted(token, key, self.policy, now)
        seen.saw(token.text, answer, now)
        how = answer.log["outcome"] if answer.status == 200 else "refused"
        reason = answer.body.get("error_reason")
        self.played.answers[reason or how] += 1
        assert (how, reason) == (expected.how, expected.reason), answer
        if how == "refused":
            assert (answer.status, answer["error"], answer["retry"]) == (
                400,
                "invalid_grant",
                "never",
            )
        else:
            assert answer["refresh_token"] == (expected.token or chain.current).text
            assert self.service.calls.names == ["UpdateItem"]
        if reused and now < token.last_at:
            assert self._dead(chain), "an old token was presented and the session lives"
        return answer


def _hash(token: Token) -> bytes:
    return sha256(urlsafe_b64decode(token.text.removeprefix("rt1_"))).digest()
