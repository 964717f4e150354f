"""Sign-in from an identity provider: jwt-bearer (RFC 7523) and token exchange (RFC 8693)."""

import dataclasses
import functools
import hashlib
import hmac
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ratchet import jwk_set, outbound, wiring
from ratchet.application import JWT_BEARER, TOKEN_EXCHANGE, Application
from ratchet.applications import REMEMBERED_SECONDS
from ratchet.errors import Fault
from ratchet.policy import PRESETS
from ratchet.trusted_issuer import TrustedIssuer
from tests.clients import tls
from tests.functional.conftest import ISSUER, START, Answer, Service
from tests.functional.test_faults import FAILURES, Break, error, unavailable
from tests.identity_provider import (
    IdentityProvider,
    by_hand,
    ec_key,
    identity_provider,
    public,
    rsa_key,
    sign,
)

KEY = "a-random-idempotency-key"
CLIENT = "shop-app"
TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
# Registered a minute before, so that it is known.
NOW = START + REMEMBERED_SECONDS


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture
def broken(service: Service) -> Iterator[Break]:
    fault = Break(service)
    yield fault
    fault.mend()


class Shop:
    """The application under test, and what it sends."""

    def __init__(self, service: Service, provider: IdentityProvider) -> None:
        self.service = service
        self.provider = provider
        self.trusted = TrustedIssuer(
            issuer=provider.url, audience=("shop", "shop-ios"), subject_prefix="idp:"
        )
        self.register()
        service.now = NOW

    def register(self, client_id: str = CLIENT, **changes: Any) -> None:
        """changes: of the application, or of the issuer that it trusts."""
        names = {field.name for field in dataclasses.fields(TrustedIssuer)}
        about = {name: value for name, value in changes.items() if name in names}
        trusted = dataclasses.replace(self.trusted, **about)
        application = Application(
            client_id=client_id,
            confidential=False,
            grant_types=frozenset({"refresh_token", JWT_BEARER, TOKEN_EXCHANGE}),
            scopes=frozenset({"profile", "orders:read"}),
            trusted_issuers=(trusted,),
            policy=PRESETS["native"],
        )
        others = {name: value for name, value in changes.items() if name not in names}
        self.service.parts.applications.put(
            dataclasses.replace(application, **others), {"preset": "native"}
        )
        self.service.now += REMEMBERED_SECONDS

    def id_token(self, **changes: Any) -> str:
        return self.provider.id_token(now=self.service.now, **changes)

    def bearer(self, assertion: str, key: str | None = None, **form: str) -> Answer:
        return self.service.call(
            "POST",
            "/oauth/token",
            form={"grant_type": JWT_BEARER, "assertion": assertion, "client_id": CLIENT, **form},
            headers={"Idempotency-Key": key} if key else None,
        )

    def exchange(self, token: str, **form: str) -> Answer:
        return self.service.call(
            "POST",
            "/oauth/token",
            form={
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": token,
                "subject_token_type": f"{TOKEN_TYPE}id_token",
                "client_id": CLIENT,
                **form,
            },
        )

    def refused(
        self, token: str, detail: str, reason: str = "assertion_invalid", *, pause: int = 0
    ) -> None:
        """By both grants, each with its own code, without a session and with nothing in the log.

        pause: seconds after each of them.
        """
        for grant, code in ((self.bearer, "invalid_grant"), (self.exchange, "invalid_request")):
            self.service.calls.clear()
            answer = grant(token)
            assert (answer.status, answer["error"]) == (400, code), answer
            assert (answer["error_reason"], answer["retry"]) == (reason, "never")
            assert answer.log["detail"] == detail
            assert answer.log["client_id"] == CLIENT
            assert "PutItem" not in self.service.calls.names
            assert "248289761001" not in str(answer.log)
            self.service.now += pause
        assert "eyJ" not in self.service.log.getvalue()


@pytest.fixture
def shop(service: Service, provider: IdentityProvider) -> Shop:
    return Shop(service, provider)


# --- what is taken -----------------------------------------------------------------------------


def test_an_id_token_becomes_a_session(shop: Shop) -> None:
    token = shop.id_token(auth_time=NOW - 50, amr=["pwd", "mfa", "urn:x", 7], acr="gold")
    answer = shop.bearer(token, scope="profile", device="Pixel 9")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    session = shop.service.session(answer["sid"])
    assert (session.sub, session.client_id) == ("idp:248289761001", CLIENT)
    assert (session.auth_time, session.amr) == (NOW - 50, ("pwd", "mfa"))
    assert session.acr == "gold"
    assert (session.scope, session.device) == ("profile", "Pixel 9")
    again = shop.service.refresh(answer["refresh_token"], CLIENT)
    assert again.status == 200
    assert (answer.log["outcome"], answer.log["sub"]) == ("started", "idp:248289761001")


def test_a_token_that_does_not_say_when_the_user_signed_in_is_as_old_as_it_is(shop: Shop) -> None:
    """a refreshed ID token is no new sign-in; now would claim more than anybody has said"""
    answer = shop.bearer(shop.id_token(iat=NOW - 100))
    assert shop.service.session(answer["sid"]).auth_time == NOW - 100


@pytest.mark.parametrize("kind", ["id_token", "jwt"])
@pytest.mark.parametrize("requested", [{}, {"requested_token_type": f"{TOKEN_TYPE}access_token"}])
def test_token_exchange_answers_with_an_access_token_and_says_so(
    shop: Shop, kind: str, requested: dict[str, str]
) -> None:
    form = {"subject_token_type": TOKEN_TYPE + kind, **requested}
    answer = shop.exchange(shop.id_token(), **form)
    assert answer.status == 200
    assert answer["issued_token_type"] == f"{TOKEN_TYPE}access_token"
    assert answer["token_type"] == "Bearer"
    assert answer["refresh_token"].startswith("rt1_")


def test_token_exchange_answers_with_a_refresh_token_where_asked(shop: Shop) -> None:
    """RFC 8693 section 2.2.1: access_token is where it goes, token_type is N_A"""
    form = {"requested_token_type": f"{TOKEN_TYPE}refresh_token"}
    answer = shop.exchange(shop.id_token(), **form)
    assert answer["issued_token_type"] == f"{TOKEN_TYPE}refresh_token"
    assert (answer["token_type"], answer["expires_in"]) == ("N_A", 90 * 86400)
    assert "refresh_token" not in answer.body
    assert shop.service.refresh(answer["access_token"], CLIENT).status == 200


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"subject_token": ""}, "subject_token is missing"),
        ({"subject_token_type": ""}, "subject_token_type is missing"),
        ({"subject_token_type": f"{TOKEN_TYPE}saml2"}, "subject_token_type must be"),
        ({"requested_token_type": f"{TOKEN_TYPE}id_token"}, "requested_token_type must be"),
        ({"actor_token": "x"}, "actor_token is not supported"),
    ],
)
def test_an_exchange_for_something_else_is_refused(
    shop: Shop, form: dict[str, str], says: str
) -> None:
    answer = shop.exchange(shop.id_token(), **form)
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert says in answer["error_description"]


def test_an_exchange_names_its_target_as_a_resource(shop: Shop) -> None:
    """RFC 8693 section 2.2.2: invalid_target for a target that no token is issued for"""
    shop.register(audience=("shop", "shop-ios"))
    answer = shop.exchange(shop.id_token(), audience="https://api.example")
    assert (answer.status, answer["error"]) == (400, "invalid_target")
    other = shop.exchange(shop.id_token(), resource="https://api.example")
    assert (other.status, other["error"]) == (400, "invalid_target")
    taken = shop.bearer(shop.id_token(), resource=ISSUER)
    assert shop.service.session(taken["sid"]).resources == {ISSUER}


@pytest.mark.parametrize("kid", ["first", "second"])
def test_of_two_keys_the_kid_picks_one(shop: Shop, kid: str) -> None:
    shop.provider.jwks = public(rsa_key("first"), rsa_key("second"))
    assert shop.bearer(shop.id_token(key=rsa_key(kid))).status == 200


def test_a_token_without_kid_is_good_while_there_is_one_key(shop: Shop) -> None:
    """OpenID Connect Core section 10.1"""
    claims = {"iss": shop.provider.url, "sub": "1", "aud": "shop", "iat": NOW, "exp": NOW + 9}
    assert shop.bearer(sign(claims, shop.provider.key, kid=None)).status == 200
    shop.provider.jwks = public(rsa_key("first"), rsa_key("second"))
    shop.service.now += 3600
    later = {**claims, "iat": shop.service.now, "exp": shop.service.now + 9}
    shop.refused(sign(later, shop.provider.key, kid=None), "unknown kid")


def test_of_several_audiences_azp_is_ours(shop: Shop) -> None:
    """OpenID Connect Core section 3.1.3.7"""
    both = ["shop", "https://api.example"]
    assert shop.bearer(shop.id_token(aud=both, azp="shop")).status == 200
    assert shop.bearer(shop.id_token(aud=["shop-ios"], jti="2")).status == 200
    shop.refused(shop.id_token(aud=both), "several aud, and azp is not ours")
    shop.refused(shop.id_token(aud=both, azp="other"), "several aud, and azp is not ours")


def test_required_claims_have_to_have_their_value(shop: Shop) -> None:
    wanted = {"email_verified": True, "groups": "staff", "hd": ["a.example", "b.example"]}
    shop.register(required_claims=wanted)
    good: dict[str, Any] = {"email_verified": True, "groups": ["x", "staff"], "hd": "b.example"}
    assert shop.bearer(shop.id_token(**good)).status == 200
    for name, value in (
        ("email_verified", "true"),
        ("email_verified", 1),
        ("groups", "staffer"),
        ("groups", None),
        ("hd", "c.example"),
    ):
        shop.refused(shop.id_token(**{**good, name: value}), f"claim {name}")


def test_the_subject_is_what_the_mapping_says(shop: Shop) -> None:
    shop.register(
        subject_claim="email", subject_prefix="mail:", required_claims={"email_verified": True}
    )
    answer = shop.bearer(shop.id_token(email="ada@example.com", email_verified=True))
    assert shop.service.session(answer["sid"]).sub == "mail:ada@example.com"
    shop.refused(shop.id_token(email_verified=True), "no email")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "detail", "reason"),
    [
        ({"iss": None}, "no iss", "assertion_invalid"),
        ({"iss": "https://accounts.example"}, "iss not trusted", "assertion_invalid"),
        ({"aud": "another-shop"}, "wrong aud", "assertion_invalid"),
        ({"aud": []}, "no aud", "assertion_invalid"),
        ({"aud": None}, "no aud", "assertion_invalid"),
        ({"aud": ["shop", 7]}, "no aud", "assertion_invalid"),
        ({"exp": None}, "no exp", "assertion_invalid"),
        ({"exp": NOW + 60}, "expired", "assertion_expired"),
        ({"exp": -1}, "expired", "assertion_expired"),
        ({"exp": str(NOW + 900)}, "exp is not an instant", "assertion_invalid"),
        ({"iat": None}, "no iat", "assertion_invalid"),
        ({"iat": NOW + 60 + 61}, "iat or nbf in the future", "assertion_invalid"),
        ({"iat": NOW * 1000}, "iat or nbf in the future", "assertion_invalid"),
        ({"iat": NOW + 60 - 601}, "iat too long ago", "assertion_expired"),
        ({"nbf": NOW + 60 + 61}, "iat or nbf in the future", "assertion_invalid"),
        ({"sub": None}, "no sub", "assertion_invalid"),
        ({"sub": ""}, "no sub", "assertion_invalid"),
        ({"sub": 7}, "no sub", "assertion_invalid"),
        ({"sub": "s" * 125}, "unusable sub", "assertion_invalid"),
        ({"sub": "a\nb"}, "unusable sub", "assertion_invalid"),
        ({"auth_time": NOW + 60 + 61}, "auth_time in the future", "assertion_invalid"),
        ({"note": "x" * 8192}, "too long", "assertion_invalid"),
    ],
)
def test_an_id_token_that_says_something_wrong_is_refused(
    shop: Shop, changes: dict[str, Any], detail: str, reason: str
) -> None:
    shop.service.now = NOW + 60
    shop.refused(shop.id_token(**changes), detail, reason)


def test_a_minute_of_clock_skew_is_forgiven(shop: Shop) -> None:
    assert shop.bearer(shop.id_token(iat=NOW + 60, nbf=NOW + 60)).status == 200


def test_no_user_passes_for_an_application(shop: Shop) -> None:
    """RFC 9700 section 4.15.1: tokens of applications have their client id as sub"""
    shop.register(subject_prefix="")
    shop.refused(shop.id_token(sub="demo-machine"), "the subject is the id of an application")


def test_a_signature_of_another_key_or_none_is_refused(shop: Shop) -> None:
    claims = {"iss": shop.provider.url, "sub": "1", "aud": "shop", "iat": NOW, "exp": NOW + 9}
    good = sign(claims, shop.provider.key)
    header, said, signature = good.split(".")
    forged = sign({**claims, "sub": "root"}, shop.provider.key).split(".")[1]
    shop.refused(f"{header}.{forged}.{signature}", "wrong signature")
    thief = rsa_key("thief")
    shop.refused(sign(claims, thief, kid="first"), "wrong signature")
    shop.refused(f"{header}.{said}.", "no signed JWT")
    shop.refused(by_hand({"alg": "none"}, claims, b"x"), "alg not allowed")
    shop.refused(by_hand({"alg": "nOnE", "kid": "first"}, claims, b"x"), "alg not allowed")
    pem = shop.provider.key.as_pem(private=False)
    for alg, detail in (("HS256", "alg not allowed"), ("RS256", "wrong signature")):
        unsigned = by_hand({"alg": alg, "kid": "first"}, claims, b"").rstrip(".")
        mac = hmac.digest(pem, unsigned.encode(), hashlib.sha256)
        shop.refused(by_hand({"alg": alg, "kid": "first"}, claims, mac), detail)
    # an algorithm that is good in itself, but that this provider does not use
    shop.refused(sign(claims, shop.provider.key, "PS256"), "alg not allowed")
    shop.refused(sign(claims, ec_key("first"), "ES256"), "unknown kid")


def test_a_symmetric_key_in_a_jwk_set_is_no_key(shop: Shop) -> None:
    """a provider that publishes a secret by mistake must not let everybody sign"""
    shop.provider.jwks = {"keys": [{"kty": "oct", "kid": "first", "k": "c2VjcmV0", "alg": "HS256"}]}
    shop.refused(shop.id_token(), "unknown kid", pause=31)


def test_a_key_for_encryption_or_for_another_algorithm_verifies_nothing(shop: Shop) -> None:
    shop.provider.jwks = public(rsa_key("first"), use="enc")
    shop.refused(shop.id_token(), "unknown kid", pause=31)
    shop.provider.jwks = public(rsa_key("first"), alg="RS512")
    shop.refused(shop.id_token(), "unknown kid", pause=31)


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c"])
def test_a_token_that_brings_its_key_along_is_refused_and_nothing_is_fetched(
    shop: Shop, header: str
) -> None:
    thief = rsa_key("thief")
    brought = {"jwk": thief.as_dict(private=False), "x5c": ["MIIB"]}
    value = brought.get(header, "http://127.0.0.1:9/keys")
    shop.refused(by_hand({"alg": "RS256", "kid": "first", header: value}, {}, b"x"),
                 f"header {header}")  # fmt: skip
    assert shop.provider.asked == []


def test_what_costs_nothing_is_refused_before_anything_is_fetched(shop: Shop) -> None:
    for text in ("x", "a.b.c", "x" * 8193, by_hand({"alg": "none"}, {}, b"x")):
        assert shop.bearer(text)["error"] == "invalid_grant"
    assert shop.provider.asked == []


def test_an_application_without_the_grant_or_the_trust_starts_nothing(shop: Shop) -> None:
    token = shop.id_token()
    shop.register(grant_types=frozenset({"refresh_token"}))
    for grant in (shop.bearer, shop.exchange):
        answer = grant(token)
        assert (answer.status, answer["error"]) == (400, "unauthorized_client")
    shop.register(trusted_issuers=())
    shop.refused(token, "iss not trusted")
    assert shop.provider.asked == []


def test_a_scope_beyond_the_applications_uses_nothing_up(shop: Shop) -> None:
    token = shop.id_token()
    answer = shop.bearer(token, scope="admin")
    assert (answer.status, answer["error"]) == (400, "invalid_scope")
    assert shop.bearer(token).status == 200


# --- used once ---------------------------------------------------------------------------------


def test_an_id_token_starts_one_session(shop: Shop) -> None:
    token = shop.id_token()
    first = shop.bearer(token)
    for grant, code in ((shop.bearer, "invalid_grant"), (shop.exchange, "invalid_request")):
        answer = grant(token)
        assert (answer.status, answer["error"]) == (400, code)
        assert answer["error_reason"] == "assertion_used"
        assert (answer.log["detail"], answer.log["sid"]) == ("used before", first["sid"])
    assert shop.service.refresh(first["refresh_token"], CLIENT).status == 200


def test_a_token_with_the_same_jti_or_another_signature_is_the_same_token(shop: Shop) -> None:
    shop.provider.key = ec_key("curve")
    shop.provider.jwks = public(ec_key("curve"))
    claims = {"iss": shop.provider.url, "sub": "1", "aud": "shop", "iat": NOW, "exp": NOW + 9}
    # ECDSA signs the same with a new signature each time
    one, two = (sign(claims, ec_key("curve"), "ES256") for _ in range(2))
    assert one != two
    assert shop.bearer(one).status == 200
    assert shop.bearer(two)["error_reason"] == "assertion_used"
    assert shop.bearer(sign({**claims, "jti": "a"}, ec_key("curve"), "ES256")).status == 200
    same = sign({**claims, "jti": "a", "exp": NOW + 8}, ec_key("curve"), "ES256")
    assert shop.bearer(same)["error_reason"] == "assertion_used"


def test_it_is_used_for_all_applications_at_once(shop: Shop) -> None:
    shop.register("other-app")
    token = shop.id_token()
    assert shop.bearer(token, client_id="other-app").status == 200
    assert shop.bearer(token)["error_reason"] == "assertion_used"
    with_key = shop.id_token(jti="2")
    assert shop.bearer(with_key, KEY, client_id="other-app").status == 200
    assert shop.bearer(with_key, KEY)["error_reason"] == "assertion_used"


def test_of_many_at_once_one_starts_the_session(shop: Shop) -> None:
    token = shop.id_token()
    assert shop.bearer(shop.id_token(jti="warm")).status == 200
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: start_directly(shop, token), range(8)))
    assert sorted(answers) == [200] + [400] * 7


def start_directly(shop: Shop, token: str) -> int:
    """Past the driver, which reads the log after each call."""
    from ratchet import endpoint, token_endpoint

    form = f"grant_type={JWT_BEARER}&client_id={CLIENT}&assertion={token}"
    event = {
        "version": "2.0",
        "routeKey": "ANY /oauth/token",
        "headers": {"content-type": "application/x-www-form-urlencoded"},
        "requestContext": {"http": {"method": "POST"}, "domainName": "id.test"},
        "body": form,
    }
    handle = endpoint.handler(
        "issue", {"POST /oauth/token": token_endpoint.respond}, lambda: shop.service.parts
    )
    return int(handle(event, None)["statusCode"])


def test_an_ended_session_is_not_started_again(shop: Shop) -> None:
    token = shop.id_token()
    first = shop.bearer(token, KEY)
    revoked = shop.service.call(
        "POST", "/oauth/revoke", form={"client_id": CLIENT, "token": first["refresh_token"]}
    )
    assert revoked.status == 200
    assert shop.bearer(token, KEY)["error_reason"] == "assertion_used"


def test_the_item_outlives_every_token_that_made_it(shop: Shop) -> None:
    """DynamoDB deletes it after the end and a day at least; no token is taken for that long"""
    session = shop.service.session(shop.bearer(shop.id_token())["sid"])
    assert session.expires_at - NOW > 12 * 3600
    assert PRESETS["sensitive"].retention_seconds >= 86400


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after it took effect"])
@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_fault_the_same_request_with_its_idempotency_key_gets_the_session(
    shop: Shop, broken: Break, failure: str, after: bool
) -> None:
    token = shop.id_token()
    shop.bearer(shop.id_token(jti="warm"), KEY)
    shop.service.parts.applications.get("idp:248289761001", shop.service.now)
    shop.service.calls.clear()
    broken.next_call(FAILURES[failure], after=after)
    unavailable(shop.bearer(token, KEY), "dynamodb")
    shop.service.now += 300
    answer = shop.bearer(token, KEY)
    assert answer.status == 200
    assert answer.log["outcome"] == ("replayed_idempotency_key" if after else "started")
    again = shop.bearer(token, KEY)
    assert again["refresh_token"] == answer["refresh_token"]
    assert again["sid"] == answer["sid"]
    assert shop.service.refresh(answer["refresh_token"], CLIENT).status == 200
    # once its token has been used the request has been answered, whoever has the key
    assert shop.bearer(token, KEY)["error_reason"] == "assertion_used"


def test_after_a_fault_before_the_write_no_key_is_needed(shop: Shop, broken: Break) -> None:
    token = shop.id_token()
    shop.bearer(shop.id_token(jti="warm"))
    broken.next_call(error("InternalServerError"))
    unavailable(shop.bearer(token), "dynamodb")
    assert shop.bearer(token).status == 200


def test_another_key_or_another_token_is_another_request(shop: Shop) -> None:
    token = shop.id_token(jti="a")
    assert shop.bearer(token, KEY).status == 200
    assert shop.bearer(token)["error_reason"] == "assertion_used"
    assert shop.bearer(token, "another-random-key")["error_reason"] == "assertion_used"
    other = shop.id_token(jti="a", exp=NOW + 500)
    assert shop.bearer(other, KEY)["error_reason"] == "assertion_used"


def test_a_write_that_the_sdk_repeats_is_one_use(shop: Shop, broken: Break) -> None:
    broken.every_call_happens_twice()
    answer = shop.bearer(shop.id_token())
    assert (answer.status, answer.log["outcome"]) == (200, "started")


def test_the_table_opens_no_first_token(shop: Shop) -> None:
    """sealed under the token and the key together; neither is in the table"""
    token = shop.id_token()
    answer = shop.bearer(token, KEY)
    item = str(shop.service.item(answer["sid"]))
    assert KEY not in item
    assert answer["refresh_token"] not in item
    assert token.split(".")[1] not in item


# --- the provider ------------------------------------------------------------------------------


def test_keys_are_fetched_once_an_hour(shop: Shop) -> None:
    for number in range(5):
        assert shop.bearer(shop.id_token(jti=str(number))).status == 200
    assert shop.provider.asked == ["/.well-known/openid-configuration", "/keys"]
    shop.service.now += 3600
    assert shop.bearer(shop.id_token()).status == 200
    assert len(shop.provider.asked) == 4


def test_a_new_key_is_found_at_once(shop: Shop) -> None:
    assert shop.bearer(shop.id_token(jti="1")).status == 200
    shop.service.now += 31
    shop.provider.jwks = public(rsa_key("first"), rsa_key("second"))
    assert shop.bearer(shop.id_token(key=rsa_key("second"))).status == 200


def test_forged_kids_cannot_make_us_hammer_the_provider(shop: Shop) -> None:
    assert shop.bearer(shop.id_token(jti="1")).status == 200
    looked = 2
    for _ in range(2):
        for number in range(50):
            header = {"alg": "RS256", "kid": f"k{number}"}
            forged = by_hand(header, {"iss": shop.provider.url}, b"x")
            unavailable(shop.bearer(forged), "unknown kid, and the keys were fetched a moment ago")
        assert len(shop.provider.asked) == looked
        # after the pause the first one makes us look, and is told what was found
        shop.service.now += 30
        answer = shop.bearer(forged)
        assert (answer["error"], answer.log["detail"]) == ("invalid_grant", "unknown kid")
        looked += 2
    # and honest tokens are taken all the time
    assert shop.bearer(shop.id_token()).status == 200
    assert len(shop.provider.asked) == looked


def test_a_new_key_right_after_a_look_is_503_and_then_the_same_token_is_taken(shop: Shop) -> None:
    """the look may have been for somebody's forged kid; "never" would be untrue"""
    assert shop.bearer(shop.id_token(jti="1")).status == 200
    shop.provider.jwks = public(rsa_key("first"), rsa_key("second"))
    token = shop.id_token(key=rsa_key("second"))
    unavailable(shop.bearer(token), "unknown kid")
    assert len(shop.provider.asked) == 2
    shop.service.now += 30
    assert shop.bearer(token).status == 200


def test_a_provider_that_is_away_is_503_and_its_users_get_in_when_it_is_back(shop: Shop) -> None:
    token = shop.id_token()
    shop.provider.status = 503
    for _ in range(3):
        unavailable(shop.bearer(token), "status 503")
    assert len(shop.provider.asked) == 1
    shop.provider.status = 200
    shop.service.now += 31
    assert shop.bearer(token).status == 200


def test_known_keys_are_used_for_a_day_while_their_provider_is_away(shop: Shop) -> None:
    assert shop.bearer(shop.id_token(jti="1")).status == 200
    shop.provider.status = 500
    shop.service.now += 23 * 3600
    assert shop.bearer(shop.id_token(jti="2")).status == 200
    assert shop.bearer(shop.id_token(jti="3")).status == 200
    assert len(shop.provider.asked) == 3
    # a kid that is unknown may be the newest one: nobody can say
    unavailable(shop.bearer(shop.id_token(key=rsa_key("second"))), "a moment ago")
    shop.service.now += 3601
    unavailable(shop.bearer(shop.id_token(jti="4")), "status 500")


def test_a_provider_that_nobody_listens_at_is_503(shop: Shop) -> None:
    shop.register(issuer="http://127.0.0.1:9")
    token = shop.id_token(iss="http://127.0.0.1:9")
    unavailable(shop.bearer(token), "127.0.0.1:9: ConnectionRefusedError")


@pytest.mark.parametrize("slow", ["delay_seconds", "drip_seconds"])
def test_a_provider_that_is_slow_is_503_in_time(
    shop: Shop, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a silent one and one that sends a byte now and then; the limits are made short here"""
    setattr(shop.provider, slow, 0.2)
    monkeypatch.setattr(outbound, "STEP_SECONDS", 5.0)
    fetch = functools.partial(outbound.get_json, this_machine=True, overall_seconds=0.1)
    monkeypatch.setattr(shop.service.parts.provider_keys, "_fetch", fetch)
    unavailable(shop.bearer(shop.id_token()), "no answer in 0.1 seconds")
    for thread in threading.enumerate():
        if thread.name.startswith("outbound"):
            # it has been cut off, and does not wait for the rest: 80 bytes would be 16 seconds
            thread.join(3)
            assert not thread.is_alive()


def test_the_time_limits_end_before_a_functions_ten_seconds_do() -> None:
    assert 2 * outbound.OVERALL_SECONDS < 10 - 2
    assert outbound.STEP_SECONDS < outbound.OVERALL_SECONDS


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_provider_that_redirects_is_not_followed(
    shop: Shop, provider: IdentityProvider, status: int
) -> None:
    with identity_provider() as elsewhere:
        provider.status, provider.headers = status, {"Location": f"{elsewhere.url}/keys"}
        unavailable(shop.bearer(shop.id_token()), f"status {status}")
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"keys":[' + b" " * 200_000 + b"]}", "more than 131072 bytes"),
        (b"<html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "its metadata is not of this issuer"),
    ],
)
def test_a_provider_that_answers_nonsense_is_503(shop: Shop, raw: bytes, fault: str) -> None:
    shop.provider.raw = raw
    unavailable(shop.bearer(shop.id_token()), fault)


def test_an_encoded_answer_is_not_unpacked(shop: Shop) -> None:
    shop.provider.headers = {"Content-Encoding": "gzip"}
    unavailable(shop.bearer(shop.id_token()), "the answer is encoded")


@pytest.mark.parametrize(
    "jwks",
    [{}, [], {"keys": {}}, {"keys": [{}] * 101}, "x"],
    ids=["no keys", "a list", "an object", "too many", "a text"],
)
def test_what_is_no_jwk_set_is_503(shop: Shop, jwks: Any) -> None:
    shop.provider.jwks = jwks
    unavailable(shop.bearer(shop.id_token()), "no JWK set")


def test_keys_that_are_of_no_use_are_passed_over(shop: Shop) -> None:
    good = rsa_key("first").as_dict(private=False)
    shop.provider.jwks = {
        "keys": [
            *(None, 7, {}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "first"}),
            {"kty": "RSA", "n": "A" * 20000, "e": "AQAB", "kid": "first"},
            {"kty": "RSA", "n": "3" + "A" * 170, "e": "AQAB", "kid": "first"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "first"},
            good,
        ]
    }
    assert shop.bearer(shop.id_token()).status == 200


@pytest.mark.parametrize(
    "odd",
    [{"key_ops": None}, {"key_ops": 7}, {"key_ops": [7]}, {"use": ["sig"]}, {"alg": 7}, {"n": 7}],
    ids=str,
)
def test_one_odd_key_costs_nobody_the_others(shop: Shop, odd: dict[str, Any]) -> None:
    members = {**rsa_key("second").as_dict(private=False), **odd}
    shop.provider.jwks = {"keys": [members, *public(shop.provider.key)["keys"]]}
    assert shop.bearer(shop.id_token()).status == 200


def test_known_keys_are_used_whatever_goes_wrong_with_newer_ones(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """a defect of ours, too, is a fault, and told as one to whom the known keys do not help"""
    assert shop.bearer(shop.id_token(jti="1")).status == 200

    def stumble(_: Any) -> None:
        raise TypeError("argument of type 'NoneType' is not iterable")

    monkeypatch.setattr(jwk_set, "parse", stumble)
    shop.service.now += 3601
    second = shop.id_token(key=rsa_key("second"))
    for number in range(3):
        assert shop.bearer(shop.id_token(jti=f"later {number}")).status == 200
        unavailable(shop.bearer(second), "its keys are unreadable, TypeError (a moment ago)")
    assert len(shop.provider.asked) == 4
    shop.service.now += 24 * 3600
    unavailable(shop.bearer(shop.id_token()), f"{shop.provider.url}: its keys are unreadable")


def test_metadata_of_another_issuer_and_keys_at_another_host_are_not_believed(shop: Shop) -> None:
    url = shop.provider.url
    with identity_provider() as elsewhere:
        for metadata, fault in (
            ({"issuer": f"{url}/", "jwks_uri": f"{url}/keys"}, "not of this issuer"),
            ({"issuer": url, "jwks_uri": f"{elsewhere.url}/keys"}, "not among jwks_hosts"),
            ({"issuer": url, "jwks_uri": "http://169.254.169.254/keys"}, "not among jwks_hosts"),
            ({"issuer": url, "jwks_uri": "file:///etc/passwd"}, "not among jwks_hosts"),
            ({"issuer": url, "jwks_uri": f"https://x@{url[7:]}/keys"}, "not among jwks_hosts"),
            ({"issuer": url}, "not among jwks_hosts"),
        ):
            shop.provider.metadata = metadata
            shop.service.now += 31
            unavailable(shop.bearer(shop.id_token()), fault)
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_used(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    keys = outbound.get_json(f"{shop.provider.url}/keys", this_machine=True)
    assert keys == shop.provider.jwks


@pytest.mark.parametrize("issuer", [ISSUER, "", "https://127.0.0.1", "http://127.0.0.1.id.test"])
def test_only_a_local_service_calls_its_own_machine(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, issuer: str
) -> None:
    """in Lambda that is the Runtime API: asked for its next event, it would give it to us"""
    as_deployed = wiring.build(dataclasses.replace(wiring.settings(), issuer=issuer))
    fetch = as_deployed.provider_keys._fetch
    monkeypatch.setattr(shop.service.parts.provider_keys, "_fetch", fetch)
    unavailable(shop.bearer(shop.id_token()), "only a local service calls its own machine")
    with pytest.raises(Fault, match="only a local service"):
        fetch(shop.provider.url.replace("http://", "https://"))
    assert shop.provider.asked == []


def test_a_local_service_takes_a_provider_that_is_played_beside_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = dataclasses.replace(wiring.settings(), issuer="http://127.0.0.1:8787")
    fetch = wiring.build(local).provider_keys._fetch
    monkeypatch.setattr(shop.service.parts.provider_keys, "_fetch", fetch)
    assert shop.bearer(shop.id_token()).status == 200


# --- in a cookie ---------------------------------------------------------------------------------

PAGE = "https://shop.example"


def from_a_page(shop: Shop, origin: str = PAGE, **form: str) -> Answer:
    headers = {"Origin": origin, "Ratchet-Refresh-Token": "cookie"}
    sent = {"client_id": CLIENT, **form}
    return shop.service.call("POST", "/oauth/token", form=sent, headers=headers)


@pytest.mark.parametrize("grant", [JWT_BEARER, TOKEN_EXCHANGE])
def test_a_page_gets_the_refresh_token_of_either_grant_in_a_cookie(shop: Shop, grant: str) -> None:
    shop.register(allowed_origins=frozenset({PAGE}), refresh_cookie=True)
    token = shop.id_token()
    form = {"grant_type": grant, "assertion": token, "subject_token": token}
    form["subject_token_type"] = f"{TOKEN_TYPE}id_token"
    answer = from_a_page(shop, "https://evil.example", **form)
    assert (answer.status, answer["error"], answer.cookies) == (403, "invalid_request", [])
    assert answer.log["detail"] == "https://evil.example"
    # and the token is not used up by that
    answer = from_a_page(shop, **form)
    assert (answer.status, "refresh_token" in answer.body) == (200, False)
    assert answer.cookies[0].startswith(f"__Host-Http-ratchet-{CLIENT}=rt1_")
    assert shop.service.session(answer["sid"]).sub == "idp:248289761001"


def test_a_refresh_token_is_not_exchanged_into_both_body_and_cookie(shop: Shop) -> None:
    shop.register(allowed_origins=frozenset({PAGE}), refresh_cookie=True)
    answer = from_a_page(
        shop,
        grant_type=TOKEN_EXCHANGE,
        subject_token=shop.id_token(),
        subject_token_type=f"{TOKEN_TYPE}id_token",
        requested_token_type=f"{TOKEN_TYPE}refresh_token",
    )
    assert (answer.status, answer["error"], answer.cookies) == (400, "invalid_request", [])
    assert "exclude each other" in answer["error_description"]


def test_a_provider_is_believed_by_its_certificate(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https as in production; without trust in the certificate nothing is read"""
    file = tls.certificate(tmp_path)
    with tls.front(file, lambda: shop.provider.url) as url:
        shop.provider.metadata = {"issuer": url, "jwks_uri": f"{url}/keys"}
        shop.register(issuer=url)
        unavailable(shop.bearer(shop.id_token(iss=url)), "SSLCertVerificationError")
        assert shop.provider.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        shop.service.now += 31
        assert shop.bearer(shop.id_token(iss=url)).status == 200
