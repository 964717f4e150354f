"""What a rotation makes of the two secrets. Pure rules: a text in, the next text out.

    signing keys      next      current    previous
    before            B         A          -
    after             C (new)   B          A

    peppers           2 (next)  1 (current)
    after             3 (new)   2          1, retired, kept while a token can carry it

What a rotation promotes has been published by the one before, and `settles_at` keeps the two apart:
no verifier and no instance can meet a key that it does not know yet.
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

from ratchet.errors import Fault
from ratchet.keys import MADE_FROM, RETIRED_AT, SLOTS, USABLE_SECONDS, peppers, signing_keys
from ratchet.policy import DAY, HOUR, MAX_RETRY_WINDOW_SECONDS, MAX_SECONDS

VERIFIER_CACHE_SECONDS = 2 * HOUR
"""How long a verifier may keep a JWK set; API Gateway's JWT authorizer keeps it for 2 hours."""
PEPPER_KEPT_SECONDS = MAX_SECONDS + USABLE_SECONDS + MAX_RETRY_WINDOW_SECONDS
"""No token lives longer, even one that an instance with an old set made."""

NewJwk = Callable[[], dict[str, str]]


class NotSettled(Fault):
    """The last change of the secret is too recent for the next one."""

    def __init__(self, settles_at: int, now: int) -> None:
        super().__init__(f"too early: the last change settles in {settles_at - now} seconds")
        self.settles_at = settles_at


class UnknownKey(Fault):
    """No slot holds a key with this kid, or no pepper has this id."""


def settles_at(published_at: int, *, longest_access_ttl_seconds: int) -> int:
    """When everybody knows what was published then and nobody needs what it replaced.

    An instance that cannot reach Secrets Manager signs with its old set for USABLE_SECONDS; the
    last token it signed is valid for an access lifetime, and a verifier keeps a JWK set that such
    an instance has served.
    """
    longest = max(longest_access_ttl_seconds, VERIFIER_CACHE_SECONDS, DAY)
    return published_at + USABLE_SECONDS + longest + HOUR


def first_signing_keys(new_jwk: NewJwk) -> str:
    """Two new keys: one signs, one is published to sign later."""
    return json.dumps({"next": new_jwk(), "current": new_jwk(), "previous": None})


def rotated_signing_keys(secret: str, new_jwk: NewJwk, *, made_from: str) -> str:
    """Promotes next to current and publishes a new next.

    A secret that has never been filled gets its first two; without a next key one is published and
    nothing promoted. Raises InvalidSecret for a damaged secret, which a rotation must not mend: the
    version before it still has the keys.
    """
    slots = _members(secret)
    if _never_filled(secret):
        return _with(json.loads(first_signing_keys(new_jwk)), made_from)
    if not slots.get("current") and slots.get("next"):
        slots["current"] = slots.pop("next")
    signing_keys(json.dumps(slots))
    if slots.get("next"):
        slots |= {"previous": slots["current"], "current": slots["next"]}
    return _with({**slots, "next": new_jwk()}, made_from)


def without_signing_key(secret: str, kid: str, new_jwk: NewJwk) -> str:
    """The emergency: a key is dropped at once, and what follows it moves up early.

    Raises InvalidSecret, UnknownKey.
    """
    keys = signing_keys(secret)
    slots = {slot: _members(secret).get(slot) for slot in SLOTS}
    if keys.previous is not None and keys.previous.kid == kid:
        return json.dumps({**slots, "previous": None})
    if keys.next is not None and keys.next.kid == kid:
        return json.dumps({**slots, "next": new_jwk()})
    if keys.current.kid != kid:
        raise UnknownKey(f"no key has the kid {kid}")
    return json.dumps({**slots, "current": slots["next"] or new_jwk(), "next": new_jwk()})


def rotated_peppers(secret: str, *, made_from: str, now: int) -> str:
    """Promotes the published pepper to current and publishes a new one. Raises InvalidSecret.

    A retired pepper goes when no token can carry it any more.
    """
    known = peppers(secret)
    members = _members(secret)
    retired: dict[str, int] = dict(members.get(RETIRED_AT) or {})
    newest = max(known.by_id)
    if newest > known.current:
        retired[str(known.current)] = now
        members["current"] = newest
    members[str(newest + 1)] = secrets.token_hex(32)
    for pepper_id, retired_at in list(retired.items()):
        if retired_at + PEPPER_KEPT_SECONDS <= now:
            del retired[pepper_id]
            members.pop(pepper_id, None)
    return _with({**members, RETIRED_AT: retired}, made_from)


def without_pepper(secret: str, pepper_id: int) -> str:
    """The emergency: a pepper is dropped at once; a new one is published where one is missing.

    The current one: what was published to follow it makes new tokens from now on. Raises
    InvalidSecret, UnknownKey.
    """
    known = peppers(secret)
    if pepper_id not in known.by_id:
        raise UnknownKey(f"no pepper has the id {pepper_id}")
    members = _members(secret)
    retired = dict(members.get(RETIRED_AT) or {})
    retired.pop(str(pepper_id), None)
    del members[str(pepper_id)]
    members.pop(MADE_FROM, None)
    newest = max(known.by_id)
    if pepper_id >= known.current:
        members[str(newest + 1)] = secrets.token_hex(32)
    if pepper_id == known.current:
        members["current"] = newest if newest > known.current else newest + 1
        if newest == known.current:
            members[str(newest + 2)] = secrets.token_hex(32)
    return json.dumps({**members, RETIRED_AT: retired})


def _never_filled(secret: str) -> bool:
    slots = _members(secret)
    return not secret or (set(slots) >= set(SLOTS) and not any(slots[slot] for slot in SLOTS))


def promotes_signing_key(secret: str) -> bool:
    """Whether a rotation would change which key signs: a new stack's first ones need not wait."""
    slots = _members(secret)
    return bool(slots.get("current") and slots.get("next"))


def promotes_pepper(secret: str) -> bool:
    """Whether a rotation would change which pepper makes new tokens. Raises InvalidSecret."""
    known = peppers(secret)
    return max(known.by_id) > known.current


def made_from(secret: str) -> str | None:
    """The version of the secret that a rotation made this text from."""
    value = _members(secret).get(MADE_FROM)
    return value if isinstance(value, str) else None


def _members(secret: str) -> dict[str, Any]:
    try:
        value = json.loads(secret)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _with(members: dict[str, Any], version: str) -> str:
    return json.dumps({**members, MADE_FROM: version})
