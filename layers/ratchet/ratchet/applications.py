"""The applications table, remembered for a minute by every function."""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

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

    def put(self, application: Application, policy: Mapping[str, Any]) -> None:
        """Registers or replaces an application. `policy` as it was written: preset, overrides."""
        item = to_mapping(application, policy)
        serializer = TypeSerializer()
        try:
            self._client.put_item(
                TableName=self._table,
                Item={name: serializer.serialize(value) for name, value in item.items()},
            )
        except (ClientError, BotoCoreError) as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None

    def longest_access_ttl_seconds(self) -> int:
        """Of all applications; reads the whole table. Raises Fault."""
        longest = 0
        try:
            pages = self._client.get_paginator("scan").paginate(TableName=self._table)
            for page in pages:
                for stored in page["Items"]:
                    application = _application(stored)
                    longest = max(longest, application.policy.access_ttl_seconds)
        except (ClientError, BotoCoreError) as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None
        return longest

    def _read(self, client_id: str) -> Application | None:
        try:
            answer = self._client.get_item(
                TableName=self._table, Key={"client_id": {"S": client_id}}
            )
        except ClientError as error:
            raise Fault(f"dynamodb: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None
        if "Item" not in answer:
            return None
        return _application(answer["Item"])


def _application(stored: Mapping[str, Any]) -> Application:
    deserializer = TypeDeserializer()
    item = {name: deserializer.deserialize(value) for name, value in stored.items()}
    try:
        return from_mapping(_plain(item))
    except InvalidApplication as invalid:
        raise Fault(f"application {item.get('client_id')} is not valid: {invalid}") from None


def _plain(value: Any) -> Any:
    """boto3's Decimals as whole numbers, where they are."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else value
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value
