"""A forked child has copies of its parent's locks, and not the threads that would open them."""

import os
import weakref
from typing import Protocol


class Holder(Protocol):
    def forked(self) -> None:
        """In the child: all that is held is the parent's."""


_holders: "weakref.WeakSet[Holder]" = weakref.WeakSet()


def tell(holder: Holder) -> None:
    """Have `forked` called in every child from now on."""
    _holders.add(holder)


def _in_child() -> None:
    for holder in list(_holders):
        holder.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
