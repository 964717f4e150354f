"""ratchet_client: a session in an item of DynamoDB."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config

from ratchet_client import LockLost, Session, StoreFailed
from ratchet_client.dynamodb_store import DynamoDBStore
from tests.clients import quick
from tests.local_stack import LocalStack

TABLE = "client-sessions"
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def dynamodb(stack: LocalStack) -> Any:
    client = boto3.client("dynamodb", **quick.aws(stack))
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(
    dynamodb: Any, clock: Clock, request: pytest.FixtureRequest
) -> Callable[[], DynamoDBStore]:
    return lambda: DynamoDBStore(TABLE, request.node.name, client=dynamodb, clock=clock)


def test_what_one_has_saved_the_other_loads(make: Callable[[], DynamoDBStore]) -> None:
    one, other = make(), make()
    assert other.load() is None
    assert one.try_lock()
    assert other.load() is None
    one.save("text")
    one.unlock()
    assert other.load() == "text"


def test_the_lock_is_one_for_all(make: Callable[[], DynamoDBStore]) -> None:
    stores = [make() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(DynamoDBStore.try_lock, stores))
    assert sorted(taken) == [False] * 7 + [True]
    holder = stores[taken.index(True)]
    assert not holder.try_lock()
    holder.unlock()
    assert stores[0].try_lock()


def test_the_lock_of_a_holder_that_died_is_free_after_its_lease(
    make: Callable[[], DynamoDBStore], clock: Clock
) -> None:
    assert make().try_lock()
    clock.now += 29
    assert not make().try_lock()
    clock.now += 2
    assert make().try_lock()


def test_a_holder_that_was_frozen_overwrites_nothing_and_frees_nobodys_lock(
    make: Callable[[], DynamoDBStore], clock: Clock
) -> None:
    frozen, other = make(), make()
    assert frozen.try_lock()
    clock.now += 31
    assert other.try_lock()
    other.save("newer")
    with pytest.raises(LockLost):
        frozen.save("older")
    frozen.unlock()
    assert not make().try_lock()
    other.save("newest")
    other.unlock()
    with pytest.raises(LockLost):
        frozen.save("older")
    assert make().load() == "newest"


def test_a_write_begins_the_lease_anew(make: Callable[[], DynamoDBStore], clock: Clock) -> None:
    holder = make()
    assert holder.try_lock()
    clock.now += 29
    holder.save("text")
    clock.now += 29
    assert not make().try_lock()
    clock.now += 2
    assert make().try_lock()


def test_a_table_that_fails_is_a_failed_store(stack: LocalStack) -> None:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1)
    away = {**quick.aws(stack), "endpoint_url": "http://127.0.0.1:9", "config": config}
    nowhere = DynamoDBStore(TABLE, "x", client=boto3.client("dynamodb", **away))
    missing = DynamoDBStore("none", "x", client=boto3.client("dynamodb", **quick.aws(stack)))
    for store, said in ((nowhere, "EndpointConnectionError"), (missing, "ResourceNotFound")):
        with pytest.raises(StoreFailed, match=said):
            store.load()
        for _ in range(2):
            with pytest.raises(StoreFailed, match=said):
                store.try_lock()


def test_two_functions_share_a_session(
    stack: LocalStack, make: Callable[[], DynamoDBStore]
) -> None:
    quick.register(stack)
    one, other = (quick.session(stack.url, make()) for _ in range(2))
    one.start(quick.start(stack, "ada"))
    token = one.access_token()
    with ThreadPoolExecutor(8) as pool:

        def newer(session: Session) -> str:
            return session.access_token(refused=token)

        (new,) = set(pool.map(newer, [one, other] * 4))
    assert new != token


FORK = """
import os, signal, sys
import boto3
from ratchet_client.dynamodb_store import DynamoDBStore

class Table:
    def update_item(self, **_):
        pass

signal.alarm(20)
store = DynamoDBStore("table", "item", client=Table())
assert store.try_lock()
child = os.fork()
if child == 0:
    os._exit(0 if store.try_lock() else 1)
assert not store.try_lock()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_child_that_was_forked_in_the_middle_can_lock_again() -> None:
    """whether it gets the lock is the table's to say, not a thread's that it does not have"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)
