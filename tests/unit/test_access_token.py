"""Access tokens: their claims (RFC 9068 section 2.2) and how they are verified (section 4)."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ratchet import access_token
from ratchet.access_token import RESERVED
from ratchet.application import Application, hash_secret
from ratchet.errors import ExpiredToken, InvalidToken
from ratchet.keys import SigningKeys, generate_jwk, signing_keys
from ratchet.policy import PRESETS
from ratchet.session import Session

NOW = 1_800_000_000
ISSUER = "https://id.test"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "ada",
    "aud": ISSUER,
    "client_id": "app",
    "iat": NOW,
    "exp": NOW + 3600,
    "jti": "once",
    "scope": "profile",
    "sid": "A" * 22,
}
MakeSession = Callable[..., Session]
MakeApplication = Callable[..., Application]
# An SDK's or a browser's own complaints about small keys and weak secrets are not the subject here.
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed(
    keys: SigningKeys,
    claims: Mapping[str, Any] = CLAIMS,
    *,
    header: Mapping[str, Any] | None = None,
    key: Any = None,
    algorithm: str = "RS256",
) -> str:
    """A token of ours; header: members to be changed, or left out if None."""
    headers = {"typ": "at+jwt", "kid": keys.current.kid, **(header or {})}
    return jwt.encode(dict(claims), key or keys.current.private_key, algorithm, headers)


def compact(header: Mapping[str, Any], payload: Mapping[str, Any], sign: Any = None) -> str:
    """A JWS put together by hand, for what PyJWT refuses to make. sign: bytes -> signature."""
    parts = [
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)
    ]
    signature = sign(b".".join(parts)) if sign else b""
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def verify(token: str, keys: SigningKeys, now: int = NOW) -> Mapping[str, Any]:
    return access_token.verify(token, keys=keys, issuer=ISSUER, now=now)


def refused(token: str, keys: SigningKeys, now: int = NOW) -> InvalidToken:
    with pytest.raises(InvalidToken) as caught:
        verify(token, keys, now)
    return caught.value


# --- claims --------------------------------------------------------------------------------------


def session_claims(session: Session, application: Application, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "scopes": session.scopes,
        "resources": frozenset(),
        "issuer": ISSUER,
        "now": NOW,
    }
    return access_token.session_claims(session, application, **{**arguments, **changes})


def test_a_sessions_token_has_every_claim_that_rfc_9068_requires(
    make_session: MakeSession, make_application: MakeApplication
) -> None:
    session = make_session(
        scopes=frozenset({"b", "a"}), auth_time=NOW - 50, absolute_deadline_at=NOW + 90000
    )
    claims = session_claims(session, make_application())

    assert len(claims.pop("jti")) >= 22
    assert claims == {
        "iss": ISSUER,
        "exp": NOW + 3600,
        "aud": ISSUER,
        "sub": "ada",
        "client_id": "app",
        "iat": NOW,
        "scope": "a b",
        "sid": session.sid,
        "auth_time": NOW - 50,
    }


def test_an_applications_own_token_has_no_session(make_application: MakeApplication) -> None:
    application = make_application(
        client_id="machine",
        confidential=True,
        secret_hashes=(hash_secret("s"),),
        policy=PRESETS["machine"],
    )
    claims = access_token.client_claims(
        application,
        scopes=frozenset({"reports:read"}),
        resources=frozenset(),
        issuer=ISSUER,
        now=NOW,
    )
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "exp": NOW + 3600,
        "aud": ISSUER,
        "sub": "machine",
        "client_id": "machine",
        "iat": NOW,
        "scope": "reports:read",
    }


def test_every_token_has_an_id_of_its_own(
    make_session: MakeSession, make_application: MakeApplication
) -> None:
    session, application = make_session(), make_application()
    assert len({session_claims(session, application)["jti"] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("audience", "aud"),
    [
        ((), ISSUER),
        (("https://api.test",), "https://api.test"),
        (("https://a.test", "https://b.test"), ["https://a.test", "https://b.test"]),
    ],
)
def test_one_audience_is_a_text_and_several_are_a_list(
    make_session: MakeSession, make_application: MakeApplication, audience: Any, aud: Any
) -> None:
    assert session_claims(make_session(), make_application(audience=audience))["aud"] == aud


@pytest.mark.parametrize(("left", "lifetime"), [(3601, 3600), (3600, 3600), (3599, 3599), (1, 1)])
def test_a_token_never_outlives_the_absolute_deadline(
    make_session: MakeSession, make_application: MakeApplication, left: int, lifetime: int
) -> None:
    session = make_session(absolute_deadline_at=NOW + left)
    assert session_claims(session, make_application())["exp"] == NOW + lifetime


def test_the_sign_in_stays_what_it_was_through_every_refresh(
    make_session: MakeSession, make_application: MakeApplication
) -> None:
    session = make_session(
        auth_time=NOW - 7, amr=("pwd", "otp"), acr="silver", absolute_deadline_at=NOW + 90000
    )
    claims = session_claims(session, make_application(), now=NOW + 5000)
    assert (claims["auth_time"], claims["amr"]) == (NOW - 7, ["pwd", "otp"])
    assert claims["acr"] == "silver"
    assert claims["iat"] == NOW + 5000


def test_custom_claims_are_added_and_override_none_of_ours(
    make_session: MakeSession, make_application: MakeApplication
) -> None:
    """Even those of an item that was written past the check at the door."""
    plain = session_claims(make_session(amr=("pwd",)), make_application())
    forged = dict.fromkeys(plain, "forged")
    session = make_session(amr=("pwd",), claims={**forged, "tenant": "t1"})
    claims = session_claims(session, make_application())

    assert claims.pop("tenant") == "t1"
    assert "forged" not in claims.values()
    assert {**claims, "jti": ""} == {**plain, "jti": ""}


def test_no_custom_claim_may_have_the_name_of_one_of_ours(
    make_session: MakeSession, make_application: MakeApplication
) -> None:
    assert session_claims(make_session(amr=("pwd",)), make_application()).keys() <= RESERVED


# --- verifying -----------------------------------------------------------------------------------


def test_our_own_token_is_valid_until_the_exact_second_it_expires(keys: SigningKeys) -> None:
    token = signed(keys)
    assert verify(token, keys) == CLAIMS
    assert verify(token, keys, NOW + 3599) == CLAIMS
    for late in (NOW + 3600, NOW + 3601, NOW + 10**6):
        error = refused(token, keys, late)
        assert isinstance(error, ExpiredToken)
        assert error.log == {"sid": CLAIMS["sid"]}


@pytest.mark.parametrize("slot", ["next", "previous"])
def test_the_keys_of_the_other_slots_verify_too(keys: SigningKeys, slot: str) -> None:
    other = signing_keys(json.dumps({"current": generate_jwk("RS256")})).current
    ours = replace(keys, **{slot: other})
    token = signed(ours, header={"kid": other.kid}, key=other.private_key)
    assert verify(token, ours) == CLAIMS


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "application/AT+jwt"])
def test_the_type_is_at_jwt_however_it_is_written(keys: SigningKeys, typ: str) -> None:
    """RFC 9068 section 4: "at+jwt" or "application/at+jwt"."""
    assert verify(signed(keys, header={"typ": typ}), keys) == CLAIMS


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "logout+jwt", "at+jwt2", "", 1, ["at+jwt"]])
def test_another_type_of_token_is_refused(keys: SigningKeys, typ: Any) -> None:
    refused(signed(keys, header={"typ": typ}), keys)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_token_is_refused(keys: SigningKeys, algorithm: str) -> None:
    """RFC 8725 section 3.2, with and without the signature of a genuine one."""
    header = {"alg": algorithm, "typ": "at+jwt", "kid": keys.current.kid}
    signature = signed(keys).rpartition(".")[2]
    refused(compact(header, CLAIMS), keys)
    refused(compact(header, CLAIMS) + signature, keys)


def test_a_token_signed_with_our_public_key_as_a_secret_is_refused(keys: SigningKeys) -> None:
    """RFC 8725 section 2.1: RS256 turned into HS256."""
    public = keys.current.public_key
    secrets = [
        public.public_bytes(encoding, shape)
        for encoding in (Encoding.PEM, Encoding.DER)
        for shape in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    ]
    secrets += [secret.strip() for secret in secrets]
    secrets += [
        public.public_numbers().n.to_bytes(256, "big"),
        keys.current.public_jwk["n"].encode(),
        json.dumps(keys.current.public_jwk).encode(),
        b"",
    ]
    for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        header = {"alg": algorithm, "typ": "at+jwt", "kid": keys.current.kid}
        for secret in secrets:
            forged = compact(
                header, CLAIMS, lambda data, s=secret, d=digest: hmac.digest(s, data, d)
            )
            refused(forged, keys)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_our_key_has_one_algorithm(keys: SigningKeys, algorithm: str) -> None:
    """RFC 8725 section 3.1, even where the signature is good."""
    refused(signed(keys, algorithm=algorithm), keys)


@pytest.mark.parametrize("algorithm", ["RS512", "ES256", "HS256", "none", "", None, 1])
def test_the_headers_alg_has_no_say(keys: SigningKeys, algorithm: Any) -> None:
    genuine = signed(keys)
    header = {"alg": algorithm, "typ": "at+jwt", "kid": keys.current.kid}
    changed = compact(header, CLAIMS).split(".")[0]
    refused(".".join([changed, *genuine.split(".")[1:]]), keys)


def test_another_keys_signature_is_refused(keys: SigningKeys) -> None:
    refused(signed(keys, key=FOREIGN), keys)


@pytest.mark.parametrize("kid", [None, "", "unknown", 1, ["x"], {}])
def test_a_token_that_names_none_of_our_keys_is_refused(keys: SigningKeys, kid: Any) -> None:
    header = {"alg": "RS256", "typ": "at+jwt", "kid": kid}
    refused(compact(header, CLAIMS, rs256(keys)), keys)
    del header["kid"]
    refused(compact(header, CLAIMS, rs256(keys)), keys)


def test_the_kid_of_another_of_our_keys_is_refused(keys: SigningKeys) -> None:
    assert keys.next
    refused(signed(keys, header={"kid": keys.next.kid}), keys)


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.test/jwks.json"},
        {"x5u": "https://evil.test/chain.pem"},
        {"x5c": ["MIIB"]},
        {"jwk": jwt.algorithms.RSAAlgorithm.to_jwk(FOREIGN.public_key(), as_dict=True)},
    ],
)
def test_a_key_that_a_token_brings_along_is_not_used(
    keys: SigningKeys, header: dict[str, Any]
) -> None:
    """RFC 8725 section 3.10. Sockets are off, so nothing can be fetched unnoticed either."""
    refused(signed(keys, header=header, key=FOREIGN), keys)
    assert verify(signed(keys, header=header), keys) == CLAIMS


@pytest.mark.parametrize("iss", ["https://evil.test", ISSUER + "/", "", None, [ISSUER], 1])
def test_a_token_of_another_issuer_is_refused(keys: SigningKeys, iss: Any) -> None:
    # PyJWT does not sign an issuer that is no text.
    header = {"alg": "RS256", "typ": "at+jwt", "kid": keys.current.kid}
    refused(compact(header, {**CLAIMS, "iss": iss}, rs256(keys)), keys)


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"])
def test_a_token_without_a_required_claim_is_refused(keys: SigningKeys, name: str) -> None:
    refused(signed(keys, {key: value for key, value in CLAIMS.items() if key != name}), keys)


@pytest.mark.parametrize("exp", [NOW + 3600.5, str(NOW + 3600), True, None, [NOW + 3600]])
def test_a_token_whose_expiry_is_no_whole_number_is_refused(keys: SigningKeys, exp: Any) -> None:
    header = {"alg": "RS256", "typ": "at+jwt", "kid": keys.current.kid}
    refused(compact(header, {**CLAIMS, "exp": exp}, rs256(keys)), keys)


def test_an_expired_forgery_does_not_count_as_expired(keys: SigningKeys) -> None:
    assert not isinstance(refused(signed(keys, key=FOREIGN), keys, NOW + 3600), ExpiredToken)


def rs256(keys: SigningKeys) -> Callable[[bytes], bytes]:
    algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    return lambda data: algorithm.sign(data, keys.current.private_key)


def test_a_token_put_together_by_hand_is_valid(keys: SigningKeys) -> None:
    """So the tests above that use one are refused for what they change."""
    header = {"alg": "RS256", "typ": "at+jwt", "kid": keys.current.kid}
    assert verify(compact(header, CLAIMS, rs256(keys)), keys) == CLAIMS


def test_an_oversized_token_is_refused_although_it_is_genuine(keys: SigningKeys) -> None:
    claims = {**CLAIMS, "padding": "x" * 8192}
    assert refused(signed(keys, claims), keys).detail == "too long"


def test_a_token_with_any_one_character_changed_is_refused(keys: SigningKeys) -> None:
    text = signed(keys)
    for index in range(len(text)):
        other = "A" if text[index] != "A" else "B"
        changed = text[:index] + other + text[index + 1 :]
        # The last character of a signature has bits that carry nothing.
        if index != len(text) - 1:
            refused(changed, keys)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "eyJ.eyJ.", "é.é.é", "\0", " ", "e30.e30.", "bnVsbA.e30.AA"],
)
def test_garbage_is_refused(keys: SigningKeys, token: str) -> None:
    refused(token, keys)


@given(text=st.text())
def test_arbitrary_text_is_refused_and_raises_nothing_else(keys: SigningKeys, text: str) -> None:
    refused(text, keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    header=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u"), JSON),
    ),
    payload=JSON,
)
def test_a_token_with_arbitrary_members_is_refused_and_raises_nothing_else(
    keys: SigningKeys, header: dict[str, Any], payload: Any
) -> None:
    refused(compact({"kid": keys.current.kid, "typ": "at+jwt", **header}, payload), keys)


@pytest.mark.parametrize("depth", [100, 5000])
def test_a_deeply_nested_header_is_refused(keys: SigningKeys, depth: int) -> None:
    nested = urlsafe_b64encode(b'{"a":' + b"[" * depth).rstrip(b"=").decode()
    refused(f"{nested}.e30.AA", keys)


@given(data=st.data())
def test_a_mutated_token_is_refused_and_raises_nothing_else(
    keys: SigningKeys, data: st.DataObject
) -> None:
    token = signed(keys)
    start = data.draw(st.integers(0, len(token) - 2))
    end = data.draw(st.integers(start, len(token) - 2))
    changed = token[:start] + data.draw(st.text()) + token[end:]
    if changed != token:
        refused(changed, keys)


def test_the_error_of_a_refused_token_does_not_quote_it(keys: SigningKeys) -> None:
    token = signed(keys, key=FOREIGN)
    error = refused(token, keys)
    shown = f"{error!r} {error.detail} {error.description} {error.log} {error.headers}"
    assert not any(part in shown for part in token.split("."))
