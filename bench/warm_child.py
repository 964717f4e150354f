"""A warm function: from the event of a request to its response, beside what nothing can save.

The floor is measured in the same rounds: one `UpdateItem` of boto3's with the very arguments of a
refresh, and one RS256 signature over as many bytes as an access token's.

    python -m bench.warm_child RESULT [ROUNDS]     in the environment of the functions
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from bench.service import ROOT, event
from bench.turns import Subject, in_turn
from ratchet import endpoint, wiring
from ratchet_cli import template
from ratchet_cli.functions import Functions
from ratchet_cli.seed import SECRETS

BACKEND = {
    "Authorization": "Basic "
    + b64encode(f"demo-backend:{SECRETS['demo-backend']}".encode()).decode()
}
CLIENT = "demo-native"
GARBAGE = "rt1_" + "A" * 150
Json = dict[str, Any]


class Requests:
    """The requests of a client, each ready to be handed to its function."""

    def __init__(self) -> None:
        self.functions = Functions(ROOT, template.functions(template.load(ROOT / "template.yaml")))

    def invoke(self, function: str, asked: Json) -> Json:
        answer: Json = self.functions.invoke(function, asked)
        return answer

    def start(self) -> Json:
        answer = self.invoke("IssueFunction", self.starting())
        return body(answer)

    @staticmethod
    def starting() -> Json:
        return event("POST", "/sessions", {"client_id": CLIENT, "sub": "ada"}, BACKEND)

    @staticmethod
    def refreshing(token: str) -> Json:
        form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": token}
        return event("POST", "/oauth/refresh", form)


def body(answer: Mapping[str, Any], status: int = 200) -> Json:
    """The JSON of an answer. Raises RuntimeError when it is not what is being measured."""
    if answer["statusCode"] != status:
        raise RuntimeError(f"answered {answer['statusCode']} {answer['body']}")
    found: Json = json.loads(answer["body"]) if answer["body"] else {}
    return found


def subjects(requests: Requests) -> dict[str, Subject]:
    def asked(function: str, prepare: Callable[[], Json], status: int = 200) -> Subject:
        def check(answer: Json) -> None:
            body(answer, status)

        return Subject(lambda given: requests.invoke(function, given), prepare, check)

    session = requests.start()
    token = session["refresh_token"]
    known = {"token": token, "token_type_hint": "refresh_token"}
    granted = {"grant_type": "client_credentials"}
    return {
        "floor": floor(requests),
        "signature": signature(),
        "refresh": refreshing(requests, "boto3"),
        "lean": refreshing(requests, "lean"),
        "issue": asked("IssueFunction", requests.starting),
        "client_credentials": asked(
            "IssueFunction", lambda: event("POST", "/oauth/token", granted, BACKEND)
        ),
        "introspect": asked(
            "IntrospectFunction", lambda: event("POST", "/oauth/introspect", known, BACKEND)
        ),
        "revoke": asked(
            "RevokeFunction",
            lambda: event(
                "POST",
                "/oauth/revoke",
                {"client_id": CLIENT, "token": requests.start()["refresh_token"]},
            ),
        ),
        "garbage": asked("RefreshFunction", lambda: requests.refreshing(GARBAGE), 400),
        "jwks": asked("DiscoveryFunction", lambda: event("GET", "/.well-known/jwks.json")),
    }


def refreshing(requests: Requests, transport: str) -> Subject:
    """One session that is refreshed again and again, by a container of this transport."""
    newest = [requests.start()["refresh_token"]]
    usual = wiring.parts()
    chosen = usual
    if transport != wiring.settings().transport:
        chosen = wiring.build(replace(wiring.settings(), transport=transport))

    def run(given: Json) -> Json:
        wiring._parts = chosen
        answer = requests.invoke("RefreshFunction", given)
        wiring._parts = usual
        return answer

    def check(answer: Json) -> None:
        newest[0] = body(answer)["refresh_token"]

    return Subject(run, lambda: requests.refreshing(newest[0]), check)


def signature() -> Subject:
    """RS256 by itself, with the service's own key."""
    key = wiring.parts().signer.keys(endpoint.clock()).current.private_key
    message = b"x" * 700
    return Subject(lambda _: key.sign(message, PKCS1v15(), SHA256()))


def floor(requests: Requests) -> Subject:
    """The one write of a refresh as boto3 makes it, and one signature."""
    import boto3

    # As it comes: a setting that saves something is the handler's.
    client = boto3.client("dynamodb")
    seen: list[Json] = []

    class Witness:
        def update_item(self, **arguments: Any) -> Any:
            seen.append(arguments)
            return client.update_item(**arguments)

    asked = requests.refreshing(requests.start()["refresh_token"])
    store: Any = wiring.parts().store
    usual, store._client = store._client, Witness()
    answer = requests.invoke("RefreshFunction", asked)
    store._client = usual
    body(answer)
    (arguments,) = seen
    values = arguments["ExpressionAttributeValues"]
    hashes = [values[":presented"], values[":successor"]]

    def prepare() -> Json:
        # The condition holds each time, and each time the two have changed places.
        hashes.reverse()
        values[":presented"], values[":successor"] = hashes
        return arguments

    sign = signature()

    def run(given: Json) -> Any:
        client.update_item(**given)
        return sign.run(None)

    return Subject(run, prepare)


def main(result: str, rounds: str = "300") -> None:
    measured = in_turn(subjects(Requests()), rounds=int(rounds))
    found = {name: {"cpu": times.cpu, "wall": times.wall} for name, times in measured.items()}
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
