"""What `sam build` makes of template.yaml: as Lambda gets it, and once more for this machine."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
# It has what Lambda's own python3.13 has, and nothing else.
LAMBDA_PYTHON = ROOT / ".venv-lambda" / "bin" / "python"
FOR_LAMBDA = ROOT / ".aws-sam" / "for-lambda"
# The same but for the wheels in the layers: those for arm64 run on arm64 only.
FOR_HERE = ROOT / ".aws-sam" / "for-here"


def environment(**more: str) -> dict[str, str]:
    """Of the SAM CLI: it reports to nobody, and finds the interpreter that it builds with."""
    path = os.pathsep.join([str(LAMBDA_PYTHON.parent), os.environ["PATH"]])
    return {**os.environ, "SAM_CLI_TELEMETRY": "0", "PATH": path, **more}


def run(*command: str | Path, cwd: Path, **more: str) -> None:
    """Run the SAM CLI. Raises RuntimeError with all that it said, which else nobody hears."""
    done = subprocess.run(
        [SAM, *command],
        cwd=cwd,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"sam {command[0]} failed:\n{done.stdout}")


def build_both() -> None:
    """Raises RuntimeError."""
    # samconfig.toml asks for a cache, which does not know of LAYER_FOR.
    options = ("--no-cached", "--parallel", "--build-dir")
    run("build", *options, FOR_LAMBDA, cwd=ROOT)
    run("build", *options, FOR_HERE, cwd=ROOT, LAYER_FOR="this-machine")
