"""What may be used once: client assertions, remembered until they expire by themselves."""

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class SingleUse:
    """A table of what has been used: `id`, `request`, and `expires_at`, at which TTL deletes it."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def use(self, identity: bytes, *, request: bytes, expires_at: int) -> bool:
        """Whether this is the first use, or the same request again. One conditional write.

        identity: 32 bytes of what is used. request: bytes that only the same request has in common
        with the first one; when the SDK repeats the write because its answer was lost, too.
        Raises Fault.
        """
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "id": {"S": urlsafe_b64encode(identity).rstrip(b"=").decode()},
                    "request": {"B": request},
                    "expires_at": {"N": str(expires_at)},
                },
                ConditionExpression="attribute_not_exists(id) OR #request = :request",
                ExpressionAttributeNames={"#request": "request"},
                ExpressionAttributeValues={":request": {"B": request}},
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                return False
            raise Fault(f"dynamodb: {code}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None
        return True
