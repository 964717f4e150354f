"""Checks tests/engine/rotation.pml with Spin: every state there is, not a sample.

    python -m tests.engine.spin            needs `spin` (a Debian package) and a C compiler

Prints states, seconds and verdict of the protocol and of each variant that is broken on purpose.
Exits with 1 if the protocol breaks a promise or a broken variant does not.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SPECIFICATION = Path(__file__).with_name("rotation.pml")
SECONDS = 300

# Requests of one tab, of the other tab and of the thief: what can be checked to the last state.
SMALL: Mapping[str, int] = {"TRIES": 1, "OTHERS": 1, "THEFTS": 1}
SIZES: Mapping[str, Mapping[str, int]] = {
    "1 + 1 requests of the tabs, 1 of the thief": SMALL,
    "2 + 1 requests of the tabs, no thief": {"TRIES": 2, "OTHERS": 1, "THEFTS": 0},
    "2 requests of one tab, 1 of the thief": {"TRIES": 2, "OTHERS": 0, "THEFTS": 1},
    "1 request of one tab, 2 of the thief": {"TRIES": 1, "OTHERS": 0, "THEFTS": 2},
}
BROKEN = (
    "GET_THEN_PUT",
    "UNCONDITIONAL_PUT",
    "LEEWAY_ON_GRANDPARENTS",
    "REUSE_ENDS_NOTHING",
    "NO_DEADLINE",
)


class SpinError(Exception):
    """Spin, the compiler or the verifier has not done its work; says nothing of the protocol."""


@dataclass(frozen=True)
class Verdict:
    """violated: the assertion that does not hold, or "". complete: every state was visited."""

    states: int
    seconds: float
    violated: str
    complete: bool

    @property
    def holds(self) -> bool:
        return self.complete and not self.violated

    def __str__(self) -> str:
        said = f"violates {self.violated}" if self.violated else "holds"
        searched = "" if self.complete or self.violated else ", SEARCH NOT COMPLETE"
        return f"{self.states:>10,} states {self.seconds:6.1f} s  {said}{searched}"


def missing() -> str:
    """What is not installed, or ""."""
    programs = {"spin": "spin (apt-get install spin)", "cc": "a C compiler"}
    return " and ".join(said for name, said in programs.items() if shutil.which(name) is None)


def check(size: Mapping[str, int], *broken: str) -> Verdict:
    """Raises SpinError."""
    defines = [f"-D{name}={number}" for name, number in size.items()]
    defines += [f"-D{name}" for name in broken]
    with tempfile.TemporaryDirectory() as folder:
        _run(folder, "spin", *defines, "-a", str(SPECIFICATION))
        _run(folder, "cc", "-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c")
        started = time.monotonic()
        report = _run(folder, "./pan", "-m100000", "-w22")
        seconds = time.monotonic() - started
    found = re.search(r"(\d+) states, stored", report)
    errors = re.search(r"errors: (\d+)", report)
    if found is None or errors is None:
        raise SpinError(report)
    violated = re.search(r"pan:1: (.*?) \(at depth", report)
    if int(errors[1]) and violated is None:
        raise SpinError(report)
    complete = "Search not completed" not in report and "max search depth too small" not in report
    return Verdict(int(found[1]), seconds, _words(violated[1]) if violated else "", complete)


def _words(violation: str) -> str:
    """`assertion violated ((promised==0)||...)` on one line, with single spaces."""
    return " ".join(violation.removeprefix("assertion violated").split())


def _run(folder: str, *command: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpinError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        raise SpinError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    say = sys.stdout.write
    if lacking := missing():
        say(f"spin: not checked, for want of {lacking}\n")
        return 1
    right = True
    for name, size in SIZES.items():
        verdict = check(size)
        say(f"spin: {name:<44}{verdict}\n")
        right = right and verdict.holds
    for name in BROKEN:
        verdict = check(SMALL, name)
        say(f"spin: -D{name:<42}{verdict}\n")
        right = right and bool(verdict.violated)
    say(f"spin: {'as it should be' if right else 'NOT AS IT SHOULD BE'}\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
