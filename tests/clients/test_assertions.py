"""Authlib signs in with an ID token, and proves an application with a key instead of a secret."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT, private_key_jwt_sign
from joserfc.jwk import RSAKey

from ratchet.application import JWT_BEARER, TOKEN_EXCHANGE, Application
from ratchet.applications import Applications
from ratchet.policy import PRESETS
from ratchet.trusted_issuer import TrustedIssuer
from ratchet_cli import running
from tests.clients.conftest import Client
from tests.identity_provider import IdentityProvider, identity_provider, public, rsa_key
from tests.local_stack import LocalStack

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
KEYED = "keyed-backend"


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module", autouse=True)
def registered(stack: LocalStack, provider: IdentityProvider) -> None:
    """An app that trusts the provider, and a backend that has a key and no secret."""
    found = running.find(stack.tree)
    assert found is not None
    client = boto3.client(
        "dynamodb",
        endpoint_url=found.endpoint_url,
        region_name=found.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    applications = Applications(client, found.environment["RATCHET_APPLICATIONS_TABLE"])
    app = Application(
        client_id="idp-app",
        confidential=False,
        grant_types=frozenset({"refresh_token", JWT_BEARER, TOKEN_EXCHANGE}),
        scopes=frozenset({"profile"}),
        trusted_issuers=(
            TrustedIssuer(issuer=provider.url, audience=("shop",), subject_prefix="idp:"),
        ),
        policy=PRESETS["native"],
    )
    backend = Application(
        client_id=KEYED,
        confidential=True,
        jwks=public(rsa_key("backend")),
        grant_types=frozenset({"client_credentials", "refresh_token"}),
        starts_sessions_for=frozenset({KEYED}),
        scopes=frozenset({"reports:read"}),
        policy=PRESETS["browser"],
    )
    applications.put(app, {"preset": "native"})
    applications.put(backend, {"preset": "browser"})


def id_token(provider: IdentityProvider) -> str:
    return provider.id_token(now=int(time.time()), jti=secrets.token_hex(8))


@pytest.mark.parametrize(
    "asked",
    [
        {"grant_type": JWT_BEARER},
        {"grant_type": TOKEN_EXCHANGE, "subject_token_type": f"{TOKEN_TYPE}id_token"},
    ],
    ids=["jwt-bearer", "token exchange"],
)
def test_authlib_exchanges_an_id_token_once_and_refreshes(
    client: Client, provider: IdentityProvider, asked: dict[str, str]
) -> None:
    url = f"{client.url}/oauth/token"
    name = "assertion" if asked["grant_type"] == JWT_BEARER else "subject_token"
    code = "invalid_grant" if name == "assertion" else "invalid_request"
    form: dict[str, Any] = {**asked, name: id_token(provider)}
    with OAuth2Session("idp-app", token_endpoint_auth_method="none") as session:
        token = session.fetch_token(url, **form)
        assert token["refresh_token"].startswith("rt1_")
        assert token.get("issued_token_type", "") in ("", f"{TOKEN_TYPE}access_token")
        shown = session.get(f"{client.url}/sessions").json()["sessions"]
        assert {entry["sub"] for entry in shown} == {"idp:248289761001"}
        assert session.refresh_token(url)["sid"] == token["sid"]
        with pytest.raises(OAuthError, match=f"{code}: The assertion has been used before"):
            session.fetch_token(url, **form)


def test_authlibs_assertion_session_is_an_issuer_of_ones_own(
    client: Client, provider: IdentityProvider
) -> None:
    """it signs a new assertion whenever the access token has expired: a session each time"""
    with AssertionSession(
        token_endpoint=f"{client.url}/oauth/token",
        issuer=provider.url,
        subject="worker-7",
        audience="shop",
        client_id="idp-app",
        key=rsa_key("first"),
        header={"alg": "RS256", "kid": "first"},
    ) as session:
        assert session.get(f"{client.url}/sessions").status_code == 200
        assert session.token["scope"] == "profile"


@pytest.mark.parametrize("audience", ["the token endpoint", "the address that is called"])
def test_authlib_authenticates_with_a_private_key_everywhere(client: Client, audience: str) -> None:
    url = f"{client.url}/oauth/token"
    method = PrivateKeyJWT(url if audience == "the token endpoint" else None)
    key: Any = rsa_key("backend")
    with OAuth2Session(
        KEYED,
        key,
        token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
    ) as session:
        session.register_client_auth_method(method)
        token = session.fetch_token(url, grant_type="client_credentials")
        assert token["scope"] == "reports:read"
        introspect: Any = session.introspect_token
        for _ in range(2):
            seen = introspect(f"{client.url}/oauth/introspect", token["access_token"])
            assert seen.json()["active"] is True
        revoke: Any = session.revoke_token
        assert revoke(f"{client.url}/oauth/revoke", "rt1_x").status_code == 200
        tokens = started(client, key)
        for _ in range(2):
            tokens = session.refresh_token(url, tokens["refresh_token"])
        other: Any = RSAKey.generate_key(2048, {"kid": "backend"})
        session.client_secret = other
        with pytest.raises(OAuthError, match="invalid_client"):
            session.fetch_token(url, grant_type="client_credentials")


def started(client: Client, key: Any) -> Any:
    """A session of the backend's own, started with Authlib's assertion."""
    form = {
        "client_id": KEYED,
        "sub": "ada",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": private_key_jwt_sign(key, KEYED, client.url),
    }
    answer = client.http.post("/sessions", data=form)
    assert answer.status_code == 200, answer.text
    return answer.json()
