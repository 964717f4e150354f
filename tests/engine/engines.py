"""The engine that the tests run on: the local emulator, or any DynamoDB that is named to them.

RATCHET_TEST_ENDPOINT is the address of a DynamoDB (DynamoDB Local, another emulator, AWS itself).
Tables of the run's own are made there as template.yaml describes them, by plain CreateTable calls,
and removed again. Secrets and the bus stay on the emulator: under test is the engine's way with a
condition.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from ratchet import wiring
from ratchet_cli import aws, template
from ratchet_cli.emulator import Emulator
from ratchet_cli.provision import provision
from ratchet_cli.seed import seed

ROOT = Path(__file__).parents[2]
ENDPOINT = "RATCHET_TEST_ENDPOINT"
SEED = "RATCHET_SEED"
# Read at once: the service rejects settings that it does not know, so they do not stay.
_named = os.environ.get(ENDPOINT) or None
TRANSPORT = os.environ.pop("RATCHET_TEST_TRANSPORT", "boto3")
"""What the functions ask AWS with: `RATCHET_TEST_TRANSPORT=lean` tries the other one."""
_TABLE = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@contextlib.contextmanager
def engine(folder: Path, *, issuer: str, endpoint: str | None = None) -> Iterator[dict[str, str]]:
    """The environment of the functions, set in this process too for the time of the block.

    folder: for the emulator's files. endpoint: where DynamoDB is, else as the environment says.
    """
    endpoint = endpoint or _named
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        credentials = _own_credentials() if endpoint and _is_aws(endpoint) else {}
        emulator = stack.enter_context(Emulator(folder))
        variables = aws.environment(emulator.endpoint_url) | credentials
        for name, value in variables.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_DYNAMODB", ENDPOINT, SEED):
            patch.delenv(name, raising=False)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        # It keeps clients for good: those of an engine that is gone are of no use.
        patch.setattr(wiring, "_clients", {})
        variables |= provision(template.load(ROOT / "template.yaml"), issuer=issuer)
        if endpoint:
            patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
            variables |= {"AWS_ENDPOINT_URL_DYNAMODB": endpoint}
            variables |= stack.enter_context(_tables())
        variables["RATCHET_TRANSPORT"] = TRANSPORT
        seed(variables)
        yield variables


def counts_units() -> bool:
    """Whether the engine in use reports write units by size, as DynamoDB does."""
    client = boto3.client("dynamodb")
    with _tables() as names:
        table = names["RATCHET_SESSIONS_TABLE"]
        units = [
            client.put_item(
                TableName=table,
                Item={"sid": {"S": "probe"}, "padding": {"S": "x" * size}},
                ReturnConsumedCapacity="INDEXES",
            )
            .get("ConsumedCapacity", {})
            .get("CapacityUnits")
            for size in (1, 2500)
        ]
    return units == [1.0, 3.0]


@contextlib.contextmanager
def _tables() -> Iterator[dict[str, str]]:
    """New tables as template.yaml describes them: environment variable -> name."""
    described = template.load(ROOT / "template.yaml")
    client = boto3.client("dynamodb")
    run = secrets.token_hex(4)
    made = {}
    try:
        for variable, value in described["Globals"]["Function"]["Environment"]["Variables"].items():
            resource = described["Resources"].get(
                value.get("Ref") if isinstance(value, dict) else "", {}
            )
            if resource.get("Type") != "AWS::DynamoDB::Table":
                continue
            made[variable] = f"ratchet-test-{run}-{value['Ref']}"
            properties = resource["Properties"]
            client.create_table(
                TableName=made[variable],
                **{name: properties[name] for name in _TABLE if name in properties},
            )
        for name in made.values():
            client.get_waiter("table_exists").wait(TableName=name)
        yield made
    finally:
        for name in made.values():
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.delete_table(TableName=name)


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")


def _own_credentials() -> dict[str, str]:
    """The user's own, for AWS itself; the emulator does not look at credentials."""
    session = boto3.Session()
    found = session.get_credentials()
    if found is None:
        raise RuntimeError("no AWS credentials")
    frozen = found.get_frozen_credentials()
    variables: dict[str, str] = {
        "AWS_ACCESS_KEY_ID": frozen.access_key or "",
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key or "",
    }
    if session.region_name:
        variables |= {
            "AWS_REGION": session.region_name,
            "AWS_DEFAULT_REGION": session.region_name,
        }
    return variables | ({"AWS_SESSION_TOKEN": frozen.token} if frozen.token else {})
