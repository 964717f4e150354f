"""The sessions table: the only module with DynamoDB expressions on sessions.

Its verbs are the business's, each one conditional call, and they come back with the session. They
raise Fault when DynamoDB cannot say what happened, and no OAuth error.

A rotation, with two callers (A, B) who present the same token t0 at the same time:

    A  UpdateItem IF current = H(t0)  SET current = H(t1), parent = H(t0), sealed = t1 under t0
    B  UpdateItem IF current = H(t0)  -> ConditionalCheckFailed, and with it the item as A left it:
                                         parent = H(t0), so B unseals t1 with its own t0

There is no moment between reading and writing, so there is nothing to lock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.sender import UNKNOWN, Sender
from ratchet.session import Session
from ratchet.session_item import (
    Item,
    attention_shard,
    from_item,
    jkt_bytes,
    json_text,
    seconds,
    to_item,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH = 100
"""BatchGetItem takes at most this many keys."""
_BATCH_TRIES = 5
# `:seen` is the session's idle deadline as `from_item` reads it, never beyond the absolute one.
# Where it is the absolute one no refresh and no use moves it, so their own marks are looked at too.
UNMOVED = (
    "(idle_deadline_at = :seen OR (absolute_deadline_at = :seen AND idle_deadline_at > :seen))"
    " AND (attribute_not_exists(rotated_at) OR rotated_at = :rotated)"
    " AND (attribute_not_exists(active_at) OR active_at = :active)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """done: the write took place. session: as it is now, whoever made it so, or None: gone.

    repeated: it was refused only after the SDK had sent it before, so it may have taken place then.
    """

    done: bool
    session: Session | None
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What a refresh writes. successor_hash None: rotation is off, the token stays as it is.

    scopes, resources: those that were asked for; the session must have all of them.
    unless_granted: a session without resources of its own may have these resources all the same,
    because they are its application's. Instants in epoch seconds.
    started_since, started_before: when a session must have started to keep the policy of all this.
    jkt: of the key that was proven, for a session that is bound to one; proof_id: of that proof.
    sender: of the request.
    counts_use: API use counts as activity from now on; the token was made to last for it.
    """

    sid: str
    client_id: str
    presented_hash: bytes
    successor_hash: bytes | None
    sealed: bytes | None
    request_hash: bytes | None
    generation: int
    scopes: frozenset[str]
    resources: frozenset[str]
    unless_granted: bool
    idle_deadline_at: int
    expires_at: int
    leeway_seconds: int
    retry_window_seconds: int
    sessions_valid_after: int
    started_since: int = 0
    started_before: int | None = None
    sender: Sender = UNKNOWN
    jkt: str | None = None
    proof_id: bytes | None = None
    counts_use: bool = False


class SessionStore:
    """Sessions in one DynamoDB table, with the indexes `subject` and `attention`."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def create(self, session: Session) -> Session:
        """Writes a new session, whose id is random."""
        # 128 random bits do not collide. If the id is taken, then by this very put, which the SDK
        # repeated after its answer was lost.
        stored = self.create_once(session)
        if stored.current_hash != session.current_hash:
            raise Fault("dynamodb: the session id is taken")
        return stored

    def create_once(self, session: Session) -> Session:
        """Writes a new session, or returns the one that has its id already."""
        outcome = self._conditional(
            self._client.put_item,
            Item=to_item(session),
            ConditionExpression="attribute_not_exists(sid)",
        )
        stored = session if outcome.done else outcome.session
        if stored is None:
            raise Fault("dynamodb: no item came with the failed condition")
        return stored

    def get(self, sid: str, *, consistent: bool = True) -> Session | None:
        """The session as it is now, or None. Not consistent: as it was, for half the units."""
        answer = self._call(
            self._client.get_item, TableName=self._table, Key=_key(sid), ConsistentRead=consistent
        )
        return from_item(answer["Item"]) if "Item" in answer else None

    def rotate(self, rotation: Rotation, now: int) -> Outcome:
        """Replaces the current token, if the presented one is it and the session is alive.

        One write unit, no read. done False: `session` tells why.
        """
        conditions = [
            # the presented token is the newest one
            "current_hash = :presented",
            # and it is used by the application it was issued to
            "client_id = :client",
            # expiry and ends are enforced here; TTL and the sweep only tidy up
            "attribute_not_exists(ended_at)",
            "idle_deadline_at > :now",
            "absolute_deadline_at > :now",
            "started_at >= :valid_after",
        ]
        sets = ["idle_deadline_at = :idle", "expires_at = :expires", "rotated_at = :now"]
        sets += ["network = :network", "#agent = :agent"]
        removes: list[str] = []
        if rotation.counts_use:
            sets.append("active_at = :now")
        else:
            removes.append("active_at")
        values: Item = {
            ":presented": {"B": rotation.presented_hash},
            ":client": {"S": rotation.client_id},
            ":now": seconds(now),
            ":valid_after": seconds(max(rotation.sessions_valid_after, rotation.started_since)),
            ":idle": seconds(rotation.idle_deadline_at),
            ":expires": seconds(rotation.expires_at),
            ":network": {"S": rotation.sender.network},
            ":agent": {"S": rotation.sender.agent},
        }
        if rotation.started_before is not None:
            conditions.append("started_at < :before")
            values[":before"] = seconds(rotation.started_before)
        if rotation.jkt is not None:
            # and its caller has the key that it is bound to
            conditions.append("jkt = :jkt")
            values[":jkt"] = {"B": jkt_bytes(rotation.jkt)}
        for index, scope in enumerate(sorted(rotation.scopes)):
            conditions.append(f"contains(scopes, :scope{index})")
            values[f":scope{index}"] = {"S": scope}
        if rotation.resources:
            among = []
            for index, resource in enumerate(sorted(rotation.resources)):
                among.append(f"contains(resources, :resource{index})")
                values[f":resource{index}"] = {"S": resource}
            granted = " AND ".join(among)
            none_granted = "attribute_not_exists(resources)"
            conditions.append(
                f"({none_granted} OR ({granted}))" if rotation.unless_granted else granted
            )
        if rotation.successor_hash is not None and rotation.sealed is not None:
            sets += ["current_hash = :successor", "parent_hash = :presented", "sealed = :sealed"]
            sets += ["generation = :generation"]
            values[":successor"] = {"B": rotation.successor_hash}
            values[":sealed"] = {"B": rotation.sealed}
            values[":generation"] = {"N": str(rotation.generation)}
            if rotation.proof_id is not None:
                # one proof, one rotation: a copy of the last proof moves nothing on
                conditions.append("(attribute_not_exists(proof_id) OR proof_id <> :proof)")
                sets.append("proof_id = :proof")
                values[":proof"] = {"B": rotation.proof_id}
            if rotation.leeway_seconds:
                sets.append("leeway_until_at = :leeway")
                values[":leeway"] = seconds(now + rotation.leeway_seconds)
            else:
                removes.append("leeway_until_at")
            if rotation.request_hash is not None and rotation.retry_window_seconds:
                sets += ["request_hash = :request", "retry_until_at = :retry"]
                values[":request"] = {"B": rotation.request_hash}
                values[":retry"] = seconds(now + rotation.retry_window_seconds)
            else:
                removes += ["request_hash", "retry_until_at"]
        else:
            # the current token has been used now, so its parent's right to be answered is over
            removes += ["parent_hash", "sealed", "request_hash"]
            removes += ["leeway_until_at", "retry_until_at"]
        return self._update(rotation.sid, conditions, sets, removes, values)

    def touch(
        self, sid: str, *, idle_deadline_at: int, expires_at: int, active_before: int, now: int
    ) -> Outcome:
        """Counts a use of a live session: moves its idle deadline, if to a later one, and nothing
        else.

        active_before: only if its last activity was then or earlier. One write unit, no index
        write. done False: `session` tells why.
        """
        conditions = [
            # Of many callers one finds it so. A session that API use does not count for has no
            # active_at, and a comparison with nothing is false.
            "active_at <= :before",
            # a late touch takes nothing back that a refresh has given; past the absolute deadline
            # there is nothing to take
            "(idle_deadline_at <= :idle OR absolute_deadline_at <= :idle)",
            "attribute_not_exists(ended_at)",
            "idle_deadline_at > :now",
            "absolute_deadline_at > :now",
        ]
        sets = ["idle_deadline_at = :idle", "expires_at = :expires", "active_at = :now"]
        values: Item = {
            ":before": seconds(active_before),
            ":idle": seconds(idle_deadline_at),
            ":expires": seconds(expires_at),
            ":now": seconds(now),
        }
        return self._update(sid, conditions, sets, [], values)

    def end(
        self,
        sid: str,
        *,
        reason: Reason,
        by: str,
        now: int,
        retention_seconds: int,
        ended_at: int | None = None,
        client_id: str | None = None,
        token_hash: bytes | None = None,
        seen: Session | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Ends a live session, for good. It stays due until `settle` says that it was published.

        by: client id of who asked, "" for Ratchet itself. ended_at: when it ended, if not now.
        client_id: only if it belongs to this application. token_hash: only if that is its current
        token or the direct parent.
        seen: only if it was neither refreshed nor used since it was seen like this; without it,
        only if it has not expired. evidence: of a reuse (`reuse.evidence`).
        """
        conditions = ["attribute_exists(sid)", "attribute_not_exists(ended_at)"]
        values: Item = {
            ":now": seconds(now),
            ":ended": seconds(now if ended_at is None else ended_at),
            ":reason": {"S": reason.value},
            ":by": {"S": by},
            ":expires": seconds(now + retention_seconds),
            ":shard": {"N": str(attention_shard(sid))},
        }
        if client_id is not None:
            conditions.append("client_id = :client")
            values[":client"] = {"S": client_id}
        if token_hash is not None:
            conditions.append("(current_hash = :token OR parent_hash = :token)")
            values[":token"] = {"B": token_hash}
        if seen is not None:
            conditions.append(UNMOVED)
            values |= _as_seen(seen)
        else:
            # one that has expired keeps that as its reason, swept or not
            conditions += ["idle_deadline_at > :now", "absolute_deadline_at > :now"]
        sets = ["ended_at = :ended", "reason = :reason", "ended_by = :by", "expires_at = :expires"]
        sets += ["attention_at = :now", "attention_shard = :shard"]
        # The rights of the last parent end with it, which makes room for the evidence.
        removes = ["sealed", "request_hash", "leeway_until_at", "retry_until_at"]
        if evidence:
            sets.append("evidence = :evidence")
            values[":evidence"] = {"S": json_text(evidence)}
        return self._update(sid, conditions, sets, removes, values)

    def settle(self, session: Session) -> Outcome:
        """The end of this session has been published: nothing is left to do for it."""
        return self._update(
            session.sid,
            ["ended_at = :ended"],
            [],
            ["attention_at", "attention_shard", "unannounced"],
            {":ended": seconds(session.ended_at or 0)},
        )

    def rearm(self, session: Session, becomes: Session) -> Outcome:
        """Files a live session under its next instant, unless somebody else already has, or has
        brought a deadline forward.

        becomes: the same session with another `attention_at`, and with the marks of what has been
        published of it meanwhile.
        """
        sets = ["attention_at = :next"]
        values: Item = {
            ":seen": seconds(session.attention_at or 0),
            ":next": seconds(becomes.attention_at or 0),
            ":idle": seconds(session.idle_deadline_at),
            ":absolute": seconds(session.absolute_deadline_at),
        }
        for name in ("warned_deadline_at", "warned_absolute_deadline_at"):
            if (deadline := getattr(becomes, name)) not in (None, getattr(session, name)):
                sets.append(f"{name} = :{name}")
                values[f":{name}"] = seconds(deadline)
        removes = ["unannounced"] if session.unannounced and not becomes.unannounced else []
        conditions = ["attention_at = :seen", "attribute_not_exists(ended_at)"]
        conditions += ["idle_deadline_at >= :idle", "absolute_deadline_at >= :absolute"]
        return self._update(session.sid, conditions, sets, removes, values)

    def shorten(self, session: Session, becomes: Session) -> Outcome:
        """Moves the deadlines of a live session earlier, unless it was refreshed or used since it
        was seen.

        becomes: the same session with other deadlines and `attention_at`. Its refresh tokens keep
        the absolute deadline they carry; the item's is the one that counts.
        """
        return self._update(
            session.sid,
            ["attribute_exists(sid)", "attribute_not_exists(ended_at)", UNMOVED],
            [
                "idle_deadline_at = :idle",
                "absolute_deadline_at = :absolute",
                "attention_at = :next",
                "attention_shard = :shard",
            ],
            [],
            {
                **_as_seen(session),
                ":idle": seconds(becomes.idle_deadline_at),
                ":absolute": seconds(becomes.absolute_deadline_at),
                ":next": seconds(becomes.attention_at or 0),
                ":shard": {"N": str(attention_shard(session.sid))},
            },
        )

    def live(
        self, now: int, *, client_id: str | None = None, after: str | None = None
    ) -> tuple[list[Session], str | None]:
        """Sessions that have neither ended nor expired, and where the next page starts, or None.

        Reads the whole table, a megabyte a page (eventually consistent): for an operator who asks,
        never for a request of a client. client_id: those of one application only.
        """
        conditions = ["attribute_not_exists(ended_at)", "idle_deadline_at > :now"]
        conditions += ["absolute_deadline_at > :now"]
        values: Item = {":now": seconds(now)}
        if client_id is not None:
            conditions.append("client_id = :client")
            values[":client"] = {"S": client_id}
        start: dict[str, Any] = {"ExclusiveStartKey": _key(after)} if after is not None else {}
        answer = self._call(
            self._client.scan,
            TableName=self._table,
            FilterExpression=" AND ".join(conditions),
            ExpressionAttributeValues=values,
            **start,
        )
        last = answer.get("LastEvaluatedKey")
        return [from_item(item) for item in answer["Items"]], last["sid"]["S"] if last else None

    def due(
        self, shard: int, now: int, *, after: Item | None = None
    ) -> tuple[list[Item], Item | None]:
        """Keys of the index `attention` that are due, oldest first: a page, and where the next one
        starts, or None.

        Costs in proportion to what is due, never to the size of the table. after: a key of this
        shard, whether or not there is a session with it; its attention_at not after now.
        """
        start: dict[str, Any] = {"ExclusiveStartKey": after} if after is not None else {}
        answer = self._call(
            self._client.query,
            TableName=self._table,
            IndexName="attention",
            KeyConditionExpression="attention_shard = :shard AND attention_at <= :now",
            ExpressionAttributeValues={":shard": {"N": str(shard)}, ":now": seconds(now)},
            Limit=BATCH,
            **start,
        )
        return answer["Items"], answer.get("LastEvaluatedKey")

    def of_subject(
        self,
        sub: str,
        *,
        limit: int,
        after: tuple[int, str] | None = None,
        damaged: dict[str, str] | None = None,
    ) -> tuple[list[Session], tuple[int, str] | None]:
        """A subject's sessions, newest first, and where the next page starts, or None.

        A session shows up here a moment after it starts: the index is eventually consistent.
        damaged: as in `read`.
        """
        start = {}
        if after is not None:
            key = {"sub": {"S": sub}, "started_at": seconds(after[0]), "sid": {"S": after[1]}}
            start = {"ExclusiveStartKey": key}
        answer = self._call(
            self._client.query,
            TableName=self._table,
            IndexName="subject",
            KeyConditionExpression="#sub = :sub",
            ExpressionAttributeNames={"#sub": "sub"},
            ExpressionAttributeValues={":sub": {"S": sub}},
            ScanIndexForward=False,
            Limit=limit,
            **start,
        )
        sessions = self.read([item["sid"]["S"] for item in answer["Items"]], damaged=damaged)
        sessions.sort(key=lambda session: (session.started_at, session.sid), reverse=True)
        last = answer.get("LastEvaluatedKey")
        return sessions, (int(last["started_at"]["N"]), last["sid"]["S"]) if last else None

    def read(
        self,
        sids: Iterable[str],
        *,
        damaged: dict[str, str] | None = None,
        consistent: bool = False,
    ) -> list[Session]:
        """Those of the sessions that exist, in no order.

        damaged: takes what is wrong with items that are, by their id; they are then left out.
        consistent: as they are now, for twice the units.
        """
        keys = [_key(sid) for sid in sids]
        found: list[Session] = []
        for start in range(0, len(keys), BATCH):
            wanted: Any = {
                self._table: {
                    "Keys": keys[start : start + BATCH],
                    "ConsistentRead": consistent,
                }
            }
            for _ in range(_BATCH_TRIES):
                answer = self._call(self._client.batch_get_item, RequestItems=wanted)
                for item in answer["Responses"].get(self._table, []):
                    try:
                        found.append(from_item(item))
                    except Fault as fault:
                        if damaged is None:
                            raise
                        damaged[item["sid"]["S"]] = str(fault)
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
            else:
                raise Fault("dynamodb: keys left unprocessed")
        return found

    def _update(
        self, sid: str, conditions: list[str], sets: list[str], removes: list[str], values: Item
    ) -> Outcome:
        expression = "SET " + ", ".join(sets) if sets else ""
        if removes:
            expression += " REMOVE " + ", ".join(removes)
        # AGENT is one of DynamoDB's reserved words.
        names: Any = (
            {"ExpressionAttributeNames": {"#agent": "agent"}} if "#agent" in expression else {}
        )
        return self._conditional(
            self._client.update_item,
            Key=_key(sid),
            UpdateExpression=expression.strip(),
            ConditionExpression=" AND ".join(conditions),
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            **names,
        )

    def _conditional(self, operation: Callable[..., Any], **arguments: Any) -> Outcome:
        """The outcome of a conditional write; why it failed comes back with the failure itself."""
        try:
            answer = self._call(
                operation,
                TableName=self._table,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **arguments,
            )
        except _ConditionFailedError as failed:
            return Outcome(False, failed.session, failed.repeated)
        return Outcome(True, from_item(answer["Attributes"]) if "Attributes" in answer else None)

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return operation(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                item: Any = error.response.get("Item")
                sent = error.response.get("ResponseMetadata", {})
                repeated = sent.get("RetryAttempts", 0) > 0
                session = from_item(item) if item else None
                raise _ConditionFailedError(session, repeated) from None
            # Throttling, TransactionConflict, a missing table: faults, never reuse.
            raise Fault(f"dynamodb: {code}") from None
        except BotoCoreError as error:
            raise Fault(f"dynamodb: {type(error).__name__}") from None


class _ConditionFailedError(Exception):
    def __init__(self, session: Session | None, repeated: bool) -> None:
        super().__init__()
        self.session = session
        self.repeated = repeated


def _as_seen(session: Session) -> Item:
    """The values of UNMOVED."""
    return {
        ":seen": seconds(session.idle_deadline_at),
        ":rotated": seconds(session.rotated_at or 0),
        ":active": seconds(session.active_at or 0),
    }


def _key(sid: str) -> Item:
    return {"sid": {"S": sid}}
