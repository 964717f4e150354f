"""The gateway's authorizers: what API Gateway's documentation says of its own."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ratchet_cli import payload
from ratchet_cli.authorizers import Authorizers, request_event
from ratchet_cli.template import JwtAuthorizer, LambdaAuthorizer, Route
from ratchet_verify import fetch

ISSUER, API = "https://i.test", "https://api.test"
OWN = Route("GET", "/o/{id}", "Orders", JwtAuthorizer(ISSUER, (API,)))
SCOPED = Route("GET", "/o/{id}", "Orders", OWN.authorizer, ("read", "write"))
FUNCTION = Route("GET", "/o/{id}", "Orders", LambdaAuthorizer("Checker", ("Authorization",)))
KEY = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(autouse=True)
def issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key()))
    documents = {
        f"{ISSUER}/.well-known/oauth-authorization-server": {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
        },
        f"{ISSUER}/keys": {"keys": [key | {"kid": "1"}, curve | {"kid": "2"}]},
    }

    class Opener:
        def open(self, request: Any, timeout: float) -> io.BytesIO:
            return io.BytesIO(json.dumps(documents[request.full_url]).encode())

    monkeypatch.setattr(fetch, "_opener", Opener())


def token(*, key: Any = KEY, algorithm: str = "RS256", kid: str = "1", **claims: Any) -> str:
    now = int(time.time())
    body = {"iss": ISSUER, "aud": API, "sub": "ada", "iat": now, "exp": now + 3600, **claims}
    body = {name: claim for name, claim in body.items() if claim is not None}
    return jwt.encode(body, key, algorithm, headers={"kid": kid})


def event(route: Route, authorization: str | None = None, body: bytes = b"") -> dict[str, Any]:
    headers = [("Host", "api.test")]
    if authorization is not None:
        headers.append(("Authorization", authorization))
    request = payload.Request("GET", "/o/7", "a=1", headers, body, "192.0.2.1")
    return payload.event(request, payload.Match(route, {"id": "7"}))


def passes(route: Route, authorization: str, decision: Any = None) -> Any:
    """What the function is told of the caller."""
    built = event(route, authorization)
    assert Authorizers(lambda *_: decision).refusal(route, built) is None
    return built["requestContext"]["authorizer"]


def refusal(route: Route, authorization: str | None, decide: Any = None) -> payload.Response:
    found = Authorizers(decide or (lambda *_: None)).refusal(route, event(route, authorization))
    assert found is not None
    return found


def test_a_route_without_an_authorizer_is_open() -> None:
    route = Route("GET", "/o/{id}", "Orders")
    built = event(route)
    assert Authorizers(lambda *_: None).refusal(route, built) is None
    assert "authorizer" not in built["requestContext"]


# --- API Gateway's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", ""])
def test_a_good_token_passes_and_its_claims_are_texts(scheme: str) -> None:
    good = token(exp=4_000_000_000, iat=1, amr=["pwd", "otp"], scope="read x", own={"a": [1]})
    assert passes(SCOPED, scheme + good) == {
        "jwt": {
            "claims": {
                "iss": ISSUER,
                "aud": API,
                "sub": "ada",
                "iat": "1",
                "exp": "4000000000",
                "amr": "[pwd otp]",
                "scope": "read x",
                "own": '{"a":[1]}',
            },
            "scopes": ["read", "write"],
        }
    }


def test_a_token_for_several_apis_passes() -> None:
    assert passes(OWN, f"Bearer {token(aud=['https://other.test', API])}")


def test_an_id_of_the_client_counts_where_there_is_no_audience() -> None:
    assert passes(OWN, f"Bearer {token(aud=None, client_id=API)}")
    assert refusal(OWN, f"Bearer {token(aud='x', client_id=API)}").status == 401


@pytest.mark.parametrize(
    ("bad", "description"),
    [
        ("x", "the token is not valid: parts"),
        (token(key=rsa.generate_private_key(65537, 2048)), "the token is not valid: signature"),
        (token(kid="3"), "the token is not valid: unknown kid"),
        (token(key=CURVE, algorithm="ES256", kid="2"), "the token is not valid: alg"),
        (token(iss="https://other.test"), "invalid issuer"),
        (token(aud="https://other.test"), "the token does not have a valid audience"),
        (token(exp=int(time.time())), "the token has expired"),
        (token(exp=None), "the token has expired"),
        (token(nbf=4_000_000_000), "the token is not valid yet"),
    ],
)
def test_a_bad_token_gets_401_with_a_challenge(bad: str, description: str) -> None:
    response = refusal(OWN, f"Bearer {bad}")
    assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')
    challenge = dict(response.headers)["www-authenticate"]
    assert challenge == f'Bearer scope="" error="invalid_token" error_description="{description}"'


def test_no_token_gets_401_too() -> None:
    response = refusal(OWN, None)
    assert (response.status, dict(response.headers)["www-authenticate"]) == (401, "Bearer")


def test_without_one_of_the_scopes_it_is_403() -> None:
    assert passes(SCOPED, f"Bearer {token(scope='x write')}")
    for scope in ("x", "", None):
        response = refusal(SCOPED, f"Bearer {token(scope=scope)}")
        assert (response.status, response.body) == (403, b'{"message":"Forbidden"}')


# --- Lambda functions ----------------------------------------------------------------------------


def test_a_function_decides_and_the_api_is_told_its_context() -> None:
    allowed = {"isAuthorized": True, "context": {"sub": "ada", "amr": ["pwd"], "exp": 5}}
    told = {"lambda": {"sub": "ada", "amr": ["pwd"], "exp": 5}}
    assert passes(FUNCTION, "Bearer x", allowed) == told
    assert passes(FUNCTION, "Bearer x", {"isAuthorized": True}) == {"lambda": None}


def test_the_function_gets_the_request_without_its_body() -> None:
    built = event(FUNCTION, "Bearer x", b"secret")
    sent = request_event(built, ["Bearer x"])
    assert sent["routeArn"].endswith(":000000000000:local/$default/GET/o/7")
    assert (sent["version"], sent["type"]) == ("2.0", "REQUEST")
    assert sent["identitySource"] == ["Bearer x"]
    kept = {name: part for name, part in built.items() if name not in ("body", "isBase64Encoded")}
    assert {name: sent[name] for name in kept} == kept
    assert "secret" not in str(sent)


def test_without_its_identity_source_the_function_is_not_called() -> None:
    for missing in (None, ""):
        response = refusal(FUNCTION, missing, pytest.fail)
        assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')
        assert "www-authenticate" not in dict(response.headers)


def _raises(error: BaseException) -> Any:
    def decide(*_: Any) -> Any:
        raise error

    return decide


@pytest.mark.parametrize(
    ("decide", "status"),
    [
        (lambda *_: {"isAuthorized": False}, 403),
        (_raises(Exception("Unauthorized")), 401),
        (_raises(Exception("unauthorized")), 500),
        (_raises(SystemExit(1)), 500),
        (lambda *_: None, 500),
        (lambda *_: {"isAuthorized": "yes"}, 500),
        (lambda *_: {"isAuthorized": True, "context": {"x": object()}}, 500),
    ],
)
def test_what_else_a_function_may_say(decide: Any, status: int) -> None:
    assert refusal(FUNCTION, "Bearer x", decide).status == status
