"""README and docs say what the service does: their examples are run and compared."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ratchet.reasons import Reason
from ratchet_cli import template
from tests.local_stack import ROOT, LocalStack, started

README = ROOT / "README.md"
HTTP_API = ROOT / "docs" / "http-api.md"
APPLICATIONS = ROOT / "docs" / "applications.md"
CLIENTS = ROOT / "docs" / "clients.md"
EXPLAIN = ROOT / "docs" / "explain.md"
APIS = ROOT / "docs" / "apis.md"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
REASONS = ROOT / "docs" / "reasons.md"
ADDRESS = "http://127.0.0.1:8787"
BLOCK = re.compile(r"^```(bash|json|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROUTE = r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /[^\s`]*"
# Printed after each example, on a line of its own: where its output ends.
END = "--- end of example ---"
INSTANT = re.compile(r".*_at|sessions_valid_after|iat|exp|auth_time")
SLACK_SECONDS = 60
# In a text: other instants and session ids, as long as those that are shown.
WRITTEN_INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
WRITTEN_SID = re.compile(r"(?<![\w-])[\w-]{22}(?![\w-])", re.ASCII)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with started(tmp_path_factory.mktemp("tree")) as running:
        yield running


def examples(page: str) -> list[tuple[str, str, str]]:
    """Every bash block, with the kind and the text of what it prints: "text", "" for nothing."""
    found: list[tuple[str, str, str]] = []
    before = ""
    for kind, text in BLOCK.findall(page):
        if kind == "bash":
            found.append((text, "text", ""))
        else:
            assert before == "bash", f"the output of nothing: {text}"
            found[-1] = (found[-1][0], kind, text)
        before = kind
    return found


def run(scripts: list[str], folder: Path) -> list[str]:
    """What each script prints, all of them in one bash. Errors of the shell count as output."""
    program = "".join(f"{script}\nprintf '\\n%s\\n' '{END}'\n" for script in scripts)
    result = subprocess.run(
        ["bash"],
        input=program,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        # A person's proxy and ~/.curlrc must not matter.
        env={
            "PATH": f"{_programs(folder)}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "no_proxy": "*",
            "TZ": "UTC",
        },
    )
    *outputs, rest = result.stdout.replace("\r", "").split(f"\n{END}\n")
    assert rest == ""
    return outputs


def _programs(folder: Path) -> Path:
    """A folder with `aws`, played by the SDK on the stack of this tree (tests/docs/aws.py)."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    aws = programs / "aws"
    aws.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "docs" / "aws.py"} "$@"\n')
    aws.chmod(0o755)
    return programs


def differences(shown: Any, real: Any, at: str = "$") -> list[str]:
    """Where a real answer is not what the page shows: the same fields, types and values.

    A text may end with "…" where it differs from time to time, an instant may be another one, and
    what counts down may be a little less, what counts up a little more.
    """
    name = at.rpartition(".")[2]
    if type(shown) is not type(real):
        return [f"{at}: {shown!r} is shown, {real!r} is real"]
    if isinstance(shown, dict):
        found = [f"{at}.{key}: is shown only" for key in shown.keys() - real.keys()]
        found += [f"{at}.{key}: is not shown" for key in real.keys() - shown.keys()]
        for key in shown.keys() & real.keys():
            found += differences(shown[key], real[key], f"{at}.{key}")
        return found
    if isinstance(shown, list):
        if len(shown) != len(real):
            return [f"{at}: {len(shown)} are shown, {len(real)} are real"]
        return [
            found
            for index, pair in enumerate(zip(shown, real, strict=True))
            for found in differences(*pair, f"{at}[{index}]")
        ]
    if isinstance(shown, str) and shown.endswith("…"):
        same = real.startswith(shown[:-1]) and len(real) > len(shown[:-1])
    elif isinstance(shown, bool):
        same = shown == real
    elif isinstance(shown, int) and INSTANT.fullmatch(name):
        same = min(shown, real) > 1_000_000_000
    elif isinstance(shown, int) and name.endswith("_expires_in"):
        same = shown - SLACK_SECONDS <= real <= shown
    elif name.startswith("since_"):
        same = shown <= real <= shown + SLACK_SECONDS
    elif name == "refresh_after":
        # 75 to 80 % of the same lifetime
        same = 75 / 80 <= real / shown <= 80 / 75
    else:
        same = shown == real
    return [] if same else [f"{at}: {shown!r} is shown, {real!r} is real"]


def compare(kind: str, shown: str, real: str) -> list[str]:
    if kind == "json":
        return differences(json.loads(shown), json.loads(real))
    return differences(_same(shown).split("\n"), _same(real).split("\n"))


def _same(text: str) -> str:
    return WRITTEN_SID.sub("(sid)", WRITTEN_INSTANT.sub("(instant)", text))


def served(url: str) -> set[str]:
    """The routes of template.yaml; for one that takes any method those that it answers to."""
    found = set()
    for route in template.routes(template.load(ROOT / "template.yaml")):
        methods = [route.method]
        if route.method == "ANY":
            answer = httpx.request("PUT", url + re.sub(r"{\w+}", "x", route.path))
            assert answer.status_code == 405, route
            methods = answer.headers["allow"].split(", ")
        found |= {f"{method} {route.path}" for method in methods}
    return found


def test_the_http_api_page_has_one_section_for_each_route_and_names_no_other(
    stack: LocalStack,
) -> None:
    page = HTTP_API.read_text(encoding="utf-8")
    routes = served(stack.url)
    assert sorted(re.findall(rf"^## ({ROUTE})$", page, re.MULTILINE)) == sorted(routes)
    assert set(re.findall(rf"`({ROUTE})`", page)) == routes


@pytest.mark.parametrize(
    "page", [README, HTTP_API, APPLICATIONS, EXPLAIN, APIS, RUNBOOKS], ids=lambda page: page.name
)
def test_every_example_prints_what_the_page_shows(tmp_path: Path, page: Path) -> None:
    with started(tmp_path) as stack:
        assert wrong(page, stack) == {}


def test_the_command_line_of_the_clients_page_does_what_it_shows(stack: LocalStack) -> None:
    assert wrong(CLIENTS, stack) == {}


def wrong(page: Path, stack: LocalStack) -> dict[str, list[str]]:
    """The examples of a page that print something else in the tree of this stack."""
    text = page.read_text(encoding="utf-8").replace(ADDRESS, stack.url)
    shown = examples(text.replace(".venv/bin/", f"{Path(sys.executable).parent}/"))
    real = run([script for script, _, _ in shown], stack.tree)
    return {
        script: found
        for (script, kind, text), output in zip(shown, real, strict=True)
        if (found := compare(kind, text.strip("\n"), output.strip("\n")))
    }


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"sid": "…"}, {"session_id": "x"}),
        ({"sid": "…"}, {"sid": ""}),
        ({"sid": "…"}, {"sid": None}),
        ({"token": "rt1_…"}, {"token": "eyJabc"}),
        ({"expires_in": 3600}, {"expires_in": 3599}),
        ({"session_expires_in": 3600}, {"session_expires_in": 3500}),
        ({"session_expires_in": 3600}, {"session_expires_in": 3601}),
        ({"refresh_after": 2800}, {"refresh_after": 3600}),
        ({"since_rotation_seconds": 1}, {"since_rotation_seconds": 0}),
        ({"since_rotation_seconds": 1}, {"since_rotation_seconds": 3600}),
        ({"ended_at": 1795262471}, {"ended_at": 60}),
        ({"ended_at": None}, {"ended_at": 1795262471}),
        ({"current": True}, {"current": False}),
        ({"current": True}, {"current": 1}),
        ({"keys": [1]}, {"keys": [1, 1]}),
        (["date: …", "allow: POST"], ["date: today", "allow: GET"]),
    ],
)
def test_a_field_that_is_missing_renamed_or_of_another_kind_is_a_difference(
    shown: Any, real: Any
) -> None:
    assert differences(shown, real)


def test_the_reasons_page_has_one_section_for_each_reason_in_their_order() -> None:
    page = REASONS.read_text(encoding="utf-8")
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == [reason.value for reason in Reason]


@pytest.mark.parametrize("reason", Reason)
def test_the_section_of_a_reason_says_what_a_client_is_told(reason: Reason) -> None:
    page = REASONS.read_text(encoding="utf-8")
    section = re.split(r"^##+ ", page.partition(f"\n### {reason.value}\n")[2], flags=re.MULTILINE)
    assert f"> {reason.description}\n" in section[0]
    assert f"`retry`: `{reason.retry}`" in section[0]
