"""Clients, a thief, an operator, a clock and the sweep against the real handlers, at random.

    python -m tests.engine.model --examples 2000 --seed 7        (`make model` runs this and spin)

A Hypothesis state machine does the same to a model and to the handlers, which run on a real engine
over a socket, and compares them after every step: the answer, the reason, and what the table holds.

Here are the run and the command. `rotation_model` is the model, `model_comparison` does the same to
both and holds the promises by the wire alone, `model_game` has the rules by which everybody plays.
`broken_cores` are cores with one rule taken out: each has to be caught, or the game proves nothing.
"""

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import boto3
import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ratchet import endpoint, events, wiring
from ratchet_cli import aws, template
from ratchet_cli.emulator import Emulator
from ratchet_cli.functions import Functions
from ratchet_cli.provision import provision
from ratchet_cli.seed import seed
from tests.engine.broken_cores import BROKEN
from tests.engine.model_comparison import Played
from tests.engine.model_game import Play
from tests.functional.conftest import ISSUER, ROOT, Service


@contextlib.contextmanager
def serving() -> Iterator[Service]:
    """The handlers on an emulator of their own, as tests/functional/conftest.py sets them up."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(events.JsonLine())
    logger = events.logger
    described = template.load(ROOT / "template.yaml")
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ),
        patch.object(boto3, "DEFAULT_SESSION", None),
        patch.object(wiring, "_parts", None),
        patch.object(wiring, "_clients", {}),
        patch.object(logger, "handlers", [handler]),
        Emulator(Path(folder)) as emulator,
    ):
        variables = aws.environment(emulator.endpoint_url)
        os.environ.update(variables)
        environment = {**variables, **provision(described, issuer=ISSUER)}
        os.environ.update(environment)
        seed(environment)
        functions = Functions(ROOT, template.functions(described))
        service = Service(functions, environment, wiring.parts())
        service.log = log
        service.calls.watch(cast(Any, service.parts.store._client), "dynamodb")
        with patch.object(endpoint, "clock", lambda: service.now):
            yield service


def play(
    service: Service, *, examples: int, steps: int, seed_number: int, shrink: bool = True
) -> Played:
    """Raises AssertionError, with the shortest way to it, when a promise is broken."""
    played = Played()

    def machine() -> Play:
        return Play(service, played)

    hypothesis.seed(seed_number)(machine)
    run_state_machine_as_test(
        cast(type[Play], machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return played


def caught(service: Service, name: str, *, examples: int, steps: int, seed_number: int) -> str:
    """What gave the broken core away, or "" if nothing did."""
    try:
        with BROKEN[name]():
            play(service, examples=examples, steps=steps, seed_number=seed_number, shrink=False)
    except AssertionError as error:
        return (str(error) or "a promise").split("(")[0].splitlines()[0]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.model")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    parser.add_argument("--broken", choices=BROKEN, help="run with a core that is broken like this")
    options = parser.parse_args()
    number = int(time.time()) if options.seed is None else options.seed
    say = sys.stdout.write
    say(f"model: seed {number}, {options.examples} examples of up to {options.steps} steps\n")
    started = time.monotonic()
    size = {"examples": options.examples, "steps": options.steps, "seed_number": number}
    # Metrics are printed; here they would only be in the way.
    with serving() as service, contextlib.redirect_stdout(io.StringIO()):
        try:
            with BROKEN[options.broken]() if options.broken else contextlib.nullcontext():
                played = play(service, **size)
        except AssertionError:
            traceback.print_exc()
            say(f"model: a promise is broken (seed {number})\n")
            return 1
        took = time.monotonic() - started
        say(f"model: {played.examples} examples, {played.steps} steps, {took:.0f} s: all held\n")
        say(f"model: rules    {_listed(played.rules)}\n")
        say(f"model: answers  {_listed(played.answers)}\n")
        for name in BROKEN:
            found = caught(service, name, examples=100, steps=options.steps, seed_number=number)
            say(f"model: broken core, {name}: {'caught: ' + found if found else 'NOT CAUGHT'}\n")
            if not found:
                return 1
    return 0


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())


if __name__ == "__main__":
    sys.exit(main())
