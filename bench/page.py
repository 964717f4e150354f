"""docs/performance.md quotes results: its tables, and its pictures, are made from the JSON files.

A table stands between `<!-- bench: NAME -->` and `<!-- end -->`; what is written by hand around it
has no figures of its own.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "images"
RESULTS = Path(__file__).parent / "results"
SUBJECTS = ("warm", "cold", "concurrency", "growth", "cost", "side_by_side")
"""Modules of bench, each with a result of its name, and three functions:

    measure(environment, quick=False)   what goes into the result; environment: of the functions
    table(result)                       Markdown, for the page and for the terminal
    pictures(result)                    SVG by name
"""
_BLOCK = re.compile(r"(<!-- bench: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def result(subject: str) -> dict[str, Any]:
    """What was last measured."""
    found: dict[str, Any] = json.loads((RESULTS / f"{subject}.json").read_text(encoding="utf-8"))
    return found


def table(subject: str, found: dict[str, Any]) -> str:
    """The table, and where and when it was measured."""
    text: str = import_module(f"bench.{subject}").table(found)
    where = f"{found['machine']}, Python {found['python']}, {found['engine']}".rstrip(", ")
    told = f"{found['at'][:10]}, {where}; [all figures](../bench/results/{subject}.json)"
    return f"{text}\n\n*{told}*"


def written(page: str) -> str:
    """The page with the tables that the results make."""
    return _BLOCK.sub(lambda block: block[1] + table(block[2], result(block[2])) + block[3], page)


def drawn() -> dict[Path, str]:
    """The pictures that the results make."""
    return {
        PICTURES / f"performance-{name}.svg": svg
        for subject in SUBJECTS
        for name, svg in import_module(f"bench.{subject}").pictures(result(subject)).items()
    }


def write() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path, svg in drawn().items():
        path.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    write()
