"""One protected route, three ways to write it: all of them give the same answers."""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import unquote

import httpx
import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from fastapi import Depends, FastAPI

from ratchet_cli import payload, template
from ratchet_verify import Claims, InvalidProof, Refusal, Verifier
from ratchet_verify import aws_lambda as plain
from ratchet_verify import powertools as with_powertools
from ratchet_verify import starlette as with_starlette
from tests import proofs
from tests.verify.conftest import API, NOW, Issuer, made_key

Answer = tuple[int, dict[str, str], Any]
Send = Callable[[dict[str, str]], Answer]
SCOPE = "orders:read"


def as_lambda(verifier: Verifier) -> Send:
    @plain.requires(verifier, SCOPE)
    def handler(_event: dict[str, Any], _context: Any, claims: Claims) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {}, "body": json.dumps({"of": claims.sub})}

    return lambda headers: _answered(handler(_event(headers), None))


def as_powertools(verifier: Verifier) -> Send:
    app = APIGatewayHttpResolver()

    @app.get("/orders", middlewares=[with_powertools.requires(verifier, SCOPE)])
    def orders() -> dict[str, str]:
        return {"of": app.context["claims"].sub}

    return lambda headers: _answered(app.resolve(_event(headers), None))  # type: ignore[arg-type]


def as_fastapi(verifier: Verifier) -> Send:
    app = FastAPI()
    app.add_exception_handler(Refusal, with_starlette.refused)

    @app.get("/orders")
    def orders(
        claims: Annotated[Claims, Depends(with_starlette.requires(verifier, SCOPE))],
    ) -> dict[str, str]:
        return {"of": claims.sub}

    async def get(headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=API
        ) as client:
            return await client.get("/orders?page=1", headers=headers)

    def send(headers: dict[str, str]) -> Answer:
        answer = asyncio.run(get(headers))
        return answer.status_code, dict(answer.headers), answer.json()

    return send


def _event(headers: dict[str, str]) -> dict[str, Any]:
    request = payload.Request(
        method="GET",
        path="/orders",
        query="page=1",
        headers=[("Host", "api.test"), *headers.items()],
        body=b"",
        source_ip="192.0.2.1",
    )
    event = payload.event(request, payload.Match(template.Route("GET", "/orders", "Orders"), {}))
    event["headers"]["x-forwarded-proto"] = "https"
    return event


def _answered(response: dict[str, Any]) -> Answer:
    several = {
        name.lower(): values[0] for name, values in response.get("multiValueHeaders", {}).items()
    }
    headers = {name.lower(): value for name, value in response.get("headers", {}).items()}
    return response["statusCode"], several | headers, json.loads(response["body"])


@pytest.fixture(params=[as_lambda, as_powertools, as_fastapi])
def send(request: pytest.FixtureRequest, issuer: Issuer) -> Send:
    made: Send = request.param(issuer.verifier())
    return made


def test_a_good_token_reaches_the_handler(send: Send, issuer: Issuer) -> None:
    status, _, body = send({"Authorization": f"Bearer {issuer.token()}"})
    assert (status, body) == (200, {"of": "ada"})


def test_a_bound_token_with_its_proof_does(send: Send, issuer: Issuer) -> None:
    key = made_key("ES256", "a client's")
    token = issuer.token(cnf={"jkt": proofs.jkt(key)})
    proof = proofs.proof(key, "GET", f"{API}/orders", now=NOW, access_token=token)
    status, _, body = send({"Authorization": f"DPoP {token}", "DPoP": proof})
    assert (status, body) == (200, {"of": "ada"})


@pytest.mark.parametrize("path", ["/caf%C3%A9", "/a%20b", "/u%40x", "/a%3Fb"])
@pytest.mark.parametrize("decoded", [True, False], ids=["HTTP API", "function URL"])
def test_a_proof_is_for_its_path_however_the_event_spells_it(
    issuer: Issuer, path: str, decoded: bool
) -> None:
    key = made_key("ES256", "a client's")
    token = issuer.token(cnf={"jkt": proofs.jkt(key)})
    verifier = issuer.verifier()

    def call(htu: str) -> Claims:
        proof = proofs.proof(key, "GET", htu, now=NOW, access_token=token)
        event = _event({"Authorization": f"DPoP {token}", "DPoP": proof})
        event["rawPath"] = unquote(path) if decoded else path
        return plain.authenticate(verifier, event)

    assert call(f"{API}{path}").sub == "ada"
    with pytest.raises(InvalidProof):
        call(f"{API}/a")


def test_no_token_is_challenged(send: Send) -> None:
    status, headers, body = send({})
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert body == {"error_description": "Send an access token in the Authorization header."}


def test_an_expired_token_is_told_so(send: Send, issuer: Issuer) -> None:
    status, headers, body = send({"Authorization": f"Bearer {issuer.token(exp=NOW - 10)}"})
    assert status == 401
    assert headers["www-authenticate"] == (
        'Bearer error="invalid_token", error_description="The access token expired"'
    )
    assert headers["content-type"] == "application/json"
    assert body == {"error": "invalid_token", "error_description": "The access token expired"}


def test_a_missing_scope_is_named(send: Send, issuer: Issuer) -> None:
    status, headers, body = send({"Authorization": f"Bearer {issuer.token(scope='profile')}"})
    assert (status, body["error"]) == (403, "insufficient_scope")
    assert 'scope="orders:read"' in headers["www-authenticate"]


def test_while_the_keys_are_away_the_answer_is_503(send: Send, issuer: Issuer) -> None:
    issuer.away = True
    status, headers, body = send({"Authorization": f"Bearer {issuer.token()}"})
    assert (status, headers["retry-after"]) == (503, "2")
    assert body["error"] == "temporarily_unavailable"
