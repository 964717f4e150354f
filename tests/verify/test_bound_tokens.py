"""Tokens that are bound to a key, at an API (RFC 9449 sections 4.3 and 7)."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet_verify import InvalidProof, InvalidToken, Refusal, Verifier
from tests import proofs
from tests.verify.conftest import API, NOW, Issuer, base64url, made_key

URL = f"{API}/orders"
KEY = made_key("ES256", "a client's")


@pytest.fixture
def verifier(issuer: Issuer) -> Verifier:
    return issuer.verifier()


@pytest.fixture
def token(issuer: Issuer) -> str:
    return issuer.token(cnf={"jkt": proofs.jkt(KEY)})


def proof(token: str, key: Any = KEY, algorithm: str = "ES256", **claims: Any) -> str:
    named = {"now": NOW, "access_token": token, "algorithm": algorithm, **claims}
    return proofs.proof(key, "GET", URL, **named)


def call(verifier: Verifier, token: str, *sent: str, scheme: str = "DPoP", **options: Any) -> Any:
    headers = [("authorization", f"{scheme} {token}"), *(("DPoP", text) for text in sent)]
    return verifier.authenticate(headers, **{"method": "GET", "url": URL, **options})


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_the_holder_of_the_key_is_let_in(
    issuer: Issuer, verifier: Verifier, algorithm: str
) -> None:
    key = made_key(algorithm, "a client's")
    token = issuer.token(cnf={"jkt": proofs.jkt(key)})
    claims = call(verifier, token, proof(token, key, algorithm))
    assert (claims.sub, claims.jkt) == ("ada", proofs.jkt(key))


@pytest.mark.parametrize("url", [f"{URL}?page=2", "https://API.test:443/orders", f"{URL}#here"])
def test_query_default_port_and_case_of_the_host_do_not_count(
    verifier: Verifier, token: str, url: str
) -> None:
    assert call(verifier, token, proof(token), url=url)


def test_a_bound_token_is_no_bearer_token(verifier: Verifier, token: str) -> None:
    """Section 7.2: "MUST reject a DPoP-bound access token received as a bearer token" """
    for refused in (
        lambda: call(verifier, token, proof(token), scheme="Bearer"),
        lambda: verifier.verify(token),
    ):
        with pytest.raises(InvalidToken):
            refused()


def test_a_bearer_token_does_not_become_better_by_a_proof(
    issuer: Issuer, verifier: Verifier
) -> None:
    token = issuer.token()
    with pytest.raises(InvalidToken) as caught:
        call(verifier, token, proof(token))
    assert caught.value.headers["www-authenticate"].startswith("DPoP error=")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"htm": "POST"}, "htm"),
        ({"htu": f"{API}/other"}, "htu"),
        ({"htu": "http://api.test/orders"}, "htu"),
        ({"htu": 1}, "htu"),
        ({"ath": None}, "ath"),
        ({"ath": proofs.ath("another")}, "ath"),
        ({"iat": NOW - 61}, "iat"),
        ({"iat": NOW + 61}, "iat"),
        ({"iat": None}, "iat"),
        ({"iat": float("nan")}, "iat"),
        ({"iat": 10**400}, "iat"),
        ({"jti": None}, "jti"),
        ({"jti": "x" * 257}, "jti"),
        ({"header": {"typ": "JWT"}}, "typ"),
        ({"header": {"b64": False, "crit": ["b64"]}}, "typ"),
        ({"header": {"jwk": None}}, "key"),
        ({"header": {"jwk": {"kty": "oct", "k": "AAAA"}}}, "key"),
        ({"header": {"jwk": KEY.as_dict(private=True)}}, "key"),
        ({"header": {"jwk": made_key("ES256", "other").as_dict(private=False)}}, "signature"),
    ],
)
def test_a_proof_of_something_else_is_refused(
    verifier: Verifier, token: str, change: dict[str, Any], detail: str
) -> None:
    with pytest.raises(InvalidProof) as caught:
        call(verifier, token, proof(token, **change))
    assert (caught.value.status, caught.value.detail) == (401, detail)
    challenge = caught.value.headers["www-authenticate"]
    assert challenge.startswith('DPoP error="invalid_dpop_proof"')
    assert 'algs="ES256 EdDSA PS256 RS256"' in challenge


def test_the_proof_of_another_key_is_refused(verifier: Verifier, token: str) -> None:
    other = made_key("ES256", "other")
    with pytest.raises(InvalidProof, match="another key"):
        call(verifier, token, proof(token, other))


def test_a_proof_is_good_once(issuer: Issuer, verifier: Verifier, token: str) -> None:
    """Section 11.1"""
    text = proof(token)
    assert call(verifier, token, text)
    with pytest.raises(InvalidProof, match="used before"):
        call(verifier, token, text)
    issuer.now += 60
    with pytest.raises(InvalidProof, match="used before"):
        call(verifier, token, text)
    issuer.now += 1
    with pytest.raises(InvalidProof, match="iat"):
        call(verifier, token, text)


@pytest.mark.parametrize("sent", [0, 2])
def test_one_proof_is_needed(verifier: Verifier, token: str, sent: int) -> None:
    with pytest.raises(InvalidProof):
        call(verifier, token, *(proof(token) for _ in range(sent)))


def test_what_is_no_jwt_is_no_proof(verifier: Verifier, token: str) -> None:
    for text in ("", "a.b.c", "x" * 9000, base64url(b"{}") + ".e30.e30"):
        with pytest.raises(Refusal) as caught:
            call(verifier, token, text)
        assert caught.value.status == 401
