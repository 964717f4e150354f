"""A session in an item of DynamoDB, for programs without a disk. Needs the extra `dynamodb`."""

import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ratchet_client import forks
from ratchet_client.errors import LockLost, StoreFailed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDBStore:
    """For Lambda functions and other machines that share a session.

    table: has a partition key of type string, `key`, and no sort key. item: the key's value, one a
    session. Needs dynamodb:GetItem and dynamodb:UpdateItem. Who may read it can use the session.

    lease_seconds: how long the lock of somebody who died stays locked. Every write has the lock in
    its condition and begins the lease anew: a function that was frozen and wakes up an hour later
    overwrites nothing. A request cannot have such a condition. It is sent within 5 seconds after a
    write or not at all, so lease_seconds has to be more than these 5 and `timeout_seconds` of the
    Session together: with less two may refresh at once, and the later request can be of a token
    that is two refreshes old, which ends the session at a server that detects reuse.
    """

    def __init__(
        self,
        table: str,
        item: str,
        *,
        key: str = "id",
        client: "DynamoDBClient | None" = None,
        lease_seconds: float = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = client or boto3.client("dynamodb")
        self._where: dict[str, Any] = {"TableName": table, "Key": {key: {"S": item}}}
        self._lease_seconds = lease_seconds
        self._clock = clock
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Nothing is held, by us and for now."""
        self._mutex = threading.Lock()
        self._holder = ""

    def load(self) -> str | None:
        try:
            found = self._dynamodb.get_item(**self._where, ConsistentRead=True)
        except (ClientError, BotoCoreError) as failure:
            raise _failed(failure) from None
        return found.get("Item", {}).get("session", {}).get("S")

    def save(self, text: str) -> None:
        if not self._update(
            "SET #session = :text, locked_until = :until",
            "holder = :me",
            names={"#session": "session"},
            values={":text": {"S": text}, ":me": {"S": self._holder}, ":until": self._until()},
        ):
            raise LockLost("the lock of the session ran out")

    def try_lock(self) -> bool:
        if not self._mutex.acquire(blocking=False):
            return False
        self._holder = secrets.token_hex(16)
        taken = False
        try:
            taken = self._update(
                "SET holder = :me, locked_until = :until",
                # Ours already: the SDK has repeated a request whose answer was lost.
                "attribute_not_exists(holder) OR locked_until < :now OR holder = :me",
                values={
                    ":me": {"S": self._holder},
                    ":until": self._until(),
                    ":now": {"N": f"{self._clock():.3f}"},
                },
            )
        finally:
            if not taken:
                self._mutex.release()
        return taken

    def unlock(self) -> None:
        try:
            # Somebody else's by now, if the condition fails: then it is theirs to give back.
            self._update(
                "REMOVE holder, locked_until", "holder = :me", values={":me": {"S": self._holder}}
            )
        finally:
            self._holder = ""
            self._mutex.release()

    def _until(self) -> Any:
        return {"N": f"{self._clock() + self._lease_seconds:.3f}"}

    def _update(
        self, change: str, condition: str, *, values: Any, names: dict[str, str] | None = None
    ) -> bool:
        """Whether the condition held."""
        extra: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        try:
            self._dynamodb.update_item(
                **self._where,
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
                **extra,
            )
        except ClientError as failure:
            if failure.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise _failed(failure) from None
        except BotoCoreError as failure:
            raise _failed(failure) from None
        return True


def _failed(failure: ClientError | BotoCoreError) -> StoreFailed:
    if isinstance(failure, ClientError):
        return StoreFailed(f"dynamodb: {failure.response['Error']['Code']}")
    return StoreFailed(f"dynamodb: {type(failure).__name__}")
