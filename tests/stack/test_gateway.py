"""The gateway over a real socket, in front of small functions."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratchet_cli import gateway
from ratchet_cli.functions import Context, Functions, HandlerError
from ratchet_cli.template import Function, LambdaAuthorizer, Route

AT_ONCE = 50
everybody = threading.Barrier(AT_ONCE)


def echo(event: Any) -> Any:
    return {
        "statusCode": 201,
        "headers": {"content-type": "application/json"},
        "cookies": ["a=1; HttpOnly", "b=2"],
        "body": json.dumps(event),
    }


def meet(event: Any) -> Any:
    # Nobody gets past this line until all of them are in a function at the same time.
    everybody.wait(10)
    return {"statusCode": 200, "body": event["rawQueryString"]}


def crash(_: Any) -> Any:
    raise ValueError("for the log")


def leave(_: Any) -> Any:
    sys.exit(1)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "echo": echo,
    "meet": meet,
    "crash": crash,
    "exit": leave,
    "odd": lambda _: object(),
}
ROUTES = [Route("ANY", f"/{name}", name) for name in FUNCTIONS]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        gateway.serving(listener, ROUTES, lambda name, event: FUNCTIONS[name](event)),
    ):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_request_reaches_its_function_and_the_answer_comes_back(url: str) -> None:
    response = httpx.post(f"{url}/echo?a=1&a=2", data={"b": "c"}, cookies={"x": "y"})
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get_list("set-cookie") == ["a=1; HttpOnly", "b=2"]
    event = response.json()
    assert event["routeKey"] == "ANY /echo"
    assert event["queryStringParameters"] == {"a": "1,2"}
    assert event["cookies"] == ["x=y"]
    assert (event["body"], event["isBase64Encoded"]) == ("Yj1j", True)
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert f"http://{event['headers']['host']}" == url


def test_an_answer_on_a_kept_alive_connection_does_not_wait_for_an_acknowledgement() -> None:
    """Nagle's algorithm and a delayed acknowledgement together were 40 ms for each answer."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        gateway.serving(listener, ROUTES, lambda name, event: FUNCTIONS[name](event)),
    ):
        # its connections inherit the option
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_head_gets_the_headers_of_the_answer_and_no_body(url: str) -> None:
    response = httpx.head(f"{url}/echo")
    assert response.status_code == 201
    assert int(response.headers["content-length"]) > 0
    assert response.content == b""


def test_fifty_requests_are_in_their_functions_at_once(url: str) -> None:
    limits = httpx.Limits(max_connections=AT_ONCE)
    with httpx.Client(limits=limits) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: client.get(f"{url}/meet?{n}").text, range(AT_ONCE)))
    assert answers == [str(number) for number in range(AT_ONCE)]


@pytest.mark.parametrize("path", ["crash", "exit", "odd"])
def test_a_function_that_fails_is_an_internal_server_error(url: str, path: str) -> None:
    response = httpx.get(f"{url}/{path}")
    assert response.status_code == 500
    assert response.json() == {"message": "Internal Server Error"}
    assert httpx.get(f"{url}/echo").status_code == 201


def test_the_error_of_a_function_is_logged(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    httpx.get(f"{url}/crash")
    assert "ValueError: for the log" in capfd.readouterr().err


def test_a_path_without_a_route_is_not_found(url: str) -> None:
    response = httpx.get(f"{url}/elsewhere")
    assert (response.status_code, response.json()) == (404, {"message": "Not Found"})


@pytest.mark.parametrize(("megabytes", "content_type"), [(5, "image/png"), (7, "text/plain")])
def test_a_body_over_the_limit_of_lambda_is_too_large(
    url: str, megabytes: int, content_type: str
) -> None:
    """Five megabytes are too many once they are base64."""
    response = httpx.post(
        f"{url}/echo",
        content=b"a" * megabytes * 1024 * 1024,
        headers={"content-type": content_type},
        timeout=30,
    )
    assert response.status_code == 413
    assert response.json() == {"message": "Request Entity Too Large"}


def test_a_body_under_the_limit_of_lambda_arrives_whole(url: str) -> None:
    body = "a" * 5 * 1024 * 1024
    headers = {"content-type": "text/plain"}
    response = httpx.post(f"{url}/echo", content=body, headers=headers, timeout=30)
    assert response.json()["body"] == body


def handler_file(root: Path, name: str, text: str) -> Function:
    folder = root / "functions" / name
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(text, encoding="utf-8")
    return Function(name, f"functions/{name}", "app.handler", timeout_seconds=7, memory_mb=256)


def test_functions_of_the_same_file_name_are_loaded_side_by_side(tmp_path: Path) -> None:
    found = {
        name: handler_file(tmp_path, name, f"def handler(event, context): return {name!r}, event")
        for name in ("one", "two")
    }
    functions = Functions(tmp_path, found)
    assert functions.invoke("one", 1) == ("one", 1)
    assert functions.invoke("two", 2) == ("two", 2)


def test_authorizers_that_ask_the_same_gateway_do_not_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "_CONCURRENCY", 2)
    routes = [
        Route("GET", "/keys", "keys"),
        Route("GET", "/orders", "orders", LambdaAuthorizer("checker", ("Authorization",))),
    ]

    def invoke(name: str, event: Any) -> Any:
        if name != "checker":
            return {"statusCode": 200, "body": name}
        issuer = f"http://{event['headers']['host']}/keys"
        return {"isAuthorized": httpx.get(issuer, timeout=5).text == "keys"}

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        gateway.serving(listener, routes, invoke),
        ThreadPoolExecutor(8) as clients,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/orders"
        headers = {"Authorization": "Bearer x"}
        answers = [clients.submit(httpx.get, url, headers=headers, timeout=30) for _ in range(8)]
        assert [answer.result().text for answer in answers] == ["orders"] * 8


def test_a_function_is_told_about_its_invocation(tmp_path: Path) -> None:
    found = handler_file(tmp_path, "one", "def handler(event, context): return context")
    functions = Functions(tmp_path, {"one": found})
    first: Context = functions.invoke("one", None)
    second: Context = functions.invoke("one", None)
    assert first.function_name == "one"
    assert first.invoked_function_arn.endswith(":function:one")
    assert first.memory_limit_in_mb == 256
    assert first.aws_request_id != second.aws_request_id
    assert 6000 < second.get_remaining_time_in_millis() <= 7000


def test_a_handler_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = handler_file(tmp_path, "one", "")
    with pytest.raises(HandlerError, match=r"one: .*has no handler"):
        Functions(tmp_path, {"one": found})
    with pytest.raises(HandlerError, match=r"one: there is no .*app\.py"):
        Functions(tmp_path / "elsewhere", {"one": found})
