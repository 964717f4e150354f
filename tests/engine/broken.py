"""Stores that are broken on purpose, each in one way: what the races must catch.

A proof that cannot fail proves nothing. Every condition of the store that a race depends on has a
variant without it here, and the scenario that has to notice.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ratchet.session_item import Item
from ratchet.store import UNMOVED, Outcome, SessionStore

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ROTATES = "current_hash = :presented"


class Without(SessionStore):
    """Leaves conditions out. `when`: only in writes that have this condition; "" for all."""

    left_out: tuple[str, ...] = ()
    when = ""

    def _update(
        self, sid: str, conditions: list[str], sets: list[str], removes: list[str], values: Item
    ) -> Outcome:
        if not self.when or self.when in conditions:
            conditions = [found for found in conditions if found not in self.left_out]
            # DynamoDB refuses a value that no expression mentions.
            used = set(re.findall(r":\w+", " ".join([*conditions, *sets])))
            values = {name: value for name, value in values.items() if name in used}
        return super()._update(sid, conditions, sets, removes, values)


class NoCondition(Without):
    """Rotates whatever is there."""

    when = ROTATES
    left_out = (ROTATES,)


class GetThenPut(SessionStore):
    """Looks first and writes then: right for one caller at a time."""

    def _update(
        self, sid: str, conditions: list[str], sets: list[str], removes: list[str], values: Item
    ) -> Outcome:
        if ROTATES in conditions:
            session = self.get(sid)
            if session is None or session.current_hash != values[":presented"]["B"]:
                return Outcome(False, session)
            conditions = [found for found in conditions if found != ROTATES]
            if "parent_hash = :presented" not in sets:
                values = {name: value for name, value in values.items() if name != ":presented"}
        return super()._update(sid, conditions, sets, removes, values)


class RotatesEnded(Without):
    """Rotates a session that has been ended."""

    when = ROTATES
    left_out = ("attribute_not_exists(ended_at)",)


class NoCutoff(Without):
    """Rotates a session that the policy has cut off."""

    left_out = ("started_at >= :valid_after",)


class EndsTwice(Without):
    """Ends a session that somebody else has ended."""

    when = "attribute_exists(sid)"
    left_out = ("attribute_not_exists(ended_at)",)


class BlindSweep(Without):
    """Ends a session whether or not it was refreshed since it was looked at."""

    left_out = (UNMOVED,)


Make = Callable[["DynamoDBClient", str], SessionStore]

STORES: dict[str, Make] = {
    "no-condition": NoCondition,
    "get-then-put": GetThenPut,
    "rotates-ended": RotatesEnded,
    "no-cutoff": NoCutoff,
    "ends-twice": EndsTwice,
    "blind-sweep": BlindSweep,
}

CAUGHT_BY = {
    "no-condition": "same",
    "get-then-put": "same",
    "moto": "same",
    "rotates-ended": "revoke",
    "no-cutoff": "cutoff",
    "ends-twice": "reuse",
    "blind-sweep": "sweep",
}
"""Which scenario has to notice. "moto" is no store but an engine: `threaded_moto`."""
