"""The way through one shard of the index `attention`: all that is due, by one run or by several.

    one run         head ──────────────────────────────────────────────▶ now
    out of time     head ───────────▶ position
    the next one                      position ────────────────────────▶ now
                    head ───────────▶ position, and it is all done: the position is removed

Sessions that cannot be handled stay due at the head of their shard. Were every run to start there,
enough of them would keep all others from ever being reached.
"""

from collections.abc import Callable, Iterator, Sequence

from ratchet import events
from ratchet.errors import Fault
from ratchet.session_item import Item
from ratchet.store import SessionStore
from ratchet.sweep_positions import SweepPositions

MAX_SID = 100
"""Longer than any session id."""

Visit = Callable[[Sequence[str]], bool]
"""Takes a page of session ids. Returns False when its time was over before it was done."""


def visit_due(
    shard: int,
    visit: Visit,
    *,
    store: SessionStore,
    positions: SweepPositions | None,
    now: int,
    in_time: Callable[[], bool],
) -> bool:
    """Visits what is due, each session once. Returns False if it ran out of time.

    positions: None for a run that does not count, which starts at the head and leaves no trace.
    Where nothing is due, it costs one query and nothing else. Raises Fault, after it has kept where
    it stopped: behind the page that was begun, because the fault may be in that page. A page that
    there was no time to finish is begun again, unless it was the first: it may always take so long.
    """
    keys, rest = store.due(shard, now)
    if not keys:
        return True
    kept = _tried(lambda: positions.get(shard)) if positions else None
    reached: Item | None = None
    seen: set[str] = set()
    complete = False
    try:
        for page in _pages(shard, keys, rest, _usable(kept, shard, now), store, now):
            if not in_time():
                return False
            finished, reached = reached, page[-1]
            # The index is a moment behind: what was visited may still, or again, stand in it.
            sids = [sid for key in page if (sid := key["sid"]["S"]) not in seen]
            seen.update(sids)
            if not visit(list(dict.fromkeys(sids))):
                reached = finished or reached
                return False
        complete = True
    finally:
        if positions and complete and kept is not None:
            _tried(lambda: positions.drop(shard))
        elif positions and not complete and reached is not None:
            _tried(lambda: positions.keep(reached))
    return True


def _tried(operation: Callable[[], Item | None]) -> Item | None:
    """A position saves others from waiting, no more: what is wrong with it stops no sweep."""
    try:
        return operation()
    except Fault as fault:
        events.log("position of the sweep", level="WARNING", fault=str(fault))
        return None


def _pages(
    shard: int,
    keys: list[Item],
    rest: Item | None,
    start: Item | None,
    store: SessionStore,
    now: int,
) -> Iterator[list[Item]]:
    """What is due from `start` on, then from the head to there.

    keys, rest: the page at the head, and where the next one starts.
    """
    until = now
    if start is not None:
        yield from _on(shard, start, store, now)
        until = int(start["attention_at"]["N"])
        keys, rest = store.due(shard, until)
    if keys:
        yield keys
    yield from _on(shard, rest, store, until)


def _on(shard: int, after: Item | None, store: SessionStore, until: int) -> Iterator[list[Item]]:
    while after is not None:
        keys, after = store.due(shard, until, after=after)
        if keys:
            yield keys


def _usable(kept: Item | None, shard: int, now: int) -> Item | None:
    """The key that is kept, or None: one that is damaged is as good as none.

    DynamoDB refuses a key that is none of this shard's or that is not due, every time anew.
    """
    try:
        # None raises TypeError, as other damage does.
        attention_at, sid = int(kept["attention_at"]["N"]), kept["sid"]["S"]  # type: ignore[index]
        usable = 0 <= attention_at <= now and 0 < len(sid) <= MAX_SID
    except (KeyError, TypeError, ValueError):
        return None
    key = {
        "sid": {"S": str(sid)},
        "attention_shard": {"N": str(shard)},
        "attention_at": {"N": str(attention_at)},
    }
    return key if usable else None
