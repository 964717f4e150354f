"""Every command that a page names exists, with the options it is given there."""

import re
import shlex
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from botocore import xform_name

from ratchet_cli.main import cli
from tests.docs.aws import parameters
from tests.local_stack import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def commands(page: str, program: str) -> list[str]:
    """Lines of code that start with a program, and what stands inline."""
    found = []
    for _, block in _FENCED.findall(page):
        joined = block.replace("\\\n", " ")
        for line in joined.splitlines():
            # inside of $(…), "…", a pipe, a loop too
            found += re.findall(rf"(?:^|[(\"|;&] ?)(?:\.venv/bin/)?({program} [^|;)>&]*)", line)
    for inline in _INLINE.findall(_FENCED.sub("", page)):
        text = inline.removeprefix(".venv/bin/")
        if text.startswith(f"{program} "):
            found.append(text)
    return found


def problem(text: str) -> str | None:
    """What is wrong with a `ratchet …`, or None."""
    words = [word for word in re.split(r"\s+", text.replace("`", "").strip())[1:] if word]
    command: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        names = words[0].strip(",").split("|")
        children = [command.get_command(context, name) for name in names]
        if None in children:
            return f"no command {words[0]}"
        command, words = children[0] or command, words[1:]
        if len(names) > 1:
            return None
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "--version"}
    wrong = [
        word
        for word in words
        if word.startswith("--") and word.partition("=")[0].strip("[]\"',.:;") not in known
    ]
    return f"no option {wrong[0]}" if wrong else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_ours_on_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = {found: problem(found) for found in commands(text, "ratchet")}
    assert {found: what for found, what in wrong.items() if what} == {}


def test_what_a_restore_needs_of_aws_is_there() -> None:
    """What the run-books cannot run here: the service, the operation and its parameters. Their
    other `aws` commands are run with the page (test_pages.py)."""
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    plain = [block for kind, block in _FENCED.findall(page) if not kind]
    lines = [line for block in plain for line in block.splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith("aws ")]
    assert len(found) == 3
    for _, service, operation, *words in found:
        client: Any = boto3.client(service, region_name="us-east-1")  # type: ignore[call-overload] # any
        known = {xform_name(name, "-"): name for name in client.meta.service_model.operation_names}
        shape = client.meta.service_model.operation_model(known[operation]).input_shape
        assert parameters(words).keys() <= shape.members.keys()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("ratchet keys rotate --peper", "no option --peper"),
        ("ratchet key rotate", "no command key"),
        ("ratchet keys list --stack NAME", None),
        ("ratchet keys list|rotate|revoke", None),
        ("ratchet keys list|rotat", "no command list|rotat"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(text: str, wrong: str | None) -> None:
    assert problem(text) == wrong
