"""A Python file as a Lambda function of the deployment's own, on the local endpoint."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import boto3

from ratchet_cli.provision import ProvisionError


def deploy(path: Path, name: str) -> str:
    """Make the file the function of this name. Returns its ARN; its handler is called `handler`.

    The AWS settings are those of this process. Raises ProvisionError if it cannot be read.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ProvisionError(f"{path} cannot be read: {error.strerror}") from error
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", source)
    client = boto3.client("lambda")
    # A kept state has the one of the last start.
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_function(FunctionName=name)
    made = client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/local",
        Handler="app.handler",
        Code={"ZipFile": package.getvalue()},
        Timeout=10,
    )
    return made["FunctionArn"]
