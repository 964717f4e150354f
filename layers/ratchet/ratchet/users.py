"""The users table: people who sign in here with an e-mail address and a password.

Two items a user, written in one transaction, so that neither name can be given twice:

    id                       holds
    email:ada@example.com    the user, password hash included
    sub:ada                  whose subject that is

A sign-in is one strongly consistent read, whether there is such a user or not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault
from ratchet.session_item import Item, seconds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_EMAIL = "email:"
_SUB = "sub:"


class UserExistsError(ValueError):
    """The message says which name is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """email: normalised. password_hash: argon2id in PHC form. Instants in epoch seconds.

    revision: counts what ends the user's sessions: a new password, being disabled.
    """

    email: str
    sub: str
    password_hash: str = field(repr=False)
    created_at: int
    password_changed_at: int
    disabled_at: int | None = None
    revision: int = 0


class Users:
    """Users by e-mail address or subject."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def get(self, email: str) -> User | None:
        """The user with this normalised address as it is now, or None. Raises Fault."""
        item = self._read(_EMAIL + email)
        return _from_item(item) if item else None

    def of_subject(self, sub: str) -> User | None:
        """The user with this subject, or None. Raises Fault."""
        item = self._read(_SUB + sub)
        return self.get(item["email"]["S"]) if item else None

    def add(self, user: User) -> None:
        """Raises UserExistsError, Fault."""
        items: list[Item] = [
            {**_key(_EMAIL + user.email), **_to_item(user)},
            {**_key(_SUB + user.sub), "email": {"S": user.email}},
        ]
        put = {"TableName": self._table, "ConditionExpression": "attribute_not_exists(id)"}
        try:
            self._call(
                "transact_write_items",
                TransactItems=[{"Put": {**put, "Item": item}} for item in items],
            )
        except _RefusedError as refused:
            taken = [
                name
                for name, code in zip(("e-mail address", "subject"), refused.codes, strict=False)
                if code == "ConditionalCheckFailed"
            ]
            if not taken:
                raise Fault("dynamodb: TransactionCanceledException") from None
            raise UserExistsError(f"the {' and the '.join(taken)} is taken") from None

    def set_password(self, email: str, password_hash: str, now: int) -> User | None:
        """The user with the new password, or None: there is none."""
        return self._update(
            email,
            "SET password_hash = :hash, password_changed_at = :now ADD revision :one",
            {":hash": {"S": password_hash}, ":now": seconds(now), ":one": {"N": "1"}},
        )

    def disable(self, email: str, now: int) -> User | None:
        """The user, disabled since now or since earlier, or None: there is none."""
        return self._update(
            email,
            "SET disabled_at = if_not_exists(disabled_at, :now) ADD revision :one",
            {":now": seconds(now), ":one": {"N": "1"}},
        )

    def enable(self, email: str) -> User | None:
        """The user, who may sign in again, or None: there is none."""
        return self._update(email, "REMOVE disabled_at", {})

    def rehash(self, user: User, password_hash: str) -> None:
        """The same password under another hash, unless it was changed in between."""
        self._update(
            user.email,
            "SET password_hash = :new",
            {":new": {"S": password_hash}, ":old": {"S": user.password_hash}},
            condition="password_hash = :old",
        )

    def all(self) -> Iterator[User]:
        """Every user, in no order."""
        start: dict[str, Any] = {}
        while True:
            answer = self._call("scan", TableName=self._table, **start)
            for item in answer["Items"]:
                if item["id"]["S"].startswith(_EMAIL):
                    yield _from_item(item)
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _read(self, key: str) -> Mapping[str, Any] | None:
        answer = self._call("get_item", TableName=self._table, Key=_key(key), ConsistentRead=True)
        item: Mapping[str, Any] | None = answer.get("Item")
        return item

    def _update(
        self, email: str, update: str, values: Item, condition: str = "attribute_exists(id)"
    ) -> User | None:
        try:
            answer = self._call(
                "update_item",
                TableName=self._table,
                Key=_key(_EMAIL + email),
                ConditionExpression=condition,
                UpdateExpression=update,
                ReturnValues="ALL_NEW",
                **({"ExpressionAttributeValues": values} if values else {}),
            )
        except _RefusedError:
            return None
        return _from_item(answer["Attributes"])

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                raise _RefusedError([]) from None
            if code == "TransactionCanceledException":
                reasons: Any = error.response.get("CancellationReasons", [])
                raise _RefusedError([reason.get("Code") for reason in reasons]) from None
            raise Fault(f"dynamodb: {code}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None


class _RefusedError(Exception):
    def __init__(self, codes: list[str]) -> None:
        super().__init__()
        self.codes = codes


def _key(key: str) -> Item:
    return {"id": {"S": key}}


def _to_item(user: User) -> Item:
    item: Item = {
        "email": {"S": user.email},
        "sub": {"S": user.sub},
        "password_hash": {"S": user.password_hash},
        "created_at": seconds(user.created_at),
        "password_changed_at": seconds(user.password_changed_at),
        "revision": {"N": str(user.revision)},
    }
    if user.disabled_at is not None:
        item["disabled_at"] = seconds(user.disabled_at)
    return item


def _from_item(item: Mapping[str, Any]) -> User:
    try:
        return User(
            email=item["email"]["S"],
            sub=item["sub"]["S"],
            password_hash=item["password_hash"]["S"],
            created_at=int(item["created_at"]["N"]),
            password_changed_at=int(item["password_changed_at"]["N"]),
            disabled_at=int(item["disabled_at"]["N"]) if "disabled_at" in item else None,
            revision=int(item["revision"]["N"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Fault(f"a user is damaged: {type(error).__name__}") from None
