"""A started `ratchet local` for tests: a process of its own, as a person would have it.

Or a stack that runs already, of the tree that RATCHET_TEST_STACK names: `make stack` has one.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ratchet_cli import running

ROOT = Path(__file__).parents[1]
ALREADY = "RATCHET_TEST_STACK"
_START_SECONDS = 60


@dataclass(frozen=True)
class LocalStack:
    """Answers at `url`; its address and its logs are in `tree`/.ratchet."""

    url: str
    tree: Path
    process: "subprocess.Popen[str] | None" = None


@contextlib.contextmanager
def started(tree: Path, *options: str) -> Iterator[LocalStack]:
    """Serves this project's template and functions from `tree`, on a free port, until the end.

    Not from the project's own folder, where a developer's `make run` may be running. Without
    options, a stack that runs already is as good.
    """
    if not options and (already := os.environ.get(ALREADY)):
        there = Path(already)
        found = running.find(there)
        assert found is not None, f"no stack runs in {there}"
        yield LocalStack(found.url, there)
        return
    shutil.copy(ROOT / "template.yaml", tree)
    functions = tree / "functions"
    if not functions.exists():
        functions.symlink_to(ROOT / "functions", target_is_directory=True)
    program = "from ratchet_cli.main import cli; cli()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "local", "--port", "0", *options],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield LocalStack(_url(tree, process), tree, process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _url(tree: Path, process: "subprocess.Popen[str]") -> str:
    deadline = time.monotonic() + _START_SECONDS
    while (found := running.find(tree)) is None:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the local stack did not start"
        time.sleep(0.05)
    return found.url
