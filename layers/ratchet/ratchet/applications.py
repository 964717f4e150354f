"""The applications table, remembered for a minute by every function."""

import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet import events
from ratchet.application import (
    MAX_CLIENT_ID,
    Application,
    InvalidApplication,
    from_mapping,
    to_mapping,
)
from ratchet.errors import Fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REMEMBERED_SECONDS = 60
MAX_REMEMBERED = 1000


class Applications:
    """Registered applications by client id.

    A change, also one that ends sessions, is known everywhere after REMEMBERED_SECONDS.
    """

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[Application | None, int]] = {}

    def get(self, client_id: str, now: int) -> Application | None:
        """The application, at most a minute old, or None. Raises Fault."""
        with self._lock:
            remembered = self._remembered.get(client_id)
        if remembered is not None and 0 <= now - remembered[1] < REMEMBERED_SECONDS:
            return remembered[0]
        possible = 0 < len(client_id) <= MAX_CLIENT_ID and client_id.isascii()
        application = self._read(client_id) if possible else None
        with self._lock:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[client_id] = application, now
        return application

    def remembered(self, client_id: str) -> Application | None:
        """The application as this instance last knew it, however long ago, if it ever did."""
        with self._lock:
            application, _ = self._remembered.get(client_id, (None, 0))
        return application

    def put(self, application: Application, policy: Mapping[str, Any]) -> None:
        """Registers or replaces an application. `policy` as it was written: preset, overrides."""
        self._put(to_mapping(application, policy), "")

    def longest_access_ttl_seconds(self) -> int:
        """Of all applications, what they had before too; reads the whole table. Raises Fault."""
        longest, after = 0, None
        while True:
            answer = self._call(self._client.scan, TableName=self._table, **_start(after))
            for stored in answer["Items"]:
                try:
                    application = _application(stored)
                except Fault as fault:
                    # It gets no tokens; and one damaged item must not keep all keys from rotating.
                    events.log("an application is left out", level="WARNING", fault=str(fault))
                    continue
                ever = application.longest_access_ttl_seconds
                longest = max(longest, ever, application.policy.access_ttl_seconds)
            after = answer.get("LastEvaluatedKey")
            if after is None:
                return longest

    # --- for whoever registers them: mappings as `from_mapping` reads them, never remembered ones

    def written(self, client_id: str) -> dict[str, Any] | None:
        """What is written of an application now (strongly consistent), or None. Raises Fault."""
        answer = self._call(
            self._client.get_item,
            TableName=self._table,
            Key={"client_id": {"S": client_id}},
            ConsistentRead=True,
        )
        return _mapping(answer["Item"]) if "Item" in answer else None

    def all_written(
        self, *, limit: int, after: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of all applications, in no order, and where the next one starts, or None."""
        start = _start({"client_id": {"S": after}} if after else None)
        answer = self._call(
            self._client.scan, TableName=self._table, Limit=limit, ConsistentRead=True, **start
        )
        last = answer.get("LastEvaluatedKey")
        items = [_mapping(item) for item in answer["Items"]]
        return items, last["client_id"]["S"] if last else None

    def every_written(self) -> Iterator[dict[str, Any]]:
        """All applications, in no order: reads the whole table. Raises Fault."""
        after = None
        while True:
            written, after = self.all_written(limit=100, after=after)
            yield from written
            if after is None:
                return

    def create(self, mapping: Mapping[str, Any]) -> bool:
        """False: there is one with this client id, and it stays as it is."""
        return self._put(mapping, "attribute_not_exists(client_id)")

    def replace(self, mapping: Mapping[str, Any], *, version: int) -> bool:
        """False: it is not at this version any more, or gone; nothing was written."""
        return self._put(mapping, _at_version(version), {":version": {"N": str(version)}})

    def delete(self, client_id: str, *, version: int) -> bool:
        """False: it is not at this version any more, or gone; nothing was deleted."""
        return self._conditional(
            self._client.delete_item,
            Key={"client_id": {"S": client_id}},
            ConditionExpression=_at_version(version),
            ExpressionAttributeValues={":version": {"N": str(version)}},
        )

    def _put(
        self, mapping: Mapping[str, Any], condition: str, values: Mapping[str, Any] | None = None
    ) -> bool:
        # All of boto3 with it: for the few who write.
        from boto3.dynamodb.types import TypeSerializer

        serializer = TypeSerializer()
        arguments: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
        if values:
            arguments["ExpressionAttributeValues"] = values
        return self._conditional(
            self._client.put_item,
            Item={name: serializer.serialize(value) for name, value in mapping.items()},
            **arguments,
        )

    def _conditional(self, operation: Callable[..., Any], **arguments: Any) -> bool:
        try:
            operation(TableName=self._table, **arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                return False
            raise Fault(f"dynamodb: {code}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None
        return True

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return operation(**arguments)
        except ClientError as error:
            raise Fault(f"dynamodb: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None

    def _read(self, client_id: str) -> Application | None:
        answer = self._call(
            self._client.get_item, TableName=self._table, Key={"client_id": {"S": client_id}}
        )
        if "Item" not in answer:
            return None
        return _application(answer["Item"])


def _application(stored: Mapping[str, Any]) -> Application:
    mapping = _mapping(stored)
    try:
        return from_mapping(mapping)
    except InvalidApplication as invalid:
        client_id = mapping.get("client_id")
        raise Fault(f"application {client_id} is not valid: {invalid}") from None


def _start(last: Any) -> dict[str, Any]:
    return {"ExclusiveStartKey": last} if last else {}


def _at_version(version: int) -> str:
    # Written by hand, or by a version that counted none: 0.
    unversioned = " OR attribute_not_exists(version)" if version == 0 else ""
    return f"attribute_exists(client_id) AND (version = :version{unversioned})"


def _mapping(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    """A DynamoDB attribute value as Python has it, numbers whole where they are."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            number = Decimal(content)
            # What is none of ours can be a fraction, and is shown to operators.
            return int(number) if number == int(number) else float(number)
        case "SS" | "NS" | "BS":
            return {_plain({kind[0]: one}) for one in content}
        case "L":
            return [_plain(one) for one in content]
        case "M":
            return _mapping(content)
        case "NULL":
            return None
    return content
