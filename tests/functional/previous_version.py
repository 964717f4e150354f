"""The version before this one, taken from the history, in a process of its own on the same tables.

PREVIOUS names it: the last release, or, before there is one, the commit that wrote the newest item
fixtures. Its functions and its core are unpacked beside this tree and called as Lambda calls them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from ratchet_cli import payload, template
from tests.functional.conftest import ROOT

PREVIOUS = "036edd269fc902059c1b85fd6bd6f4d0fb99e706"
CHILD = """
import json, sys
from pathlib import Path

# What the functions log is no answer.
answers, sys.stdout = sys.stdout, sys.stderr
import ratchet
from ratchet import endpoint
from ratchet_cli.functions import Functions
from ratchet_cli import template

tree, now = Path(sys.argv[1]), 0
endpoint.clock = lambda: now
parsed = template.load(tree / "template.yaml")
wanted = {n: f for n, f in template.functions(parsed).items() if n in sys.argv[2:]}
functions = Functions(tree, wanted)
print(json.dumps(str(Path(ratchet.__file__).parent)), file=answers, flush=True)
for line in sys.stdin:
    call = json.loads(line)
    now = call["now"]
    answer = functions.invoke(call["function"], call["event"])
    print(json.dumps(answer), file=answers, flush=True)
"""


class PreviousVersion:
    """tree: where it was unpacked. core: the package that it has imported."""

    def __init__(self, process: subprocess.Popen[str], tree: Path) -> None:
        self._process = process
        self.tree = tree
        self.core = Path(self._answer())
        self._routes = template.routes(template.load(tree / "template.yaml"))

    def invoke(self, function: str, event: Any, now: int) -> Any:
        assert self._process.stdin is not None
        print(
            json.dumps({"function": function, "event": event, "now": now}),
            file=self._process.stdin,
            flush=True,
        )
        return self._answer()

    def call(
        self,
        function: str,
        method: str,
        path: str,
        form: Mapping[str, str],
        headers: Mapping[str, str],
        now: int,
    ) -> dict[str, Any]:
        """The answer's body."""
        sent = {"Host": "id.test", "Content-Type": "application/x-www-form-urlencoded", **headers}
        matched = payload.match(self._routes, method, path)
        assert matched is not None
        request = payload.Request(
            method=method,
            path=path,
            query="",
            headers=list(sent.items()),
            body=urlencode(form).encode(),
            source_ip="192.0.2.1",
        )
        answer = payload.response(self.invoke(function, payload.event(request, matched), now))
        body: dict[str, Any] = json.loads(answer.body)
        return body

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the version before has ended"
        return json.loads(line)


@contextlib.contextmanager
def previous_version(environment: Mapping[str, str]) -> Iterator[PreviousVersion]:
    """Skips where the history is not there, as in a shallow clone or in an archive."""
    packed = subprocess.run(
        ["git", "archive", PREVIOUS, "functions", "layers", "cli", "template.yaml"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        pytest.skip(f"the commit {PREVIOUS} is not in this clone: {packed.stderr.decode()[:200]}")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve()
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(tree, filter="data")
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tree), "RefreshFunction", "SweepFunction"],
            env=_environment(tree, environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield PreviousVersion(process, tree)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _environment(tree: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """As CloudFormation gives it to that version: without the settings that came later."""
    parsed = template.load(tree / "template.yaml")
    known = parsed["Globals"]["Function"]["Environment"]["Variables"]
    settings = {
        name: value
        for name, value in environment.items()
        if name in known or not name.startswith("RATCHET_")
    }
    packages = [tree / "layers" / name for name in ("ratchet", "ratchet_verify")]
    packages.append(tree / "cli")
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "POWERTOOLS_METRICS_NAMESPACE": "Ratchet",
        **settings,
    }
