"""Where the last sweep stopped in each shard, if it did not get through: for the next to go on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault
from ratchet.session_item import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class SweepPositions:
    """A table with at most one item a shard, which is a key of the sessions' index `attention`."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def get(self, shard: int) -> Item | None:
        """What is kept for the shard, whatever it is, or None. Raises Fault."""
        # Consistent: the run that wrote it may have ended a moment ago.
        answer = self._call(self._client.get_item, Key=_key(shard), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def keep(self, position: Item) -> None:
        """Keeps a key of the index, in the place of the one before. Raises Fault."""
        self._call(self._client.put_item, Item=position)

    def drop(self, shard: int) -> None:
        """Raises Fault."""
        self._call(self._client.delete_item, Key=_key(shard))

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return operation(TableName=self._table, **arguments)
        except ClientError as error:
            raise Fault(f"dynamodb: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None


def _key(shard: int) -> Item:
    return {"attention_shard": {"N": str(shard)}}
