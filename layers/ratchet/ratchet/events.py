"""What the outside learns: one log line and one metric a request, and events on the bus.

All three speak the words of design section 1 and know an allow-list of fields. No token, secret,
header or body can get into any of them.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.session import Deadline, Session

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

FIELDS = frozenset(
    {
        *("request_id", "route", "status", "duration_ms"),
        *("error", "error_reason", "detail", "fault", "at"),
        *("client_id", "sub", "sid", "generation", "outcome", "ended", "touched", "event_id"),
        *("application", "version", "deadline", "started_by"),
        *("network", "agent", "reuse_cause", "behind", "since_rotation_seconds"),
        *("same_network", "same_agent", "key_sent", "key_before"),
    }
)
"""All that a log line may carry besides its level, message, timestamp and service."""

SOURCE = "ratchet"
SERVICE = "ratchet"
"""In every line and in every metric."""
Unit = Literal["Count", "Seconds"]
_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


class JsonLine(logging.Formatter):
    """One JSON object a record, as Lambda's JSON log format has them."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname,
            "message": record.getMessage(),
            "timestamp": self.formatTime(record, f"%Y-%m-%d %H:%M:%S,{int(record.msecs):03}%z"),
            "service": SERVICE,
            **getattr(record, "fields", {}),
        }
        return _to_json(line)


logger = logging.getLogger(SERVICE)
"""Writes to standard output, and not once more through the handler that Lambda gives the root."""
logger.propagate = False
logger.setLevel(logging.INFO)
if not logger.handlers:
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.handlers[0].setFormatter(JsonLine())

_namespace = ""


def start(*, stack: str, level: str) -> None:
    """Where this container's metrics belong, and the lowest level that it logs.

    Stacks beside each other in one account must not ring each other's alarms. Without a start no
    metric is written: outside of a function nobody would read it.
    """
    global _namespace
    _namespace = f"Ratchet/{stack}"
    logger.setLevel(logging.getLevelNamesMapping().get(level, logging.INFO))


# At DEBUG the SDK logs the bodies of requests and answers: passwords, keys. With JSON logs Lambda
# gives the root logger the stack's LogLevel, which these would follow.
for _name in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def log(message: str, *, level: str = "INFO", **fields: Any) -> None:
    """One structured line. Fields that are not on the allow-list are left out."""
    allowed = {
        name: value for name, value in fields.items() if name in FIELDS and value is not None
    }
    number = logging.getLevelNamesMapping()[level]
    if logger.isEnabledFor(number):
        # logger.log would also look for the line of code that asks, which no line of ours has.
        more = {"fields": allowed}
        logger.handle(logger.makeRecord(SERVICE, number, "", 0, message, (), None, extra=more))


def count(
    dimensions: Mapping[str, str],
    metrics: Mapping[str, tuple[Unit, float]],
    *,
    also: Sequence[Mapping[str, str]] = (),
) -> None:
    """One line in CloudWatch's embedded metric format: name -> (unit, value), all under the same
    dimensions, the service always among them.

    also: other dimensions to count the same under; CloudWatch adds nothing up by itself.
    """
    if not _namespace:
        return
    first = {**dimensions, "service": SERVICE}
    directive = {
        "Namespace": _namespace,
        "Dimensions": [list(names) for names in (first, *also)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()],
    }
    line: dict[str, Any] = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    }
    for named in (first, *also):
        line |= named
    line |= {name: [value] for name, (_, value) in metrics.items()}
    # In one write: another thread's line must not get between this one and its end.
    sys.stdout.write(_to_json(line) + "\n")


def request_finished(
    function: str, *, duration_ms: float, counted_together: bool = True, **fields: Any
) -> None:
    """The line and the metric that every request writes, whatever became of it.

    counted_together: with those of the other functions too, which alarms look at.
    """
    status = fields["status"]
    answered = str(fields.get("outcome") or "ok") if status < 400 else str(status)
    result = str(fields.get("error_reason") or fields.get("error") or answered)
    level = "ERROR" if status >= 500 else "INFO"
    log(function, level=level, duration_ms=round(duration_ms, 3), **fields)
    count(
        {"function": function, "result": result},
        {"Requests": ("Count", 1)},
        also=[{"result": result}, {"status": str(status)}] if counted_together else (),
    )


def count_ends(sessions: Iterable[Session]) -> None:
    """The metric of ends that were stored: by reason, and a reuse once more by its cause.

    For whoever stored them, at once: published they may be much later, and more than once.
    CloudWatch adds up no dimensions, and an alarm watches all reuses together.
    """
    counted: Counter[tuple[str, ...]] = Counter()
    for session in sessions:
        if session.ended_at is not None and session.reason is not None:
            counted[session.reason.value,] += 1
            if cause := session.evidence.get("reuse_cause"):
                counted[session.reason.value, cause] += 1
    for values, number in counted.items():
        dimensions = dict(zip(("reason", "reuse_cause"), values, strict=False))
        count(dimensions, {"SessionsEnded": ("Count", number)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a session. The same event, published twice, has the same id.

    about: which of several of its type and `at` it is, if there may be. more: what only events of
    this type say.
    """

    type: str
    session: Session
    reason: Reason | None
    at: int
    about: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return ".".join(filter(None, (self.session.sid, self.type, self.about, str(self.at))))

    def detail(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "sid": self.session.sid,
            "client_id": self.session.client_id,
            "sub": self.session.sub,
            "reason": self.reason.value if self.reason else None,
            "at": self.at,
            "generation": self.session.generation,
            "idle_deadline_at": self.session.idle_deadline_at,
            "absolute_deadline_at": self.session.absolute_deadline_at,
            **self.more,
        }


def started(session: Session) -> Event:
    """Its deadlines are those of when it is published, which may be after the first refresh."""
    return Event(
        type="session.started",
        session=session,
        reason=None,
        at=session.started_at,
        more={name: getattr(session, name) or None for name in ("device", "network", "agent")},
    )


def ending(session: Session) -> list[Event]:
    """The events of an ended session, after its start if that is still to be published.

    A reuse has one of its own besides.
    """
    at = session.ended_at or 0
    reason = session.dead_because(at)

    def end(name: str, **more: Any) -> Event:
        more |= {"ended_by": session.ended_by or None}
        return Event(type=name, session=session, reason=reason, at=at, more=more)

    expired = reason in (Reason.IDLE_EXPIRED, Reason.ABSOLUTE_EXPIRED)
    happened = [started(session)] if session.unannounced else []
    happened.append(end("session.expired" if expired else "session.revoked"))
    if reason is Reason.REUSED:
        evidence = {"reuse_cause": "unknown", **session.evidence}
        happened.append(end("session.reuse_detected", **evidence))
    return happened


def due(session: Session, told: Session) -> list[Event]:
    """The events of a live session after which it is what `session.told` says."""
    happened = [started(session)] if session.unannounced and not told.unannounced else []
    if told.warned_absolute_deadline_at != session.warned_absolute_deadline_at:
        happened.append(expiring(session, "absolute"))
    if told.warned_deadline_at != session.warned_deadline_at:
        happened.append(expiring(session, "idle"))
    return happened


def expiring(session: Session, deadline: Deadline) -> Event:
    """The warning before a deadline, which is its `at`."""
    idle = deadline == "idle"
    at = session.idle_deadline_at if idle else session.absolute_deadline_at
    return Event(
        type="session.expiring",
        session=session,
        reason=Reason.IDLE_EXPIRED if idle else Reason.ABSOLUTE_EXPIRED,
        at=at,
        about=deadline,
        more={"deadline": deadline, "deadline_at": at},
    )


class EntriesRefused(Fault):
    """EventBridge has accepted the other events, not these."""

    def __init__(self, refused: Sequence[Event]) -> None:
        super().__init__("events: an entry was refused")
        self.refused = refused


class Bus:
    """An EventBridge bus. `client` is called at the first event: most requests have none."""

    def __init__(self, client: Callable[[], "EventBridgeClient"], name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, events: Sequence[Event]) -> None:
        """Puts up to 10 events. Raises Fault when EventBridge has not accepted all of them.

        EntriesRefused when it has accepted some.
        """
        try:
            answer = self._client().put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": SOURCE,
                        "DetailType": event.type,
                        "Detail": json.dumps(event.detail()),
                    }
                    for event in events
                ]
            )
        except ClientError as error:
            raise Fault(f"events: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"events: {type(error).__name__}") from None
        if answer.get("FailedEntryCount"):
            pairs = zip(events, answer["Entries"], strict=False)
            refused = [event for event, entry in pairs if "ErrorCode" in entry]
            raise EntriesRefused(refused or events)
