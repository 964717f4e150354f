"""RFC 9068 (J), 6750 (E), 8725 (W) and those beside them (R): a test for each line that is ours.

They are the short form, over the wire; the page names the tests that go deeper.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from typing import Any

import jwt
import pytest
from joserfc.jwk import KeySet, RSAKey

from ratchet import wiring
from ratchet.keys import ALGORITHMS, generate_jwk
from ratchet.policy import PRESETS
from ratchet.signing import signs_with
from ratchet_cli import template
from tests.functional.conftest import BACKEND, ISSUER, MACHINE, ROOT, START, Answer, Service
from tests.functional.test_client_assertions import assertion, proved, register
from tests.functional.test_dpop import Client, bound, claims
from tests.identity_provider import by_hand, rsa_key, sign

GRANT = {"grant_type": "client_credentials"}
PARAMETERS = template.load(ROOT / "template.yaml")["Parameters"]


def header(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
    return found


def machine(service: Service, **form: str) -> Answer:
    return service.call("POST", "/oauth/token", form={**GRANT, **form}, auth=MACHINE)


def jwks(service: Service) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = service.call("GET", "/.well-known/jwks.json")["keys"]
    return keys


def signed(service: Service, said: dict[str, Any]) -> str:
    """By the key that signs, so that nothing is wrong but what is said."""
    return service.parts.signer.prepare(service.now)(said)


def invalid(service: Service, token: str) -> None:
    """No access token, to us as an API."""
    answer = service.call("GET", "/sessions", bearer=token)
    assert answer.status == 401, answer
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def introspected(service: Service, token: str) -> Answer:
    return service.call("POST", "/oauth/introspect", form={"token": token}, auth=BACKEND)


def test_j1_an_access_token_is_signed_with_rs256_and_says_what_it_is(service: Service) -> None:
    said = header(service.start()["access_token"])
    assert (said["typ"], said["alg"]) == ("at+jwt", "RS256")
    assert PARAMETERS["SigningAlgorithm"]["Default"] == "RS256"
    assert "none" not in ALGORITHMS
    assert not any(name.startswith("HS") for name in ALGORITHMS)


def test_j2_every_required_claim_is_there_and_sub_is_the_user_or_the_client(
    service: Service,
) -> None:
    users, own = service.start()["access_token"], machine(service)["access_token"]
    for token, sub in ((users, "ada"), (own, "demo-machine")):
        said = claims(token)
        assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= said.keys()
        assert (said["iss"], said["sub"]) == (ISSUER, sub)


def test_j3_when_and_how_the_user_signed_in_stays_through_refreshes(service: Service) -> None:
    first = service.start(auth_time=str(START - 60), amr="pwd otp", acr="urn:example:silver")
    service.now += 3600
    before, after = (
        claims(answer["access_token"])
        for answer in (first, service.refresh(first["refresh_token"]))
    )
    for name in ("auth_time", "amr", "acr"):
        assert before[name] == after[name]
    assert after["auth_time"] == START - 60


def test_j4_scope_is_one_text_of_what_was_granted(service: Service) -> None:
    assert claims(service.start(scope="profile orders:read")["access_token"])["scope"] == (
        "orders:read profile"
    )


def test_j5_aud_is_the_resource_that_was_asked_for_or_the_default(service: Service) -> None:
    assert claims(service.start()["access_token"])["aud"] == ISSUER
    service.change("demo-machine", audience=("https://a.test",))
    asked = machine(service, resource="https://a.test")["access_token"]
    assert claims(asked)["aud"] == "https://a.test"
    assert machine(service, resource="https://b.test")["error"] == "invalid_target"


def test_j6_signatures_are_asymmetric_and_the_metadata_leads_to_their_keys(
    service: Service,
) -> None:
    known = service.call("GET", "/.well-known/oauth-authorization-server").body
    assert (known["issuer"], known["jwks_uri"]) == (ISSUER, f"{ISSUER}/.well-known/jwks.json")
    assert all(key["kty"] in ("RSA", "EC") for key in jwks(service))


def test_j8_a_token_tells_its_client_nothing_private(service: Service) -> None:
    first = service.login(device="Ada's phone")
    said = claims(first["access_token"])
    assert said.keys() == {
        *("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "sid"),
        *("auth_time", "amr"),
    }


def test_e1_a_refusal_as_an_api_challenges_with_each_parameter_once(service: Service) -> None:
    challenge = service.call("GET", "/sessions", bearer="garbage").headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="ratchet", error="invalid_token"')
    for name in ("realm=", "error=", "error_description="):
        assert challenge.count(name) == 1
    missing = service.call("GET", "/sessions").headers["www-authenticate"]
    assert missing == 'Bearer realm="ratchet"'


def test_e2_the_status_goes_with_the_error_and_nothing_sent_is_no_error(service: Service) -> None:
    assert service.call("GET", "/sessions").status == 401
    assert service.call("GET", "/sessions", bearer="garbage").status == 401
    poor = machine(service)["access_token"]
    answer = service.call("GET", "/sessions?sub=ada", bearer=poor)
    assert (answer.status, answer["error"]) == (403, "insufficient_scope")
    assert 'scope="sessions:read"' in answer.headers["www-authenticate"]


def test_e3_an_access_token_lives_for_an_hour_or_less_by_default() -> None:
    assert all(policy.access_ttl_seconds <= 3600 for policy in PRESETS.values())


def test_w1_each_key_has_one_algorithm_and_a_token_cannot_choose_another(
    service: Service,
) -> None:
    token = service.start()["access_token"]
    (key,) = [each for each in jwks(service) if each["kid"] == header(token)["kid"]]
    assert key["alg"] == "RS256"
    # The public key as a shared secret.
    pem = RSAKey.import_key({k: key[k] for k in ("kty", "n", "e")}).as_pem(private=False)
    said = {"alg": "HS256", "typ": "at+jwt", "kid": key["kid"]}
    unsigned = by_hand(said, claims(token), b"").rstrip(".")
    mac = hmac.digest(pem, unsigned.encode(), hashlib.sha256)
    invalid(service, by_hand(said, claims(token), mac))


def test_w2_there_is_no_none_and_es256_is_deterministic(service: Service) -> None:
    token = service.start()["access_token"]
    said = {**header(token), "alg": "none"}
    for alg in ("none", "None", "nOnE"):
        invalid(service, by_hand({**said, "alg": alg}, claims(token), b""))
    elliptic = generate_jwk("ES256")
    secret = json.dumps({"next": None, "current": elliptic, "previous": None})
    from ratchet.keys import signing_keys

    sign_now = signs_with(signing_keys(secret).current, wiring.kms_keys(wiring.settings()))
    assert sign_now({"a": 1}) == sign_now({"a": 1})


def test_w3_a_token_with_anything_wrong_is_refused_whole_and_keys_are_long_enough(
    service: Service,
) -> None:
    good = service.start()["access_token"]
    first, middle, last = good.split(".")
    forged = by_hand(header(good), {**claims(good), "sub": "eve"}, b"").split(".")[1]
    for token in (f"{first}.{forged}.{last}", f"{first}.{middle}.{last[:-8]}AAAAAAAA", first):
        invalid(service, token)
    assert min(PARAMETERS["SigningRsaBits"]["AllowedValues"]) == 2048
    for key in jwks(service):
        assert len(urlsafe_b64decode(key["n"] + "==")) * 8 >= 2048


def test_w4_a_token_of_another_issuer_or_without_an_audience_is_refused(service: Service) -> None:
    said = claims(service.start()["access_token"])
    assert service.call("GET", "/sessions", bearer=signed(service, said)).status == 200
    invalid(service, signed(service, {**said, "iss": "https://evil.example"}))
    invalid(service, signed(service, {name: said[name] for name in said if name != "aud"}))


def test_w5_a_kid_only_picks_and_a_token_does_not_bring_its_key(service: Service) -> None:
    said, thief = claims(service.start()["access_token"]), rsa_key("thief")
    jwk = thief.as_dict(private=False)
    for more in (
        {"jwk": jwk},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example"},
    ):
        invalid(service, sign(said, thief, typ="at+jwt", **more))
    for kid in ("../../etc/passwd", "' OR 1=1", "\x00", jwks(service)[0]["kid"]):
        invalid(service, sign(said, thief, typ="at+jwt", kid=kid))


def test_w6_no_kind_of_jwt_passes_for_another(service: Service) -> None:
    first = service.start()
    own = first["access_token"]
    # An access token as a client's assertion and as a proof; an assertion as an access token.
    register(service)
    answer = service.call("POST", "/oauth/token", form=proved(own, **GRANT))
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    form = {"client_id": "demo-native", "refresh_token": first["refresh_token"]}
    proof = service.call("POST", "/oauth/refresh", form=form, headers={"DPoP": own})
    assert (proof.status, proof["error"]) == (400, "invalid_dpop_proof")
    invalid(service, assertion(service))


def test_w7_a_token_has_legal_characters_only_and_is_no_jwe(service: Service) -> None:
    good = service.start()["access_token"]
    for token in (f"{good}=", good.replace(".", ". "), f"{good}.a.b", "e30.e30.e30.e30.e30"):
        answer = service.call("GET", "/sessions", bearer=token)
        assert answer.status == 401


# --- RFCs beside them ----------------------------------------------------------------------------


def test_r1_revocation_ends_the_grant_and_says_200_to_what_it_does_not_know(
    service: Service,
) -> None:
    def revoke(token: str, client_id: str = "demo-native") -> int:
        form = {"client_id": client_id, "token": token}
        return service.call("POST", "/oauth/revoke", form=form).status

    first = service.start()
    assert revoke("unknown") == 200
    assert revoke(first["refresh_token"], "demo-browser") == 200
    assert service.session(first["sid"]).ended_at is None
    assert revoke(first["refresh_token"]) == 200
    assert introspected(service, first["access_token"]).body == {"active": False}
    assert revoke(first["refresh_token"], "nobody") == 401


def test_r2_introspection_asks_who_calls_and_says_no_more_than_inactive(service: Service) -> None:
    first = service.start()
    form = {"token": first["access_token"]}
    assert service.call("POST", "/oauth/introspect", form=form).status == 401
    assert introspected(service, first["access_token"])["active"] is True
    assert introspected(service, "garbage").body == {"active": False}


@pytest.mark.parametrize("path", ["oauth-authorization-server", "openid-configuration"])
def test_r3_the_issuer_of_the_metadata_is_that_of_the_tokens(service: Service, path: str) -> None:
    issuer = service.call("GET", f"/.well-known/{path}")["issuer"]
    assert issuer == claims(service.start()["access_token"])["iss"]
    assert issuer.startswith("https://")
    assert not {"?", "#"} & set(issuer)


def test_r4_every_key_has_its_kid_and_its_use_and_nothing_private(service: Service) -> None:
    keys = jwks(service)
    assert len({key["kid"] for key in keys}) == len(keys) >= 2
    for key, read in zip(keys, KeySet.import_key_set({"keys": keys}).keys, strict=True):
        assert key["use"] == "sig"
        assert key["kid"] == read.thumbprint()
        assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "kms_key"} & key.keys()


def test_r5_a_bound_session_needs_a_fresh_proof_for_this_request(service: Service) -> None:
    client = Client(service)
    client.learn()
    first = bound(service)
    elsewhere = client.proof("POST", "/oauth/token")
    assert client.refresh(first["refresh_token"], elsewhere).status == 400
    assert service.session(first["sid"]).generation == 0
    second = client.refresh(first["refresh_token"])
    assert claims(second["access_token"])["cnf"] == claims(first["access_token"])["cnf"]
    token = second["access_token"]
    proof = client.proof("GET", "/sessions", access_token=token)
    assert client.resource("GET", "/sessions", token, proof).status == 200
    assert client.resource("GET", "/sessions", token, proof).status == 401


def test_r6_resources_and_token_exchange_are_offered_as_their_rfcs_say(service: Service) -> None:
    offered = service.call("GET", "/.well-known/oauth-authorization-server").body
    assert "urn:ietf:params:oauth:grant-type:token-exchange" in offered["grant_types_supported"]
    relative = machine(service, resource="orders")
    assert (relative.status, relative["error"]) == (400, "invalid_target")
    assert jwt.get_unverified_header(machine(service)["access_token"])["typ"] == "at+jwt"
