"""A password that a person types."""

from __future__ import annotations

import sys

import click


def typed_password(*, twice: bool = False) -> str:
    """Asked for on the terminal; without one it is the first line of standard input.

    Never an argument: those are in the shell's history, and every user of the machine sees them.
    """
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True))
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
