"""Calls the handlers in the working tree as Lambda would."""

from __future__ import annotations

import importlib.util
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratchet_cli.aws import REGION
from ratchet_cli.template import Function

Handler = Callable[[Any, "Context"], Any]


class HandlerError(Exception):
    """The template names a handler that is not there."""


@dataclass(frozen=True)
class Context:
    """What Lambda tells a handler about this invocation."""

    function: Function
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.monotonic)
    function_version: str = "$LATEST"
    log_stream_name: str = "local"
    identity: None = None
    client_context: None = None

    @property
    def function_name(self) -> str:
        """The function's logical id: nothing is deployed, so it has no other name."""
        return self.function.name

    @property
    def invoked_function_arn(self) -> str:
        """An ARN of the right shape."""
        return f"arn:aws:lambda:{REGION}:000000000000:function:{self.function_name}"

    @property
    def memory_limit_in_mb(self) -> int:
        """MemorySize of the template. Nothing enforces it here."""
        return self.function.memory_mb

    @property
    def log_group_name(self) -> str:
        """Lambda's default name."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's Timeout. Nothing stops it then."""
        spent = time.monotonic() - self.started
        return max(0, int((self.function.timeout_seconds - spent) * 1000))


class Functions:
    """The functions of a template, loaded from below `root`.

    Raises HandlerError where the template names a file or a handler that does not exist.
    """

    def __init__(self, root: Path, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._handlers = {name: _load(root, found) for name, found in functions.items()}

    def invoke(self, name: str, event: Any) -> Any:
        """Call a function by its logical id; whatever it raises comes through."""
        return self._handlers[name](event, Context(self._functions[name]))


def _load(root: Path, function: Function) -> Handler:
    module_name, _, handler_name = function.handler.rpartition(".")
    path = root / function.code_uri / f"{module_name}.py"
    # Every function has its own app.py: each becomes a module of its own name.
    spec = importlib.util.spec_from_file_location(f"_ratchet_local_{function.name}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise HandlerError(f"{function.name}: there is no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        handler: Handler = getattr(module, handler_name)
    except AttributeError:
        raise HandlerError(f"{function.name}: {path} has no {handler_name}") from None
    return handler
