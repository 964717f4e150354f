"""Reading a request from payload format 2.0: all that is wrong with one is a clear 4xx."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.errors import InvalidRequest, InvalidTarget, MissingToken
from ratchet.request import MAX_BODY_BYTES, MAX_PARAMETERS, Parameters, Request

FORM = "application/x-www-form-urlencoded"


def event(body: bytes | str | None = None, **changes: Any) -> dict[str, Any]:
    """body: bytes arrive as base64, a text as it is."""
    built: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "ANY /oauth/token",
        "rawPath": "/oauth/token",
        "rawQueryString": "",
        "headers": {"content-type": FORM},
        "requestContext": {
            "requestId": "r1",
            "domainName": "abc.execute-api.test",
            "http": {"method": "POST", "path": "/oauth/token"},
        },
        "isBase64Encoded": isinstance(body, bytes),
    }
    if body is not None:
        built["body"] = b64encode(body).decode() if isinstance(body, bytes) else body
    return {**built, **changes}


def request(
    body: bytes | str | None = None, headers: dict[str, str] | None = None, **changes: Any
) -> Request:
    sent = {"content-type": FORM} if headers is None else headers
    return Request.from_event(event(body, headers=sent, **changes), "https://id.test")


def json_request(body: bytes | str) -> Request:
    return request(body, {"content-type": "application/json"})


def status(caught: pytest.ExceptionInfo[InvalidRequest]) -> int:
    return caught.value.status


# --- the event -----------------------------------------------------------------------------------


def test_a_request_is_read_from_the_event() -> None:
    built = event(
        b"a=1", rawQueryString="sub=ada", pathParameters={"sid": "x"}, routeKey="GET /sessions"
    )
    read = Request.from_event(built, "https://id.test")
    assert (read.method, read.resource) == ("POST", "/sessions")
    assert (read.body, read.query, read.path_parameters) == (b"a=1", "sub=ada", {"sid": "x"})
    assert (read.request_id, read.issuer) == ("r1", "https://id.test")


def test_a_body_arrives_as_base64_or_as_it_is() -> None:
    assert request(b"a=\xc3\xa9").body == request("a=é").body == "a=é".encode()


@pytest.mark.parametrize("body", [None, ""])
def test_a_request_may_have_no_body(body: str | None) -> None:
    read = request(body, headers={})
    assert read.body == b""
    assert Request.from_event({**event(), "headers": None}, "i").headers == {}


def test_the_issuer_is_the_apis_own_address_when_none_is_set() -> None:
    """Of the request context, which API Gateway fills in, and never of a header."""
    built = event(headers={"host": "evil.test", "x-forwarded-host": "evil.test"})
    assert Request.from_event(built, "").issuer == "https://abc.execute-api.test"
    assert Request.from_event(built, "https://id.test").issuer == "https://id.test"


def test_a_body_has_at_most_16_kilobytes() -> None:
    assert MAX_BODY_BYTES == 16 * 1024
    for text in ("x" * MAX_BODY_BYTES, "é" * (MAX_BODY_BYTES // 2)):
        assert len(request(text).body) == len(request(text.encode()).body) == MAX_BODY_BYTES
        for large in (text + "x", (text + "x").encode()):
            with pytest.raises(InvalidRequest) as caught:
                request(large)
            assert status(caught) == 413


def test_a_huge_body_is_too_large_before_it_is_decoded() -> None:
    for large in ("x" * 6_000_000, b"x" * 4_500_000):
        with pytest.raises(InvalidRequest) as caught:
            request(large)
        assert status(caught) == 413


@pytest.mark.parametrize("body", ["A", "AAAAA", "é"])
def test_a_body_that_is_no_base64_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest):
        request(body, isBase64Encoded=True)


def test_nothing_that_may_hold_a_secret_shows_in_a_repr() -> None:
    read = request("token=the-secret", {"authorization": "the-secret"}, rawQueryString="the-secret")
    assert "the-secret" not in repr(read)
    assert "the-secret" not in repr(Parameters({"token": "the-secret"}))


# --- forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", [FORM, FORM.upper(), f"{FORM}; charset=UTF-8", f" {FORM} ;charset=utf-8"]
)
def test_a_form_is_read_whatever_its_content_type_adds(content_type: str) -> None:
    form = request("grant_type=refresh_token&scope=a+b%20c", {"content-type": content_type}).form()
    assert form.text("grant_type") == "refresh_token"
    assert form.scopes() == {"a", "b", "c"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": f"{FORM}x"},
    ],
)
def test_another_content_type_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=FORM) as caught:
        request("grant_type=refresh_token", headers).form()
    assert status(caught) == 400


def test_a_parameter_without_a_value_counts_as_omitted() -> None:
    """RFC 6749 section 3.2."""
    form = request("scope=&client_id&device=+").form()
    assert form.text("scope") is None
    assert form.text("client_id") is None
    assert form.text("nothing") is None
    assert form.text("device") == " "
    assert form.scopes() == frozenset()
    with pytest.raises(InvalidRequest, match="scope is missing"):
        form.required("scope")


@pytest.mark.parametrize(
    "body",
    [
        "scope=a&scope=b",
        "scope=a&x=1&scope=a",
        "scope=&scope=a",
        "scope&scope",
        "sc%6Fpe=a&scope=b",
    ],
)
def test_a_parameter_must_not_be_there_twice(body: str) -> None:
    """RFC 6749 section 3.2, the same value and an empty one included."""
    with pytest.raises(InvalidRequest, match="scope is there more than once") as caught:
        request(body).form()
    assert status(caught) == 400
    with pytest.raises(InvalidRequest, match="scope is there more than once"):
        request(rawQueryString=body).query_parameters()


@pytest.mark.parametrize(
    ("body", "resources"),
    [
        ("", set()),
        ("resource=", set()),
        ("resource=https://a.test", {"https://a.test"}),
        (
            "resource=https://a.test&x=1&resource=https%3A%2F%2Fb.test%2Fv1%3Fq%3D1",
            {"https://a.test", "https://b.test/v1?q=1"},
        ),
        ("resource=urn:a:b&resource=urn:a:b&resource=", {"urn:a:b"}),
        (
            "&".join(f"resource=urn:a:{number}" for number in range(8)),
            {f"urn:a:{number}" for number in range(8)},
        ),
    ],
)
def test_resource_alone_may_be_there_more_than_once(body: str, resources: set[str]) -> None:
    """RFC 8707 section 2."""
    assert request(body).form().resources() == resources


@pytest.mark.parametrize(
    "resource",
    [
        "orders-api",
        "/orders",
        "//api.test/orders",
        "https:",
        "https://api.test/#top",
        "https://api.test/#",
        "https://api.test/a b",
        "https://api.test/\n",
        "https://api.test/é",
        "1https://api.test",
        " https://api.test",
    ],
)
def test_a_resource_is_an_absolute_uri_without_fragment(resource: str) -> None:
    """RFC 8707 section 2, RFC 3986 section 4.3."""
    for text in ([("resource", resource)], [("resource", "urn:a:b"), ("resource", resource)]):
        with pytest.raises(InvalidTarget) as caught:
            request(urlencode(text)).form().resources()
        assert caught.value.detail == "not an absolute URI without fragment"
        assert resource not in caught.value.description


def test_more_than_8_resources_are_refused() -> None:
    body = "&".join(f"resource=urn:a:{number}" for number in range(9))
    with pytest.raises(InvalidTarget) as caught:
        request(body).form().resources()
    assert caught.value.detail == "too many"


@pytest.mark.parametrize("value", [7, {}, [["urn:a:b"]], [None], True])
def test_a_resource_in_json_is_a_text_or_a_list_of_texts(value: Any) -> None:
    assert Parameters({"resource": "urn:a:b"}).resources() == {"urn:a:b"}
    assert Parameters({"resource": ["urn:a:b", "urn:c:d"]}).resources() == {"urn:a:b", "urn:c:d"}
    with pytest.raises(InvalidTarget):
        Parameters({"resource": value}).resources()


@pytest.mark.parametrize("name", ['"\\', "é", "a b", "<script>", "x" * 5000, ""])
def test_the_name_of_a_repeated_parameter_is_quoted_only_if_it_is_harmless(name: str) -> None:
    """RFC 6749 section 5.2 allows a description neither quotes nor anything beyond ASCII."""
    with pytest.raises(InvalidRequest) as caught:
        request(urlencode([(name, "1"), (name, "2")])).form()
    description = caught.value.description
    assert all(0x20 <= ord(character) <= 0x7E for character in description)
    assert not set('"\\<>') & set(description)
    assert len(description) < 200


@pytest.mark.parametrize("body", [b"a=\xff", b"\xff=a", b"a=\xed\xa0\x80"])
def test_a_body_that_is_not_utf_8_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The body is not UTF-8"):
        request(body).form()


@pytest.mark.parametrize("text", ["a=%FF", "%FF=a", "a=%ED%A0%80", "a=%C3"])
def test_a_parameter_that_is_not_utf_8_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="A parameter is not UTF-8"):
        request(text).form()
    with pytest.raises(InvalidRequest, match="A parameter is not UTF-8"):
        request(rawQueryString=text).query_parameters()


def test_there_may_be_64_parameters() -> None:
    assert MAX_PARAMETERS == 64
    names = [f"p{number}=1" for number in range(65)]
    assert len(request("&".join(names[:64])).form().values) == 64
    with pytest.raises(InvalidRequest, match="64 parameters") as caught:
        request("&".join(names)).form()
    assert status(caught) == 400


@given(body=st.binary(max_size=200))
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    with suppress(InvalidRequest):
        assert request(body).form().text("sub") != ""


# --- JSON ----------------------------------------------------------------------------------------


def test_a_json_object_is_read_where_it_may_be_sent() -> None:
    body = {"sub": "adé", "amr": ["pwd"], "claims": {"a": 1}, "auth_time": 5}
    for sent in (json.dumps(body), json.dumps(body, ensure_ascii=False).encode()):
        assert json_request(sent).form_or_json().values == body


def test_a_form_is_read_where_json_may_be_sent() -> None:
    assert request("sub=ada").form_or_json().text("sub") == "ada"
    with pytest.raises(InvalidRequest, match=FORM):
        request("sub=ada", {}).form_or_json()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "1",
        "true",
        '"text"',
        '""',
        "[]",
        '["ab"]',
        '[["sub", "ada"]]',
        '[["sub", "ada"], ["sub", "bob"]]',
        "[{}]",
        "{} {}",
        '{"a": 1,}',
        "{'a': 1}",
        b"\xff",
        b'{"a": "\xff"}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": [{"b": "\\ud83d\\ud83d\\udc08"}]}',
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes | str) -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object") as caught:
        json_request(body).form_or_json()
    assert status(caught) == 400


@pytest.mark.parametrize("body", ['{"sub": "a", "sub": "b"}', '{"claims": {"x": 1, "x": 2}}'])
def test_a_json_member_must_not_be_there_twice(body: str) -> None:
    with pytest.raises(InvalidRequest, match="more than once") as caught:
        json_request(body).form_or_json()
    assert status(caught) == 400


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1", "1e999", "null", "[]", "{}"]
)
def test_a_json_number_is_no_text(value: str) -> None:
    parameters = json_request(f'{{"sub": {value}}}').form_or_json()
    with pytest.raises(InvalidRequest):
        parameters.required("sub")


@pytest.mark.parametrize("body", ["[" * 8000, '{"a":' * 3000])
def test_deeply_nested_json_is_refused(body: str) -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        json_request(body).form_or_json()


def test_json_that_is_nested_too_deep_for_this_python_is_refused() -> None:
    """Where that is, differs from one version of Python to the next."""
    with suppress(InvalidRequest):
        assert json_request('{"a":' * 2700 + "1" + "}" * 2700).form_or_json().values


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        json_request('{"auth_time": ' + "9" * 10000 + "}").form_or_json()


@given(body=st.text(max_size=100) | st.binary(max_size=100))
def test_any_body_is_a_json_object_or_refused(body: str | bytes) -> None:
    with suppress(InvalidRequest):
        assert json_request(body).form_or_json().text("sub") != ""


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "DPoP", "dpop"])
def test_the_scheme_of_an_access_token_is_not_case_sensitive(scheme: str) -> None:
    """RFC 9110 section 11.1."""
    found = "DPoP" if scheme.lower() == "dpop" else "Bearer"
    assert request(headers={"authorization": f"{scheme} abc"}).access_token() == (found, "abc")
    assert request(headers={"authorization": f"{scheme}   abc "}).access_token() == (found, "abc")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearerabc", "DPoP"]
)
def test_a_request_without_an_access_token_says_so(value: str) -> None:
    with pytest.raises(MissingToken):
        request(headers={"authorization": value}).access_token()
    with pytest.raises(MissingToken):
        request(headers={}).access_token()


def test_a_token_in_the_query_or_the_body_is_ignored() -> None:
    """RFC 9700 section 4.3.2."""
    with pytest.raises(MissingToken):
        request("access_token=abc", rawQueryString="access_token=abc").access_token()


@pytest.mark.parametrize("length", [16, 36, 255])
def test_an_idempotency_key_has_16_to_255_characters(length: int) -> None:
    headers = {"idempotency-key": "k" * length}
    assert request(headers=headers).idempotency_key() == "k" * length
    assert request(headers={}).idempotency_key() is None


@pytest.mark.parametrize("length", [0, 1, 15, 256, 8000])
def test_an_idempotency_key_of_another_length_is_refused(length: int) -> None:
    """One that is easily guessed would let a thief repeat the request."""
    with pytest.raises(InvalidRequest, match="16 to 255") as caught:
        request(headers={"idempotency-key": "k" * length}).idempotency_key()
    assert status(caught) == 400


# --- cookies -------------------------------------------------------------------------------------


def with_cookies(*cookies: str) -> Request:
    return Request.from_event(event(cookies=list(cookies)), "https://id.test")


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        (["a=1"], "1"),
        (["b=2", "a=1=1"], "1=1"),
        ([" a = 1 "], "1"),
        (["a="], None),
        (["a"], None),
        (["A=1", "aa=1", "=1"], None),
        ([], None),
    ],
)
def test_a_cookie_is_read_by_its_exact_name(cookies: list[str], value: str | None) -> None:
    assert with_cookies(*cookies).cookie("a") == value


def test_a_request_may_have_no_cookies() -> None:
    assert request().cookie("a") is None


def test_a_cookie_must_not_be_there_twice() -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        with_cookies("a=1", "b=2", "a=1").cookie("a")


def test_a_cookie_does_not_show_in_a_repr() -> None:
    assert "rt1_" not in repr(with_cookies("a=rt1_x"))
