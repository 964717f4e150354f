"""The short form of `make fuzz-api`, and the proof that it can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import schemathesis

from tests.engine import fuzz_api
from tests.local_stack import ROOT, LocalStack, started

SEED = 1
DOCUMENT = ROOT / "layers" / "ratchet" / "ratchet" / "openapi.json"
EXAMPLES = 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        yield running


def test_no_request_gets_a_5xx_or_an_answer_that_is_not_described(stack: LocalStack) -> None:
    report = fuzz_api.run(stack.url, examples=EXAMPLES, seed=SEED)
    assert report.failures == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (500, {}, {"message": "Internal Server Error"}, "ServerError"),
        (418, {}, {"error": "teapot"}, "UndefinedStatusCode"),
        (400, {"Content-Type": "text/plain"}, {"error": "x"}, "UndefinedContentType"),
        (401, {"Cache-Control": "max-age=1"}, None, "JsonSchemaError"),
        (401, {"Pragma": None}, None, "MissingHeaders"),
        (401, {}, {"error": "invalid_client", "error_description": "x", "a": 1}, "JsonSchemaError"),
        (401, {}, {"error": "invalid_grant", "error_description": "x"}, "JsonSchemaError"),
        (401, {}, None, None),
    ],
)
def test_an_answer_that_is_not_described_is_found(
    status: int, headers: dict[str, str | None], body: Any, told: str | None
) -> None:
    """The real document against a service that answers one thing only."""
    usual = {
        "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
        "Content-Type": "application/json",
    }
    refusal = {"error": "invalid_client", "error_description": "Client authentication failed."}
    answer = json.dumps(body or refusal).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in {**usual, **headers}.items():
                if value is not None:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    document = json.loads(DOCUMENT.read_text("utf-8"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        response = requests.post(url, data="x", timeout=10)
        server.shutdown()
    operation = schemathesis.openapi.from_dict(document)["/oauth/introspect"]["POST"]
    found = fuzz_api.undescribed(operation.Case(), response)
    assert (told in found) if told and found else found == told
