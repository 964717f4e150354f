"""Verifiers that others wrote accept our access tokens, finding the keys by themselves."""

from pathlib import Path

import jwt
import pytest
from aws_lambda_powertools.utilities.auth_alpha.jwt import JWTVerifier
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from tests.clients import tls
from tests.clients.conftest import Client
from tests.local_stack import started


def jwks_uri(client: Client) -> str:
    metadata = client.http.get("/.well-known/openid-configuration").json()
    assert metadata["issuer"] == client.url
    return str(metadata["jwks_uri"])


def test_pyjwts_jwk_client_verifies_an_access_token(client: Client) -> None:
    token = client.start()["access_token"]
    key = jwt.PyJWKClient(jwks_uri(client)).get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        issuer=client.url,
        audience=client.url,
        options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]},
    )
    assert (claims["sub"], claims["client_id"]) == ("ada", "demo-native")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def test_joserfc_verifies_an_access_token(client: Client) -> None:
    token = client.start()["access_token"]
    keys = KeySet.import_key_set(client.http.get(jwks_uri(client)).json())
    decoded = joserfc_jwt.decode(token, keys, algorithms=["RS256"])
    assert decoded.claims["iss"] == client.url
    assert decoded.header["kid"] in {key.kid for key in keys.keys}


def test_powertools_jwt_verifier_verifies_an_access_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """from nothing but issuer and audience, through discovery, behind TLS as on AWS"""
    file = tls.certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    behind: list[str] = []
    with (
        tls.front(file, lambda: behind[0]) as issuer,
        started(tmp_path, "--issuer", issuer) as stack,
    ):
        behind.append(stack.url)
        client = Client(stack.url)
        with client.http:
            token = client.start()["access_token"]
        verifier = JWTVerifier(
            issuer=issuer,
            audience=issuer,
            algorithms=["RS256"],
            expected_headers={"typ": "at+jwt"},
            required_claims=["sub", "client_id", "sid"],
        )
        claims = verifier.verify(token)
    assert (claims["sub"], claims["client_id"]) == ("ada", "demo-native")


def test_a_changed_access_token_is_refused(client: Client) -> None:
    token = client.start()["access_token"]
    middle = len(token) - 100
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    key = jwt.PyJWKClient(jwks_uri(client)).get_signing_key_from_jwt(changed)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(changed, key, algorithms=["RS256"], audience=client.url)
