"""What a plain `sam build` leaves behind, and Lambda unpacks."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deployed import artifact

# How large each may be; what is in them is a matter of megabytes.
LAYERS = {"RatchetLayer": 25, "VerifyLayer": 22, "ClientLayer": 1}
MB = 1_000_000
# What Lambda's python3.13 brings along itself.
RUNTIME = ("boto3", "botocore", "s3transfer", "urllib3")
AARCH64 = 183

# Run by the interpreter that Lambda has: every .pyc is its own, made of the source beside it, says
# that nobody need compare the two (PEP 552), and names /opt.
CHECK = """
import importlib.util, json, marshal, pathlib, sys
root, wrong, count = pathlib.Path(sys.argv[1]), [], 0
for source in root.rglob("*.py"):
    compiled = pathlib.Path(importlib.util.cache_from_source(source))
    data = compiled.read_bytes() if compiled.exists() else b""
    text = source.read_bytes()
    expected = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    expected += importlib.util.source_hash(text)
    name = "/opt/" + str(source.relative_to(root))
    if data[:16] != expected or marshal.loads(data[16:]).co_filename != name:
        wrong.append(str(source.relative_to(root)))
    count += 1
print(json.dumps([count, wrong]))
"""


def built() -> dict[str, str]:
    """The types of what a build has made, by logical id."""
    resources = yaml.safe_load((artifact.FOR_LAMBDA / "template.yaml").read_text("utf-8"))[
        "Resources"
    ]
    return {
        name: resource["Type"]
        for name, resource in resources.items()
        if (artifact.FOR_LAMBDA / name).is_dir()
    }


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layer", LAYERS)
def test_every_module_of_a_layer_has_bytecode_that_stays_valid(layer: str) -> None:
    done = subprocess.run(
        [artifact.LAMBDA_PYTHON, "-B", "-c", CHECK, artifact.FOR_LAMBDA / layer],
        capture_output=True,
        text=True,
        check=True,
    )
    count, wrong = json.loads(done.stdout)
    assert count > 10
    assert not wrong


def test_the_bytecode_is_what_runs_whatever_a_zip_file_does_to_times(tmp_path: Path) -> None:
    """The sources are emptied, which also makes them newer: nothing of them is looked at."""
    shutil.copytree(artifact.FOR_HERE / "RatchetLayer" / "python", tmp_path / "python")
    for source in tmp_path.rglob("*.py"):
        source.write_text("")
    shutil.copytree(artifact.FOR_HERE / "RefreshFunction", tmp_path / "task")
    done = subprocess.run(
        [artifact.LAMBDA_PYTHON, "-B", "-c", "import app; print(app.handler.__module__)"],
        cwd=tmp_path / "task",
        env={"PYTHONPATH": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ratchet.endpoint", done.stderr


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_has_arm64_wheels_and_nothing_that_the_runtime_or_nobody_needs(layer: str) -> None:
    python = artifact.FOR_LAMBDA / layer / "python"
    libraries = [path.read_bytes()[:20] for path in python.rglob("*.so")]
    assert bool(libraries) is (layer != "ClientLayer")
    assert {int.from_bytes(header[18:20], "little") for header in libraries} <= {AARCH64}
    names = {path.name for path in python.iterdir()}
    assert not names & {*RUNTIME, "bin", "pip"}
    assert [path.name for path in python.parent.iterdir()] == ["python"]
    assert not [path for path in python.rglob("tests") if path.is_dir()]


def test_nothing_in_it_names_the_folder_that_it_was_built_in() -> None:
    place = str(artifact.ROOT).encode()
    found = [path for name in built() for path in (artifact.FOR_LAMBDA / name).rglob("*")]
    assert not [path for path in found if path.is_file() and place in path.read_bytes()]


def test_it_is_no_larger_than_it_was_meant_to_be() -> None:
    """What a cold start fetches. Lambda's own limit is 250 MB, for a function with its layers."""
    for name, kind in built().items():
        limit = LAYERS[name] * MB if kind == "AWS::Serverless::LayerVersion" else 10_000
        assert size(artifact.FOR_LAMBDA / name) < limit, name


def test_a_function_is_its_one_file() -> None:
    for name, kind in built().items():
        if kind == "AWS::Serverless::Function":
            assert [path.name for path in (artifact.FOR_LAMBDA / name).iterdir()] == ["app.py"]


def test_the_wheels_are_all_that_differs_from_what_is_run_here() -> None:
    for layer in LAYERS:
        sources = [
            {
                path.relative_to(folder / layer): path.read_bytes()
                for path in (folder / layer / "python").rglob("*.py")
            }
            for folder in (artifact.FOR_LAMBDA, artifact.FOR_HERE)
        ]
        assert sources[0] == sources[1]
