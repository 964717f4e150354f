"""What is shipped of others, and what checks the tree: licences, secrets, rules that are off."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts import audit, find_secrets, licences

ROOT = Path(__file__).parents[2]
# None of them asks more than that its text is kept.
PERMISSIVE = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"}


def test_the_layers_ship_packages_under_permissive_licences_only() -> None:
    shipped = licences.shipped()
    assert len(shipped) > 10
    for _, package, _ in shipped:
        # One of those that it offers will do; none is a pair that both have to be kept.
        assert set(licences.licence(package).split(" OR ")) & PERMISSIVE, package


def test_the_page_of_licences_is_as_make_licences_writes_it() -> None:
    assert (ROOT / "docs" / "licences.md").read_text("utf-8") == licences.page()


@pytest.mark.parametrize("path", ["bench", "bench/peers", "tests/browser"])
def test_npm_packages_are_pinned_by_hash_and_tied_to_no_place(path: str) -> None:
    lock = json.loads((ROOT / path / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    for name, each in packages.items():
        assert each["integrity"].startswith("sha512-"), name
        assert "resolved" not in each, name


PLANTED = [
    ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ("a key of AWS", "id = 'AKIA" + "QYLPMN5HHHFPZAM2'"),
    ("a JWT", "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"),
    ("random bytes", "x = 'pW8vHk2Lq9ZtYb3R" + "nXc7MdGf5Js1TuAe'"),
]


@pytest.mark.parametrize(("what", "text"), PLANTED, ids=[what for what, _ in PLANTED])
def test_a_secret_in_a_file_is_found(tmp_path: Path, what: str, text: str) -> None:
    path = tmp_path / "settings.py"
    path.write_text(f"{text}\n", encoding="utf-8")
    with find_secrets.detecting():
        found = find_secrets.found(str(path))
    assert found
    assert find_secrets.known_as(found[0]) is None
    assert "looks like a secret" in find_secrets.problems(found)[0]


def test_an_exception_that_nothing_needs_is_told() -> None:
    said = find_secrets.problems([])
    assert len(said) == len(find_secrets.KNOWN)
    assert all("any more" in line for line in said)


def test_a_rule_that_is_off_says_why() -> None:
    """Ruff's, for one line or for a folder. cfn-lint's: none is off."""
    for folder in ("bench", "cli", "functions", "layers", "scripts", "tests"):
        for path in set((ROOT / folder).rglob("*.py")) - {Path(__file__)}:
            for line in path.read_text("utf-8").splitlines():
                if re.search(r"# noqa", line):
                    assert re.search(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \w", line), (path, line)
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    ignores = settings.partition("per-file-ignores]")[2].partition("\n[")[0]
    for line in re.findall(r"^  \"[A-Z].*$", ignores, re.M):
        assert "  # " in line, line
    template = (ROOT / "template.yaml").read_text("utf-8")
    assert not re.search(r"cfn-lint|ignore_checks|rules_to_suppress", template)
    assert not [*ROOT.glob(".cfnlintrc*")]


def test_an_audit_asks_about_every_file_of_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[Path] = set()

    def ask(path: Path) -> dict[str, list[str] | None]:
        asked.add(path)
        return {}

    monkeypatch.setattr(audit, "asked", ask)
    audit.main()
    folders = ("layers", "requirements", "bench/peers")
    pinned = {path for each in folders for path in (ROOT / each).glob("**/*.txt")}
    outside = {path for path in pinned if ".venv" in str(path.relative_to(ROOT))}
    assert asked == {path for path in pinned - outside if "--hash=sha256:" in path.read_text()}


def test_an_audit_that_could_ask_nobody_does_not_say_that_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: dict[str, list[str] | None] = {"cffi 1": [], "idna 2": None}
    monkeypatch.setattr(audit, "asked", lambda _: answers)
    assert audit.main() == audit.UNKNOWN
    assert "NOT AUDITED, 1 of 2 pins" in capsys.readouterr().out
    answers["idna 2"] = []
    assert audit.main() == audit.NONE
    answers["cffi 1"] = ["GHSA-1"]
    assert audit.main() == audit.SOME
    assert "cffi 1: GHSA-1" in capsys.readouterr().out
