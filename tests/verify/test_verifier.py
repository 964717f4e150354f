"""Access tokens as RFC 9068 section 4 and RFC 8725 section 3 have them checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratchet_verify import (
    Claims,
    ExpiredToken,
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    Refusal,
    Verifier,
)
from ratchet_verify.jws import MAX_LENGTH
from tests.verify.conftest import ALGORITHMS, API, ISSUER, NOW, Issuer, base64url, signed


def refused(verifier: Verifier, token: str) -> str:
    """The private detail of the refusal."""
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(token)
    assert caught.value.status == 401
    assert caught.value.error == "invalid_token"
    assert not token or token[-20:] not in str(caught.value.headers) + caught.value.detail
    return caught.value.detail


def authenticate(verifier: Verifier, *authorization: str, **options: Any) -> Claims:
    headers = [("Authorization", value) for value in authorization]
    return verifier.authenticate(headers, method="GET", url=f"{API}/orders", **options)


# --- what is good --------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_the_issuer_is_good_with_each_algorithm(issuer: Issuer, algorithm: str) -> None:
    issuer.add("two", algorithm)
    verifier = issuer.verifier(algorithms=[algorithm])
    claims = verifier.verify(issuer.token("two", amr=["pwd"], acr="high", auth_time=NOW - 9))
    assert (claims.sub, claims.client_id, claims.sid) == ("ada", "shop", "a-session")
    assert claims.scopes == {"orders:read", "profile"}
    assert (claims.issuer, claims.audience) == (ISSUER, (API,))
    assert (claims.issued_at, claims.expires_at, claims.auth_time) == (NOW, NOW + 300, NOW - 9)
    assert (claims.amr, claims.acr, claims.jkt) == (("pwd",), "high", None)
    assert claims.all["scope"] == "orders:read profile"


def test_one_of_several_audiences_is_enough(issuer: Issuer) -> None:
    assert issuer.verifier().verify(issuer.token(aud=["https://other.test", API])).sub == "ada"
    verifier = issuer.verifier(audience=["https://a.test", "https://b.test"])
    assert verifier.verify(issuer.token(aud="https://b.test")).sub == "ada"


def test_the_type_may_be_written_as_a_media_type_and_has_no_case(issuer: Issuer) -> None:
    assert issuer.verifier().verify(issuer.token(header={"typ": "Application/AT+JWT"})).sub == "ada"


def test_custom_claims_are_passed_on(issuer: Issuer) -> None:
    assert issuer.verifier().verify(issuer.token(tenant="acme")).all["tenant"] == "acme"


# --- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"iss": "https://ID.test"}, "issuer"),
        ({"aud": "https://other.test"}, "audience"),
        ({"aud": [f"{API}/"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"nbf": NOW + 60}, "not yet"),
        ({"iat": NOW + 120}, "not yet"),
        *(({name: None}, "claims") for name in ("iss", "sub", "aud", "client_id", "jti", "exp")),
        ({"iat": None}, "claims"),
        ({"exp": str(NOW + 300)}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": float("nan")}, "claims"),
        ({"exp": 1e300}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": 1}, "claims"),
        ({"aud": [1]}, "claims"),
        ({"aud": {"a": 1}}, "claims"),
        ({"scope": ["a"]}, "claims"),
        ({"sid": 1}, "claims"),
        ({"cnf": "x"}, "claims"),
        ({"cnf": {"x5t#S256": "a"}}, "claims"),
        ({"cnf": {"jkt": "a"}}, "bound to a key"),
    ],
)
def test_a_token_with_wrong_claims_is_refused(
    issuer: Issuer, claims: dict[str, Any], detail: str
) -> None:
    assert refused(issuer.verifier(), issuer.token(**claims)) == detail


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ({"typ": None}, "typ"),
        ({"typ": "JWT"}, "typ"),
        ({"typ": ["at+jwt"]}, "typ"),
        ({"kid": "two"}, "unknown kid"),
        ({"kid": 1}, "kid"),
        ({"kid": "x" * 257}, "kid"),
        ({"jku": "https://evil.test"}, "jku"),
        ({"x5u": "https://evil.test"}, "x5u"),
        ({"x5c": []}, "x5c"),
        ({"jwk": {}}, "jwk"),
        ({"crit": ["exp"]}, "crit"),
        ({"zip": "DEF"}, "zip"),
        ({"padding": "x" * 1024}, "length of the header"),
    ],
)
def test_a_token_with_a_wrong_header_is_refused(
    issuer: Issuer, header: dict[str, Any], detail: str
) -> None:
    assert refused(issuer.verifier(), issuer.token(header=header)) == detail


def test_only_the_allowed_algorithms_count_and_those_of_the_key(issuer: Issuer) -> None:
    """RFC 8725 section 3.1"""
    assert refused(issuer.verifier(algorithms=["ES256"]), issuer.token()) == "alg"
    algorithm, key = issuer.keys["one"]
    issuer.keys["one"] = ("PS256", key)
    header = {"typ": "at+jwt", "alg": algorithm, "kid": "one"}
    other = signed(key, algorithm, header, {"sub": "ada"})
    assert refused(issuer.verifier(), other) == "unknown kid"


def test_two_keys_of_the_same_name_are_no_key(issuer: Issuer) -> None:
    keys = issuer.jwks()["keys"]
    verifier = Verifier(ISSUER, API, jwks={"keys": keys}, clock=lambda: NOW)
    assert verifier.verify(issuer.token()).sub == "ada"
    issuer.add("two", "RS256")
    twins = [{**key, "kid": "one"} for key in issuer.jwks()["keys"]]
    verifier = Verifier(ISSUER, API, jwks={"keys": twins}, clock=lambda: NOW)
    assert refused(verifier, issuer.token()) == "unknown kid"


@pytest.mark.parametrize("name", ["none", "None", "HS256", "RS1", "", None, 5])
def test_an_algorithm_that_proves_nothing_is_refused(issuer: Issuer, name: Any) -> None:
    header = base64url(json.dumps({"typ": "at+jwt", "alg": name, "kid": "one"}).encode())
    payload = issuer.token().split(".")[1]
    for signature in ("", base64url(bytes(32))):
        assert refused(issuer.verifier(), f"{header}.{payload}.{signature}") == "alg"


@pytest.mark.parametrize("name", ["none", "HS256", "RS1", "ES256K"])
def test_a_verifier_cannot_be_told_to_take_such_an_algorithm(name: str) -> None:
    with pytest.raises(ValueError, match="algorithms must be some of"):
        Verifier(ISSUER, API, algorithms=["RS256", name])


@pytest.mark.parametrize("audience", ["", [], [API, ""]])
def test_a_verifier_cannot_be_without_an_audience(audience: Any) -> None:
    with pytest.raises(ValueError, match="audience"):
        Verifier(ISSUER, audience)


@pytest.mark.parametrize(
    "url", ["http://id.test", "ftp://id.test", "https://", "https://a@id.test"]
)
def test_a_verifier_fetches_keys_by_https_only(url: str) -> None:
    with pytest.raises(ValueError, match="no https URL"):
        Verifier(url, API)


def test_any_changed_character_makes_a_token_invalid(issuer: Issuer) -> None:
    verifier, token = issuer.verifier(), issuer.token()
    for place in range(0, len(token), 7):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        with pytest.raises(InvalidToken):
            verifier.verify(changed)


@pytest.mark.parametrize("change", ["{} ", " {}", "{}=", "{}\n", "{}.", ".{}", "{}é", ""])
def test_what_is_no_compact_jws_is_refused(issuer: Issuer, change: str) -> None:
    assert refused(issuer.verifier(), change.format(issuer.token())) in ("base64url", "parts")


def test_a_token_has_one_spelling(issuer: Issuer) -> None:
    """The last character of an RS256 signature has spare bits, which are 0."""
    token = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = alphabet[alphabet.index(token[-1]) | 1]
    assert twin != token[-1]
    assert refused(issuer.verifier(), token[:-1] + twin) == "base64url"


def test_a_name_that_is_there_twice_makes_a_token_invalid(issuer: Issuer) -> None:
    _, payload, signature = issuer.token().split(".")
    twice = base64url(b'{"typ":"at+jwt","alg":"none","alg":"RS256","kid":"one"}')
    assert refused(issuer.verifier(), f"{twice}.{payload}.{signature}") == "JSON"


def test_a_long_token_is_refused_unread(issuer: Issuer) -> None:
    token = issuer.token(padding="x" * MAX_LENGTH)
    assert refused(issuer.verifier(), token) == "length"
    assert issuer.fetched == []


def test_deeply_nested_json_is_refused(issuer: Issuer) -> None:
    header = base64url(b"[" * 700 + b"]" * 700)
    assert refused(issuer.verifier(), f"{header}.e30.e30") in ("JSON", "length of the header")


def test_a_token_expires_to_the_second_with_a_little_leeway(issuer: Issuer) -> None:
    token = issuer.token(exp=NOW + 300)
    verifier = issuer.verifier(clock_skew_seconds=5)
    issuer.now = NOW + 304
    assert verifier.verify(token).sub == "ada"
    issuer.now = NOW + 305
    with pytest.raises(ExpiredToken):
        verifier.verify(token)


# --- requests ------------------------------------------------------------------------------------


def test_a_request_with_a_good_token_has_its_claims(issuer: Issuer) -> None:
    verifier, token = issuer.verifier(), issuer.token()
    assert authenticate(verifier, f"Bearer {token}").sub == "ada"
    assert authenticate(verifier, f"bearer {token}", scopes=["profile"]).sub == "ada"


@pytest.mark.parametrize("values", [[], ["Basic YTpi"], [""]])
def test_a_request_without_a_token_is_challenged_without_an_error(
    issuer: Issuer, values: list[str]
) -> None:
    """RFC 6750 section 3.1"""
    with pytest.raises(MissingToken) as caught:
        authenticate(issuer.verifier(), *values)
    assert caught.value.status == 401
    assert caught.value.headers["www-authenticate"] == "Bearer"
    assert "error" not in caught.value.body


@pytest.mark.parametrize("values", [["Bearer"], ["Bearer "], ["Bearer a b"], ["Bearer a,Bearer b"]])
def test_a_request_with_an_odd_authorization_is_told_so(issuer: Issuer, values: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        authenticate(issuer.verifier(), *values)
    assert (caught.value.status, caught.value.body["error"]) == (400, "invalid_request")


def test_a_request_with_two_tokens_is_refused(issuer: Issuer) -> None:
    with pytest.raises(InvalidRequest):
        authenticate(issuer.verifier(), f"Bearer {issuer.token()}", f"Bearer {issuer.token()}")


def test_an_expired_token_is_challenged_with_the_true_reason(issuer: Issuer) -> None:
    token = issuer.token(exp=NOW - 10)
    with pytest.raises(Refusal) as caught:
        authenticate(issuer.verifier(), f"Bearer {token}")
    assert caught.value.headers["www-authenticate"] == (
        'Bearer error="invalid_token", error_description="The access token expired"'
    )
    assert caught.value.headers["cache-control"] == "no-store"


def test_a_missing_scope_is_named(issuer: Issuer) -> None:
    with pytest.raises(InsufficientScope) as caught:
        authenticate(
            issuer.verifier(), f"Bearer {issuer.token()}", scopes=["orders:write", "profile"]
        )
    assert caught.value.status == 403
    challenge = caught.value.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="orders:write profile"' in challenge


def test_nothing_of_a_token_is_in_a_refusals_text(issuer: Issuer) -> None:
    token = issuer.token(exp=NOW - 10)
    with pytest.raises(ExpiredToken) as caught:
        issuer.verifier().verify(token)
    for part in token.split("."):
        assert part not in repr(caught.value)
