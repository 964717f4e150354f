"""An Atheris target for the refresh token parser.

    make fuzz-parser SECONDS=60 SEED=1

Atheris (libFuzzer for Python) follows the branches that an input takes and so finds what random
inputs do not. It is not among the pinned dependencies, and this is not part of `make test`: its
wheels are for Linux on x86-64 (3.11 to 3.13) and, old ones, for Python 3.11 on macOS; elsewhere it
wants a Clang to be built with. Hypothesis covers the same ground in
tests/unit/test_refresh_token.py.

What must hold: `parse` returns a token or raises InvalidGrant, nothing else; what it returns spells
itself exactly as it came in; a MAC that is wrong is always refused, whatever else the input is.
"""

from __future__ import annotations

import sys
from typing import Any

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # not pinned

with atheris.instrument_imports(include=["ratchet.refresh_token"]):
    from ratchet import refresh_token

from ratchet.errors import InvalidGrant
from ratchet.reasons import Reason

NOW = 1_800_000_000
REASONS = {
    Reason.MALFORMED,
    Reason.UNKNOWN_PEPPER,
    Reason.IDLE_EXPIRED,
    Reason.ABSOLUTE_EXPIRED,
}


class OnePepper:
    """Under every id but 0, so that the fuzzer gets to the MAC."""

    def current(self, now: int) -> tuple[int, bytes]:
        return 1, b"pepper" * 6

    def key(self, pepper_id: int, now: int) -> bytes | None:
        return b"pepper" * 6 if pepper_id else None


def refused(text: str) -> bool:
    try:
        token = refresh_token.parse(text, peppers=OnePepper(), now=NOW)
    except InvalidGrant as error:
        if error.reason not in REASONS:
            raise
        return True
    assert str(token) == text, "two spellings of one token"
    return False


def one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    how = provider.ConsumeIntInRange(0, 3)
    if how == 0:
        refused(provider.ConsumeUnicode(sys.maxsize))
    elif how == 1:
        refused("rt1_" + provider.ConsumeString(104))
    elif how == 2:
        # Of the right shape: only the MAC stands between it and the table.
        raw = provider.ConsumeBytes(78).ljust(78, b"\0")
        assert refused(str(refresh_token._unpack(raw))), "a token that nobody has issued"
    else:
        # Genuine: any instant and generation that fit, and it comes back as it went out.
        absolute = provider.ConsumeIntInRange(0, 2**32 - 1)
        token: Any = refresh_token.mint(
            session_bytes=provider.ConsumeBytes(16).ljust(16, b"\0"),
            generation=provider.ConsumeIntInRange(0, 2**32 - 1),
            idle_deadline_at=provider.ConsumeIntInRange(0, absolute),
            absolute_deadline_at=absolute,
            peppers=OnePepper(),
            now=NOW,
        )
        assert refused(str(token)) == token.expired(NOW)


if __name__ == "__main__":
    # Without a corpus on disk: nothing is left behind.
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
