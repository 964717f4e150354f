"""A CloudWatch dashboard's way to write metrics."""

from collections.abc import Iterator, Mapping
from typing import Any


def spelled_out(widget: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The metrics of a widget: "." is what stands there in the row before, options are left out."""
    before: list[Any] = []
    for row in widget["properties"].get("metrics", ()):
        texts = [part for part in row if isinstance(part, str)]
        before = [before[at] if part == "." else part for at, part in enumerate(texts)]
        yield before or row
