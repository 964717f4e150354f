"""The load driver: callers with a kept-alive connection each, each with a session of its own."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

_TICKS = 100
"""Of the kernel's clock in /proc, a second (USER_HZ: on Linux always that)."""


@dataclass(frozen=True)
class Answer:
    """A refresh's: refresh_token is "" where none came."""

    status: int
    refresh_token: str
    text: str = ""


class Caller(Protocol):
    """Somebody who refreshes. Used by one thread."""

    def start(self) -> str:
        """Begins a session; its refresh token."""

    def ready(self) -> None:
        """It has not asked anything for a while, and is about to."""

    def refresh(self, token: str) -> Answer: ...


class HttpCaller:
    """Calls a server on this machine over one connection."""

    def __init__(
        self,
        port: int,
        *,
        start: tuple[str, Mapping[str, str], Mapping[str, str]],
        token_path: str,
        parameters: Mapping[str, str],
        name: str = "refresh_token",
    ) -> None:
        """start: path, form and headers. parameters: of a refresh. name: of the refresh token."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._start, self._path, self._name = start, token_path, name
        self._parameters = urlencode({**parameters, name: ""})

    def start(self) -> str:
        path, form, headers = self._start
        answer = self._post(path, urlencode(form), headers)
        if not answer.refresh_token:
            raise RuntimeError(f"{path}: {answer}")
        return answer.refresh_token

    def refresh(self, token: str) -> Answer:
        return self._post(self._path, self._parameters + quote_plus(token), {})

    def ready(self) -> None:
        # Servers close connections on which nothing happened for a few seconds.
        self._connection.close()
        self._connection.connect()

    def get(self, path: str) -> Any:
        self._connection.request("GET", path)
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        self._connection.close()

    def _post(self, path: str, body: str, headers: Mapping[str, str]) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        self._connection.request("POST", path, body.encode(), form)
        response = self._connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        found = json.loads(text) if is_json and text else {}
        token = found.get(self._name, "") if response.status == 200 else ""
        return Answer(response.status, token, "" if token else text[:200])


@dataclass
class Load:
    """What callers got in so many seconds."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return self.statuses[200] / self.seconds

    def percentiles(self) -> dict[str, float]:
        return percentiles(self.milliseconds)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}


class Chains:
    """Callers who each rotate a session on and on."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._callers = list(callers)
        with ThreadPoolExecutor(len(self._callers)) as threads:
            self._tokens = list(threads.map(lambda caller: caller.start(), self._callers))

    def run(self, seconds: float) -> Load:
        """All of them at once. Raises RuntimeError when one is refused: then no rate is true."""
        load, stop = Load(), threading.Event()
        begin = threading.Barrier(len(self._callers) + 1)

        def call(number: int) -> tuple[list[float], Counter[int]]:
            caller, token = self._callers[number], self._tokens[number]
            took, statuses = [], Counter[int]()
            caller.ready()
            begin.wait()
            while not stop.is_set():
                began = time.perf_counter()
                answer = caller.refresh(token)
                took.append((time.perf_counter() - began) * 1000)
                statuses[answer.status] += 1
                token = answer.refresh_token or token
            self._tokens[number] = token
            return took, statuses

        with ThreadPoolExecutor(len(self._callers)) as threads:
            calls = [threads.submit(call, number) for number in range(len(self._callers))]
            begin.wait()
            began = time.perf_counter()
            time.sleep(seconds)
            stop.set()
            for done in calls:
                took, statuses = done.result()
                load.milliseconds += took
                load.statuses += statuses
        load.seconds = time.perf_counter() - began
        if set(load.statuses) != {200}:
            raise RuntimeError(f"not all were answered: {load.statuses}")
        return load


def at_once(callers: Sequence[Caller], tokens: Sequence[str]) -> list[Answer]:
    """Each caller presents its token, all at the same time; the answers in order."""
    begin = threading.Barrier(max(len(callers), 1))

    def call(caller: Caller, token: str) -> Answer:
        caller.ready()
        begin.wait()
        return caller.refresh(token)

    with ThreadPoolExecutor(max(len(callers), 1)) as threads:
        return list(threads.map(call, callers, tokens))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its living descendants so far (/proc: Linux)."""
    ticks, left = 0, [pid]
    while left:
        process = Path("/proc") / str(left.pop())
        # The name in brackets may have spaces; utime and stime are fields 14 and 15.
        fields = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        for task in (process / "task").iterdir():
            left += map(int, (task / "children").read_text(encoding="utf-8").split())
    return ticks / _TICKS
