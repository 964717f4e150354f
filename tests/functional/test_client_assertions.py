"""private_key_jwt (RFC 7523 section 2.2, OpenID Connect Core section 9): proof without a secret."""

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from ratchet.application import JWT_BEARER, TOKEN_EXCHANGE, Application, hash_secret
from ratchet.applications import REMEMBERED_SECONDS
from ratchet.grants.token_exchange import TOKEN_TYPE
from ratchet.policy import PRESETS
from tests import proofs
from tests.functional.conftest import BACKEND, ISSUER, Answer, Service
from tests.functional.test_faults import Break, error, unavailable
from tests.identity_provider import (
    IdentityProvider,
    Key,
    by_hand,
    ec_key,
    identity_provider,
    public,
    rsa_key,
    sign,
)

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = {"grant_type": "client_credentials"}
KEY = "a-random-idempotency-key"
CLIENT = "keyed"
APPLICATION = Application(
    client_id=CLIENT,
    confidential=True,
    jwks=public(rsa_key("mine")),
    grant_types=frozenset({"client_credentials", "refresh_token"}),
    scopes=frozenset({"reports:read"}),
    starts_sessions_for=frozenset({"demo-native", CLIENT}),
    policy=PRESETS["browser"],
)


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture
def broken(service: Service) -> Iterator[Break]:
    fault = Break(service)
    yield fault
    fault.mend()


def register(service: Service, **changes: Any) -> None:
    """The application of this file; known at once."""
    application = dataclasses.replace(APPLICATION, **changes)
    service.parts.applications.put(application, {"preset": "browser"})
    service.now += REMEMBERED_SECONDS


def claims(service: Service, **changes: Any) -> dict[str, Any]:
    said = {
        "iss": CLIENT,
        "sub": CLIENT,
        "aud": ISSUER,
        "jti": secrets.token_urlsafe(16),
        "iat": service.now,
        "exp": service.now + 300,
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def assertion(
    service: Service,
    key: Key | None = None,
    algorithm: str = "RS256",
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    key = key or rsa_key("mine")
    return sign(claims(service, **changes), key, algorithm, **(header or {}))


def proved(text: str, **form: str) -> dict[str, str]:
    return {**form, "client_assertion_type": TYPE, "client_assertion": text}


def token(service: Service, text: str, key: str | None = None, **form: str) -> Answer:
    headers = {"Idempotency-Key": key} if key else None
    form = proved(text, **GRANT, **form)
    return service.call("POST", "/oauth/token", form=form, headers=headers)


def start(service: Service) -> Answer:
    form = proved(assertion(service), client_id=CLIENT, sub="ada")
    return service.call("POST", "/sessions", form=form)


def refused(service: Service, answer: Answer, detail: str) -> None:
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert answer["error_description"] == "Client authentication failed."
    assert answer.log["detail"].startswith(detail)
    assert "access_token" not in answer.body
    assert "eyJ" not in service.log.getvalue()


# --- what is taken -----------------------------------------------------------------------------


def test_a_signed_assertion_is_as_good_as_a_secret(service: Service) -> None:
    register(service)
    answer = token(service, assertion(service))
    assert answer.status == 200
    assert answer.log["client_id"] == CLIENT


@pytest.mark.parametrize("client_id", [{}, {"client_id": CLIENT}, {"client_id": ""}])
def test_client_id_may_be_left_out_and_must_match(
    service: Service, client_id: dict[str, str]
) -> None:
    """RFC 7521 section 4.2."""
    register(service)
    assert token(service, assertion(service), **client_id).status == 200
    other = token(service, assertion(service), client_id="demo-machine")
    refused(service, other, "client assertion: of another client_id")


@pytest.mark.parametrize("aud", [ISSUER, [ISSUER], f"{ISSUER}/oauth/token"])
def test_its_audience_is_the_issuer_or_an_address_of_ours(service: Service, aud: Any) -> None:
    register(service)
    assert token(service, assertion(service, aud=aud)).status == 200


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa_key("mine"), "RS512"),
        (rsa_key("mine"), "PS256"),
        (ec_key("mine"), "ES256"),
        (ec_key("mine", "P-384"), "ES384"),
    ],
)
def test_rsa_pss_and_elliptic_curves_sign_it(service: Service, key: Key, algorithm: str) -> None:
    register(service, jwks=public(key))
    assert token(service, assertion(service, key, algorithm)).status == 200


def test_of_two_keys_the_kid_picks_one_so_that_a_change_of_keys_is_no_outage(
    service: Service,
) -> None:
    register(service, jwks=public(rsa_key("mine"), rsa_key("next")))
    for key in (rsa_key("mine"), rsa_key("next")):
        assert token(service, assertion(service, key)).status == 200
    refused(
        service,
        token(service, assertion(service, header={"kid": None})),
        "client assertion: unknown kid",
    )


def test_a_secret_may_be_valid_besides_the_keys(service: Service) -> None:
    register(service, secret_hashes=(hash_secret("a-secret"),))
    assert service.call("POST", "/oauth/token", form=GRANT, auth=(CLIENT, "a-secret")).status == 200
    assert token(service, assertion(service)).status == 200


def test_it_works_at_every_address_that_authenticates_applications(service: Service) -> None:
    register(service)

    def call(path: str, **form: str) -> Answer:
        return service.call("POST", path, form=proved(assertion(service), **form))

    started = call("/sessions", client_id=CLIENT, sub="ada")
    assert (started.status, service.session(started["sid"]).client_id) == (200, CLIENT)
    body = {"client_id": "demo-native", "sub": "ada", **proved(assertion(service))}
    assert service.call("POST", "/sessions", body=body).status == 200
    refreshed = call("/oauth/refresh", refresh_token=started["refresh_token"])
    assert refreshed.status == 200
    again = call(
        "/oauth/token", grant_type="refresh_token", refresh_token=refreshed["refresh_token"]
    )
    assert again.status == 200
    assert call("/oauth/introspect", token=again["access_token"])["active"] is True
    assert call("/oauth/revoke", token=again["refresh_token"]).status == 200
    assert service.session(started["sid"]).ended_at == service.now


def test_discovery_says_so(service: Service) -> None:
    metadata = service.call("GET", "/.well-known/oauth-authorization-server")
    for endpoint in ("token", "revocation", "introspection"):
        assert "private_key_jwt" in metadata[f"{endpoint}_endpoint_auth_methods_supported"]
        algorithms = metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert {"RS256", "PS256", "ES256"} <= set(algorithms)
        assert not [name for name in algorithms if name.startswith(("HS", "none"))]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"aud": "https://elsewhere.example"}, "wrong aud"),
        ({"aud": [ISSUER, "https://elsewhere.example"]}, "wrong aud"),
        ({"aud": f"{ISSUER}/"}, "wrong aud"),
        ({"aud": f"{ISSUER}/oauth/revoke"}, "wrong aud"),
        ({"aud": None}, "no aud"),
        ({"sub": "demo-machine"}, "iss and sub differ"),
        ({"sub": None}, "no sub"),
        ({"iss": None}, "no iss"),
        ({"iss": 7}, "no iss"),
        ({"jti": None}, "no jti"),
        ({"jti": ""}, "no jti"),
        ({"jti": "j" * 1025}, "jti too long"),
        ({"exp": None}, "no exp"),
        ({"exp": 1_800_000_000}, "expired"),
        ({"exp": "soon"}, "exp is not an instant"),
        ({"exp": True}, "exp is not an instant"),
        ({"iat": 1_800_000_060 - 601}, "iat too long ago"),
        ({"iat": 1_800_000_060 + 61}, "iat or nbf in the future"),
        ({"nbf": 1_800_000_060 + 61}, "iat or nbf in the future"),
        ({"iat": None, "exp": 1_800_000_060 + 661}, "exp too far in the future, and no iat"),
        ({"note": "x" * 8192}, "too long"),
    ],
)
def test_an_assertion_that_says_something_wrong_is_invalid_client(
    service: Service, changes: dict[str, Any], detail: str
) -> None:
    register(service)
    service.calls.clear()
    refused(service, token(service, assertion(service, **changes)), f"client assertion: {detail}")
    assert "PutItem" not in service.calls.names


def test_an_assertion_of_an_hour_is_good_for_ten_minutes(service: Service) -> None:
    """what libraries make by default is taken, and no longer than ours"""
    register(service)
    hour: dict[str, Any] = {"exp": service.now + 3600}
    kept = assertion(service, **hour)
    assert token(service, assertion(service, **hour)).status == 200
    service.now += 601
    refused(service, token(service, kept), "client assertion: iat too long ago")


def test_alg_none_symmetric_or_of_another_key_is_refused(service: Service) -> None:
    register(service)
    said = claims(service)
    pem = rsa_key("mine").as_pem(private=False)

    def hs256(alg: str) -> str:
        unsigned = by_hand({"alg": alg, "kid": "mine"}, said, b"")[:-1]
        mac = hmac.digest(pem, unsigned.encode(), hashlib.sha256)
        return by_hand({"alg": alg, "kid": "mine"}, said, mac)

    for text in (
        by_hand({"alg": "none"}, said, b"x"),
        by_hand({"alg": "None", "kid": "mine"}, said, b"x"),
        hs256("HS256"),
        by_hand({"kid": "mine"}, said, b"x"),
        by_hand({"alg": ["RS256"], "kid": "mine"}, said, b"x"),
    ):
        refused(service, token(service, text), "client assertion: alg not allowed")
    # said to be RS256, made with the public key as the secret
    refused(service, token(service, hs256("RS256")), "client assertion: wrong signature")
    unsigned = by_hand({"alg": "none"}, said, b"")
    refused(service, token(service, unsigned), "client assertion: no signed JWT")
    curve = assertion(service, ec_key("mine"), "ES256")
    refused(service, token(service, curve), "client assertion: unknown kid")


def test_a_key_with_an_alg_verifies_nothing_else(service: Service) -> None:
    register(service, jwks=public(rsa_key("mine"), alg="RS256"))
    assert token(service, assertion(service)).status == 200
    other = assertion(service, algorithm="PS256")
    refused(service, token(service, other), "client assertion: unknown kid")


@pytest.mark.parametrize("kid", ["other", "../../mine", "mine' OR '1'='1", "mine\x00", "m" * 257])
def test_a_kid_is_only_compared(service: Service, kid: str) -> None:
    register(service)
    answer = token(service, assertion(service, header={"kid": kid}))
    expected = "unusable kid" if len(kid) > 256 else "unknown kid"
    refused(service, answer, f"client assertion: {expected}")


def test_an_assertion_does_not_bring_its_key_along(
    service: Service, provider: IdentityProvider
) -> None:
    """RFC 8725 section 3.10: jku, jwk, x5u and x5c are the attacker's to write"""
    register(service)
    thief = rsa_key("thief")
    provider.jwks = public(thief)
    for header in (
        {"jku": f"{provider.url}/keys"},
        {"jwk": thief.as_dict(private=False)},
        {"x5u": f"{provider.url}/keys"},
        {"x5c": ["MIIB"]},
    ):
        (name,) = header
        key = {"alg": "RS256", "kid": "mine", **header}
        text = by_hand(key, claims(service), b"x")
        refused(service, token(service, text), f"client assertion: header {name}")
    refused(service, token(service, by_hand({"alg": "RS256", "crit": ["x"]}, {}, b"x")),
            "client assertion: header crit")  # fmt: skip
    assert provider.asked == []


@pytest.mark.parametrize(
    "text",
    ["x", "a.b", "a.b.c.d", "eyJ.eyJ.", "eyJhbGciOiJSUzI1NiJ9.e30=.x", "é.é.é", "." * 100]
    + [by_hand(header, "{}", b"x") for header in ("[]", "{", "[" * 3000, '{"alg":"RS256","alg":1}')]
    + [by_hand('{"alg":"RS256"}', claims, b"x") for claims in ("[]", '{"exp":NaN}', "\udcff"[:0])],
)
def test_what_is_no_jwt_is_invalid_client(service: Service, text: str) -> None:
    register(service)
    answer = token(service, text)
    assert (answer.status, answer["error"]) == (401, "invalid_client")


def test_an_application_without_keys_cannot_be_proved_so(service: Service) -> None:
    text = assertion(service, iss="demo-machine", sub="demo-machine")
    refused(service, token(service, text), "client assertion: the application has no keys")
    nobody = assertion(service, iss="nobody", sub="nobody")
    refused(service, token(service, nobody), "unknown application")


def test_a_disabled_application_is_told_so_and_nothing_is_used_up(service: Service) -> None:
    register(service, disabled_at=service.now)
    service.calls.clear()
    answer = token(service, assertion(service))
    assert (answer.status, answer["error_reason"]) == (401, "application_disabled")
    assert "PutItem" not in service.calls.names


@pytest.mark.parametrize(
    ("form", "auth"),
    [
        ({"client_secret": "x"}, None),
        ({}, BACKEND),
        ({"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
         None),
        ({"client_assertion_type": ""}, None),
        ({"client_assertion": ""}, None),
    ],
)  # fmt: skip
def test_two_ways_at_once_and_half_a_way_are_invalid_requests(
    service: Service, form: dict[str, str], auth: tuple[str, str] | None
) -> None:
    register(service)
    sent = {**proved(assertion(service), **GRANT, client_id=CLIENT), **form}
    answer = service.call("POST", "/oauth/token", form=sent, auth=auth)
    assert (answer.status, answer["error"]) == (400, "invalid_request")


# --- used once ---------------------------------------------------------------------------------


def test_an_assertion_is_used_once(service: Service) -> None:
    register(service)
    text = assertion(service)
    assert token(service, text).status == 200
    refused(service, token(service, text), "client assertion: used before")
    # the same jti, signed anew, is the same assertion
    jti = "the-same"
    assert token(service, assertion(service, jti=jti)).status == 200
    other = assertion(service, jti=jti, exp=service.now + 200)
    refused(service, token(service, other), "client assertion: used before")


def test_an_assertion_that_was_used_to_refresh_does_not_touch_the_session(service: Service) -> None:
    register(service)
    text = assertion(service)
    assert token(service, text).status == 200
    started = start(service)
    form = proved(text, refresh_token=started["refresh_token"])
    refused(
        service, service.call("POST", "/oauth/refresh", form=form), "client assertion: used before"
    )
    assert service.session(started["sid"]).generation == 0


ID_TOKEN = {"subject_token": "x.y.z", "subject_token_type": f"{TOKEN_TYPE}id_token"}
DPOP_REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "client_credentials": ("/oauth/token", GRANT),
    "refresh": ("/oauth/refresh", {}),
    "refresh_token": ("/oauth/token", {"grant_type": "refresh_token"}),
    "jwt-bearer": ("/oauth/token", {"grant_type": JWT_BEARER, "assertion": "x.y.z"}),
    "token-exchange": ("/oauth/token", {"grant_type": TOKEN_EXCHANGE, **ID_TOKEN}),
    "login": ("/login", {"email": "ada@example.com", "password": "wrong"}),
}


@pytest.mark.parametrize("name", DPOP_REQUESTS)
def test_to_be_told_a_dpop_nonce_uses_nothing_up(service: Service, name: str) -> None:
    """RFC 9449 section 8: the same request again, which has the same client assertion"""
    register(service, dpop="optional")
    path, form = DPOP_REQUESTS[name]
    form = proved(assertion(service), **form)
    if "refresh" in name:
        form["refresh_token"] = start(service)["refresh_token"]
    key = proofs.new_key()

    def call(nonce: str | None = None) -> Answer:
        proof = proofs.proof(key, "POST", ISSUER + path, now=service.now, nonce=nonce)
        return service.call("POST", path, form=form, headers={"DPoP": proof})

    service.calls.clear()
    asked = call()
    assert (asked.status, asked["error"]) == (400, "use_dpop_nonce")
    assert service.calls.names == []
    answer = call(asked.headers["dpop-nonce"])
    assert answer.status == (200 if "credentials" in name or "refresh" in name else 400)
    assert answer.body.get("error") != "invalid_client"


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after it took effect"])
def test_after_a_fault_the_same_request_with_its_idempotency_key_succeeds(
    service: Service, broken: Break, after: bool
) -> None:
    register(service)
    text = assertion(service)
    service.parts.applications.get(CLIENT, service.now)
    broken.next_call(error("InternalServerError"), after=after)
    unavailable(token(service, text, KEY), "dynamodb: InternalServerError")
    assert token(service, text, KEY).status == 200
    # another request may not have it, with that key or without
    refused(service, token(service, text), "client assertion: used before")
    other = token(service, text, KEY, scope="reports:read")
    refused(service, other, "client assertion: used before")


def test_a_fault_after_the_use_locks_nobody_out(service: Service, broken: Break) -> None:
    """the assertion is used, the rotation fails: the same request, or one with a new assertion"""
    register(service)
    started = start(service)
    text = assertion(service)
    form = proved(text, refresh_token=started["refresh_token"])

    client: Any = service.parts.store._client
    call = client._make_api_call

    def failing(operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "UpdateItem":
            raise error("InternalServerError")()
        return call(operation, arguments)

    client._make_api_call = failing
    headers = {"Idempotency-Key": KEY}
    answer = service.call("POST", "/oauth/refresh", form=form, headers=headers)
    unavailable(answer, "dynamodb: InternalServerError")
    client._make_api_call = call
    assert service.call("POST", "/oauth/refresh", form=form, headers=headers).status == 200
    fresh = proved(assertion(service), refresh_token=started["refresh_token"])
    assert service.call("POST", "/oauth/refresh", form=fresh).status == 200
    assert service.session(started["sid"]).generation == 1


def test_a_use_that_the_sdk_repeats_is_one_use(service: Service, broken: Break) -> None:
    register(service)
    service.parts.applications.get(CLIENT, service.now)
    broken.every_call_happens_twice()
    assert token(service, assertion(service)).status == 200


# --- keys that are fetched ---------------------------------------------------------------------


def test_the_keys_may_be_published_instead(service: Service, provider: IdentityProvider) -> None:
    register(service, jwks={}, jwks_uri=f"{provider.url}/keys")
    provider.jwks = public(rsa_key("mine"))
    for _ in range(3):
        assert token(service, assertion(service)).status == 200
    assert provider.asked == ["/keys"]


def test_keys_that_cannot_be_fetched_are_503_and_nobodys_fault(
    service: Service, provider: IdentityProvider
) -> None:
    register(service, jwks={}, jwks_uri=f"{provider.url}/keys")
    provider.jwks = public(rsa_key("mine"))
    provider.status = 500
    text = assertion(service)
    unavailable(token(service, text), "status 500")
    provider.status = 200
    service.now += 31
    assert token(service, text).status == 200
