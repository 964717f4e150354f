"""Fetching a JSON document from another service. The only module that calls out of AWS.

http.client, because it does what it is told and no more: no redirects, no proxies from the
environment, no cookies. Where may be called is for the caller to know, but for this machine.
"""

import contextlib
import json
import socket
import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ratchet.errors import Fault
from ratchet.trusted_issuer import LOOPBACK

MAX_BYTES = 128 * 1024
"""Google's keys are 1.5 KB, Microsoft's with all their certificates 20."""
STEP_SECONDS = 2.0
"""To connect, and for each read."""
OVERALL_SECONDS = 3.5
"""For all of it, names looked up included: discovery and keys are two of these, of a function's 10
seconds."""


def get_json(
    url: str, *, this_machine: bool = False, overall_seconds: float = OVERALL_SECONDS
) -> Any:
    """The document at a URL that has been checked. Raises Fault, which never quotes what came.

    this_machine: whether http and 127.0.0.1 may be called. In Lambda that is the Runtime API, where
    a GET takes an event away.
    """
    parts = urlsplit(url)
    where = parts.netloc
    if not this_machine and (parts.scheme != "https" or parts.hostname == LOOPBACK):
        raise Fault(f"{where}: only a local service calls its own machine")
    answers: list[tuple[int, str, bytes]] = []
    failures: list[str] = []
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    connected: list[socket.socket] = []

    def fetch() -> None:
        try:
            connection.connect()
            connected.append(connection.sock)
            answers.append(_fetch(connection, parts._replace(scheme="", netloc="").geturl()))
        except (OSError, HTTPException, ValueError) as error:
            failures.append(type(error).__name__)
        finally:
            connection.close()

    # A read's time limit starts anew with every byte, so a thread that can be left alone is what
    # ends the wait for a server that drips.
    thread = threading.Thread(target=fetch, name=f"outbound {where}", daemon=True)
    thread.start()
    thread.join(overall_seconds)
    if thread.is_alive():
        for one in connected:
            # wakes the thread, which then ends
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        raise Fault(f"{where}: no answer in {overall_seconds} seconds")
    if failures:
        raise Fault(f"{where}: {failures[0]}")
    ((status, encoding, body),) = answers
    if status != 200:
        raise Fault(f"{where}: status {status}")
    if len(body) > MAX_BYTES:
        raise Fault(f"{where}: more than {MAX_BYTES} bytes")
    if encoding not in ("", "identity"):
        raise Fault(f"{where}: the answer is encoded")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Fault(f"{where}: the answer is not JSON") from None


def _fetch(connection: HTTPConnection, path: str) -> tuple[int, str, bytes]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    connection.request("GET", path or "/", headers={**headers, "User-Agent": "ratchet"})
    answer = connection.getresponse()
    return answer.status, answer.headers.get("Content-Encoding", ""), answer.read(MAX_BYTES + 1)


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(host, port, timeout=STEP_SECONDS)
    context = ssl.create_default_context()
    return HTTPSConnection(host, port, timeout=STEP_SECONDS, context=context)
