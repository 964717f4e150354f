"""What somebody wrote, read attribute by attribute: every problem is noted, not only the first."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """about: names of the attributes it is about, space-separated. problem: what to tell if not."""

    about: str
    holds: bool
    problem: str


class Invalid(ValueError):
    """The message lists every problem at once; `problems` has one text each."""

    def __init__(self, broken: Iterable[Rule]) -> None:
        self.broken = tuple(broken)
        self.problems = tuple(rule.problem for rule in self.broken)
        super().__init__("; ".join(self.problems))


def broken(rules: Iterable[Rule], unreadable: Iterable[str] = ()) -> list[Rule]:
    """The rules that do not hold; none that is about what could not be read."""
    return [
        rule
        for rule in rules
        if not rule.holds and not set(rule.about.split()).intersection(unreadable)
    ]


class Attributes:
    """Reads a mapping. Null counts as left out; what does not fit is noted, the default returned.

    broken: the problems so far. unreadable: names of the attributes that had one.
    """

    def __init__(self, written: Mapping[str, Any]) -> None:
        self._written = written
        self._known: set[str] = set()
        self.broken: list[Rule] = []
        self.unreadable: set[str] = set()

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        return str(self._read(name, default, required, _is_text, "a text"))

    def flag(self, name: str, default: bool = False, *, required: bool = False) -> bool:
        return bool(self._read(name, default, required, _is_flag, "true or false"))

    def number(self, name: str, default: int = 0) -> int:
        return int(self._read(name, default, False, _is_number, "a whole number, 0 or more"))

    def instant(self, name: str) -> int | None:
        """Epoch seconds, None when left out."""
        kind = "an instant in whole epoch seconds"
        value: int | None = self._read(name, None, False, _is_instant, kind)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._read(name, (), False, _is_texts, "a list of texts"))

    def hashes(self, name: str) -> tuple[bytes, ...]:
        """SHA-256 digests, each written as 64 hexadecimal digits."""
        written = self._read(name, (), False, _is_hashes, "a list of SHA-256 hashes in hexadecimal")
        return tuple(bytes.fromhex(value) for value in written)

    def mapping(self, name: str, *, required: bool = False) -> Mapping[str, Any]:
        value: Mapping[str, Any] = self._read(name, {}, required, _is_mapping, "an object")
        return value

    def mappings(self, name: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._read(name, (), False, _is_mappings, "a list of objects"))

    def note(self, name: str, problem: str) -> None:
        self.broken.append(Rule(name, False, problem))
        self.unreadable.add(name)

    def no_others(self) -> None:
        """Call it last: what nobody asked for is unknown, most likely misspelt."""
        unknown = sorted(map(str, self._written.keys() - self._known))
        if unknown:
            self.note("", f"unknown: {', '.join(unknown)}")

    def _read(
        self, name: str, default: Any, required: bool, fits: Callable[[Any], bool], kind: str
    ) -> Any:
        self._known.add(name)
        value = self._written.get(name)
        if value is None:
            if required:
                self.note(name, f"{name} is missing")
            return default
        if not fits(value):
            self.note(name, f"{name} must be {kind}")
            return default
        return value


LAST_SECOND = 2**32 - 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_instant(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LAST_SECOND


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(map(_is_text, value))


def _is_hashes(value: Any) -> bool:
    return _is_texts(value) and all(
        len(text) == 64 and set(text) <= set("0123456789abcdef") for text in value
    )


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_mapping, value))
