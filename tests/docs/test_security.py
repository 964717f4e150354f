"""docs/security.md: every line of the check-list is there, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from ratchet_cli import template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
# Section by section. A new line of the check-list gets its id here, and then its row.
LINES = [
    *(f"O{number}" for number in range(1, 20)),
    *(f"B{number}" for number in range(1, 10)),
    *(f"J{number}" for number in range(1, 9)),
    *(f"E{number}" for number in range(1, 4)),
    *(f"W{number}" for number in range(1, 8)),
    *(f"A{number}" for number in range(1, 5)),
    *(f"R{number}" for number in range(1, 7)),
    *("N1", "N2", "N3", "N4", "P1"),
    *("V9", "V10.3", "V10.4", "V7", "V3", "V11", "V13", "V16"),
    *("T1", "T2", "T3", "T4", "T5"),
]
# id, whose it is, what it asks for, what holds it
ROWS = {
    line: (who, asks, held)
    for line, who, asks, held in re.findall(
        r"^\| ([A-Z]\d+(?:\.\d+)?) \| ([^|]*) \| ([^|]*) \| (.*) \|$", PAGE, re.M
    )
}
CHECKLIST = sorted((ROOT / "tests" / "functional").glob("test_checklist_*.py"))


@cache
def names_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def named(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)


def after(line: str) -> str:
    """How the tests of a line begin."""
    return f"test_{line.lower().replace('.', '_')}_"


def test_the_page_has_every_line_once_and_in_its_order() -> None:
    assert list(ROWS) == LINES


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_tests_that_exist_or_says_why_it_does_not_apply(line: str) -> None:
    who, asks, held = ROWS[line]
    assert asks
    tests = named(held)
    # Nothing that only looks like the name of a test.
    assert len(tests) == held.count("::") == held.count("tests/")
    for path, name in tests:
        assert name in names_of(path), (path, name)
    if who == "-":
        assert held.startswith("Does not apply: ")
    else:
        assert tests


@pytest.mark.parametrize("line", [line for line in LINES if "us" in ROWS[line][0].split(", ")])
def test_a_line_that_is_ours_has_a_test_named_after_it(line: str) -> None:
    own = [name for _, name in named(ROWS[line][2]) if name.startswith(after(line))]
    assert own


def test_every_test_of_the_check_list_is_in_the_row_that_it_is_named_after() -> None:
    assert len(CHECKLIST) == 3
    for path in CHECKLIST:
        for name in names_of(path.relative_to(ROOT).as_posix()):
            if name.startswith("test_"):
                (line,) = [line for line in LINES if name.startswith(after(line))]
                assert (path.relative_to(ROOT).as_posix(), name) in named(ROWS[line][2])


def test_every_function_is_in_the_table_of_what_it_could_do() -> None:
    parsed = template.load(ROOT / "template.yaml", {"ProtectedExample": "yes"})
    section = PAGE.partition("## What each function could do")[2].partition("\n## ")[0]
    rows = "".join(re.findall(r"^\| (\w+Function[^|]*) \|", section, re.M))
    assert set(re.findall(r"\w+?Function", rows)) == set(template.functions(parsed))


def test_every_link_of_the_page_leads_somewhere() -> None:
    for path, anchor in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", PAGE):
        target = (ROOT / "docs" / path).resolve()
        assert target.is_file(), path
        titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
        slugs = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
        assert not anchor or anchor in slugs, (path, anchor)
