"""What `garbage` sends instead of refresh tokens: one `_kind_` method for each kind.

Every form says which reasons are true of it.
"""

from __future__ import annotations

import json
import random
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import quote_from_bytes, urlencode

from ratchet import refresh_token
from ratchet.policy import DAY
from ratchet.request import MAX_BODY_BYTES
from tests.engine.garbage_service import NOW, PEPPER_IDS, Service

GENUINE = 64
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

MALFORMED = frozenset({"malformed"})
FOREIGN = frozenset({"malformed", "unknown_pepper"})
EXPIRED = frozenset({"idle_expired", "absolute_expired"})
NO_TOKEN = frozenset({"invalid_request"})


@dataclass(frozen=True)
class Sent:
    """A form body, and the reasons of which one has to be the answer's (NO_TOKEN: none)."""

    kind: str
    body: bytes = field(repr=False)
    expected: frozenset[str]


class Generator:
    """Forms from a seed; the same seed, the same forms."""

    def __init__(self, service: Service, rng: random.Random) -> None:
        self._rng = rng
        self.genuine = [self._mint(service.peppers) for _ in range(GENUINE)]
        self._foreign = [self._mint(service.foreign) for _ in range(GENUINE)]
        # 24 hours past the idle deadline, which is the retry window, or past the absolute one.
        self._expired = [
            self._mint(service.peppers, idle=-DAY - 1, absolute=rng.choice([-DAY - 1, 30 * DAY]))
            for _ in range(GENUINE)
        ]
        self._known = {str(token) for token in self.genuine}
        self.kinds: dict[str, Callable[[], Sent]] = {
            name.removeprefix("_kind_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_kind_")
        }

    def next(self) -> Sent:
        return self.kinds[self._rng.choice(list(self.kinds))]()

    def _mint(self, peppers: Any, *, idle: int = 14 * DAY, absolute: int = 180 * DAY) -> Any:
        with mock.patch.object(secrets, "token_bytes", self._rng.randbytes):
            return refresh_token.mint(
                session_bytes=self._rng.randbytes(16),
                generation=self._rng.randrange(1000),
                idle_deadline_at=NOW + min(idle, absolute),
                absolute_deadline_at=NOW + absolute,
                peppers=peppers,
                now=NOW,
            )

    def _sent(self, kind: str, text: str, expected: frozenset[str]) -> Sent:
        form = [("client_id", "demo-native"), ("refresh_token", text)]
        return Sent(kind, urlencode(form).encode(), expected)

    def _text(self) -> str:
        return str(self._rng.choice(self.genuine))

    # --- no token at all ---------------------------------------------------------------------

    def _kind_random_text(self) -> Sent:
        size = self._rng.randint(1, 300)
        text = "".join(chr(self._rng.randint(1, 126)) for _ in range(size))
        return self._sent("random text", text, MALFORMED)

    def _kind_random_of_the_right_shape(self) -> Sent:
        text = "rt1_" + "".join(self._rng.choices(ALPHABET, k=104))
        return self._sent("random, right shape", text, FOREIGN)

    def _kind_unicode(self) -> Sent:
        ranges = [(0, 0x7F), (0xA0, 0x2FFF), (0xFF00, 0xFFEF), (0x10000, 0x10FFFF)]
        size = self._rng.choice([1, 54, 104, 108, 200])
        text = "".join(chr(self._rng.randint(*self._rng.choice(ranges))) for _ in range(size))
        return self._sent("unicode", self._rng.choice(["rt1_", ""]) + text, MALFORMED)

    def _kind_huge(self) -> Sent:
        room = MAX_BODY_BYTES - len("client_id=demo-native&refresh_token=")
        size = self._rng.choice([109, 1000, 5000, room // 3, room - 4])
        character = self._rng.choice("Aa-~") if size > room // 3 else self._rng.choice("A%é+")
        text = "rt1_" + character * (size // len(urlencode({"": character})[1:]))
        return self._sent("huge", text, MALFORMED)

    # --- a genuine one, spoilt ---------------------------------------------------------------

    def _kind_truncated(self) -> Sent:
        text = self._text()
        cut = self._rng.randint(1, len(text) - 1)
        return self._sent("truncated", self._rng.choice([text[:cut], text[cut:]]), MALFORMED)

    def _kind_extended(self) -> Sent:
        extra = self._rng.choice(["=", "==", " ", "\n", "\0", "A", "AAAA", ".", self._text()])
        text = self._rng.choice([self._text() + extra, extra + self._text()])
        return self._sent("extended", text, MALFORMED)

    def _kind_flipped_bits(self) -> Sent:
        raw = bytearray(_raw(self._text()))
        for position in self._rng.sample(range(len(raw) * 8), self._rng.choice([1, 1, 1, 2, 8])):
            raw[position // 8] ^= 1 << position % 8
        return self._sent("flipped bits", _spelled(raw), FOREIGN)

    def _kind_changed_character(self) -> Sent:
        text = self._text()
        position = self._rng.randrange(len(text))
        character = self._rng.choice(
            [*(ALPHABET + "+/=. \n\0é"), "\N{FULLWIDTH LATIN SMALL LETTER A}"]
        )
        changed = text[:position] + character + text[position + 1 :]
        if changed in self._known:
            return self._kind_changed_character()
        return self._sent("changed character", changed, FOREIGN)

    def _kind_spliced(self) -> Sent:
        cut = self._rng.randrange(5, refresh_token.LENGTH)
        spliced = self._text()[:cut] + self._text()[cut:]
        if spliced in self._known:
            return self._kind_spliced()
        return self._sent("spliced halves", spliced, MALFORMED)

    def _kind_shuffled(self) -> Sent:
        raw = list(_raw(self._text()))
        first, second = sorted(self._rng.sample(range(len(raw) + 1), 2))
        shuffled = raw[second:] + raw[first:second] + raw[:first]
        if bytes(shuffled) == bytes(raw):
            return self._kind_shuffled()
        return self._sent("parts in another order", _spelled(bytes(shuffled)), FOREIGN)

    def _kind_other_spelling(self) -> Sent:
        text = self._text()
        spelling = self._rng.choice(
            [
                text.replace("rt1_", self._rng.choice(["rt2_", "RT1_", "rt1-", "", "rt1_rt1_"])),
                text.replace("-", "+").replace("_", "/"),
                "rt1_" + text[4:].swapcase(),
                f'"{text}"',
                f"Bearer {text}",
                text.encode("utf-16").decode("latin-1"),
            ]
        )
        return self._sent("another spelling", spelling, FOREIGN)

    # --- another key, another time -----------------------------------------------------------

    def _kind_wrong_pepper_id(self) -> Sent:
        raw = _raw(self._text())
        pepper_id = self._rng.choice([0, 1, 2, 4, 5, 6, 12, 255, 0x7FFF, 0xFFFF])
        spoilt = pepper_id.to_bytes(2, "big") + raw[2:]
        return self._sent("wrong pepper id", _spelled(spoilt), FOREIGN)

    def _kind_next_pepper_id(self) -> Sent:
        raw = _raw(self._text()) if self._rng.random() < 0.5 else self._rng.randbytes(78)
        spoilt = (max(PEPPER_IDS) + self._rng.randint(1, 4)).to_bytes(2, "big") + raw[2:]
        return self._sent("next pepper id", _spelled(spoilt), frozenset({"unknown_pepper"}))

    def _kind_foreign(self) -> Sent:
        return self._sent("other deployment's", str(self._rng.choice(self._foreign)), MALFORMED)

    def _kind_expired(self) -> Sent:
        return self._sent("genuine, expired", str(self._rng.choice(self._expired)), EXPIRED)

    # --- forms that carry none ---------------------------------------------------------------

    def _kind_not_utf8(self) -> Sent:
        noise = quote_from_bytes(b"\xff" + self._rng.randbytes(self._rng.randint(0, 107)), safe="")
        return Sent("not UTF-8", f"refresh_token={noise}".encode(), NO_TOKEN)

    def _kind_random_bytes(self) -> Sent:
        return Sent("random bytes", b"\x80" + self._rng.randbytes(200), NO_TOKEN)

    def _kind_form(self) -> Sent:
        text = self._text()
        body = self._rng.choice(
            [
                "",
                "refresh_token",
                "refresh_token=",
                "refresh_token=&client_id=demo-native",
                f"refresh_token={text}&refresh_token={text}",
                f"refresh_token={text}" + "&x" * 64,
                f"REFRESH_TOKEN={text}",
                f"refresh_token[]={text}",
                json.dumps({"refresh_token": text}),
                f"refresh_token={text}" + "A" * MAX_BODY_BYTES,
            ]
        )
        if body.startswith(f"refresh_token={text}&x"):
            body = body.replace("&x", "&x=1")
        return Sent("no token", body.encode(), NO_TOKEN)


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text.removeprefix("rt1_"))


def _spelled(raw: bytes | bytearray) -> str:
    return "rt1_" + urlsafe_b64encode(raw).decode()
