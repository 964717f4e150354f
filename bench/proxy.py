"""What goes over the wire to DynamoDB: a relay that counts connections and operations.

It may also keep every answer for a while, as a network does: what callers then wait for at the same
time shows that nothing makes them wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TARGET = re.compile(rb"x-amz-target: *DynamoDB_\w+\.(\w+)", re.IGNORECASE)
_OVERLAP = 64
"""A header may come in two pieces; this much of the last one is looked at again."""


@dataclass
class Wire:
    """url: of the relay. delay_seconds: how long an answer is kept."""

    url: str = ""
    delay_seconds: float = 0.0
    connections: int = 0
    operations: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.connections = 0
        self.operations.clear()


@contextlib.contextmanager
def relay(endpoint: str) -> Iterator[Wire]:
    """Relays to the endpoint for the time of the block, in a thread of its own."""
    wire, port = Wire(), urlsplit(endpoint).port
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        from_engine, to_engine = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_ask(wire, reader, to_engine), _answer(wire, from_engine, writer))

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield wire
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _ask(wire: Wire, reader: asyncio.StreamReader, to_engine: asyncio.StreamWriter) -> None:
    tail = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            seen = tail + data
            for found in _TARGET.finditer(seen):
                if found.end() > len(tail) and found.end() < len(seen):
                    wire.operations[found[1].decode()] += 1
            tail = seen[-_OVERLAP:]
            to_engine.write(data)
            await to_engine.drain()
    to_engine.close()


async def _answer(
    wire: Wire, from_engine: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await from_engine.read(65536):
            if wire.delay_seconds:
                await asyncio.sleep(wire.delay_seconds)
            writer.write(data)
            await writer.drain()
    writer.close()
