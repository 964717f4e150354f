"""The service in the proofs of `faults`: its handlers on an engine, called as Lambda calls them.

What a broken promise is, and promise 7's 503, are here too: everything above judges by them.
"""

import contextlib
import functools
import io
import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
from botocore.config import Config

from ratchet import endpoint as edge
from ratchet import events, lean_client, outbound, sdk, wiring
from ratchet.application import JWT_BEARER, Application
from ratchet.key_rotation import first_signing_keys
from ratchet.kms_keys import KmsKeys
from ratchet.lean_client import Patience
from ratchet.parts import Parts
from ratchet.policy import PRESETS, Policy
from ratchet.session import Session
from ratchet.session_item import from_item
from ratchet.settings import Settings
from ratchet.trusted_issuer import TrustedIssuer
from ratchet_cli import payload, template
from ratchet_cli.functions import Functions
from ratchet_cli.seed import SECRETS
from tests.engine.engines import ROOT
from tests.engine.fault_proxy import FaultProxy
from tests.identity_provider import IdentityProvider, public, rsa_key

ISSUER = "https://id.test"
START = 1_800_000_000
KEY = "a-random-idempotency-key"
BACKEND = ("demo-backend", SECRETS["demo-backend"])
NATIVE, STRICT, TOUCHED = "demo-native", "demo-sensitive", "demo-browser"
TRUSTING, KEYED = "fault-id-token", "fault-private-key"

ONE_TRY = Config(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1, "mode": "standard"}
)


NOT_ASKED: Any = None


class BrokenPromise(AssertionError):
    """What was promised and did not happen."""


def must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise BrokenPromise(otherwise)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    log: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Service:
    """The handlers, called as Lambda calls them; a container of theirs is cold or warm.

    now: what their clock shows. in_kms: whether new containers sign in KMS or in memory.
    provider: whose ID tokens the application TRUSTING takes.
    """

    in_kms = False
    provider: IdentityProvider

    def __init__(self, environment: Mapping[str, str]) -> None:
        described = template.load(ROOT / "template.yaml")
        self._functions = Functions(ROOT, template.functions(described))
        self._routes = template.routes(described)
        self._settings = Settings.from_environment(environment)
        self.clients = functools.cache(_client)
        self.environment = environment
        self.now = START
        self.log = io.StringIO()
        self.auditor = self.clients("dynamodb", ONE_TRY, None)

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        """Inside, this is the service of this process."""
        handler = logging.StreamHandler(self.log)
        handler.setFormatter(events.JsonLine())
        logger = events.logger
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge, "clock", lambda: self.now)
            patch.setattr(events, "count", lambda *_, **__: None)
            patch.setattr(wiring, "_parts", None)
            # No part of a journey, and asked of other secrets than the stage has.
            patch.setattr(wiring, "key_secrets", dict)
            patch.setattr(logger, "propagate", False)
            patch.setattr(logger, "handlers", [handler])
            yield self

    def register(self, provider: IdentityProvider) -> None:
        """The applications that a local stack is not seeded with, or not like this."""
        self.provider = provider
        trusted = TrustedIssuer(issuer=provider.url, audience=("shop",), subject_prefix="idp:")
        trusting = Application(
            client_id=TRUSTING,
            confidential=False,
            grant_types=frozenset({"refresh_token", JWT_BEARER}),
            trusted_issuers=(trusted,),
            policy=PRESETS["native"],
        )
        keyed = Application(
            client_id=KEYED,
            confidential=True,
            jwks=public(rsa_key("first")),
            grant_types=frozenset({"refresh_token"}),
            starts_sessions_for=frozenset({KEYED}),
            policy=PRESETS["native"],
        )
        for application in (trusting, keyed):
            self.container().applications.put(application, {"preset": "native"})
        applications = self.container().applications
        browser = applications.get(TOUCHED, START)
        assert browser is not None
        numbers = {"preset": "browser", "touch_interval_seconds": 60}
        applications.put(replace(browser, policy=Policy.from_mapping(numbers)), numbers)

    def container(self, config: Config = ONE_TRY, proxy: FaultProxy | None = None) -> Parts:
        """A cold container, which reaches AWS through the proxy, or else directly."""
        address = proxy.variables["AWS_ENDPOINT_URL"] if proxy else None

        def client(name: str, config: Config) -> Any:
            return self.clients(name, config, address)

        def lean(name: str, environment: Mapping[str, str]) -> Any:
            named = {f"AWS_ENDPOINT_URL_{name.upper()}": address} if address else {}
            chosen = cast(Any, config)
            tries = chosen.retries["total_max_attempts"]
            patience = Patience(chosen.connect_timeout, chosen.read_timeout, tries)
            return real_lean(name, {**environment, **named}, patience)

        real_lean = lean_client.client
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sdk, "client", client)
            patch.setattr(lean_client, "client", lean)
            patch.setattr(sdk, "CONFIG", config)
            parts = wiring.build(self._kms_settings() if self.in_kms else self._settings)
        # The provider is played on this machine, where no service of this issuer looks.
        parts.provider_keys._fetch = functools.partial(outbound.get_json, this_machine=True)
        # What is made at its first use only.
        bus, signer = cast(Any, parts.bus), cast(Any, parts.signer)
        bus._client = lambda: client("events", config=config)
        signer._kms._client = lambda: client("kms", config=config)
        return parts

    def _kms_settings(self) -> Settings:
        """The same but for the signing keys, which the first one to ask makes in KMS."""
        settings = replace(self._settings, signing_keys_secret="keys-in-kms")
        secrets = self.clients("secretsmanager", ONE_TRY, None)
        with contextlib.suppress(secrets.exceptions.ResourceNotFoundException):
            secrets.describe_secret(SecretId=settings.signing_keys_secret)
            return settings
        client = self.clients("kms", ONE_TRY, None)
        keys = KmsKeys(lambda: client, NOT_ASKED, settings.stack)
        secrets.create_secret(
            Name=settings.signing_keys_secret,
            SecretString=first_signing_keys(lambda: keys.create("RS256", rsa_bits=2048)),
        )
        return settings

    def enter(self, parts: Parts) -> None:
        """From now on this container answers."""
        wiring._parts = parts

    def call(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        auth: tuple[str, str] | None = None,
        bearer: str | None = None,
        key: str | None = None,
    ) -> Answer:
        headers = [("Host", "id.test")]
        sent = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        if form is not None:
            sent = urlencode(form).encode()
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        if auth is not None:
            encoded = "Basic " + _base64(":".join(auth))
            headers.append(("Authorization", encoded))
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        if key is not None:
            headers.append(("Idempotency-Key", key))
        parts = urlsplit(url)
        request = payload.Request(
            method=method,
            path=parts.path,
            query=parts.query,
            headers=headers,
            body=sent,
            source_ip="192.0.2.1",
        )
        matched = payload.match(self._routes, method, parts.path)
        assert matched is not None, url
        self.log.seek(0)
        self.log.truncate()
        response = payload.response(
            self._functions.invoke(matched.route.function, payload.event(request, matched))
        )
        text = response.body.decode()
        line = self.log.getvalue().splitlines()[-1:]
        return Answer(
            response.status,
            dict(response.headers),
            json.loads(text) if text else None,
            json.loads(line[0]) if line else {},
        )

    def start(self, client_id: str = NATIVE) -> Answer:
        form = {"client_id": client_id, "sub": "ada"}
        return self.call("POST", "/sessions", form=form, auth=BACKEND)

    def refresh(self, token: str, client_id: str = NATIVE, key: str | None = None) -> Answer:
        form = {"client_id": client_id, "refresh_token": token}
        return self.call("POST", "/oauth/refresh", form=form, key=key)

    def revoke(self, token: str) -> Answer:
        return self.call("POST", "/oauth/revoke", form={"client_id": NATIVE, "token": token})

    def sweep(self) -> Mapping[str, Any]:
        report: Mapping[str, Any] = self._functions.invoke("SweepFunction", {})
        return report

    def session(self, sid: str) -> Session:
        answer = self.auditor.get_item(
            TableName=self._settings.sessions_table, Key={"sid": {"S": sid}}, ConsistentRead=True
        )
        must("Item" in answer, f"the session {sid} is gone")
        return from_item(answer["Item"])

    def sids(self) -> list[str]:
        """Of all sessions there are."""
        table = self._settings.sessions_table
        found = self.auditor.scan(TableName=table, ProjectionExpression="sid")["Items"]
        return [item["sid"]["S"] for item in found]

    def forget_sessions(self) -> None:
        """Empties the table."""
        for sid in self.sids():
            key = {"sid": {"S": sid}}
            self.auditor.delete_item(TableName=self._settings.sessions_table, Key=key)


def _client(name: Any, config: Config, address: str | None) -> Any:
    if address is None:
        return boto3.client(name, config=config)
    # The variable for one service would win over a plain AWS_ENDPOINT_URL.
    return boto3.client(name, config=config, endpoint_url=address)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def unavailable(answer: Answer) -> None:
    """Promise 7's 503."""
    must(answer.status == 503, f"answered {answer.status} {answer.body}")
    must(answer["error"] == "temporarily_unavailable", f"error {answer['error']}")
    must(answer["error_reason"] == "unavailable", f"error_reason {answer['error_reason']}")
    must(answer["retry"] == "after", f"retry {answer['retry']}")
    must(int(answer.headers.get("retry-after", 0)) > 0, "no Retry-After")
    must("Traceback" not in str(answer.body), "a traceback")
    must("at" not in answer.log, f"a defect: {answer.log.get('fault')} {answer.log.get('at')}")
