"""Cores with one rule taken out: what the model's game must catch.

A proof that cannot fail proves nothing. `BROKEN` names them; each breaks the core for the time of a
block. (`broken` has the stores that the races must catch.)
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from ratchet import refresh as refresh_flow
from ratchet import refresh_token
from ratchet.policy import Policy
from ratchet.refresh_token import Peppers, RefreshToken
from ratchet.session import Session
from ratchet.session_item import Item
from ratchet.store import Outcome, Rotation, SessionStore
from tests.engine.rotation_model import LEEWAY


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


@contextlib.contextmanager
def _uses_that_the_token_cannot_keep() -> Iterator[None]:
    """API use keeps a session alive for longer than its token is good for."""
    with patch.object(Policy, "lasting_tokens", property(lambda policy: not policy.rotation)):
        yield


BROKEN: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "leeway on grandparents": _leeway_on_grandparents,
    "parent answered after its successor was used": _parent_after_its_successor_was_used,
    "unconditional rotation": lambda: _without_condition("current_hash"),
    "get, then put": _get_then_put,
    "reuse ends nothing": _reuse_ends_nothing,
    "uses that the token cannot keep": _uses_that_the_token_cannot_keep,
    "no deadline in the condition": lambda: _without_condition("idle_deadline_at"),
}
