"""The lean transport: the same requests as the SDK's, and the same answers, errors and patience."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from pytest_socket import enable_socket

from ratchet import lean_client, sdk
from ratchet.lean_client import LeanClient, Patience
from tests.clients import tls

ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "session token",
}
Answer = tuple[int, dict[str, str], bytes]


class Aws:
    """Answers what it is told to, one answer a request, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer | None] = []
        self.asked: list[tuple[dict[str, str], Any]] = []
        self.connections = 0
        self.url = ""
        self.certificate = Path()

    def answer(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, headers, json.dumps(body).encode()))


@pytest.fixture
def aws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Aws]:
    told = Aws()

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            told.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.asked.append((dict(self.headers), json.loads(body)))
            answer = told.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            """Quiet."""

    enable_socket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    if certificate := getattr(request, "param", None):
        told.certificate = tls.certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(told.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    scheme, host = ("https", tls.NAME) if certificate else ("http", "127.0.0.1")
    told.url = f"{scheme}://{host}:{server.server_port}"
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lean(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> LeanClient:
    monkeypatch.setattr("time.sleep", lambda _: None)
    found = lean_client.client("dynamodb", {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.url})
    assert found is not None
    return found


def test_it_signs_as_the_sdk_does(aws: Aws, lean: LeanClient) -> None:
    """Signature Version 4, over every header that AWS reads"""
    aws.answer(200, {})
    lean.get_item(TableName="t", Key={"sid": {"B": b"\xff"}})
    ((headers, body),) = aws.asked
    assert body == {"TableName": "t", "Key": {"sid": {"B": "/w=="}}}
    given = {name.lower(): value for name, value in headers.items()}
    signed = given["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert signed == ["host", "x-amz-date", "x-amz-security-token", "x-amz-target"]
    text = json.dumps(body, separators=(",", ":"))
    request = AWSRequest("POST", aws.url + "/", {name: given[name] for name in signed}, text)
    request.context["timestamp"] = given["x-amz-date"]
    signer = SigV4Auth(
        Credentials("AKIDEXAMPLE", "secret", "session token"), "dynamodb", "eu-central-1"
    )
    expected = signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )
    assert given["authorization"].endswith(f"Signature={expected}")
    assert given["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert given["content-type"] == "application/x-amz-json-1.0"


def test_it_answers_as_the_sdk_does(aws: Aws, lean: LeanClient) -> None:
    """bytes are bytes; and an attribute may be called B"""
    item = {"h": {"B": "AQI="}, "s": {"BS": ["AQ=="]}, "m": {"M": {"B": {"S": "text"}}}}
    sdks = boto3.client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=aws.url,
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    found: Any = []
    for client in (lean, sdks):
        body = json.dumps({"Item": item}).encode()
        aws.answers.append((200, {"x-amz-crc32": str(zlib.crc32(body))}, body))
        found.append(client.get_item(TableName="t", Key={"sid": {"S": "x"}})["Item"])
    assert (
        found[0]
        == found[1]
        == {
            "h": {"B": b"\1\2"},
            "s": {"BS": [b"\1"]},
            "m": {"M": {"B": {"S": "text"}}},
        }
    )
    sdks.close()


def test_a_failed_condition_comes_with_the_item_and_is_not_asked_again(
    aws: Aws, lean: LeanClient
) -> None:
    kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    aws.answer(400, {"__type": kind, "Message": "no", "Item": {"h": {"B": "AQI="}}})
    with pytest.raises(ClientError) as failed:
        lean.update_item()
    response: Any = failed.value.response
    assert response["Error"] == {"Code": "ConditionalCheckFailedException", "Message": "no"}
    assert response["Item"] == {"h": {"B": b"\1\2"}}
    assert response["ResponseMetadata"]["RetryAttempts"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b'{"__type":"InternalServerError"}'),
        (503, {}, b"<html>not JSON</html>"),
        (400, {}, b'{"__type":"x#ProvisionedThroughputExceededException"}'),
        (200, {"x-amz-crc32": "1"}, b"{}"),
        (200, {"x-amz-crc32": "none"}, b"{}"),
        (200, {}, b"half of it"),
        None,
    ],
)
def test_what_the_sdk_asks_again_after_is_asked_again(
    aws: Aws, lean: LeanClient, fault: Answer | None
) -> None:
    """and the answer says that it was: it may have been our own write that is in the way"""
    aws.answers += [fault, fault]
    aws.answer(400, {"__type": "ConditionalCheckFailedException"})
    with pytest.raises(ClientError) as failed:
        lean.update_item()
    assert failed.value.response["ResponseMetadata"]["RetryAttempts"] == 2
    aws.answers += [fault] * 3
    with pytest.raises((ClientError, BotoCoreError)):
        lean.update_item()
    assert aws.answers == []


def test_a_conflict_of_transactions_is_not_asked_again(aws: Aws, lean: LeanClient) -> None:
    aws.answer(400, {"__type": "x#TransactionConflictException"})
    with pytest.raises(ClientError, match="TransactionConflictException"):
        lean.update_item()
    assert len(aws.asked) == 1


def test_a_connection_is_kept_and_one_that_was_closed_is_not_used(
    aws: Aws, lean: LeanClient
) -> None:
    for _ in range(3):
        aws.answer(200, {})
        lean.get_item()
    assert aws.connections == 1
    aws.answer(200, {}, connection="close")
    aws.answer(200, {})
    lean.get_item()
    answer = lean.get_item()
    assert (aws.connections, answer["ResponseMetadata"]["RetryAttempts"]) == (2, 0)


def test_another_thread_may_take_the_last_kept_connection_first(aws: Aws, lean: LeanClient) -> None:
    class Taken(list[Any]):
        def __len__(self) -> int:
            return 1

    lean._idle = Taken()
    aws.answer(200, {})
    assert lean.get_item()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("aws", [pytest.param(True, id="TLS")], indirect=True)
def test_over_tls_a_connection_is_kept_and_a_strangers_certificate_is_not_believed(
    aws: Aws,
) -> None:
    """TLS 1.3 sends tickets when nobody asks: that does not look like the end of a connection."""
    variables = {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.url}
    known = lean_client.client("dynamodb", {**variables, "AWS_CA_BUNDLE": str(aws.certificate)})
    assert known is not None
    for _ in range(3):
        aws.answer(200, {})
        known.get_item()
    assert aws.connections == 1
    stranger = lean_client.client("dynamodb", variables, Patience(tries=1))
    assert stranger is not None
    with pytest.raises(BotoCoreError):
        stranger.get_item()
    assert len(aws.asked) == 3


def test_nobody_there_is_the_sdks_own_error(lean: LeanClient) -> None:
    with pytest.raises(BotoCoreError):
        LeanClient(
            "dynamodb",
            endpoint="http://127.0.0.1:1",
            region="eu-central-1",
            key_id="x",
            secret_key="x",
            patience=Patience(tries=1),
        ).get_item()


def test_kms_signs_with_bytes_for_bytes(aws: Aws) -> None:
    kms = lean_client.client("kms", {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.url})
    assert kms is not None
    aws.answer(200, {"Signature": base64.b64encode(b"\0\1").decode()})
    assert kms.sign(KeyId="k", Message=b"\2")["Signature"] == b"\0\1"
    assert aws.asked[0][1]["Message"] == "Ag=="


def test_it_waits_as_long_and_asks_as_often_as_the_sdk() -> None:
    config: Any = sdk.CONFIG
    tries = config.retries["total_max_attempts"]
    assert Patience() == Patience(config.connect_timeout, config.read_timeout, tries)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "dynamodb.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "dynamodb.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "dynamodb.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_it_asks_the_endpoint_that_the_sdk_asks(region: str, host: str) -> None:
    found = lean_client.client("dynamodb", {**ENVIRONMENT, "AWS_REGION": region})
    assert found is not None
    assert found._endpoint == f"https://{host}"
    # Others who run in this process may have named an emulator.
    config = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # not in stubs
    sdks = boto3.Session("x", "x", region_name=region).client("dynamodb", config=config)
    assert sdks.meta.endpoint_url == found._endpoint
    assert found._tls is not None
    assert found._tls.check_hostname


@pytest.mark.parametrize(
    "asked",
    [
        {"AWS_REGION": "us-iso-east-1"},
        {"AWS_REGION": "eusc-de-east-1"},
        {"AWS_REGION": "eu-central-1\r\nx: y"},
        {"AWS_REGION": ""},
        {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_PROFILE": "mine"},
        {"HTTPS_PROXY": "http://proxy"},
    ],
)
def test_what_it_does_not_know_is_left_to_the_sdk(asked: dict[str, str]) -> None:
    """SnapStart's credentials, partitions of their own, FIPS, proxies"""
    assert lean_client.client("dynamodb", {**ENVIRONMENT, **asked}) is None


def test_a_header_cannot_be_smuggled_in(aws: Aws) -> None:
    token = "token\r\nx-amz-target: DynamoDB_20120810.DeleteTable"
    variables = {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.url, "AWS_SESSION_TOKEN": token}
    found = lean_client.client("dynamodb", variables)
    assert found is not None
    with pytest.raises(BotoCoreError):
        found.get_item()
    assert aws.asked == []
