"""The least of Lambda's Runtime API: one function, one event after the other.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import json
import queue
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deployed import artifact

_WAIT_SECONDS = 120
_PREFIX = "/2018-06-01/runtime"


class FunctionError(Exception):
    """What the runtime client reports when a handler raises, or cannot be imported."""


@dataclass
class RuntimeApi:
    """What the runtime client talks to. Answers are (what was posted to, what was posted)."""

    arn: str
    timeout_seconds: int
    events: "queue.Queue[Any]" = field(default_factory=queue.Queue)
    answers: "queue.Queue[tuple[str, Any]]" = field(default_factory=queue.Queue)

    def invoke(self, event: Any) -> Any:
        """Raises FunctionError."""
        self.events.put(event)
        kind, answer = self.answers.get(timeout=_WAIT_SECONDS)
        if kind != "response":
            raise FunctionError(f"{answer['errorType']}: {answer['errorMessage']}")
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: RuntimeApi

    def do_GET(self) -> None:
        assert self.path == f"{_PREFIX}/invocation/next"
        event = self.api.events.get()
        deadline = int((time.time() + self.api.timeout_seconds) * 1000)
        body = json.dumps(event).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", self.api.arn)
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        # …/invocation/ID/response, …/invocation/ID/error or …/init/error
        self.api.answers.put((self.path.rpartition("/")[2], json.loads(body or b"null")))

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def unpacked(folder: Path, function: str, layers: list[str]) -> None:
    """The artifact as Lambda lays it out: /var/task, and the layers over each other in /opt."""
    shutil.copytree(artifact.FOR_HERE / function, folder / "var" / "task")
    for layer in layers:
        shutil.copytree(artifact.FOR_HERE / layer, folder / "opt", dirs_exist_ok=True)


@contextlib.contextmanager
def started(
    folder: Path, handler: str, variables: Mapping[str, str], *, timeout_seconds: int
) -> Iterator[RuntimeApi]:
    """AWS's runtime client, with a handler of what was unpacked in `folder`.

    variables: its whole environment, besides what Lambda itself sets.
    """
    api = RuntimeApi("arn:aws:lambda:eu-central-1:000000000000:function:f", timeout_seconds)
    server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"api": api}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    task, opt = folder / "var" / "task", folder / "opt"
    environment = {
        **variables,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "LAMBDA_TASK_ROOT": str(task),
        # What Lambda's own python3.13 has in sys.path for layers.
        "PYTHONPATH": f"{opt}/python/lib/python3.13/site-packages:{opt}/python",
        "PATH": "/usr/bin:/bin",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [artifact.LAMBDA_PYTHON, "-B", "-m", "awslambdaric", handler],
            cwd=task,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield api
    finally:
        process.kill()
        process.wait()
        # Whoever waits for an event goes on.
        api.events.put(None)
        server.shutdown()
        thread.join()
        server.server_close()
