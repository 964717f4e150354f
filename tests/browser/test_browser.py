"""Browser mode in a real browser: browser/ratchet.js, and the page of docs/browser.md."""

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.policy import PRESETS
from ratchet_cli import running
from ratchet_cli.seed import SECRETS
from tests.browser.playing import HERE, needed, play, sentences
from tests.local_stack import ROOT, LocalStack, started

JOURNEYS = ("journeys.mjs", "module.mjs", "faults.mjs")
MODULE = ROOT / "browser" / "ratchet.js"
POLICY = "default-src 'none'; script-src 'self'; connect-src http://localhost:* http://127.0.0.1:*"
POLICY += " http://*.ratchet.localhost:*; require-trusted-types-for 'script'"
PAGE = "<!doctype html><script type=module src='/session.js?client_id={}'></script>"
SCRIPT = """import {{ Session }} from "/ratchet.js";
window.told = [];
window.session = new Session({{
  issuer: "{}",
  clientId: "{}",
  onSessionStarted: (sid) => told.push(["started", sid]),
  onSessionEnded: (reason) => told.push(["ended", reason]),
}});
"""
FORM = "<!doctype html><form method=post action='{}'><input name=client_id value='{}'><button>"
ADDRESS = "http://localhost:8787"


def example(language: str) -> str:
    """What the documentation shows in this language."""
    page = (ROOT / "docs" / "browser.md").read_text("utf-8")
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(text)


@contextlib.contextmanager
def site(port_of_api: int) -> Iterator[int]:
    """Serves the page on a port of its own; its script calls the API by the page's host name."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            client_id = query.get("client_id", "")
            api = f"http://{self.headers['Host'].rpartition(':')[0]}:{port_of_api}"
            kind, headers, status = "text/html", {}, 200
            if address.path == "/ratchet.js":
                text, kind = MODULE.read_text("utf-8"), "text/javascript"
            elif address.path == "/session.js":
                text, kind = SCRIPT.format(api, client_id), "text/javascript"
            elif address.path == "/page.html":
                text = f"<!doctype html>{example('html')}"
            elif address.path == "/page.js":
                text, kind = example("js").replace(ADDRESS, api), "text/javascript"
            elif address.path == "/form":
                text = FORM.format(api + query["path"], client_id)
            elif address.path in ("/echo", "/authorization"):
                name = "Cookie" if address.path == "/echo" else "Authorization"
                text, kind = self.headers.get(name, ""), "text/plain"
                headers = {
                    "Access-Control-Allow-Origin": self.headers.get("Origin", "*"),
                    "Access-Control-Allow-Credentials": "true",
                }
            elif address.path == "/moved":
                text, status, headers = "", 307, {"Location": query["to"]}
            else:
                text = PAGE.format(client_id)
                headers = {"Content-Security-Policy": POLICY}
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "Authorization")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def register(stack: LocalStack, origin: str) -> None:
    """An application that allows this one origin, as a deployed one would; one without leeway."""
    found = running.read(stack.tree / running.FOLDER)
    assert found is not None
    client = boto3.client(
        "dynamodb",
        endpoint_url=found.endpoint_url,
        region_name=found.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    shop = Application(
        client_id="shop",
        confidential=False,
        grant_types=frozenset({"refresh_token"}),
        scopes=frozenset({"profile"}),
        allowed_origins=frozenset({origin}),
        refresh_cookie=True,
        policy=PRESETS["browser"],
    )
    strict = replace(
        shop,
        client_id="strict",
        allowed_origins=frozenset({"http://localhost:*"}),
        policy=replace(PRESETS["browser"], leeway_seconds=0),
    )
    applications = Applications(client, found.environment["RATCHET_APPLICATIONS_TABLE"])
    applications.put(shop, {"preset": "browser"})
    applications.put(strict, {"preset": "browser", "leeway_seconds": 0})
    backend = applications.get("demo-backend", 0)
    assert backend is not None
    every = backend.starts_sessions_for | {"shop", "strict"}
    object.__setattr__(backend, "starts_sessions_for", every)
    applications.put(backend, {"preset": "machine"})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What came of every journey."""
    needed()
    with contextlib.ExitStack() as opened:
        stack = opened.enter_context(started(tmp_path_factory.mktemp("tree")))
        port = urlsplit(stack.url).port
        assert port is not None
        page, other = opened.enter_context(site(port)), opened.enter_context(site(port))
        register(stack, f"http://localhost:{page}")
        told = {
            "api": stack.url,
            "backend": f"demo-backend:{SECRETS['demo-backend']}",
            "sites": {
                "page": f"http://localhost:{page}",
                "other": f"http://localhost:{other}",
                "address": f"http://127.0.0.1:{page}",
                "elsewhere": f"http://127.0.0.1:{other}",
            },
        }
        return {name: came for file in JOURNEYS for name, came in play(file, told).items()}


@pytest.mark.parametrize("sentence", [name for file in JOURNEYS for name in sentences(file)])
def test_in_a_browser(results: Mapping[str, Any], sentence: str) -> None:
    assert results[sentence] is None, results[sentence]


def test_the_module_has_types() -> None:
    compiler = HERE / "node_modules" / "typescript" / "bin" / "tsc"
    if (node := shutil.which("node")) is None or not compiler.exists():
        pytest.skip("no Node.js, or no typescript (make browser installs it)")
    done = subprocess.run(
        [node, compiler, "--project", HERE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
