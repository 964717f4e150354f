"""A text stream that many threads write to without breaking each other's lines."""

from __future__ import annotations

import io
import threading
from typing import TextIO


class Lines(io.TextIOBase):
    """Passes on whole lines: `print` writes its text and its line end separately."""

    def __init__(self, *files: TextIO) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._thread = threading.local()

    def write(self, text: str) -> int:
        """Keep what has no line end yet for this thread, write the rest."""
        pending = getattr(self._thread, "pending", "") + text
        lines, end, self._thread.pending = pending.rpartition("\n")
        if end:
            with self._lock:
                for file in self._files:
                    file.write(lines + end)
                    file.flush()
        return len(text)
