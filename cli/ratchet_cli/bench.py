"""`ratchet bench`: what docs/performance.md quotes, measured here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

_ROOT = Path(__file__).parents[2]


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench_command(arguments: tuple[str, ...]) -> None:
    """Measure speed, and print tables. Only in a working tree of Ratchet.

    ARGUMENTS: what to measure, all by default; --quick for a look, --help for what there is.
    """
    if not (_ROOT / "bench" / "__main__.py").is_file():
        raise click.ClickException("it is part of Ratchet's source tree, which this is not")
    done = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "bench", *arguments], cwd=_ROOT, check=False
    )
    sys.exit(done.returncode)
