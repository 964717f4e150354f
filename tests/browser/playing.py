"""Plays the journeys of a .mjs file in the machine's own Chromium.

Needs Chromium, Node.js and `npm ci` in this folder (`make browser` does that); skipped without.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE = 20  # what playwright-core asks for


def _version(node: str) -> int:
    """Its major version, 0 when it does not start."""
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return int(done.stdout.lstrip("v").partition(".")[0] or 0)


def needed() -> tuple[str, str]:
    """Node.js and Chromium; skips the test without them."""
    node = shutil.which("node")
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    if node is None or _version(node) < NODE:
        pytest.skip(f"no Node.js {NODE} or newer (Debian 13: apt-get install nodejs npm)")
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        pytest.skip("no playwright-core (make browser installs it)")
    return node, chromium


def sentences(journeys: str) -> list[str]:
    """The names of the journeys in a file of this folder."""
    return re.findall(r'^  async "(.*)"\(', (HERE / journeys).read_text("utf-8"), re.MULTILINE)


def play(journeys: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came of every journey: None, or what went wrong."""
    results: dict[str, Any] = json.loads(node(journeys, given))
    assert list(results) == sentences(journeys)
    return results


def node(script: str, given: Mapping[str, Any]) -> str:
    """What a script of this folder prints, with a Chromium to use."""
    node, chromium = needed()
    done = subprocess.run(
        [node, HERE / script, json.dumps({**given, "chromium": chromium})],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
