"""What is built and deployed by `make stack`, and runs while these tests do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet_cli import aws, running
from tests.clients.conftest import Client
from tests.deployed.deployment import Deployed, deployed
from tests.local_stack import ALREADY


@pytest.fixture(scope="session", autouse=True)
def here() -> running.Running:
    """From here on this process is bound to its endpoint."""
    tree = os.environ.get(ALREADY)
    if not tree:
        pytest.skip("`make stack` builds, deploys and then runs these")
    found = running.find(Path(tree))
    assert found is not None
    aws.enter(found.environment)
    return found


@pytest.fixture(scope="session")
def stack(here: running.Running) -> Deployed:
    return deployed()


@pytest.fixture
def client(here: running.Running) -> Iterator[Client]:
    client = Client(here.url)
    with client.http:
        yield client
