"""Trusted issuers: what may be configured, where keys may come from, and the worked examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ratchet.application import InvalidApplication, from_mapping, to_mapping
from ratchet.trusted_issuer import InvalidTrustedIssuer, TrustedIssuer, clashes

PAGE = Path(__file__).parents[2] / "docs" / "sign-in.md"
LEAST: dict[str, Any] = {
    "issuer": "https://id.example",
    "audience": ["shop"],
    "subject_prefix": "ex:",
}
APPLICATION: dict[str, Any] = {
    "client_id": "app",
    "confidential": False,
    "policy": {"preset": "native"},
}


def examples() -> list[dict[str, Any]]:
    """Every configuration that the page shows."""
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    values = [json.loads(block) for block in blocks]
    return [entry for value in values for entry in value.get("trusted_issuers", [value])]


def problems(**written: Any) -> str:
    given = {name: value for name, value in {**LEAST, **written}.items() if value is not ...}
    with pytest.raises(InvalidTrustedIssuer) as caught:
        TrustedIssuer.from_mapping(given)
    return str(caught.value)


@pytest.mark.parametrize("written", examples(), ids=lambda entry: str(entry["subject_prefix"]))
def test_the_worked_examples_are_valid(written: dict[str, Any]) -> None:
    trusted = TrustedIssuer.from_mapping(written)
    assert trusted.discovery_url.endswith("/.well-known/openid-configuration")
    assert "//.well-known" not in trusted.discovery_url


def test_there_is_an_example_for_each_provider_and_they_go_together() -> None:
    prefixes = ["google:", "cognito-EXAMPLE:", "auth0-TENANT:", "okta-ORG:"]
    assert [entry["subject_prefix"] for entry in examples()] == prefixes
    application = from_mapping({**APPLICATION, "trusted_issuers": examples()})
    written = to_mapping(application, {"preset": "native"})
    assert from_mapping(json.loads(json.dumps(written))) == application


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"issuer": ...}, "issuer is missing"),
        ({"subject_prefix": ...}, "subject_prefix is missing"),
        ({"audience": ...}, "audience must name"),
        ({"audience": "shop"}, "audience must be a list of texts"),
        ({"audience": [""]}, "audience must name"),
        ({"issuer": "http://id.example"}, "issuer must be an https URL"),
        ({"issuer": "https://id.example?x=1"}, "issuer must be an https URL"),
        ({"issuer": "https://id.example#x"}, "issuer must be an https URL"),
        ({"issuer": "https://user@id.example"}, "issuer must be an https URL"),
        ({"issuer": "https://"}, "issuer must be an https URL"),
        ({"issuer": "https://id.example:port"}, "issuer must be an https URL"),
        ({"issuer": "https://[::1"}, "issuer must be an https URL"),
        ({"issuer": "http://localhost:80"}, "issuer must be an https URL"),
        ({"issuer": "http://127.0.0.1.evil.example"}, "issuer must be an https URL"),
        ({"issuer": "https://10.0.0.1"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://169.254.169.254/x"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://127.0.0.2"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://127.1"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://0x7f000001"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://2130706433:443"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://10.0.0.1./"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://[::1]"}, "issuer must be an https URL with a host name"),
        ({"issuer": "https://[::ffff:a00:1]:443"}, "must be an https URL with a host name"),
        ({"issuer": "https://."}, "issuer must be an https URL with a host name"),
        ({"issuer": "http://10.0.0.1"}, "issuer must be an https URL with a host name"),
        ({"issuer": "file:///etc/passwd"}, "issuer must be an https URL"),
        ({"subject_prefix": "with space"}, "subject_prefix must be"),
        ({"subject_prefix": "x" * 33}, "subject_prefix must be"),
        ({"subject_claim": "email"}, "subject_claim email needs email_verified"),
        ({"subject_claim": "email", "required_claims": {"email_verified": False}},
         "subject_claim email needs email_verified"),
        ({"algorithms": ["HS256"]}, "algorithms must be some of"),
        ({"algorithms": ["none"]}, "algorithms must be some of"),
        ({"max_age_seconds": 43201}, "max_age_seconds must be"),
        ({"max_age_seconds": 0}, "max_age_seconds must be"),
        ({"max_age_seconds": "600"}, "max_age_seconds must be a whole number"),
        ({"jwks_hosts": ["https://keys.example"]}, "jwks_hosts must have host names"),
        ({"required_claims": ["hd"]}, "required_claims must be an object"),
        ({"audiences": ["shop"]}, "unknown: audiences"),
    ],
)  # fmt: skip
def test_what_is_configured_wrong_is_told(written: dict[str, Any], says: str) -> None:
    assert says in problems(**written)


def test_all_problems_are_told_at_once_and_with_those_of_the_application() -> None:
    broken = [{**LEAST, "issuer": "x", "algorithms": ["none"], "typo": 1}]
    with pytest.raises(InvalidApplication) as caught:
        from_mapping({**APPLICATION, "trusted_issuers": broken, "grant_types": ["password"]})
    for text in ("issuer must", "algorithms must", "unknown: typo", "unknown grant types"):
        assert text in str(caught.value)


def test_http_is_for_a_provider_that_is_played_on_this_machine() -> None:
    trusted = TrustedIssuer.from_mapping({**LEAST, "issuer": "http://127.0.0.1:8080"})
    assert trusted.may_fetch("http://127.0.0.1:8080/keys")
    assert not trusted.may_fetch("http://127.0.0.1:9001/keys")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ({}, {}, "one issuer is among trusted_issuers twice"),
        ({"subject_prefix": ""}, {"issuer": "https://b.example"}, "is the beginning of another"),
        ({}, {"issuer": "https://b.example", "subject_prefix": "ex:b"}, "beginning of another"),
        ({}, {"issuer": "https://b.example"}, "is the beginning of another"),
    ],
)
def test_two_issuers_cannot_make_the_same_subject(
    first: dict[str, Any], second: dict[str, Any], says: str
) -> None:
    trusted = [{**LEAST, **first}, {**LEAST, **second}]
    with pytest.raises(InvalidApplication, match=says):
        from_mapping({**APPLICATION, "trusted_issuers": trusted})


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        ({"issuer": "https://b.example"}, {}, True),
        ({"issuer": "https://b.example", "subject_prefix": "ex:b"}, {}, True),
        ({"issuer": "https://b.example", "subject_prefix": "e"}, {}, True),
        ({"issuer": "https://b.example", "subject_prefix": ""}, {}, True),
        ({"issuer": "https://b.example"}, {"subject_prefix": ""}, True),
        # one provider, but the one claim is for its users to choose
        ({"subject_claim": "nickname"}, {}, True),
        ({"issuer": "https://b.example", "subject_prefix": "ex-b:"}, {}, False),
        ({"audience": ["partner"]}, {}, False),
        ({"subject_prefix": "ex:b"}, {}, False),
        # nobody can sign in with it
        ({"issuer": "https://b.example"}, {"algorithms": ["none"]}, False),
    ],
)
def test_issuers_of_two_applications_cannot_make_the_same_subject(
    mine: dict[str, Any], theirs: dict[str, Any], refused: bool
) -> None:
    trusted = TrustedIssuer.from_mapping({**LEAST, **mine})
    other = {**APPLICATION, "trusted_issuers": [{**LEAST, **theirs}]}
    problems = list(clashes([trusted], [{"client_id": "x"}, other]))
    assert len(problems) == refused
    assert all("of https://id.example (sub) in the application app" in text for text in problems)


@pytest.mark.parametrize(
    ("jwks_uri", "allowed"),
    [
        ("https://id.example/keys", True),
        ("https://id.example/keys?p=policy", True),
        ("https://keys.example/keys", True),
        ("https://other.example/keys", False),
        ("https://keys.example.evil.example/keys", False),
        ("https://id.example:8443/keys", False),
        ("http://id.example/keys", False),
        ("http://keys.example/keys", False),
        ("http://127.0.0.1/keys", False),
        ("https://id.example@other.example/keys", False),
        ("https://id.example\\@other.example/keys", False),
        ("//id.example/keys", False),
        ("https://id.example/k ys", False),
        (None, False),
        (["https://id.example/keys"], False),
    ],
)
def test_keys_are_fetched_from_the_issuers_host_and_listed_ones(
    jwks_uri: Any, allowed: bool
) -> None:
    trusted = TrustedIssuer.from_mapping({**LEAST, "jwks_hosts": ["keys.example"]})
    assert trusted.may_fetch(jwks_uri) is allowed


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"jwks": {"keys": []}}, "jwks must be a JWK set of 1 to 10 keys"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}, "jwks has a private key"),
        ({"jwks": {"keys": [{"kty": "RSA", "n": "AA", "e": "AQAB"}]}}, "each key of jwks must be"),
        ({"jwks": {"keys": [7]}}, "each key of jwks must be"),
        ({"jwks_uri": "http://keys.example"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "https://10.0.0.1/keys"}, "jwks_uri must be an https URL with a host name"),
        ({"jwks_uri": "https://k.example", "jwks": {"keys": [{}]}}, "jwks or jwks_uri, not both"),
        ({"confidential": False, "jwks_uri": "https://k.example"}, "a public application has no"),
        ({}, "a confidential application needs a secret, jwks or jwks_uri"),
    ],
)
def test_keys_of_an_application_are_public_good_and_its_own(
    written: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidApplication, match=re.escape(says)):
        from_mapping({**APPLICATION, "confidential": True, **written})
