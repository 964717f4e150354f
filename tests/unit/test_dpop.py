"""Proofs and nonces (RFC 9449): every check of section 4.3, one broken proof each."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from ratchet import dpop
from ratchet.application import Application
from ratchet.dpop import IAT_SKEW_SECONDS, MAX_JTI, NONCE_SECONDS, DPoPProof
from ratchet.errors import InvalidDPoPProof, MissingToken, OAuthError, RefusedProof, UseDPoPNonce
from ratchet.refresh_token import Peppers
from ratchet.request import Request
from ratchet.seen_proofs import MAX_REMEMBERED, SeenProofs
from tests import proofs

NOW = 1_800_000_000
ISSUER = "https://id.test"
URL = f"{ISSUER}/oauth/token"
TOKEN = "an.access.token"
KEYS = {algorithm: proofs.new_key(algorithm) for algorithm in proofs.ALGORITHMS}
KEY = KEYS["ES256"]
OTHER_KEY = proofs.new_key()
MakePeppers = Callable[[Mapping[int, bytes]], Peppers]


def request(headers: Mapping[str, str], **fields: Any) -> Request:
    defaults: dict[str, Any] = {
        "method": "POST",
        "resource": "/oauth/token",
        "path_parameters": {},
        "query": "",
        "body": b"",
        "request_id": "r1",
        "issuer": ISSUER,
    }
    return Request(headers=headers, **{**defaults, **fields})


def check(proof: str, peppers: Peppers, now: int = NOW, **fields: Any) -> DPoPProof:
    found = dpop.proof(request({"dpop": proof}, **fields), peppers=peppers, now=now)
    assert found is not None
    return found


def refused(proof: str, peppers: Peppers, now: int = NOW, **fields: Any) -> str:
    """The private detail of the refusal; anything else but a refusal fails the test."""
    with pytest.raises(InvalidDPoPProof) as caught:
        check(proof, peppers, now, **fields)
    return caught.value.detail


@pytest.fixture
def nonce(peppers: Peppers) -> str:
    return dpop.nonce(peppers, NOW)


# --- a good one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", proofs.ALGORITHMS)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_a_proof_names_the_key_that_it_was_signed_with(
    peppers: Peppers, nonce: str, algorithm: str
) -> None:
    """the thumbprint is the one that the client's own library reckons"""
    key = KEYS[algorithm]
    text = proofs.proof(key, "POST", URL, now=NOW, nonce=nonce, algorithm=algorithm)
    assert check(text, peppers).jkt == proofs.jkt(key)
    assert dpop.is_thumbprint(proofs.jkt(key))


def test_no_header_is_no_proof(peppers: Peppers) -> None:
    assert dpop.proof(request({}), peppers=peppers, now=NOW) is None


def test_every_proof_has_an_id_of_its_own(peppers: Peppers, nonce: str) -> None:
    def proof_id(key: Key, jti: str) -> bytes:
        return check(proofs.proof(key, "POST", URL, now=NOW, nonce=nonce, jti=jti), peppers).id

    assert len(proof_id(KEY, "a")) == 16
    assert proof_id(KEY, "a") == proof_id(KEY, "a")
    assert len({proof_id(KEY, "a"), proof_id(KEY, "b"), proof_id(OTHER_KEY, "a")}) == 3


def test_members_that_a_browser_adds_to_the_key_change_nothing(
    peppers: Peppers, nonce: str
) -> None:
    jwk = {**KEY.as_dict(private=False), "ext": True, "key_ops": ["verify"], "kid": "mine"}
    text = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce, header={"jwk": jwk})
    assert check(text, peppers).jkt == proofs.jkt(KEY)


@pytest.mark.parametrize("iat", [NOW, NOW - 3600, NOW + 3600, NOW + 0.5, NOW - IAT_SKEW_SECONDS])
def test_a_clock_that_is_hours_off_needs_only_our_nonce(
    peppers: Peppers, nonce: str, iat: float
) -> None:
    """Section 11.1: "even in the face of arbitrarily large clock skews"."""
    check(proofs.proof(KEY, "POST", URL, now=0, nonce=nonce, iat=iat), peppers)


# --- every broken one ----------------------------------------------------------------------------

PUBLIC = KEY.as_dict(private=False)
RSA_1024 = {"e": "AQAB", "kty": "RSA", "n": urlsafe_b64encode(b"\xff" * 128).decode().rstrip("=")}
BROKEN_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "no typ": ({"typ": None}, "typ"),
    "another typ": ({"typ": "JWT"}, "typ"),
    "an access token's typ": ({"typ": "at+jwt"}, "typ"),
    "no jwk": ({"jwk": None}, "jwk"),
    "jwk is a text": ({"jwk": "x"}, "jwk"),
    "jwk is a list": ({"jwk": [PUBLIC]}, "jwk"),
    "jwk without kty": ({"jwk": {"crv": "P-256"}}, "alg of another kind of key"),
    "jwk without x": ({"jwk": {**PUBLIC, "x": None}}, "InvalidKeyError"),
    "jwk with a number": ({"jwk": {**PUBLIC, "x": 5}}, "InvalidKeyError"),
    "jwk that is no point": ({"jwk": {**PUBLIC, "x": PUBLIC["y"]}}, "InvalidKeyError"),
    "another's jwk": ({"jwk": OTHER_KEY.as_dict(private=False)}, "InvalidSignatureError"),
    "another curve": ({"jwk": {**PUBLIC, "crv": "P-384"}}, "alg of another kind of key"),
    "the private key": ({"jwk": KEY.as_dict(private=True)}, "private key"),
    "a shared key": ({"jwk": {"kty": "oct", "k": "c2VjcmV0"}}, "private key"),
    "an RSA key": ({"jwk": KEYS["RS256"].as_dict(private=False)}, "alg of another kind of key"),
    "crit": ({"crit": ["b64"], "b64": False}, "DecodeError"),
    "crit that PyJWT knows": ({"crit": ["b64"], "b64": True}, "crit"),
    "crit that nobody knows": ({"crit": ["x"], "x": 1}, "InvalidTokenError"),
}


@pytest.mark.parametrize("case", BROKEN_HEADERS)
def test_a_proof_with_a_broken_header_is_refused(peppers: Peppers, nonce: str, case: str) -> None:
    header, detail = BROKEN_HEADERS[case]
    assert refused(forged(nonce, **header), peppers) == detail


def forged(nonce: str | None, key: Key = KEY, algorithm: str = "ES256", **header: Any) -> str:
    """A proof whose header says what it likes; its signature is made with what joserfc takes."""
    good = proofs.proof(key, "POST", URL, now=NOW, nonce=nonce, algorithm=algorithm)
    fields = json.loads(urlsafe_b64decode(good.split(".")[0] + "=="))
    changed = {name: value for name, value in {**fields, **header}.items() if value is not None}
    payload = good.split(".")[1].encode()
    first = urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=")
    signing = jwt.get_algorithm_by_name(algorithm)
    signature = signing.sign(first + b"." + payload, signing.from_jwk(key.as_dict(private=True)))
    return b".".join((first, payload, urlsafe_b64encode(signature).rstrip(b"="))).decode()


@pytest.mark.parametrize(
    "algorithm", ["none", "HS256", "ES384", "ES256K", "RS512", "", 5, ["ES256"]]
)
def test_an_algorithm_that_is_not_on_the_list_is_refused(
    peppers: Peppers, nonce: str, algorithm: Any
) -> None:
    """RFC 8725 section 3.1; section 4.2: "MUST NOT be none or ... symmetric"."""
    assert refused(forged(nonce, alg=algorithm), peppers) in {"alg", "DecodeError", "TypeError"}


def test_an_algorithm_goes_with_its_own_kind_of_key_only(peppers: Peppers, nonce: str) -> None:
    """RS256 and PS256 are both RSA's, and each verifies only its own signatures"""
    assert refused(forged(nonce, KEYS["RS256"], "RS256", alg="ES256"), peppers)
    swapped = forged(nonce, KEYS["RS256"], "RS256", alg="PS256")
    assert refused(swapped, peppers) == "InvalidSignatureError"


def test_a_public_key_is_never_taken_as_a_shared_secret(peppers: Peppers, nonce: str) -> None:
    confused = OctKey.import_key(json.dumps(PUBLIC))
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": PUBLIC}
    claims = {"jti": "a", "htm": "POST", "htu": URL, "iat": NOW, "nonce": nonce}
    assert refused(proofs.signed(confused, header, claims), peppers) == "alg"


@pytest.mark.filterwarnings("ignore")
def test_rsa_keys_have_2048_to_4096_bits_and_the_usual_exponent(
    peppers: Peppers, nonce: str
) -> None:
    assert refused(forged(nonce, KEYS["RS256"], "RS256", jwk=RSA_1024), peppers) == "RSA key"
    large = {**RSA_1024, "n": urlsafe_b64encode(b"\xff" * 1024).decode().rstrip("=")}
    assert refused(forged(nonce, KEYS["RS256"], "RS256", jwk=large), peppers) == "RSA key"
    odd = {**KEYS["RS256"].as_dict(private=False), "e": "AQAD"}
    assert refused(forged(nonce, KEYS["RS256"], "RS256", jwk=odd), peppers) == "RSA key"


BROKEN_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "no jti": ({"jti": None}, "jti"),
    "an empty jti": ({"jti": ""}, "jti"),
    "a jti that is a number": ({"jti": 5}, "jti"),
    "a jti that is too long": ({"jti": "x" * (MAX_JTI + 1)}, "jti"),
    "no htm": ({"htm": None}, "htm"),
    "another htm": ({"htm": "GET"}, "htm"),
    "htm in lower case": ({"htm": "post"}, "htm"),
    "no htu": ({"htu": None}, "htu"),
    "htu is a list": ({"htu": [URL]}, "htu"),
    "htu of another path": ({"htu": f"{ISSUER}/oauth/refresh"}, "htu"),
    "htu of another host": ({"htu": "https://id.test.evil/oauth/token"}, "htu"),
    "htu of another scheme": ({"htu": "http://id.test/oauth/token"}, "htu"),
    "htu of another port": ({"htu": "https://id.test:8443/oauth/token"}, "htu"),
    "htu with a user": ({"htu": "https://id.test@evil/oauth/token"}, "htu"),
    "htu that is no URL": ({"htu": "https://[x/oauth/token"}, "htu"),
    "htu that is a path": ({"htu": "/oauth/token"}, "htu"),
    "no iat": ({"iat": None}, "iat"),
    "an iat that is a text": ({"iat": str(NOW)}, "iat"),
    "an iat that is true": ({"iat": True}, "iat"),
    "an iat that is no number": ({"iat": float("nan")}, "iat"),
    "an iat without end": ({"iat": float("inf")}, "iat"),
    "an iat in milliseconds": ({"iat": NOW * 1000}, "iat"),
    "an iat of long ago": ({"iat": NOW - IAT_SKEW_SECONDS - 1}, "iat"),
    "an iat to come": ({"iat": NOW + IAT_SKEW_SECONDS + 1}, "iat"),
}


@pytest.mark.parametrize("case", BROKEN_CLAIMS)
def test_a_proof_with_a_broken_claim_is_refused(peppers: Peppers, nonce: str, case: str) -> None:
    claims, detail = BROKEN_CLAIMS[case]
    assert (
        refused(proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce, **claims), peppers) == detail
    )


def test_more_than_one_proof_is_refused(peppers: Peppers, nonce: str) -> None:
    """Section 4.3: "there is not more than one DPoP HTTP request header field"."""
    one = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce)
    assert refused(f"{one},{one}", peppers) == "more than one"


def test_a_huge_proof_is_refused_before_it_is_read(peppers: Peppers, nonce: str) -> None:
    text = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce, padding="x" * 4096)
    assert refused(text, peppers) == "too long"


def test_a_proof_that_was_changed_is_refused(peppers: Peppers, nonce: str) -> None:
    good = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce)
    header, payload, signature = good.split(".")
    other = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce).split(".")[1]
    assert refused(f"{header}.{other}.{signature}", peppers) == "InvalidSignatureError"
    assert refused(f"{header}.{payload}.", peppers) == "InvalidSignatureError"


@given(text=st.text(max_size=200) | st.text("ey.A-_", max_size=50))
def test_any_text_is_refused_and_no_defect(peppers: Peppers, text: str) -> None:
    assert refused(text, peppers)


def test_deep_json_is_refused_and_no_defect(peppers: Peppers) -> None:
    deep = urlsafe_b64encode(b"[" * 1400).decode()
    assert refused(f"{deep}.{deep}.x", peppers) == "DecodeError"


def test_the_refusal_quotes_nothing_of_the_proof(peppers: Peppers, nonce: str) -> None:
    text = forged(nonce, jwk={**PUBLIC, "x": "quoted"})
    with pytest.raises(InvalidDPoPProof) as caught:
        check(text, peppers)
    assert "quoted" not in f"{caught.value!r}{caught.value.detail}{caught.value.log}"


# --- htu -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://id.test/a/token",
        "HTTPS://ID.Test/a/token",
        "https://id.test:443/a/token",
        "https://id.test:/a/token",
        "https://id.test/a/token?x=1#y",
        "https://id.test/./a/b/../token",
        "https://id.test/%61/%74oken",
        "https://id.test/b/%2E%2e/a/token",
    ],
)
def test_one_address_may_be_spelt_in_several_ways(url: str) -> None:
    """RFC 3986 sections 6.2.2 and 6.2.3; query and fragment do not count (section 4.3)."""
    assert dpop.normalized(url) == ("https", "id.test", 443, "/a/token")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://id.test/a", "https://id.test/a/"),
        ("https://id.test/a", "https://id.test/A"),
        ("https://id.test/a%2Fb", "https://id.test/a/b"),
        ("https://id.test/a", "https://id.test//a"),
        ("https://id.test:80/a", "https://id.test/a"),
        ("https://id.test:0/a", "https://id.test/a"),
    ],
)
def test_what_may_be_another_address_is_another(one: str, other: str) -> None:
    assert dpop.normalized(one) != dpop.normalized(other)


def test_some_more_rules_of_normalisation() -> None:
    assert dpop.normalized("http://h") == dpop.normalized("http://h:80/") == ("http", "h", 80, "/")
    assert dpop.normalized("http://h/a/..") == dpop.normalized("http://h/")
    assert dpop.normalized("http://h/a/.") == dpop.normalized("http://h/a/")
    assert dpop.normalized("http://h/%2f") == dpop.normalized("http://h/%2F")
    for url in ("", "x", "ftp://h/", "http://", "http://h:x/", "http://h/é", "http://h/ ", "h:80/"):
        assert dpop.normalized(url) is None


@given(url=st.text(max_size=60) | st.text("htps:/[]@.%?#12", max_size=40).map("http://".__add__))
def test_any_url_is_normalised_or_none(url: str) -> None:
    dpop.normalized(url)


def test_the_address_is_the_issuers_whatever_path_api_gateway_was_called_at(
    peppers: Peppers, nonce: str
) -> None:
    """behind a custom domain with a mapping, and with an id in the path"""
    asked: dict[str, Any] = {
        "issuer": "https://example.com/auth",
        "resource": "/sessions/{sid}",
        "path_parameters": {"sid": "a{b}/c"},
        "method": "GET",
    }
    url = "https://example.com/auth/sessions/a%7Bb%7D%2Fc"
    check(proofs.proof(KEY, "GET", url, now=NOW, nonce=nonce), peppers, **asked)
    for wrong in ("https://example.com/sessions/a", "https://example.com/auth/sessions/{sid}"):
        text = proofs.proof(KEY, "GET", wrong, now=NOW, nonce=nonce)
        assert refused(text, peppers, **asked) == "htu"


# --- nonces --------------------------------------------------------------------------------------


def asked_for_another(proof: str, peppers: Peppers, now: int = NOW) -> tuple[str, str]:
    with pytest.raises(UseDPoPNonce) as caught:
        check(proof, peppers, now)
    return caught.value.nonce, caught.value.detail


def test_a_nonce_about_a_token_insists_on_that_one_only(peppers: Peppers, nonce: str) -> None:
    one, other = b"1" * 32, b"2" * 32
    insisting = check(with_nonce(dpop.nonce(peppers, NOW, token_hash=one)), peppers)
    assert (insisting.insists_on(one), insisting.insists_on(other)) == (True, False)
    assert not check(with_nonce(nonce), peppers).insists_on(one)


def with_nonce(nonce: Any) -> str:
    return proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce)


def test_a_proof_without_a_nonce_is_answered_with_one_that_is_taken(peppers: Peppers) -> None:
    given, detail = asked_for_another(with_nonce(None), peppers)
    assert detail == "no nonce"
    check(with_nonce(given), peppers)


@pytest.mark.parametrize("text", ["", "x", "A" * 40, "A" * 32, "é" * 40, "A" * 400, 5, ["A"], {}])
def test_a_made_up_nonce_is_answered_with_one_of_ours(peppers: Peppers, text: Any) -> None:
    assert asked_for_another(with_nonce(text), peppers)[1] == "not a nonce of ours"


@pytest.mark.parametrize("place", range(0, 40, 3))
def test_a_changed_nonce_is_not_ours(peppers: Peppers, nonce: str, place: int) -> None:
    changed = nonce[:place] + ("A" if nonce[place] != "A" else "B") + nonce[place + 1 :]
    assert asked_for_another(with_nonce(changed), peppers)[1] == "not a nonce of ours"


def test_a_nonce_is_good_for_five_minutes_and_for_many_proofs(peppers: Peppers, nonce: str) -> None:
    for age in (0, 1, NONCE_SECONDS - 1):
        check(with_nonce(nonce), peppers, NOW + age)
    assert asked_for_another(with_nonce(nonce), peppers, NOW + NONCE_SECONDS)[1] == "expired nonce"


def test_a_nonce_of_an_instance_whose_clock_is_a_little_ahead_is_taken(
    peppers: Peppers, nonce: str
) -> None:
    check(with_nonce(nonce), peppers, NOW - 60)
    assert asked_for_another(with_nonce(nonce), peppers, NOW - 61)[1] == "expired nonce"


def test_a_nonce_outlives_a_change_of_the_pepper(make_peppers: MakePeppers) -> None:
    old, both = make_peppers({1: b"1" * 32}), make_peppers({1: b"1" * 32, 2: b"2" * 32})
    check(with_nonce(dpop.nonce(old, NOW)), both)
    new = dpop.nonce(both, NOW)
    assert asked_for_another(with_nonce(new), old)[1] == "not a nonce of ours"


def test_a_nonce_comes_after_the_signature(peppers: Peppers) -> None:
    """so that it is given to nobody who cannot make proofs"""
    assert refused(forged(None, jwk=OTHER_KEY.as_dict(private=False)), peppers)


# --- at a resource -------------------------------------------------------------------------------


def resource(scheme: str, proof: str | None, peppers: Peppers) -> tuple[str, DPoPProof | None]:
    headers = {"authorization": f"{scheme} {TOKEN}"} | ({"dpop": proof} if proof else {})
    return dpop.presented(request(headers), peppers=peppers, now=NOW)


def test_with_the_scheme_dpop_a_token_comes_with_its_proof(peppers: Peppers, nonce: str) -> None:
    text = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce, access_token=TOKEN)
    token, proof = resource("DPoP", text, peppers)
    assert (token, proof and proof.jkt) == (TOKEN, proofs.jkt(KEY))


def test_a_bearer_token_comes_without_one_whatever_the_header(peppers: Peppers) -> None:
    assert resource("Bearer", "whatever", peppers) == (TOKEN, None)


def test_no_token_is_a_missing_token(peppers: Peppers) -> None:
    with pytest.raises(MissingToken):
        dpop.presented(request({"dpop": "x"}), peppers=peppers, now=NOW)


@pytest.mark.parametrize("ath", [None, "", proofs.ath("another.token"), 5, TOKEN])
def test_at_a_resource_the_proof_is_for_this_very_token(
    peppers: Peppers, nonce: str, ath: Any
) -> None:
    text = proofs.proof(KEY, "POST", URL, now=NOW, nonce=nonce, access_token=TOKEN, ath=ath)
    with pytest.raises(RefusedProof) as caught:
        resource("DPoP", text, peppers)
    assert (caught.value.code, caught.value.detail) == ("invalid_dpop_proof", "ath")


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        (None, "invalid_dpop_proof", "no proof"),
        ("x", "invalid_dpop_proof", "DecodeError"),
        (proofs.proof(KEY, "POST", URL, now=NOW, access_token=TOKEN), "use_dpop_nonce", "no nonce"),
    ],
    ids=["missing", "broken", "without nonce"],
)
def test_a_refusal_at_a_resource_is_a_401_that_challenges_with_dpop(
    peppers: Peppers, text: str | None, code: str, detail: str
) -> None:
    """Sections 7.1 and 9."""
    with pytest.raises(RefusedProof) as caught:
        resource("DPoP", text, peppers)
    error: OAuthError = caught.value
    assert (error.status, error.code, error.detail) == (401, code, detail)
    caught.value.scheme = "DPoP"
    challenge = 'DPoP realm="ratchet", error="{}", algs="ES256 EdDSA PS256 RS256"'
    assert error.headers["WWW-Authenticate"] == challenge.format(code)
    assert ("DPoP-Nonce" in error.headers) == (code == "use_dpop_nonce")


# --- what applications want ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "proven", "bound"),
    [
        ("off", None, None),
        ("off", "k", None),
        ("optional", None, None),
        ("optional", "k", "k"),
        ("required", "k", "k"),
    ],
)
def test_new_tokens_are_bound_as_the_application_wants(
    make_application: Callable[..., Application],
    setting: str,
    proven: str | None,
    bound: str | None,
) -> None:
    assert dpop.binding(make_application(dpop=setting), proven) == bound


def test_an_application_that_requires_proofs_gets_nothing_without(
    make_application: Callable[..., Application],
) -> None:
    with pytest.raises(InvalidDPoPProof) as caught:
        dpop.binding(make_application(dpop="required"), None)
    assert (caught.value.status, caught.value.detail) == (400, "no proof")


# --- the replay window ---------------------------------------------------------------------------


def numbered(number: int) -> DPoPProof:
    return DPoPProof(jkt="k", id=number.to_bytes(16, "big"))


def test_a_proof_counts_once_while_its_nonce_could_be_taken() -> None:
    seen = SeenProofs()
    assert seen.add(numbered(1), NOW)
    assert not seen.add(numbered(1), NOW)
    assert not seen.add(numbered(1), NOW + NONCE_SECONDS + 60)
    assert seen.add(numbered(2), NOW)
    assert seen.add(numbered(1), NOW + 2 * NONCE_SECONDS)


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    seen = SeenProofs()
    for number in range(MAX_REMEMBERED + 1):
        assert seen.add(numbered(number), NOW)
    assert seen.add(numbered(0), NOW)
    assert not seen.add(numbered(MAX_REMEMBERED), NOW)
    assert len(seen._until) == MAX_REMEMBERED


def test_the_keys_of_these_tests_are_what_they_seem() -> None:
    assert isinstance(KEYS["ES256"], ECKey)
    assert isinstance(KEYS["RS256"], RSAKey)
