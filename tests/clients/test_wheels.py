"""The packages that others install: the wheels that hatchling builds of them, offline."""

import email
import importlib.util
import os
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from tests.local_stack import ROOT

BUILD = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
LICENCE = (ROOT / "LICENSE").read_bytes()
PACKAGES = ["ratchet_client", "ratchet_verify"]
CLIENT = """
import importlib, sys
import ratchet_client
assert ratchet_client.__file__.startswith(sys.argv[1]), ratchet_client.__file__
session = ratchet_client.Session(
    ratchet_client.FileStore(sys.argv[2]), client_id="app", token_endpoint="https://id.test/token"
)
session.start({"access_token": "a", "token_type": "Bearer", "refresh_token": "r"})
assert session.access_token() == "a"
for name in ("httpx", "requests", "keyring", "boto3", "botocore", "ratchet"):
    assert name not in sys.modules, name
for name in ("httpx_auth", "requests_auth", "keyring_store", "dynamodb_store"):
    try:
        importlib.import_module(f"ratchet_client.{name}")
    except ModuleNotFoundError as missing:
        assert missing.name in ("httpx", "requests", "keyring", "boto3"), missing
    else:
        raise AssertionError(f"{name} without its extra")
"""
VERIFY = """
import sys
import ratchet_verify
assert ratchet_verify.__file__.startswith(sys.argv[1]), ratchet_verify.__file__
verifier = ratchet_verify.Verifier("https://id.test", "https://api.test")
try:
    verifier.verify("no-token")
except ratchet_verify.InvalidToken:
    pass
for name in ("boto3", "botocore", "starlette", "aws_lambda_powertools", "ratchet"):
    assert name not in sys.modules, name
"""


@pytest.fixture(scope="module", params=PACKAGES)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=ROOT / "layers" / request.param,
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / done.stdout.split()[-1]


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_a_wheel_is_for_every_python_and_says_what_it_is(wheel: Path) -> None:
    name, version, *tags = wheel.stem.split("-")
    assert tags == ["py3", "none", "any"]
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == (name.replace("_", "-"), version)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["License-File"] == "LICENSE"
    assert said["Summary"]
    assert said["Requires-Python"] == ">=3.11"


def test_all_packages_have_one_version() -> None:
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("layers/*/pyproject.toml")]
    lines = [[line for line in text.splitlines() if line.startswith("version")] for text in texts]
    assert len({str(each) for each in lines}) == 1


def test_a_wheel_has_the_package_its_types_and_its_licence_and_nothing_else(wheel: Path) -> None:
    package = wheel.stem.split("-")[0]
    folder = ROOT / "layers" / package / package
    expected = {f"{package}/{path.name}" for path in folder.iterdir() if path.is_file()}
    about = "-".join(wheel.stem.split("-")[:2]) + ".dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read(f"{about}/licenses/LICENSE") == LICENCE
    assert f"{package}/py.typed" in names
    assert names == expected | {
        f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")
    }


def test_neither_needs_boto3_and_the_client_needs_nothing(wheel: Path) -> None:
    needs = metadata(wheel).get_all("Requires-Dist") or []
    plain = [need for need in needs if "extra ==" not in need]
    assert not [need for need in plain if need.startswith("boto")]
    if wheel.name.startswith("ratchet_client"):
        assert plain == []
        extras = metadata(wheel).get_all("Provides-Extra")
        assert sorted(extras or []) == ["dynamodb", "httpx", "keyring", "requests"]


def test_it_works_from_its_wheel_with_nothing_but_what_it_needs(
    wheel: Path, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    # -S: the standard library, the wheel, and no package that is installed beside it
    program, path = CLIENT, [installed]
    if wheel.name.startswith("ratchet_verify"):
        program = VERIFY
        for needed in ("jwt", "cryptography", "cffi", "_cffi_backend"):
            origin = importlib.util.find_spec(needed)
            assert origin is not None
            found = Path(str(origin.origin))
            found = found.parent if found.name == "__init__.py" else found
            (tmp_path / "needed").mkdir(exist_ok=True)
            (tmp_path / "needed" / found.name).symlink_to(found)
        path.append(tmp_path / "needed")
    subprocess.run(
        [sys.executable, "-S", "-c", program, str(installed), str(tmp_path / "kept")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        check=True,
        timeout=60,
    )
