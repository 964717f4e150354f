"""Several containers on two secrets of their own, rotated as Secrets Manager rotates them."""

import json
import random
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import EndpointConnectionError
from joserfc import jwt
from joserfc.jwk import KeySet

from ratchet import wiring
from ratchet.keys import ALGORITHMS
from ratchet.parts import Parts
from ratchet.rotate_keys import STEPS

PLACEHOLDER = json.dumps({"next": None, "current": None, "previous": None})


class Fleet:
    """`service` answers with one container at a time; `any` picks one at random."""

    def __init__(self, service: Any, monkeypatch: Any, *, size: int = 1, **settings: str) -> None:
        self.service = service
        self.client = boto3.client("secretsmanager")
        self.kms = boto3.client("kms")
        self.random = random.Random(1)  # noqa: S311 - to be repeatable
        self._monkeypatch = monkeypatch
        for name, value in {"RATCHET_STACK": uuid.uuid4().hex, **settings}.items():
            monkeypatch.setenv(name, value)
        self.keys_id = self._secret("RATCHET_SIGNING_KEYS_SECRET", PLACEHOLDER)
        peppers = json.dumps({"current": 1, "1": uuid.uuid4().hex * 2})
        self.pepper_id = self._secret("RATCHET_PEPPER_SECRET", peppers)
        self.containers: list[Parts] = []
        self.away: set[int] = set()
        for number in range(size):
            parts = wiring.build(wiring.settings())
            self._cut_off_when_away(parts, number)
            self.containers.append(parts)
        self.enter(0)

    def _secret(self, variable: str, text: str) -> str:
        arn: str = self.client.create_secret(Name=uuid.uuid4().hex, SecretString=text)["ARN"]
        self.client.rotate_secret(SecretId=arn, RotationLambdaARN="x" * 20, RotateImmediately=False)
        self._monkeypatch.setenv(variable, arn)
        return arn

    def _cut_off_when_away(self, parts: Parts, number: int) -> None:
        def refuse(**_: Any) -> None:
            if number in self.away:
                raise EndpointConnectionError(endpoint_url="none")

        for cached in (parts.signer._secret, parts.peppers._secret):  # type: ignore[attr-defined]
            cached._client.meta.events.register("before-call.secretsmanager", refuse)

    def enter(self, number: int) -> None:
        self._monkeypatch.setattr(wiring, "_parts", self.containers[number])
        self.service.parts = self.containers[number]

    def any(self) -> Any:
        self.enter(self.random.randrange(len(self.containers)))
        return self.service

    # --- Secrets Manager -----------------------------------------------------------------------

    def begin(self, secret_id: str | None = None) -> str:
        """A pending version without a value, which is what a rotation begins with."""
        token = str(uuid.uuid4())
        self.client.put_secret_value(
            SecretId=secret_id or self.keys_id,
            ClientRequestToken=token,
            VersionStages=["AWSPENDING"],
        )
        return token

    def step(self, name: str, token: str, secret_id: str | None = None) -> None:
        self.service._functions.invoke(
            "RotateKeysFunction",
            {"Step": name, "SecretId": secret_id or self.keys_id, "ClientRequestToken": token},
        )

    def rotate(self, secret_id: str | None = None) -> None:
        token = self.begin(secret_id)
        for name in STEPS:
            self.step(name, token, secret_id)

    def slots(self) -> dict[str, Any]:
        text = self.client.get_secret_value(SecretId=self.keys_id)["SecretString"]
        slots: dict[str, Any] = json.loads(text)
        return slots

    def peppers(self) -> dict[str, Any]:
        text = self.client.get_secret_value(SecretId=self.pepper_id)["SecretString"]
        peppers: dict[str, Any] = json.loads(text)
        return peppers

    @contextmanager
    def cut_off(self, number: int) -> Iterator[None]:
        self.away.add(number)
        try:
            yield
        finally:
            self.away.discard(number)


def jwks(service: Any) -> Mapping[str, Any]:
    answer = service.call("GET", "/.well-known/jwks.json")
    assert answer.status == 200, answer
    body: Mapping[str, Any] = answer.body
    return body


def verified(token: str, key_set: Mapping[str, Any]) -> jwt.Token:
    """By another library, with these keys and no others."""
    imported = KeySet.import_key_set(key_set)  # type: ignore[arg-type] # plain JSON
    return jwt.decode(token, imported, algorithms=list(ALGORITHMS))
