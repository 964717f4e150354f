"""API Gateway's HTTP API: which route takes a request, and payload format 2.0 both ways.

Documented at https://docs.aws.amazon.com/apigateway/latest/developerguide/ under
http-api-develop-routes and http-api-develop-integrations-lambda.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from ratchet_cli.template import Route

# Lambda takes 6 MB, API Gateway itself 10 MB: the smaller limit is the one that is met.
MAX_BODY_BYTES = 6 * 1024 * 1024

# The content types that arrive as text were found by trying the real service; a form is not one.
_TEXT = ("application/json", "application/xml", "application/javascript")
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade")
_REPLACED = ("cookie", "content-length")


@dataclass(frozen=True)
class Request:
    """An HTTP request. `path` is still percent-encoded; headers may repeat, in any case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str = "HTTP/1.1"


@dataclass(frozen=True)
class Response:
    """An HTTP response. Header names are in lower case; `set-cookie` may repeat."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Match:
    """The route that takes a request, with the decoded values of its path variables."""

    route: Route
    path_parameters: Mapping[str, str]


def failure(status: int, message: str) -> Response:
    """Return what API Gateway itself says when no function answers."""
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return Response(status, [("content-type", "application/json")], body)


NOT_FOUND = failure(404, "Not Found")
TOO_LARGE = failure(413, "Request Entity Too Large")
INTERNAL_SERVER_ERROR = failure(500, "Internal Server Error")


def match(routes: Iterable[Route], method: str, path: str) -> Match | None:
    """Return the most specific route for a method and a percent-encoded path, None if none fits."""
    decoded = unquote(path)
    fitting = [
        (_specificity(route), route, parameters)
        for route in routes
        if route.method in (method, "ANY", "$default")
        if (parameters := _path_parameters(route, decoded)) is not None
    ]
    if not fitting:
        return None
    _, route, parameters = min(fitting, key=lambda candidate: candidate[0])
    return Match(route, parameters)


def _specificity(route: Route) -> tuple[list[int], bool]:
    """Sort key, lowest first: literal, {variable}, {greedy+}, $default; a method before ANY."""
    if route.method == "$default":
        return [3], True
    kinds = [
        2 if part.endswith("+}") else 1 if part.startswith("{") else 0
        for part in route.path.split("/")[1:]
    ]
    return kinds, route.method == "ANY"


def _path_parameters(route: Route, path: str) -> dict[str, str] | None:
    """Return the path variables, None if the path is not the route's."""
    if route.method == "$default":
        return {}
    wanted, given = route.path.split("/"), path.split("/")
    if wanted[-1].endswith("+}"):
        given[len(wanted) - 1 :] = ["/".join(given[len(wanted) - 1 :])]
    if len(wanted) != len(given):
        return None
    parameters = {}
    for part, value in zip(wanted, given, strict=True):
        if part.startswith("{"):
            if not value:
                return None
            parameters[part.strip("{+}")] = value
        elif part != value:
            return None
    return parameters


def event(request: Request, matched: Match) -> dict[str, Any]:
    """Return the payload 2.0 event of a request, without a key for what the request lacks."""
    headers = _headers(request)
    cookies = _cookies(request)
    query = _joined(parse_qsl(request.query, keep_blank_values=True))
    path = unquote(request.path)
    domain_name = headers.get("host", "").partition(":")[0]
    now = time.time()
    built: dict[str, Any] = {
        "version": "2.0",
        "routeKey": matched.route.key,
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": domain_name,
            "domainPrefix": domain_name.split(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": uuid.uuid4().hex[:16],
            "routeKey": matched.route.key,
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        built["cookies"] = cookies
    if query:
        built["queryStringParameters"] = query
    if matched.path_parameters:
        built["pathParameters"] = dict(matched.path_parameters)
    if request.body:
        built["isBase64Encoded"] = not _is_text(headers.get("content-type", ""))
        if built["isBase64Encoded"]:
            built["body"] = base64.b64encode(request.body).decode()
        else:
            built["body"] = request.body.decode("utf-8", errors="replace")
    return built


def _headers(request: Request) -> dict[str, str]:
    kept = [
        (name.lower(), value)
        for name, value in request.headers
        if name.lower() not in (*_HOP_BY_HOP, *_REPLACED)
    ]
    headers = _joined([*kept, ("x-forwarded-for", request.source_ip)])
    return headers | {
        "content-length": str(len(request.body)),
        "x-amzn-trace-id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}",
        "x-forwarded-port": headers.get("host", "").partition(":")[2] or "80",
        "x-forwarded-proto": "http",
    }


def _cookies(request: Request) -> list[str]:
    return [
        cookie.strip()
        for name, value in request.headers
        if name.lower() == "cookie"
        for cookie in value.split(";")
        if cookie.strip()
    ]


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _is_text(content_type: str) -> bool:
    media_type = content_type.split(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in _TEXT


def response(result: Any) -> Response:
    """Return the HTTP response of what a handler returned.

    Without a status code, the result itself is the JSON body of a 200. Anything malformed is a
    500, as on AWS.
    """
    try:
        if isinstance(result, dict) and "statusCode" in result:
            return _explicit(result)
        body = result if isinstance(result, str) else json.dumps(result)
        return Response(200, [("content-type", "application/json")], body.encode())
    except (TypeError, ValueError):
        return INTERNAL_SERVER_ERROR


def _explicit(result: Mapping[str, Any]) -> Response:
    """Return the response that a dictionary spells out.

    Raises TypeError or ValueError where it is malformed.
    """
    status, body = result["statusCode"], result.get("body") or ""
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError("statusCode is not a final HTTP status")
    if not isinstance(body, str):
        raise TypeError("body is not a string")
    headers = {
        name.lower(): value if isinstance(value, str) else json.dumps(value)
        for name, value in dict(result.get("headers") or {}).items()
    }
    if body:
        headers.setdefault("content-type", "text/plain;charset=UTF-8")
    cookies = [("set-cookie", str(cookie)) for cookie in result.get("cookies") or []]
    content = _decoded(body) if result.get("isBase64Encoded") else body.encode()
    return Response(status, [*headers.items(), *cookies], content)


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError("body is not base64") from error
