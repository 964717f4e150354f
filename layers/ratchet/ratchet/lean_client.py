"""AWS's JSON protocol without the SDK: for functions where every millisecond of a call counts.

A client of this module takes the calls that boto3's takes, answers what boto3's answers, raises
what boto3's raises (botocore's ClientError and BotoCoreError), waits as long, and asks again as
often: `sdk.CONFIG`. What it saves is botocore's own work, several times that of the call itself:
models of whole services, validation of what we wrote ourselves, a User-Agent made anew each time.

It has the one source of credentials that a function has, its environment. Where anything asks for
more than that, `client` returns None, and the SDK does it.
"""

import hashlib
import hmac
import http.client
import json
import random
import re
import select
import ssl
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from ratchet.trusted_issuer import LOOPBACK

MAX_IDLE = 64


@dataclass(frozen=True, slots=True)
class Patience:
    """As `sdk.CONFIG`, which a test holds it to."""

    connect_seconds: float = 1
    read_seconds: float = 1
    tries: int = 3


# Service: X-Amz-Target's prefix, and the version of the protocol.
_SERVICES = {
    "dynamodb": ("DynamoDB_20120810", "1.0"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "kms": ("TrentService", "1.1"),
}
# The partitions `aws`, `aws-us-gov` and `aws-cn`; the others have names of their own.
_REGION = re.compile(r"(cn|[a-z]{2}(?:-gov)?)-(?:[a-z]+)-[0-9]")
_FOR_THE_SDK = {"AWS_PROFILE", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"}
_PROXIES = {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"}
# What botocore's standard mode asks again after.
_AGAIN_STATUS = {500, 502, 503, 504}
_AGAIN_CODES = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException"),
    *("TooManyRequestsException", "ProvisionedThroughputExceededException"),
    *("TransactionInProgressException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
    *("LimitExceededException", "RequestThrottled", "SlowDown", "PriorRequestNotComplete"),
    *("EC2ThrottledException", "RequestTimeout", "RequestTimeoutException"),
}
_BLOBS = {"Signature": b64decode}
"""Of KMS: members of an answer that are bytes."""


def client(
    service: str, environment: Mapping[str, str], patience: Patience = Patience()
) -> "LeanClient | None":
    """A client with what the environment says; makes no call. None: that is for the SDK."""
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "")
    named = environment.get(f"AWS_ENDPOINT_URL_{service.upper()}")
    named = named or environment.get("AWS_ENDPOINT_URL")
    keys = [environment.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
    if not all(keys) or not _REGION.fullmatch(region):
        return None
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = named or f"https://{service}.{region}.{suffix}"
    # This machine is nobody's to reach by a proxy.
    here = urlsplit(endpoint).hostname == LOOPBACK
    if any(environment.get(name) for name in _FOR_THE_SDK | (set() if here else _PROXIES)):
        return None
    return LeanClient(
        service,
        endpoint=endpoint,
        region=region,
        key_id=str(keys[0]),
        secret_key=str(keys[1]),
        session_token=environment.get("AWS_SESSION_TOKEN"),
        ca_bundle=environment.get("AWS_CA_BUNDLE"),
        patience=patience,
    )


class LeanClient:
    """One service. Its operations are methods, named as boto3 names them: `update_item`."""

    def __init__(
        self,
        service: str,
        *,
        endpoint: str,
        region: str,
        key_id: str,
        secret_key: str,
        session_token: str | None = None,
        ca_bundle: str | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self.service = service
        self._endpoint = endpoint
        self._patience = patience
        self._prefix, protocol = _SERVICES[service]
        self._address = urlsplit(endpoint)
        self._region, self._key_id, self._secret_key = region, key_id, secret_key
        self._fixed = {"host": self._address.netloc}
        if session_token:
            self._fixed["x-amz-security-token"] = session_token
        self._content_type = f"application/x-amz-json-{protocol}"
        self._signing_key = "", b""
        self._idle: list[http.client.HTTPConnection] = []
        secure = self._address.scheme == "https"
        self._tls = ssl.create_default_context(cafile=ca_bundle) if secure else None

    def __del__(self) -> None:
        for connection in self.__dict__.get("_idle", ()):
            connection.close()

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        operation = "".join(word.title() for word in name.split("_"))

        def call(**arguments: Any) -> dict[str, Any]:
            return self._make_api_call(operation, arguments)

        return call

    def _make_api_call(self, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ClientError for an answer that is an error, BotoCoreError for none."""
        body = json.dumps(arguments, separators=(",", ":"), default=_text).encode()
        for tried in range(self._patience.tries):
            if tried:
                # Full jitter, as botocore's standard mode has it.
                time.sleep(random.random() * 2 ** (tried - 1))  # noqa: S311 - no secret
            last = tried == self._patience.tries - 1
            try:
                status, content = self._send(operation, body)
                answer = json.loads(content, object_hook=_with_bytes) if content else {}
            except BotoCoreError:
                if last:
                    raise
                continue
            except ValueError:
                # Not JSON: of a proxy or of a load balancer, whose status tells all.
                status, answer = max(status, 500), {}
            metadata: Any = {"HTTPStatusCode": status, "RetryAttempts": tried}
            if status < 300:
                for name in _BLOBS.keys() & answer.keys():
                    answer[name] = _BLOBS[name](answer[name])
                return {**answer, "ResponseMetadata": metadata}
            code = str(answer.get("__type", status)).rpartition("#")[2].partition(":")[0]
            if last or not (status in _AGAIN_STATUS or code in _AGAIN_CODES):
                message = str(answer.get("message") or answer.get("Message") or "")
                error = {"Code": code, "Message": message}
                refusal: Any = {**answer, "Error": error, "ResponseMetadata": metadata}
                raise ClientError(refusal, operation)
        raise AssertionError("unreachable")

    def _send(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """One try, on a connection that is kept if it went well. Raises BotoCoreError."""
        connection = self._connection()
        try:
            headers = self._signed(f"{self._prefix}.{operation}", body)
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise ReadTimeoutError(endpoint_url=self._endpoint, error=error) from None
            raise ConnectionClosedError(endpoint_url=self._endpoint, error=error) from None
        checksum = response.headers.get("x-amz-crc32")
        if checksum not in (None, str(zlib.crc32(content))):
            connection.close()
            raise ConnectionClosedError(endpoint_url=self._endpoint, error="crc32")
        if response.will_close or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, content

    def _connection(self) -> http.client.HTTPConnection:
        """A kept connection that its other end has not closed, or a new one."""
        # Not `while self._idle`: another thread may take the last one in between.
        with suppress(IndexError):
            while _closed(connection := self._idle.pop()):
                connection.close()
            return connection
        host, port = self._address.hostname or "", self._address.port
        wait = self._patience.connect_seconds
        if self._tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=wait)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=wait, context=self._tls)
        try:
            connection.connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self._endpoint, error=error) from None
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self._endpoint, error=error) from None
        connection.sock.settimeout(self._patience.read_seconds)
        return connection

    def _signed(self, target: str, body: bytes) -> dict[str, str]:
        """The headers, with Signature Version 4 over all of them but the content type."""
        instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        date = instant[:8]
        headers = {**self._fixed, "x-amz-date": instant, "x-amz-target": target}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{date}/{self._region}/{self.service}/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{instant}\n{scope}\n{digest}"
        signature = hmac.digest(self._key_of(date), to_sign.encode(), "sha256").hex()
        headers["content-type"] = self._content_type
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope},"
            f" SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key_of(self, date: str) -> bytes:
        known, key = self._signing_key
        if known != date:
            key = b"AWS4" + self._secret_key.encode()
            for part in (date, self._region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing_key = date, key
        return key


def _closed(connection: http.client.HTTPConnection) -> bool:
    """Whether there is something to read before anything was asked: the end."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _text(value: object) -> str:
    """Bytes are written in base64 (DynamoDB's B, KMS's Message)."""
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """DynamoDB's B and BS, as boto3 gives them. An attribute that is called B has no text there."""
    if len(value) == 1:
        if isinstance(text := value.get("B"), str):
            return {"B": b64decode(text)}
        if isinstance(texts := value.get("BS"), list):
            return {"BS": [b64decode(text) for text in texts]}
    return value
