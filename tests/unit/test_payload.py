"""Payload format 2.0, held field for field against events in the documented shape."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from ratchet_cli import payload
from ratchet_cli.payload import Request
from ratchet_cli.template import Route

EVENTS = Path(__file__).parents[1] / "events"

ROUTES = [
    Route("$default", "", "Default"),
    Route("ANY", "/{proxy+}", "Everything"),
    Route("ANY", "/pets/{proxy+}", "Pets"),
    Route("ANY", "/pets/dog/{id}", "AnyDog"),
    Route("GET", "/pets/dog/{id}", "Dog"),
    Route("ANY", "/pets/dog/1", "AnyFirstDog"),
    Route("GET", "/pets/dog/1", "FirstDog"),
]

FORM = b"grant_type=client_credentials&scope=reports%3Aread"
SENT = [("Host", "127.0.0.1:8787"), ("User-Agent", "curl/8.14.1"), ("Accept", "*/*")]
REQUESTS = {
    "form_post": (
        Route("ANY", "/oauth/token", "Issue"),
        Request(
            "POST",
            "/oauth/token",
            "",
            [
                *SENT,
                ("Authorization", "Basic ZGVtby1tYWNoaW5lOmRlbW8tbWFjaGluZS1zZWNyZXQ="),
                ("Content-Length", "50"),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ],
            FORM,
            "127.0.0.1",
        ),
    ),
    "json_post": (
        Route("POST", "/sessions", "Issue"),
        Request(
            "POST",
            "/sessions",
            "",
            [
                *SENT,
                ("Transfer-Encoding", "chunked"),
                ("Content-Type", "application/json; charset=utf-8"),
            ],
            '{"sub":"ada","device":"Adas Gerät \U0001f4f1"}'.encode(),
            "127.0.0.1",
        ),
    ),
    "duplicate_query": (
        Route("ANY", "/sessions", "Sessions"),
        Request(
            "GET",
            "/sessions",
            "sub=ada&sub=gr%C3%A5&page=&q=a+b%2Cc",
            [*SENT[:2], ("Accept", "text/html"), ("accept", "application/json")],
            b"",
            "127.0.0.1",
        ),
    ),
    "cookies": (
        Route("ANY", "/oauth/refresh", "Refresh"),
        Request(
            "POST",
            "/oauth/refresh",
            "",
            [*SENT, ("Cookie", "__Host-session=a=b; theme=dark"), ("Connection", "keep-alive")],
            b"",
            "127.0.0.1",
        ),
    ),
    "head": (
        Route("ANY", "/.well-known/jwks.json", "Discovery"),
        Request("HEAD", "/.well-known/jwks.json", "", SENT, b"", "127.0.0.1"),
    ),
    "path_parameter": (
        Route("ANY", "/sessions/{sid}", "Sessions"),
        Request("DELETE", "/sessions/a%20b", "", SENT, b"", "127.0.0.1"),
    ),
}


def build(route: Route, request: Request) -> dict[str, Any]:
    matched = payload.match([route], request.method, request.path)
    assert matched
    return payload.event(request, matched)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_becomes_the_documented_event(name: str) -> None:
    expected = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    event = build(*REQUESTS[name])

    # These differ from one request to the next; the test below looks at their form.
    for volatile in ("requestId", "time", "timeEpoch"):
        event["requestContext"][volatile] = expected["requestContext"][volatile]
    event["headers"]["x-amzn-trace-id"] = expected["headers"]["x-amzn-trace-id"]
    assert event == expected


def test_every_event_file_has_its_request() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(REQUESTS)


def test_a_request_has_an_id_and_the_time_it_came() -> None:
    before = int(time.time() * 1000)
    first, second = (build(*REQUESTS["head"])["requestContext"] for _ in range(2))

    assert first["requestId"] != second["requestId"]
    assert before <= first["timeEpoch"] <= int(time.time() * 1000)
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", first["time"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "Application/XML; a=b"])
def test_a_text_body_arrives_as_it_is(content_type: str) -> None:
    request = Request("POST", "/", "", [("content-type", content_type)], b"<a>", "127.0.0.1")
    event = build(Route("ANY", "/", "F"), request)
    assert (event["body"], event["isBase64Encoded"]) == ("<a>", False)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/octet-stream")],
        [("content-type", "application/problem+json")],
    ],
)
def test_any_other_body_arrives_as_base64(headers: list[tuple[str, str]]) -> None:
    request = Request("POST", "/", "", headers, b"a=\xff", "127.0.0.1")
    event = build(Route("ANY", "/", "F"), request)
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"a=\xff"


@pytest.mark.parametrize(
    ("method", "path", "function"),
    [
        ("GET", "/pets/dog/1", "FirstDog"),
        ("POST", "/pets/dog/1", "AnyFirstDog"),
        ("GET", "/pets/dog/2", "Dog"),
        ("POST", "/pets/dog/2", "AnyDog"),
        ("GET", "/pets/cat/1", "Pets"),
        ("GET", "/pets/dog/2/tail", "Pets"),
        ("POST", "/test/5", "Everything"),
        ("GET", "/", "Default"),
    ],
)
def test_the_most_specific_route_takes_the_request(method: str, path: str, function: str) -> None:
    for routes in (ROUTES, ROUTES[::-1]):
        matched = payload.match(routes, method, path)
        assert matched
        assert matched.route.function == function


def test_a_greedy_variable_holds_the_rest_of_the_path() -> None:
    matched = payload.match(ROUTES, "GET", "/pets/cat/1/%C3%A5")
    assert matched
    assert matched.path_parameters == {"proxy": "cat/1/å"}
    assert matched.route.key == "ANY /pets/{proxy+}"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/a"), ("GET", "/a/"), ("GET", "/a/b/c"), ("POST", "/a/b")],
)
def test_a_request_without_a_route_matches_nothing(method: str, path: str) -> None:
    assert payload.match([Route("GET", "/a/{b}", "F")], method, path) is None


def test_a_result_with_a_status_code_is_the_response() -> None:
    response = payload.response(
        {
            "statusCode": 401,
            "headers": {"WWW-Authenticate": "Bearer", "Retry-After": 5},
            "cookies": ["a=1; HttpOnly", "b=2"],
            "body": "Grüße",
        }
    )
    assert response.status == 401
    assert response.headers == [
        ("www-authenticate", "Bearer"),
        ("retry-after", "5"),
        ("content-type", "text/plain;charset=UTF-8"),
        ("set-cookie", "a=1; HttpOnly"),
        ("set-cookie", "b=2"),
    ]
    assert response.body == "Grüße".encode()


def test_a_base64_body_is_decoded() -> None:
    response = payload.response({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True})
    assert response.body == b"\xff\x00"


def test_a_response_may_have_no_body() -> None:
    assert payload.response({"statusCode": 204}) == payload.Response(204, [], b"")


@pytest.mark.parametrize(
    ("result", "body"), [({"a": 1}, b'{"a": 1}'), ("hello", b"hello"), ([1], b"[1]")]
)
def test_a_result_without_a_status_code_is_a_json_body(result: Any, body: bytes) -> None:
    assert payload.response(result) == payload.Response(
        200, [("content-type", "application/json")], body
    )


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "200"},
        {"statusCode": 42},
        {"statusCode": True},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "cookies": 1},
        {"not": object()},
    ],
)
def test_a_malformed_result_is_an_internal_server_error(result: Any) -> None:
    response = payload.response(result)
    assert response.status == 500
    assert response.body == b'{"message":"Internal Server Error"}'
