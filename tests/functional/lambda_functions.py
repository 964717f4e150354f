"""Lambda functions of a deployment's own, run by the emulator: real code behind the real API."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3

from ratchet_cli.lambda_function import deploy


@contextlib.contextmanager
def deployed(source: str, name: str = "claims") -> Iterator[str]:
    """The ARN of a Python function with this source, whose handler is called `handler`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(source, encoding="utf-8")
        arn = deploy(path, name)
    try:
        yield arn
    finally:
        boto3.client("lambda").delete_function(FunctionName=name)
