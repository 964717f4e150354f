"""The real handlers, called as Lambda calls them, on a real engine over a socket.

Tables, secrets and routes come from template.yaml. Time is `service.now`. Whatever the service
hands out is remembered, and after every test none of it may stand in the log or in the tables.
"""

import dataclasses
import functools
import io
import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
import pytest

from ratchet import endpoint, events, outbound, wiring
from ratchet.applications import REMEMBERED_SECONDS
from ratchet.lean_client import LeanClient
from ratchet.parts import Parts
from ratchet.policy import Policy
from ratchet.session import Session
from ratchet.session_item import from_item
from ratchet_cli import payload, template
from ratchet_cli.functions import Functions
from ratchet_cli.seed import ADA, SECRETS
from tests.engine import engines
from tests.event_schemas import delivered, problems
from tests.functional.permissions import Employed, Roles, enforced

ROOT = Path(__file__).parents[2]
ISSUER = "https://id.test"
START = 1_800_000_000
BACKEND = ("demo-backend", SECRETS["demo-backend"])
MACHINE = ("demo-machine", SECRETS["demo-machine"])
Form = str | list[str]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of the functions, on one engine for the whole run (RATCHET_TEST_ENDPOINT)."""
    folder = tmp_path_factory.mktemp("emulator")
    with engines.engine(folder, issuer=ISSUER) as environment:
        # where `ratchet local` has it, too: a file beside the emulator's
        yield {
            **environment,
            "RATCHET_LOG_GROUP": f"file:{folder / 'functions.log'}",
        }


@pytest.fixture(scope="session")
def counts_units(engine: Mapping[str, str]) -> bool:
    return engines.counts_units()


@pytest.fixture(autouse=True)
def _capacity_where_it_is_counted(request: pytest.FixtureRequest, counts_units: bool) -> None:
    if request.path.name == "test_capacity.py" and not counts_units:
        pytest.skip("this engine does not count write units as DynamoDB does")


@dataclass
class Calls:
    """What the service has asked of AWS: operations by name, and what DynamoDB charged for them."""

    names: list[str] = field(default_factory=list)
    charged: list[Mapping[str, Any]] = field(default_factory=list)

    def watch(self, client: Any, service: str) -> None:
        if isinstance(client, LeanClient):
            self._watch_lean(client)
            return
        hooks = client.meta.events
        hooks.register(f"before-call.{service}", lambda model, **_: self.names.append(model.name))
        if service == "dynamodb":
            hooks.register("provide-client-params.dynamodb", self._ask_for_capacity)
            hooks.register("after-call.dynamodb", self._note_capacity)

    def _watch_lean(self, client: LeanClient) -> None:
        real = client._make_api_call

        def watched(operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            self.names.append(operation)
            answer = real(operation, {**arguments, "ReturnConsumedCapacity": "INDEXES"})
            self._note_capacity(answer)
            return answer

        client._make_api_call = watched  # type: ignore[method-assign] # of this one

    def _ask_for_capacity(self, params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "INDEXES"

    def _note_capacity(self, parsed: Mapping[str, Any], **_: Any) -> None:
        if "ConsumedCapacity" in parsed:
            self.charged.append(parsed["ConsumedCapacity"])

    def clear(self) -> None:
        self.names.clear()
        self.charged.clear()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer and the log line that was written for it."""

    status: int
    headers: Mapping[str, str]
    body: Any
    log: Mapping[str, Any]
    cookies: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


def _parsed(text: str, headers: Mapping[str, str]) -> Any:
    """A page stays a text."""
    is_json = headers.get("content-type") == "application/json"
    return json.loads(text) if text and is_json else text or None


def cookie_value(cookie: str) -> str:
    """The value of a Set-Cookie."""
    return cookie.partition(";")[0].partition("=")[2]


class Service:
    """A started service: `call` is what a client does, the rest is what an auditor sees."""

    def __init__(self, functions: Functions, environment: Mapping[str, str], parts: Parts) -> None:
        self.parts = parts
        self.now = START
        self.calls = Calls()
        self.log = io.StringIO()
        self.published: list[dict[str, Any]] = []
        self._functions = functions
        self._environment = environment
        self._routes = template.routes(template.load(ROOT / "template.yaml"))
        self._sessions_table = environment["RATCHET_SESSIONS_TABLE"]
        self._applications_table = environment["RATCHET_APPLICATIONS_TABLE"]
        self.users_table = environment["RATCHET_USERS_TABLE"]
        self.attempts_table = environment["RATCHET_ATTEMPTS_TABLE"]
        self._dynamodb = boto3.client("dynamodb")
        self.handed_out: set[str] = set()
        self._changed: dict[str, dict[str, Any]] = {}

    # --- a client ------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, Form] | str | None = None,
        body: Any = None,
        auth: tuple[str, str] | None = None,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        source_ip: str = "192.0.2.1",
    ) -> Answer:
        """form: a form body, with a list for a parameter that is repeated.

        body: bytes, or a value to be sent as JSON.
        """
        sent = {"Host": "id.test", **(headers or {})}
        raw = b""
        if form is not None:
            raw = (form if isinstance(form, str) else urlencode(form, doseq=True)).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        elif isinstance(body, bytes):
            raw = body
        elif body is not None:
            raw = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        if auth is not None:
            sent["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        parts = urlsplit(url)
        request = payload.Request(
            method=method,
            path=parts.path,
            query=parts.query,
            headers=list(sent.items()),
            body=raw,
            source_ip=source_ip,
        )
        matched = payload.match(self._routes, method, parts.path)
        assert matched is not None, f"no route for {method} {parts.path}"
        written = self.log.tell()
        response = payload.response(
            self._functions.invoke(matched.route.function, payload.event(request, matched))
        )
        text = response.body.decode()
        answer = Answer(
            response.status,
            dict(response.headers),
            _parsed(text, dict(response.headers)),
            json.loads(self.log.getvalue()[written:].splitlines()[-1]),
            [text for name, text in response.headers if name == "set-cookie"],
        )
        self.handed_out |= {value for cookie in answer.cookies if (value := cookie_value(cookie))}
        if response.status == 200 and isinstance(answer.body, dict):
            for name in ("access_token", "refresh_token"):
                self.handed_out |= {answer.body[name]} if name in answer.body else set()
        return answer

    def start(self, client_id: str = "demo-native", sub: str = "ada", **parameters: Form) -> Answer:
        answer = self.call(
            "POST",
            "/sessions",
            form={"client_id": client_id, "sub": sub, **parameters},
            auth=BACKEND,
        )
        assert answer.status == 200, answer
        return answer

    def refresh(
        self, token: str, client_id: str = "demo-native", *, key: str | None = None, **form: Form
    ) -> Answer:
        return self.call(
            "POST",
            "/oauth/refresh",
            form={"client_id": client_id, "refresh_token": token, **form},
            headers={"Idempotency-Key": key} if key else None,
        )

    def login(
        self,
        email: str = ADA["email"],
        password: str = ADA["password"],
        client_id: str = "demo-native",
        source_ip: str = "192.0.2.1",
        **form: str,
    ) -> Answer:
        form = {"email": email, "password": password, "client_id": client_id, **form}
        return self.call("POST", "/login", form=form, source_ip=source_ip)

    def operator(self) -> str:
        """An access token of an application's own, with both session scopes."""
        answer = self.call(
            "POST", "/oauth/token", form={"grant_type": "client_credentials"}, auth=BACKEND
        )
        return str(answer["access_token"])

    def change(self, client_id: str, **changes: Any) -> None:
        """What an operator does to an application; known to every function a minute later."""
        applications = self.parts.applications
        application, written = applications.get(client_id, self.now), self._written(client_id)
        assert application is not None
        applications.put(dataclasses.replace(application, **changes), written["policy"])
        self.now += REMEMBERED_SECONDS

    def set_policy(self, client_id: str, **changes: Any) -> None:
        """Changes the policy of an application, by its numbers."""
        applications = self.parts.applications
        application, written = applications.get(client_id, self.now), self._written(client_id)
        assert application is not None
        mapping = {"preset": written["policy"]["preset"], **changes}
        policy = Policy.from_mapping(mapping)
        applications.put(dataclasses.replace(application, policy=policy), mapping)
        self.now += REMEMBERED_SECONDS

    def _written(self, client_id: str) -> dict[str, Any]:
        written = self.parts.applications.written(client_id)
        assert written is not None
        self._changed.setdefault(client_id, written)
        return written

    def restore(self) -> None:
        for mapping in self._changed.values():
            self.parts.applications._put(mapping, "")

    def sweep(self, **event: Any) -> Mapping[str, Any]:
        report: Mapping[str, Any] = self._functions.invoke("SweepFunction", event)
        return report

    # --- an auditor ----------------------------------------------------------------------------

    def item(self, sid: str) -> dict[str, Any]:
        answer = self._dynamodb.get_item(
            TableName=self._sessions_table, Key={"sid": {"S": sid}}, ConsistentRead=True
        )
        return answer.get("Item", {})

    def session(self, sid: str) -> Session:
        return from_item(self.item(sid))

    def scan(self, table: str) -> list[Any]:
        return list(self._dynamodb.scan(TableName=table, ConsistentRead=True)["Items"])

    def forget_attempts(self) -> None:
        for item in self.scan(self.attempts_table):
            self._dynamodb.delete_item(TableName=self.attempts_table, Key={"id": item["id"]})

    def put_item(self, item: Mapping[str, Any]) -> None:
        self._dynamodb.put_item(TableName=self._sessions_table, Item=item)

    def put_application(self, item: Mapping[str, Any]) -> None:
        self._dynamodb.put_item(TableName=self._applications_table, Item=item)

    def delete_item(self, sid: str) -> None:
        self._dynamodb.delete_item(TableName=self._sessions_table, Key={"sid": {"S": sid}})

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was published of sessions after their start."""
        return [event for event in self.published if event["type"] != "session.started"]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def audit(self) -> None:
        """Nothing that is usable stands in the log or in the tables."""
        tables = (self._sessions_table, self.users_table, self.attempts_table)
        table = str([self.scan(name) for name in tables])
        for secret in {*self.handed_out, *SECRETS.values(), ADA["password"]}:
            assert secret not in self.log.getvalue()
            assert secret not in table


@pytest.fixture(scope="session")
def roles() -> Iterator[Roles]:
    """The functions' roles, enforced. Whatever they lack fails the run."""
    roles = Roles(template.load(ROOT / "template.yaml"))
    with enforced(roles):
        yield roles
    assert not roles.refused


@pytest.fixture(scope="session")
def functions(roles: Roles) -> Functions:
    functions = Employed(ROOT, template.functions(template.load(ROOT / "template.yaml")))
    functions.roles = roles
    return functions


@pytest.fixture
def service(
    engine: Mapping[str, str], functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """The service with cold caches, at START."""
    for name, value in engine.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wiring, "_parts", None)
    monkeypatch.setattr(wiring, "_authorize", None)
    parts = wiring.parts()
    # The providers of the tests are played on this machine, where no service of ISSUER looks.
    beside = functools.partial(outbound.get_json, this_machine=True)
    monkeypatch.setattr(parts.provider_keys, "_fetch", beside)
    service = Service(functions, engine, parts)
    monkeypatch.setattr(endpoint, "clock", lambda: service.now)
    service.calls.watch(parts.store._client, "dynamodb")
    publish = parts.bus.publish

    def publish_and_note(happened: Any) -> None:
        publish(happened)
        service.published += [{"type": event.type, **event.detail()} for event in happened]

    object.__setattr__(parts.bus, "publish", publish_and_note)
    file = engine["RATCHET_LOG_GROUP"].removeprefix("file:")
    handlers: list[logging.Handler] = [
        logging.StreamHandler(service.log),
        logging.FileHandler(file, mode="w"),
    ]

    def at_its_time(record: logging.LogRecord) -> bool:
        record.created = service.now
        return True

    logger = events.logger
    for handler in handlers:
        handler.setFormatter(events.JsonLine())
        handler.addFilter(at_its_time)
        logger.addHandler(handler)
    yield service
    for handler in handlers:
        logger.removeHandler(handler)
        handler.close()
    service.restore()
    service.forget_attempts()
    for sid in {item["sid"]["S"] for item in _all(service)}:
        service.delete_item(sid)
    for event in service.published:
        detail = {name: value for name, value in event.items() if name != "type"}
        assert not problems(delivered(event["type"], detail))


def _all(service: Service) -> list[Any]:
    service.audit()
    answer = service._dynamodb.scan(TableName=service._sessions_table)
    return list(answer["Items"])
