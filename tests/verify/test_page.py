"""docs/apis.md: each of its examples accepts a token of the local stack, and refuses another."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ratchet_cli import payload, template
from tests.local_stack import ROOT, LocalStack, started

PAGE = ROOT / "docs" / "apis.md"
BLOCK = re.compile(r"^## (.*?)$|^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(stack: LocalStack) -> Any:
    form = {"client_id": "demo-native", "sub": "ada"}
    backend = ("demo-backend", "demo-backend-secret")
    return httpx.post(f"{stack.url}/sessions", data=form, auth=backend).json()


def example(stack: LocalStack, under: str) -> dict[str, Any]:
    """The names that the example below this heading makes. The stack is issuer and API."""
    heading, found = "", {}
    for title, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        heading = title or heading
        if code:
            found[heading] = code
    code = re.sub(r"https://(id|api)\.example\.com", stack.url, found[under])
    made: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), made)  # noqa: S102 - it is our own page
    return made


def event(token: str | None) -> dict[str, Any]:
    headers = [("Host", "api.test")] + ([("Authorization", f"Bearer {token}")] if token else [])
    request = payload.Request("GET", "/orders", "", headers, b"", "192.0.2.1")
    return payload.event(request, payload.Match(template.Route("GET", "/orders", "Orders"), {}))


def test_the_first_example_says_who_it_is(stack: LocalStack, tokens: Any) -> None:
    who = example(stack, "")["who"]
    assert who(tokens["access_token"]) == f"ada in demo-native, session {tokens['sid']}"
    assert who(tokens["access_token"][:-9]) == "The access token is not valid"


@pytest.mark.parametrize("under", ["A Lambda function", "Powertools' event handler"])
def test_a_lambda_function_answers_or_refuses(stack: LocalStack, tokens: Any, under: str) -> None:
    handler = example(stack, under)["handler"]
    answer = handler(event(tokens["access_token"]), None)
    assert answer["statusCode"] == 200
    assert "ada" in answer["body"]
    assert handler(event(None), None)["statusCode"] == 401


def test_fastapi_answers_or_refuses(stack: LocalStack, tokens: Any) -> None:
    app = example(stack, "FastAPI and Starlette")["app"]

    async def get(headers: dict[str, str]) -> httpx.Response:
        through = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=through, base_url="https://api.test") as client:
            return await client.get("/orders", headers=headers)

    answer = asyncio.run(get({"Authorization": f"Bearer {tokens['access_token']}"}))
    assert (answer.status_code, answer.json()) == (200, {"of": "ada"})
    assert asyncio.run(get({})).status_code == 401


def test_an_ended_session_is_refused_by_the_example_that_asks(
    stack: LocalStack, tokens: Any
) -> None:
    from ratchet_verify import EndedSession

    authenticate = example(stack, "An API that cannot wait for exp")["authenticate"]
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert authenticate(headers, "GET", stack.url) == "ada"
    answer = httpx.delete(f"{stack.url}/sessions/{tokens['sid']}", headers=headers)
    assert answer.status_code == 204
    # A new one has no verdict of before.
    authenticate = example(stack, "An API that cannot wait for exp")["authenticate"]
    with pytest.raises(EndedSession):
        authenticate(headers, "GET", stack.url)
