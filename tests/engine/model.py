"""Clients, a thief, an operator, a clock and the sweep against the real handlers, at random.

    python -m tests.engine.model --examples 2000 --seed 7        (`make model` runs this and spin)

`Chain` is the model: what design section 3 says of one session, without a table and without
cryptography. `Play` is a Hypothesis state machine that does the same to the model and to the
handlers, which run on a real engine over a socket, and compares them after every step: the answer,
the reason, and what the table holds.

A model can share a mistake with the code. So `Witness` knows nothing of the rules, only what went
over the wire, and holds the promises themselves: one successor, reuse ends the session, nothing
works after an end or a deadline, an honest retry is answered.

`BROKEN` are cores with one rule taken out. Each has to be caught, or the game proves nothing.
"""

import argparse
import contextlib
import dataclasses
import io
import logging
import os
import sys
import tempfile
import time
import traceback
from base64 import urlsafe_b64decode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import boto3
import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ratchet import endpoint, events, refresh_token, wiring
from ratchet import refresh as refresh_flow
from ratchet.policy import Policy
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers, RefreshToken
from ratchet.session import Session
from ratchet.session_item import MAX_ITEM_BYTES, Item, from_item, item_bytes
from ratchet.store import Outcome, Rotation, SessionStore
from ratchet_cli import aws, template
from ratchet_cli.emulator import Emulator
from ratchet_cli.functions import Functions
from ratchet_cli.provision import provision
from ratchet_cli.seed import seed
from tests.functional.conftest import BACKEND, ISSUER, ROOT, START, Answer, Service

HOUR = 3600
DAY = 24 * HOUR
APPLICATION = "demo-native"
# Short enough for a clock that moves at random to reach every edge. The absolute deadline is more
# than a day later than the idle one, so that a token's own last instant is an edge of its own.
IDLE_TTL, ABSOLUTE_TTL, LEEWAY, WINDOW = DAY, 2 * DAY + HOUR, 30, 600
THIEFS_KEY = "a-key-the-thief-made-up"
MAX_SESSIONS = 3


# --- the model ------------------------------------------------------------------------------------


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
        if not kept:
            # by the policy of this moment: a later one takes nothing back (promise 10)
            leeway, window = policy.leeway_seconds, policy.retry_window_seconds
            self.leeway_until = now + leeway if leeway else -1
            self.retry_until = now + window if window else -1
            self.tokens.append(token)


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
        if reason is Reason.REUSED or reason.name.startswith("REVOKED"):
            assert self.final in (None, reason), f"{self.final} became {reason}"
            self.final = reason


# --- the game -------------------------------------------------------------------------------------


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


# Hypothesis gives every rule the same weight, so what ends sessions is one rule among many that
# let them live, and most numbers mean a session that is alive.
which = st.integers(0, 7)
seconds = st.sampled_from([1, 1, 5, 5, LEEWAY, LEEWAY + 1, WINDOW, WINDOW + 1, HOUR, DAY - 1])
age = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
mostly = st.sampled_from([True, True, False])
edges = st.sampled_from(["leeway", "leeway", "leeway", "window", "idle", "idle", "absolute"])


class Play(RuleBasedStateMachine):
    """One application, up to three sessions, everybody at random."""

    def __init__(self, service: Service, played: Played) -> None:
        super().__init__()
        self.service = service
        self.played = played
        self.chains: list[Chain] = []
        self.actors: list[Actors] = []
        self.witnesses: list[Witness] = []
        self.keys = 0
        self.valid_after = 0
        self.swept_at = START
        self.policy = Policy.from_mapping({"preset": "native"})
        played.examples += 1
        service.now = START
        service.handed_out.clear()
        service.log.seek(0)
        service.log.truncate()

    # --- operator ---

    @initialize(leeway=st.sampled_from([0, LEEWAY, LEEWAY]))
    def open(self, leeway: int) -> None:
        self._change(leeway_seconds=leeway)
        self._start()

    @rule()
    @precondition(lambda self: len(self.chains) < MAX_SESSIONS)
    def sign_in(self) -> None:
        self._note("sign_in")
        self._start()

    @rule(what=st.sampled_from(["leeway", "rotation", "no cut-off", "cut off", "cut off"]))
    def change_policy(self, what: str) -> None:
        """`sessions_valid_after` ends all sessions until now, until that is taken back."""
        self._note("change_policy")
        if what == "leeway":
            self._change(leeway_seconds=LEEWAY - self.policy.leeway_seconds)
        elif what == "rotation":
            off = self.policy.rotation
            self._change(rotation=not off, rotation_off_reason="a test" if off else "")
        else:
            self.valid_after = self.service.now if what == "cut off" else 0
            self._change()

    @rule(at=which, how=st.sampled_from(["operator", "everywhere", "sign out"]), back=age)
    def end(self, at: int, how: str, back: int) -> None:
        self._note("end")
        chain, _ = self._at(at)
        if how == "operator":
            self._operator_revokes(chain)
        elif how == "everywhere":
            self._operator_signs_out_everywhere(chain.sub)
        else:
            self._sign_out(chain, chain.tokens[-1 - back % len(chain.tokens)])

    def _operator_revokes(self, chain: Chain) -> None:
        answer = self.service.call(
            "DELETE", f"/sessions/{chain.sid}", bearer=self.service.operator()
        )
        assert answer.status == 204, answer
        self._ended(chain, Reason.REVOKED_BY_OPERATOR)

    def _operator_signs_out_everywhere(self, sub: str) -> None:
        answer = self.service.call("DELETE", f"/sessions?sub={sub}", bearer=self.service.operator())
        # those that have expired are ended too, as expired
        open_ones = [chain for chain in self.chains if chain.sub == sub and not chain.ended]
        assert (answer.status, answer["ended"]) == (200, len(open_ones)), answer
        for chain in open_ones:
            self._ended(chain, Reason.REVOKED_EVERYWHERE)

    def _sign_out(self, chain: Chain, token: Token) -> None:
        """RFC 7009, also with a token that has been replaced."""
        form = {"client_id": APPLICATION, "token": token.text}
        assert self.service.call("POST", "/oauth/revoke", form=form).status == 200
        # A cut-off can be taken back, so who signs out meanwhile has to be signed out for good.
        if self.service.now < token.last_at:
            known = token in (chain.current, chain.parent)
            self._ended(chain, Reason.REVOKED_BY_USER if known else Reason.REUSED)

    # --- clock and sweep ---

    @rule(by=seconds)
    def wait(self, by: int) -> None:
        self._note("wait")
        self.service.now += by

    @rule(at=which, edge=edges, beyond=st.sampled_from([-1, -1, 0, 1]))
    def wait_for(self, at: int, edge: str, beyond: int) -> None:
        """Until an instant at which something changes, or the second before or after it."""
        self._note("wait_for")
        chain, _ = self._at(at)
        instants = {
            "leeway": chain.rotated_at + LEEWAY,
            "window": chain.rotated_at + WINDOW,
            "idle": chain.idle_deadline_at,
            "absolute": chain.absolute_deadline_at,
        }
        self.service.now = max(self.service.now, instants[edge] + beyond)

    @rule()
    @precondition(lambda self: self.service.now > self.swept_at + LEEWAY)
    def sweep(self) -> None:
        self._note("sweep")
        self.swept_at = self.service.now
        report = self.service.sweep()
        assert report["complete"], report
        for chain in self.chains:
            reason = self._dead(chain)
            if chain.ended is None and reason is Reason.POLICY_CUTOFF:
                # ended when its turn comes, which may be later
                item = self.service.item(chain.sid)
                chain.ended = reason if "ended_at" in item else None
            elif chain.ended is None:
                chain.ended = reason

    # --- the owner ---

    @rule(at=which, with_key=st.booleans(), times=st.sampled_from([1, 1, 2]))
    def refresh(self, at: int, with_key: bool, times: int) -> None:
        self._note("refresh")
        chain, owner = self._at(at)
        for _ in range(times):
            key = self._key() if with_key else None
            self._keep(chain, owner, self._present(chain, owner.credential, key))

    @rule(
        at=which,
        with_key=mostly,
        again=st.sampled_from([None, None, 0, LEEWAY, LEEWAY + 1, WINDOW]),
    )
    def lose_an_answer(self, at: int, with_key: bool, again: int | None) -> None:
        """It does not arrive, so the owner keeps the token it had. again: repeats it so late."""
        self._note("lose_an_answer")
        chain, owner = self._at(at)
        key = self._key() if with_key else None
        request = Request(owner.credential, key, self.service.now, self.policy.leeway_seconds)
        answer = self._present(chain, request.token, request.key)
        if answer.status == 200 and answer.log["outcome"] == "rotated":
            owner.lost = request
            if again is not None:
                self._retry(chain, owner, request, with_key, again)

    @rule(at=which, with_key=mostly, late=st.sampled_from([0, 1, LEEWAY]))
    @precondition(lambda self: any(owner.lost for owner in self.actors))
    def retry(self, at: int, with_key: bool, late: int) -> None:
        """The request whose answer was lost, again: the very same one, or without its key."""
        self._note("retry")
        chain, owner = self._those(lambda actors: actors.lost, at)
        assert owner.lost is not None
        self._retry(chain, owner, owner.lost, with_key, late)

    def _retry(
        self, chain: Chain, owner: Actors, request: Request, with_key: bool, late: int
    ) -> None:
        self.service.now += late
        key = request.key if with_key else None
        age = self.service.now - request.sent_at
        seen = self.witnesses[self.chains.index(chain)]
        may = (0 < request.leeway_seconds >= age) or (key is not None and age <= WINDOW)
        alive = not self._dead(chain) and request.token.last_at > self.service.now
        promised = may and alive and not seen.successor_used(request.token.text)
        answer = self._present(chain, request.token, key)
        assert answer.status == 200 or not promised, "an honest retry was refused"
        self._keep(chain, owner, answer)

    @rule(at=which, keys=st.tuples(st.booleans(), st.booleans()), late=st.sampled_from([0, 0, 5]))
    def race(self, at: int, keys: tuple[bool, bool], late: int) -> None:
        """Two tabs present the same token, each with a request of its own."""
        self._note("race")
        chain, owner = self._at(at)
        token = owner.credential
        first = self._present(chain, token, self._key() if keys[0] else None)
        self.service.now += late
        second = self._present(chain, token, self._key() if keys[1] else None)
        if first.status == second.status == 200:
            assert first["refresh_token"] == second["refresh_token"]
        elif (
            first.body.get("sid")
            and first.log["outcome"] == "rotated"
            and self.policy.leeway_seconds
        ):
            # only a deadline in between excuses it
            assert self._dead(chain) or self.service.now >= token.last_at, second
        self._keep(chain, owner, first)

    @rule(at=which, back=st.sampled_from([1, 2, 2, 3]))
    def tab_wakes_up(self, at: int, back: int) -> None:
        """With the token it fell asleep with, whatever happened since."""
        self._note("tab_wakes_up")
        chain, owner = self._at(at)
        token = chain.tokens[max(0, len(chain.tokens) - 1 - back)]
        self._keep(chain, owner, self._present(chain, token, None))

    # --- the thief ---

    @rule(at=which, back=age)
    def steal(self, at: int, back: int) -> None:
        """Copies any token there ever was, the newest one more often."""
        self._note("steal")
        chain, victim = self._at(at)
        victim.loot.append(chain.tokens[-1 - back % len(chain.tokens)])

    @rule(at=which, with_key=st.booleans())
    @precondition(lambda self: any(victim.loot for victim in self.actors))
    def thief_refreshes(self, at: int, with_key: bool) -> None:
        """With the right client_id, and no key or a wrong one."""
        self._note("thief_refreshes")
        chain, victim = self._those(lambda actors: actors.loot, at)
        answer = self._present(chain, victim.loot[-1], THIEFS_KEY if with_key else None)
        if answer.status == 200:
            victim.loot.append(self._token(chain, answer["refresh_token"]))

    @rule(at=which)
    @precondition(lambda self: any(victim.loot for victim in self.actors))
    def show_down(self, at: int) -> None:
        """The owner refreshes. After the leeway nothing the thief has works, and trying ends it."""
        self._note("show_down")
        chain, victim = self._those(lambda actors: actors.loot, at)
        before = victim.credential
        answer = self._present(chain, before, None)
        self._keep(chain, victim, answer)
        self.service.now += LEEWAY + 1
        loot = [token for token in victim.loot if token != victim.credential]
        for token in loot:
            assert self._present(chain, token, None).status == 400, "the thief is still in"
        if any(self.service.now < token.last_at for token in loot):
            assert self._dead(chain), "thief and owner have both acted and the session lives"
            assert self._present(chain, victim.credential, None).status == 400
        victim.loot = victim.loot[-1:]

    # --- an API that asks ---

    @rule(at=which, back=age, access=st.booleans())
    def introspect(self, at: int, back: int, access: bool) -> None:
        self._note("introspect")
        chain, owner = self._at(at)
        token = chain.tokens[-1 - back % len(chain.tokens)]
        now = self.service.now
        text = owner.access_token if access else token.text
        answer = self.service.call("POST", "/oauth/introspect", form={"token": text}, auth=BACKEND)
        assert answer.status == 200
        replayed = token == chain.parent and now <= chain.leeway_until
        usable = now < token.last_at and (token == chain.current or replayed)
        if self._dead(chain):
            assert answer.body == {"active": False}
        elif not access:
            assert answer["active"] == usable

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
            expiry_warning_seconds=0,
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
        token = Token(answer["refresh_token"], idle if self.policy.rotation else absolute, absolute)
        self.chains.append(Chain(answer["sid"], sub, now, idle, absolute, [token]))
        self.actors.append(Actors(token, answer["access_token"]))
        self.witnesses.append(Witness(idle, absolute))

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
                idle if self.policy.rotation else chain.absolute_deadline_at,
                chain.absolute_deadline_at,
            )
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


# --- cores with one rule taken out ----------------------------------------------------------------


@contextlib.contextmanager
def _leeway_on_grandparents() -> Iterator[None]:
    """Any old token is answered with the current one while the leeway lasts."""
    sealed_tokens: dict[bytes, RefreshToken] = {}
    seal, answers_parent = refresh_token.seal, Session.answers_parent

    def remember(
        successor: RefreshToken, *, parent: RefreshToken, peppers: Peppers, now: int
    ) -> bytes:
        sealed = seal(successor, parent=parent, peppers=peppers, now=now)
        sealed_tokens[sealed] = successor
        return sealed

    def any_ancestor(self: Session, _hash: bytes, key: bytes | None, now: int) -> str | None:
        return answers_parent(self, self.parent_hash or b"", key, now)

    def recall(sealed: bytes, **_: Any) -> RefreshToken:
        return sealed_tokens[sealed]

    with (
        patch.object(refresh_token, "seal", remember),
        patch.object(refresh_token, "unseal", recall),
        patch.object(Session, "answers_parent", any_ancestor),
    ):
        yield


@contextlib.contextmanager
def _parent_after_its_successor_was_used() -> Iterator[None]:
    """A token is answered with its own successor for as long as the leeway, used or not."""
    refresh = refresh_flow.refresh
    answers: dict[bytes, tuple[Any, int]] = {}

    def remember(token: RefreshToken, *arguments: Any, now: int, **named: Any) -> Any:
        answer, until = answers.get(token.hash(), (None, 0))
        if answer is not None and now <= until:
            return answer
        answer = refresh(token, *arguments, now=now, **named)
        answers[token.hash()] = answer, now + LEEWAY
        return answer

    module = sys.modules["ratchet.grants.refresh_token"]
    with patch.object(module, "refresh", remember):
        yield


@contextlib.contextmanager
def _without_condition(name: str) -> Iterator[None]:
    """A rotation whose write leaves out the conditions on one attribute."""
    update = SessionStore._update

    def unconditional(
        self: SessionStore,
        sid: str,
        conditions: list[str],
        sets: list[str],
        removes: list[str],
        values: Item,
    ) -> Outcome:
        if ":presented" in values:
            conditions = [text for text in conditions if not text.startswith(name)]
            expression = " ".join((*conditions, *sets))
            values = {key: value for key, value in values.items() if key in expression}
        return update(self, sid, conditions, sets, removes, values)

    with patch.object(SessionStore, "_update", unconditional):
        yield


@contextlib.contextmanager
def _get_then_put() -> Iterator[None]:
    """The current token is compared with a copy read earlier: the one of the request before."""
    rotate = SessionStore.rotate
    copies: dict[str, Session] = {}

    def read_then_write(self: SessionStore, rotation: Rotation, now: int) -> Outcome:
        copy, actual = copies.get(rotation.sid), self.get(rotation.sid)
        if actual is not None:
            copies[rotation.sid] = actual
        if copy is not None and copy.current_hash == rotation.presented_hash:
            with _without_condition("current_hash"):
                return rotate(self, rotation, now)
        return rotate(self, rotation, now)

    with patch.object(SessionStore, "rotate", read_then_write):
        yield


@contextlib.contextmanager
def _reuse_ends_nothing() -> Iterator[None]:
    """An old token is refused, and that is all."""

    def only_look(sid: str, *, store: SessionStore, **_: Any) -> Outcome:
        return Outcome(False, store.get(sid))

    with patch.object(refresh_flow, "end_session", only_look):
        yield


BROKEN: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "leeway on grandparents": _leeway_on_grandparents,
    "parent answered after its successor was used": _parent_after_its_successor_was_used,
    "unconditional rotation": lambda: _without_condition("current_hash"),
    "get, then put": _get_then_put,
    "reuse ends nothing": _reuse_ends_nothing,
    "no deadline in the condition": lambda: _without_condition("idle_deadline_at"),
}


# --- running it -----------------------------------------------------------------------------------


@contextlib.contextmanager
def serving() -> Iterator[Service]:
    """The handlers on an emulator of their own, as tests/functional/conftest.py sets them up."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(events.logger.registered_formatter)
    logger = logging.getLogger(events.logger.service)
    described = template.load(ROOT / "template.yaml")
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ),
        patch.object(boto3, "DEFAULT_SESSION", None),
        patch.object(wiring, "_parts", None),
        patch.object(wiring, "_events", None),
        patch.object(logger, "handlers", [handler]),
        Emulator(Path(folder)) as emulator,
    ):
        variables = aws.environment(emulator.endpoint_url)
        os.environ.update(variables)
        environment = {**variables, **provision(described, issuer=ISSUER)}
        os.environ.update(environment)
        seed(environment)
        functions = Functions(ROOT, template.functions(described))
        service = Service(functions, environment, wiring.parts())
        service.log = log
        service.calls.watch(cast(Any, service.parts.store._client), "dynamodb")
        with patch.object(endpoint, "clock", lambda: service.now):
            yield service


def play(
    service: Service, *, examples: int, steps: int, seed_number: int, shrink: bool = True
) -> Played:
    """Raises AssertionError, with the shortest way to it, when a promise is broken."""
    played = Played()

    def machine() -> Play:
        return Play(service, played)

    hypothesis.seed(seed_number)(machine)
    run_state_machine_as_test(
        cast(type[Play], machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return played


def caught(service: Service, name: str, *, examples: int, steps: int, seed_number: int) -> str:
    """What gave the broken core away, or "" if nothing did."""
    try:
        with BROKEN[name]():
            play(service, examples=examples, steps=steps, seed_number=seed_number, shrink=False)
    except AssertionError as error:
        return (str(error) or "a promise").split("(")[0].splitlines()[0]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.model")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    parser.add_argument("--broken", choices=BROKEN, help="run with a core that is broken like this")
    options = parser.parse_args()
    number = int(time.time()) if options.seed is None else options.seed
    say = sys.stdout.write
    say(f"model: seed {number}, {options.examples} examples of up to {options.steps} steps\n")
    started = time.monotonic()
    size = {"examples": options.examples, "steps": options.steps, "seed_number": number}
    # Metrics are printed; here they would only be in the way.
    with serving() as service, contextlib.redirect_stdout(io.StringIO()):
        try:
            with BROKEN[options.broken]() if options.broken else contextlib.nullcontext():
                played = play(service, **size)
        except AssertionError:
            traceback.print_exc()
            say(f"model: a promise is broken (seed {number})\n")
            return 1
        took = time.monotonic() - started
        say(f"model: {played.examples} examples, {played.steps} steps, {took:.0f} s: all held\n")
        say(f"model: rules    {_listed(played.rules)}\n")
        say(f"model: answers  {_listed(played.answers)}\n")
        for name in BROKEN:
            found = caught(service, name, examples=100, steps=options.steps, seed_number=number)
            say(f"model: broken core, {name}: {'caught: ' + found if found else 'NOT CAUGHT'}\n")
            if not found:
                return 1
    return 0


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())


if __name__ == "__main__":
    sys.exit(main())
