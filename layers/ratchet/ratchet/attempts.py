"""The attempts table: how full the buckets of throttle.py are, in items that delete themselves.

An attempt is counted *before* the password is looked at, by conditional writes, so that a thousand
at the same time in as many containers do not all pass. An attempt touches two items: with room in
both that is a read and two writes (two more where somebody has just failed), and three more when it
succeeds. One that is refused costs failed writes and stores nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet import events, throttle
from ratchet.errors import Fault
from ratchet.session_item import Item, seconds
from ratchet.throttle import ACCOUNT, ADDRESS, KNOWN_SECONDS, Limit

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Admission:
    """wait: 0, or the seconds until there is room again. taken: the buckets that were asked, by
    key. by: which of them said so, for the log."""

    wait: int
    taken: tuple[tuple[str, Limit], ...]
    by: str


class Attempts:
    """Sign-in attempts by account and by source address."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def admit(self, email: str, source: str, now: int) -> Admission:
        """Counts an attempt, if there is room for it.

        The address comes first, so that one address cannot fill the table with accounts.
        """
        address = throttle.address_key(source)
        if wait := self._take(address, ADDRESS, now, lasting=False):
            return Admission(wait, ((address, ADDRESS),), "address")
        # Whoever has signed in from here before is not held back by what others try elsewhere.
        pair = throttle.pair_key(email, source)
        answer = self._call("get_item", Key=_key(pair), ConsistentRead=True)
        # DynamoDB deletes an expired item only some time later.
        known = "Item" in answer and int(answer["Item"]["expires_at"]["N"]) > now
        account = pair if known else throttle.account_key(email)
        wait = self._take(account, ACCOUNT, now, lasting=known)
        taken = ((address, ADDRESS), (account, ACCOUNT))
        return Admission(wait, taken, "known address" if known else "account")

    def succeeded(self, admission: Admission, email: str, source: str, now: int) -> None:
        """Gives back what the attempt took, and knows the address from now on.

        What others have tried stays counted. A fault here fails nobody's sign-in.
        """
        try:
            for key, limit in admission.taken:
                self._give_back(key, limit)
            self._call(
                "put_item",
                Item={
                    **_key(throttle.pair_key(email, source)),
                    "empty_at": seconds(now),
                    "expires_at": seconds(now + KNOWN_SECONDS),
                },
            )
        except Fault as fault:
            events.log("attempt not given back", level="WARNING", fault=str(fault))

    def _take(self, key: str, limit: Limit, now: int, *, lasting: bool) -> int:
        """0 and the attempt is counted, else the seconds to wait. lasting: it keeps its expiry."""
        expiry = "" if lasting else ", expires_at = {} + :cost"
        for _ in range(_TRIES):
            empty_at = self._update(
                key,
                "attribute_not_exists(empty_at) OR empty_at <= :now",
                "SET empty_at = :first" + expiry.format(":first"),
                {
                    ":now": seconds(now),
                    ":first": seconds(now + limit.seconds),
                    **({} if lasting else {":cost": seconds(limit.seconds)}),
                },
            )
            if empty_at is None:
                return 0
            if wait := limit.wait(empty_at, now):
                return wait
            # Between the two calls others may have filled it, or time emptied it by another clock.
            empty_at = self._update(
                key,
                "empty_at > :now AND empty_at <= :latest",
                "SET empty_at = empty_at + :cost" + expiry.format("empty_at"),
                {
                    ":now": seconds(now),
                    ":latest": seconds(limit.latest(now)),
                    ":cost": seconds(limit.seconds),
                },
            )
            if empty_at is None:
                return 0
            if wait := limit.wait(empty_at, now):
                return wait
        return 1

    def _give_back(self, key: str, limit: Limit) -> None:
        self._update(
            key,
            "attribute_exists(empty_at)",
            "SET empty_at = empty_at - :cost",
            {":cost": seconds(limit.seconds)},
        )

    def _update(self, key: str, condition: str, update: str, values: Item) -> int | None:
        """None when it took place, else empty_at as it is (0: there is none)."""
        answer = self._call(
            "update_item",
            Key=_key(key),
            ConditionExpression=condition,
            UpdateExpression=update,
            ExpressionAttributeValues=values,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        refused: int | None = answer.get("refused")
        return refused

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(TableName=self._table, **arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                item: Any = error.response.get("Item") or {}
                return {"refused": int(item["empty_at"]["N"]) if "empty_at" in item else 0}
            raise Fault(f"dynamodb: {code}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None


def _key(key: str) -> Item:
    return {"id": {"S": key}}
