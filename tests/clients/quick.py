"""Applications with short access tokens and no leeway, and their sessions, on a started stack."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import boto3
import httpx
import requests

from ratchet.application import Application, hash_secret
from ratchet.applications import Applications
from ratchet.policy import Policy
from ratchet_cli import running
from ratchet_client import MemoryStore, Session, Store
from ratchet_client.httpx_auth import SessionAuth
from ratchet_client.requests_auth import SessionAuth as RequestsAuth
from tests.clients import fault_front
from tests.local_stack import LocalStack

NATIVE, SERVER, BACKEND = "quick-native", "quick-server", "quick-backend"
SECOND, LONG_LIVED = "second-native", "long-native"
SECRET = "quick-secret: ä%"
_POLICY = {"preset": "native", "access_ttl_seconds": 2, "leeway_seconds": 0}
_LONG = {"preset": "native", "leeway_seconds": 0}


def aws(stack: LocalStack) -> dict[str, Any]:
    """What a boto3 client of the stack's emulator is made with."""
    found = running.find(stack.tree)
    assert found is not None
    return {
        "endpoint_url": found.endpoint_url,
        "region_name": found.region,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
    }


def register(stack: LocalStack) -> None:
    """No leeway: whoever presents a token twice without the same key loses the session."""
    found = running.find(stack.tree)
    assert found is not None
    client = boto3.client("dynamodb", **aws(stack))
    applications = Applications(client, found.environment["RATCHET_APPLICATIONS_TABLE"])
    policies: dict[str, dict[str, Any]] = {
        NATIVE: _POLICY,
        SERVER: _POLICY,
        SECOND: {**_POLICY, "access_ttl_seconds": 1},
        LONG_LIVED: _LONG,
        BACKEND: {"preset": "machine"},
    }
    for client_id, policy in policies.items():
        confidential = client_id in (SERVER, BACKEND)
        grant = "client_credentials" if client_id == BACKEND else "refresh_token"
        application = Application(
            client_id=client_id,
            confidential=confidential,
            secret_hashes=(hash_secret(SECRET),) if confidential else (),
            grant_types=frozenset({grant}),
            scopes=frozenset({"profile"}),
            starts_sessions_for=frozenset(
                {NATIVE, SERVER, SECOND, LONG_LIVED} if client_id == BACKEND else ()
            ),
            policy=Policy.from_mapping(policy),
        )
        applications.put(application, policy)


def start(stack: LocalStack, sub: str, client_id: str = NATIVE) -> Mapping[str, Any]:
    answer = httpx.post(
        f"{stack.url}/sessions",
        data={"client_id": client_id, "sub": sub},
        auth=httpx.BasicAuth(*map(quote_plus, (BACKEND, SECRET))),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def generation(stack: LocalStack, sid: str) -> int:
    """How often the server has rotated the refresh token of this session."""
    found = running.find(stack.tree)
    assert found is not None
    item = boto3.client("dynamodb", **aws(stack)).get_item(
        TableName=found.environment["RATCHET_SESSIONS_TABLE"],
        Key={"sid": {"S": sid}},
        ConsistentRead=True,
    )
    return int(item["Item"]["generation"]["N"])


def session(url: str, store: Store, **settings: Any) -> Session:
    return Session(
        store, **{"client_id": NATIVE, "token_endpoint": f"{url}/oauth/token", **settings}
    )


class Kept(MemoryStore):
    """Lets a test look at what it holds, and make it old."""

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.load() or "{}")
        return found


def age(session: Session, store: Kept) -> None:
    """The access token is past its time; the next call has to refresh."""
    store.save(json.dumps({**store.content, "expires_at": 1, "refresh_at": 1}))
    session._kept.known = None


def refuse_once(front: fault_front.Front) -> None:
    """The API refuses the first request from now on, and no other."""
    answers = iter(["401"])
    front.fault = lambda path, _: "" if path in fault_front.REFRESHES else next(answers, "")


# --- one GET, in four ways -----------------------------------------------------------------------


def get_httpx(session: Session, url: str) -> int:
    with httpx.Client(auth=SessionAuth(session), timeout=30) as client:
        return client.get(url).status_code


def get_httpx_async(session: Session, url: str) -> int:
    async def get() -> int:
        async with httpx.AsyncClient(auth=SessionAuth(session), timeout=30) as client:
            return (await client.get(url)).status_code

    return asyncio.run(get())


def get_requests(session: Session, url: str) -> int:
    with requests.Session() as http:
        http.auth = RequestsAuth(session)
        return http.get(url, timeout=30).status_code


def get_plain(session: Session, url: str) -> int:
    token = session.access_token()
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(url, headers=headers, timeout=30)
    if answer.status_code == 401:
        headers = {"Authorization": f"Bearer {session.access_token(refused=token)}"}
        answer = httpx.get(url, headers=headers, timeout=30)
    return answer.status_code


FRONTS = [get_httpx, get_httpx_async, get_requests, get_plain]
