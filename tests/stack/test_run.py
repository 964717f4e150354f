"""`make run` from a person's view: what it prints works, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.local_stack import ROOT, started


def test_the_commands_it_prints_start_refresh_show_and_end_a_session(tmp_path: Path) -> None:
    with started(tmp_path) as stack:
        banner = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from ratchet_cli.banner import banner; print(banner('{stack.url}'))",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        pasted = banner.partition("in this order.")[2].splitlines()
        commands = "\n".join(line for line in pasted if line.startswith("  "))
        # zsh, the shell of macOS, takes no comments at its prompt
        assert "#" not in commands
        result = subprocess.run(
            ["bash", "-euc", commands], capture_output=True, text=True, check=False, timeout=60
        )
    assert result.returncode == 0, result.stderr
    answers = result.stdout.splitlines()
    for answer in answers[:3]:
        assert '"refresh_token":"rt1_' in answer
    assert '"sub":"ada"' in answers[3]
    assert '"error_reason":"revoked_by_user"' in answers[-1]


def test_the_seeded_applications_are_there(tmp_path: Path) -> None:
    with started(tmp_path) as stack, httpx.Client(base_url=stack.url) as http:
        for client_id in ("demo-browser", "demo-native", "demo-sensitive"):
            answer = http.post(
                "/sessions",
                data={"sub": "ada", "client_id": client_id},
                auth=("demo-backend", "demo-backend-secret"),
            )
            assert answer.json()["scope"] == "orders:read orders:write profile"
        answer = http.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=("demo-machine", "demo-machine-secret"),
        )
        assert answer.json()["scope"] == "reports:read reports:write"


def test_kept_state_and_the_tokens_that_go_with_it_are_good_after_a_new_start(
    tmp_path: Path,
) -> None:
    with started(tmp_path, "--keep") as stack:
        token = httpx.post(
            f"{stack.url}/sessions",
            data={"sub": "ada", "client_id": "demo-native"},
            auth=("demo-backend", "demo-backend-secret"),
        ).json()["refresh_token"]
    with started(tmp_path, "--keep") as stack:
        form = {"client_id": "demo-native", "refresh_token": token}
        assert httpx.post(f"{stack.url}/oauth/refresh", data=form).status_code == 200


def test_make_run_serves_until_ctrl_c_and_leaves_no_process(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "template.yaml", tmp_path)
    (tmp_path / "functions").symlink_to(ROOT / "functions", target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        # The environment these tests run in is set up: make is told to leave it as it is.
        ["make", "--old-file=setup", "run", f"PORT={port}", f"VENV={sys.prefix}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={name: os.environ[name] for name in ("PATH", "HOME")},
    )
    assert process.stdout is not None
    printed = ""
    while "functions.log" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    assert f"http://127.0.0.1:{port}" in printed
    metadata = f"http://127.0.0.1:{port}/.well-known/oauth-authorization-server"
    assert httpx.get(metadata).json()["issuer"] == f"http://127.0.0.1:{port}"
    # Ctrl-C in a terminal reaches the whole foreground group: make and what it runs.
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    # make, which gets the signal too, ends by it as programs do; it has nothing to complain about
    assert process.returncode in (0, -signal.SIGINT), rest
    assert "***" not in rest
    assert "Traceback" not in rest
    with pytest.raises(httpx.ConnectError):
        httpx.get(metadata)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
