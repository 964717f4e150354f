"""A Lambda function of the deployment's own, asked within a time limit (docs/claims.md)."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ratchet.errors import Fault

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 1.5
"""Together the time limit of a call. `wiring` puts them into the client, which does not retry."""

MAX_ANSWER_BYTES = 16 * 1024


class Hook:
    """One function, by its ARN. `client` is called at the first call: most containers make none."""

    def __init__(self, client: Callable[[], "LambdaClient"], function: str) -> None:
        self._client = client
        self._function = function

    def call(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The function's answer to the payload, a JSON object each.

        Raises Fault when it is late, fails, or answers something else or too much. What is said
        between the two is neither in the message nor in a log line of ours.
        """
        try:
            answer = self._client().invoke(
                FunctionName=self._function, Payload=json.dumps(payload).encode()
            )
            body = answer["Payload"]
            text = body.read(MAX_ANSWER_BYTES + 1)
            body.close()
        except ClientError as error:
            raise Fault(f"hook: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"hook: {type(error).__name__}") from None
        if answer.get("FunctionError"):
            # Its errorMessage may quote anything; it is in the log of the function itself.
            raise Fault("hook: the function failed")
        if len(text) > MAX_ANSWER_BYTES:
            raise Fault(f"hook: the answer has more than {MAX_ANSWER_BYTES} bytes")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Fault("hook: the answer is not a JSON object")
        return value
