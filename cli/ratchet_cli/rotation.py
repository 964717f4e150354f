"""What Secrets Manager does to rotate a secret, for the local stack: the emulator does not call
functions."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ratchet.rotate_keys import STEPS, Rotation, rotate
from ratchet.secret_versions import PENDING

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_FUNCTION = "arn:aws:lambda:eu-central-1:000000000000:function:RotateKeysFunction"


def rotate_here(
    rotation: Rotation,
    client: SecretsManagerClient,
    *,
    longest_access_ttl_seconds: int,
    now: int,
) -> None:
    """Rotate a secret from beginning to end. Raises ratchet's Fault and botocore's errors."""
    secret_id = rotation.versions.secret_id
    if not client.describe_secret(SecretId=secret_id).get("RotationEnabled"):
        client.rotate_secret(
            SecretId=secret_id, RotationLambdaARN=_FUNCTION, RotateImmediately=False
        )
    token = str(uuid.uuid4())
    client.put_secret_value(SecretId=secret_id, ClientRequestToken=token, VersionStages=[PENDING])
    try:
        for step in STEPS:
            rotate(
                step,
                token,
                rotation,
                longest_access_ttl_seconds=longest_access_ttl_seconds,
                now=now,
            )
    except Exception:
        # Nobody would try this rotation again, and it must not be in the way of the next one.
        rotation.versions.drop_pending(token)
        raise
