"""`make stack`: builds, deploys into the emulator, and runs the suites against what is deployed.

With --serve it stays deployed until Ctrl-C, and no suite runs.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.deployed import artifact
from tests.deployed.deployment import deploying
from tests.local_stack import ALREADY

# Those that know of the service what everybody knows: its address, and a few applications.
SUITES = [
    "tests/deployed",
    "tests/clients/test_rotation.py",
    "tests/clients/test_ratchet_client.py",
    "tests/clients/test_ratchet_client_requests.py",
    "tests/clients/test_oauth_clients.py",
    "tests/clients/test_assertions.py",
    "tests/clients/test_dpop.py",
    "tests/clients/test_resources.py",
    "tests/clients/test_command_line.py",
    "tests/clients/test_dynamodb_store.py",
]
# API Gateway answers 401 when a Lambda authorizer raises "Unauthorized", the emulator (1.5.33) 500.
NOT_HERE = "not (behind_api_gateway and lambda)"


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    began = time.monotonic()

    def tell(done: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:4.0f} s  {done}\n")
        sys.stdout.flush()

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    artifact.build_both()
    tell("built with sam build")
    with tempfile.TemporaryDirectory() as folder, deploying(Path(folder)) as url:
        tell(f"deployed with sam deploy, answers at {url}")
        if arguments == ["--serve"]:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            return 0
        command = [sys.executable, "-m", "pytest", "-k", NOT_HERE, *SUITES, *arguments]
        return subprocess.run(
            command, cwd=artifact.ROOT, env={**os.environ, ALREADY: folder}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
