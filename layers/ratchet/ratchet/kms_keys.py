"""Signing keys whose private half never leaves KMS: they are made, used and given up here."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from jwt.utils import der_to_raw_signature

from ratchet.errors import Fault
from ratchet.keys import ALGORITHMS, public_members

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient

STACK_TAG = "ratchet:stack"
"""The functions' roles may sign with keys that carry this tag and the stack's name, no others."""
DELETION_DAYS = 30
YOUNG_SECONDS = 3600

# RFC 7518 section 3.1 to KMS: its name, and the hash of the digest it is given.
_KMS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "RS256": ("RSASSA_PKCS1_V1_5_SHA_256", hashlib.sha256),
    "RS384": ("RSASSA_PKCS1_V1_5_SHA_384", hashlib.sha384),
    "RS512": ("RSASSA_PKCS1_V1_5_SHA_512", hashlib.sha512),
    "PS256": ("RSASSA_PSS_SHA_256", hashlib.sha256),
    "ES256": ("ECDSA_SHA_256", hashlib.sha256),
}

_READABLE = {
    "version": 2,
    "waiters": {
        "KeyReadable": {
            "operation": "GetPublicKey",
            "delay": 2,
            "maxAttempts": 15,
            "acceptors": [
                {"matcher": "status", "expected": 200, "state": "success"},
                {"matcher": "error", "expected": "NotFoundException", "state": "retry"},
            ],
        }
    },
}


class KmsKeys:
    """The KMS keys of one stack. `client` and `tagging` are called at the first use."""

    def __init__(
        self,
        client: Callable[[], "KMSClient"],
        tagging: Callable[[], "ResourceGroupsTaggingAPIClient"],
        stack: str,
    ) -> None:
        self._client = client
        self._tagging = tagging
        self._stack = stack

    def sign(self, kms_key: str, algorithm: str, message: bytes) -> bytes:
        """The JWS signature of a message. Only its digest is sent. Raises Fault."""
        name, digest = _KMS[algorithm]
        try:
            signature = self._client().sign(
                KeyId=kms_key,
                Message=digest(message).digest(),
                MessageType="DIGEST",
                SigningAlgorithm=name,
            )["Signature"]
        except ClientError as error:
            raise Fault(f"kms: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"kms: {type(error).__name__}") from None
        if ALGORITHMS[algorithm] == "EC":
            # RFC 7518 section 3.4 wants r and s side by side, KMS answers in DER.
            return der_to_raw_signature(signature, ec.SECP256R1())
        return signature

    def create(self, algorithm: str, *, rsa_bits: int) -> dict[str, str]:
        """A new key as a public JWK with its `kms_key`. Raises botocore's errors."""
        spec: Any = "ECC_NIST_P256" if ALGORITHMS[algorithm] == "EC" else f"RSA_{rsa_bits}"
        client = self._client()
        kms_key = client.create_key(
            Description=f"Ratchet, stack {self._stack}: signs access tokens",
            KeyUsage="SIGN_VERIFY",
            KeySpec=spec,
            Tags=[{"TagKey": STACK_TAG, "TagValue": self._stack}],
        )["KeyMetadata"]["Arn"]
        # Half of botocore, and only who makes keys needs it.
        from botocore.waiter import WaiterModel, create_waiter_with_client

        # KMS needs a moment until it knows the key everywhere.
        readable = create_waiter_with_client("KeyReadable", WaiterModel(_READABLE), client)
        readable.wait(KeyId=kms_key)
        public_key = load_der_public_key(client.get_public_key(KeyId=kms_key)["PublicKey"])
        return {**public_members(public_key), "alg": algorithm, "kms_key": kms_key}

    def give_up(self, *, kept: set[str], now: int) -> list[str]:
        """Schedules the deletion of this stack's other keys; their ARNs. Raises botocore's errors.

        Whatever left the slots, and what a rotation made that was broken off; not what is so young
        that somebody may be about to put it into a slot. It can be called back for DELETION_DAYS.
        """
        pages = (
            self._tagging()
            .get_paginator("get_resources")
            .paginate(
                TagFilters=[{"Key": STACK_TAG, "Values": [self._stack]}],
                ResourceTypeFilters=["kms:key"],
            )
        )
        found = {entry["ResourceARN"] for page in pages for entry in page["ResourceTagMappingList"]}
        given_up = []
        for kms_key in sorted(found - kept):
            key = self._client().describe_key(KeyId=kms_key)["KeyMetadata"]
            old = key["CreationDate"].timestamp() + YOUNG_SECONDS <= now
            # The tag index still lists keys that are being deleted, and may list others.
            if key["Enabled"] and key["KeyUsage"] == "SIGN_VERIFY" and old:
                self._client().schedule_key_deletion(
                    KeyId=kms_key, PendingWindowInDays=DELETION_DAYS
                )
                given_up.append(kms_key)
        return given_up
