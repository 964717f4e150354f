"""The first signing keys of a new stack. Later ones come by rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratchet.keys import generate_signing_keys

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def put_first(client: SecretsManagerClient, secret_id: str) -> bool:
    """Fill an empty secret with a next and a current key; False if it has keys already.

    Raises botocore's ClientError.
    """
    if _filled(client, secret_id):
        return False
    client.put_secret_value(SecretId=secret_id, SecretString=generate_signing_keys())
    return True


def _filled(client: SecretsManagerClient, secret_id: str) -> bool:
    try:
        # On AWS a secret without a value has no version; the emulator gives it an empty one.
        return bool(client.get_secret_value(SecretId=secret_id).get("SecretString"))
    except client.exceptions.ResourceNotFoundException:
        # also raised when there is no such secret: the put will then say so
        return False
