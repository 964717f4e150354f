"""The pinned dependencies against what the packages declare."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DEVELOPMENT = ROOT / "requirements" / "dev.txt"
PEERS = ROOT / "bench" / "peers" / "requirements.txt"
LAYERS = {
    folder: ROOT / folder / "requirements.txt"
    for folder in ("layers/ratchet", "layers/ratchet_verify")
}
OUR_OWN = {"ratchet", "ratchet-cli", "ratchet-client", "ratchet-verify"}
# Where the layer runs.
LAMBDA = {
    "implementation_name": "cpython",
    "platform_machine": "aarch64",
    "platform_python_implementation": "CPython",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
    "extra": "",
}
# Options and addresses that tie an installation to one place to download from.
SOURCE = re.compile(r"--(extra-)?(index-url|find-links|trusted-host)|(^|\s)-[if]\s|[a-z+]+://|@ ")


def pins(path: Path) -> dict[str, str]:
    """The version that a requirements file pins for each name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", path.read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def declared(folder: str) -> list[Requirement]:
    """What the package in this folder declares, extras included, our own packages left out."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project.get("optional-dependencies", {}).values()
    requirements = [Requirement(text) for text in chain(project["dependencies"], *optional)]
    return [one for one in requirements if canonicalize_name(one.name) not in OUR_OWN]


def on_lambda(requirements: list[Requirement], extra: str = "") -> list[Requirement]:
    """Those of them that have to be in a layer: boto3 comes with the runtime."""
    given = {**LAMBDA, "extra": extra}
    return [
        one
        for one in requirements
        if one.name != "boto3" and (one.marker is None or one.marker.evaluate(given))
    ]


def needed_by(folder: str) -> set[str]:
    """Names that a layer's declared dependencies need, directly or through one another."""
    needed: set[str] = set()
    left = [(one, extra) for one in on_lambda(declared(folder)) for extra in ("", *one.extras)]
    while left:
        one, extra = left.pop()
        name = canonicalize_name(one.name)
        if name not in needed or extra:
            needed.add(name)
            more = [Requirement(text) for text in requires(name) or []]
            left += [(each, "") for each in on_lambda(more, extra)]
    return needed


@pytest.mark.parametrize(
    "folder", ["layers/ratchet", "layers/ratchet_client", "layers/ratchet_verify", "cli"]
)
def test_every_declared_dependency_is_pinned_inside_its_range(folder: str) -> None:
    pinned = pins(DEVELOPMENT)
    for requirement in declared(folder):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, requirement
        assert version in requirement.specifier, requirement


@pytest.mark.parametrize("folder", LAYERS)
def test_a_layer_ships_what_its_dependencies_need_and_nothing_else(folder: str) -> None:
    assert set(pins(LAYERS[folder])) == needed_by(folder)


@pytest.mark.parametrize("folder", LAYERS)
def test_a_layer_ships_the_versions_that_the_tests_run_with(folder: str) -> None:
    """So two of them in one function have the same files."""
    tested, shipped = pins(DEVELOPMENT), pins(LAYERS[folder])
    assert shipped == {name: tested.get(name) for name in shipped}


@pytest.mark.parametrize(
    "path",
    [PEERS, *LAYERS.values(), *sorted((ROOT / "requirements").glob("*.txt"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_pin_has_its_hashes(path: Path) -> None:
    text = re.sub(r"#.*", "", path.read_text("utf-8")).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert len(lines) == len(pins(path))
    for line in lines:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("**/requirements*.txt"), *(ROOT / "requirements").iterdir()],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_requirements_file_names_a_place_to_download_from(path: Path) -> None:
    for line in path.read_text("utf-8").splitlines():
        assert not SOURCE.search(line)


@pytest.mark.parametrize("folder", ["bench", "bench/peers", "tests/browser"])
def test_no_lock_file_of_npm_names_a_place_to_download_from(folder: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text("utf-8"))
    packages = {name: found for name, found in lock["packages"].items() if name}
    assert packages
    for name, found in packages.items():
        assert "resolved" not in found, name
        assert found["integrity"].startswith("sha512-"), name
