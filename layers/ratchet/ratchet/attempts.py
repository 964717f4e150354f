"""The attempts table: how full the buckets of throttle.py are, in items that delete themselves.

An attempt is counted *before* the password is looked at, by conditional writes, so that a thousand
at the same time in as many containers do not all pass. With room that is a read and one or two
writes (a failed one more for each where somebody has just failed), and one more than these when it
succeeds. One that is refused costs failed writes, and makes no item of an account.
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
    """wait: 0, or the seconds until there is room again. by: whose bucket says so, for the log.

    taken: the buckets that counted the attempt. pair: key of account and source address, if the
    address is the person's.
    """

    wait: int = 0
    by: str = ""
    taken: tuple[tuple[str, Limit], ...] = ()
    pair: str | None = None


class Attempts:
    """Sign-in attempts by account and by source address."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def admit(self, email: str, source: str | None, now: int) -> Admission:
        """Counts an attempt, if there is room for it. Raises Fault.

        source: address of the person, None if only the address of somebody in between is known,
        which tells nothing and must hold nobody back.
        """
        pair = throttle.pair_key(email, source) if source is not None else None
        # Whoever has signed in from here before is not held back by what others try: neither on
        # the account from elsewhere, nor on other accounts from here.
        if pair is not None and self._is_known(pair, now):
            wait = self._take(pair, ACCOUNT, now, lasting=True)
            return Admission(wait, "known address", ((pair, ACCOUNT),), pair)
        taken: tuple[tuple[str, Limit], ...] = ()
        # The address comes first, so that one address cannot fill the table with accounts.
        if source is not None:
            address = throttle.address_key(source)
            if wait := self._take(address, ADDRESS, now, lasting=False):
                return Admission(wait, "address")
            taken = ((address, ADDRESS),)
        account = throttle.account_key(email)
        try:
            wait = self._take(account, ACCOUNT, now, lasting=False)
        except Fault:
            self.give_back(Admission(taken=taken))
            raise
        return Admission(wait, "account", (*taken, (account, ACCOUNT)), pair)

    def succeeded(self, admission: Admission, now: int) -> None:
        """Gives back what the attempt took, and knows the address from now on.

        What others have tried stays counted. A fault here fails nobody's sign-in.
        """
        try:
            self._give_back_all(admission)
            if admission.pair is not None:
                # Nothing else of it: what has failed from here in between stays counted.
                self._call(
                    "update_item",
                    Key=_key(admission.pair),
                    UpdateExpression="SET expires_at = :expires",
                    ExpressionAttributeValues={":expires": seconds(now + KNOWN_SECONDS)},
                )
        except Fault as fault:
            events.log("attempt not given back", level="WARNING", fault=str(fault))

    def give_back(self, admission: Admission) -> None:
        """For an attempt of which nobody can say whether it was right. Never fails."""
        try:
            self._give_back_all(admission)
        except Fault as fault:
            events.log("attempt not given back", level="WARNING", fault=str(fault))

    def _give_back_all(self, admission: Admission) -> None:
        for key, limit in admission.taken:
            self._give_back(key, limit)

    def _is_known(self, pair: str, now: int) -> bool:
        answer = self._call("get_item", Key=_key(pair), ConsistentRead=True)
        # DynamoDB deletes an expired item only some time later.
        return "Item" in answer and int(answer["Item"]["expires_at"]["N"]) > now

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
