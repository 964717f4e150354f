"""The pinned dependencies against what the packages declare."""

from __future__ import annotations

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
LAYER = ROOT / "layers" / "ratchet" / "requirements.txt"
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


def on_lambda(requirements: list[Requirement]) -> list[Requirement]:
    """Those of them that have to be in the layer: boto3 comes with the runtime."""
    return [
        one
        for one in requirements
        if one.name != "boto3" and (one.marker is None or one.marker.evaluate(LAMBDA))
    ]


def needed_by_the_layer() -> set[str]:
    """Names that the layer's declared dependencies need, directly or through one another."""
    needed: set[str] = set()
    left = on_lambda(declared("layers/ratchet"))
    while left:
        name = canonicalize_name(left.pop().name)
        if name not in needed:
            needed.add(name)
            left += on_lambda([Requirement(text) for text in requires(name) or []])
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


def test_the_layer_ships_what_its_dependencies_need_and_nothing_else() -> None:
    assert set(pins(LAYER)) == needed_by_the_layer()


def test_the_layer_ships_the_versions_that_the_tests_run_with() -> None:
    tested = pins(DEVELOPMENT)
    assert pins(LAYER) == {name: tested.get(name) for name in pins(LAYER)}


@pytest.mark.parametrize("path", [DEVELOPMENT, LAYER], ids=["development", "layer"])
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
