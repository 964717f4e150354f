"""GET /.well-known/…: RFC 8414 and RFC 7517."""

import pytest

from tests.functional.conftest import ISSUER, Service


@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration"])
def test_the_metadata_names_every_endpoint_under_the_issuer(service: Service, name: str) -> None:
    answer = service.call("GET", f"/.well-known/{name}")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer["issuer"] == ISSUER
    assert answer["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert answer["revocation_endpoint"] == f"{ISSUER}/oauth/revoke"
    assert answer["introspection_endpoint"] == f"{ISSUER}/oauth/introspect"
    assert answer["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    assert answer["grant_types_supported"] == [
        "client_credentials",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ]
    assert answer["response_types_supported"] == []
    assert "none" in answer["token_endpoint_auth_methods_supported"]
    assert "none" not in answer["introspection_endpoint_auth_methods_supported"]


def test_the_jwk_set_has_the_next_and_the_current_key_and_no_private_member(
    service: Service,
) -> None:
    answer = service.call("GET", "/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert len(answer["keys"]) == 2
    for key in answer["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
        assert (key["alg"], key["use"]) == ("RS256", "sig")
    assert len({key["kid"] for key in answer["keys"]}) == 2


def test_the_jwk_set_is_served_from_memory(service: Service) -> None:
    service.call("GET", "/.well-known/jwks.json")
    service.calls.clear()
    service.call("GET", "/.well-known/jwks.json")
    assert service.calls.names == []


def test_a_wrong_method_is_405(service: Service) -> None:
    answer = service.call("POST", "/.well-known/jwks.json")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_the_openapi_document_is_served_with_the_issuer_as_its_server(service: Service) -> None:
    service.calls.clear()
    answer = service.call("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer["servers"] == [{"url": ISSUER}]
    assert answer["openapi"] == "3.1.0"
    assert "/openapi.json" in answer["paths"]
    assert service.calls.names == []
