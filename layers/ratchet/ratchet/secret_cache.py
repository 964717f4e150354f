"""Secrets Manager, remembered: a warm function asks it once in minutes and outlives its outages."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from ratchet import events
from ratchet.errors import Fault
from ratchet.keys import USABLE_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

FRESH_SECONDS = 300
"""How long a secret is used without looking for a newer one."""
RETRY_SECONDS = 30
"""How long a usable secret is used on after a failed look, so that an outage costs no time."""

T = TypeVar("T")


class CachedSecret(Generic[T]):
    """One secret, decoded. `decode` raises Fault for a secret of the wrong shape."""

    def __init__(
        self, client: "SecretsManagerClient", secret_id: str, decode: Callable[[str], T]
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._decode = decode
        self._lock = threading.Lock()
        self._loaded: tuple[T, int] | None = None
        self._next_look_at = 0

    def get(self, now: int) -> T:
        """The secret as it was at most FRESH_SECONDS ago, or older during an outage.

        Raises Fault when there is none, or when the one we have is too old to be trusted.
        """
        with self._lock:
            if self._loaded is not None:
                value, loaded_at = self._loaded
                if now - loaded_at < FRESH_SECONDS or now < self._next_look_at:
                    return value
            try:
                value = self._decode(self._read())
            except Fault as fault:
                events.count({}, {"SigningFaults": ("Count", 1)})
                if self._loaded is None or now - self._loaded[1] >= USABLE_SECONDS:
                    raise
                value, loaded_at = self._loaded
                events.log("an older secret is used", level="WARNING", fault=str(fault))
                self._next_look_at = min(now + RETRY_SECONDS, loaded_at + USABLE_SECONDS)
                return value
            self._loaded = value, now
            self._next_look_at = 0
            return value

    def _read(self) -> str:
        try:
            return self._client.get_secret_value(SecretId=self._secret_id)["SecretString"]
        except ClientError as error:
            raise Fault(f"secretsmanager: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Fault(f"secretsmanager: {type(error).__name__}") from None
        except KeyError:
            raise Fault("secretsmanager: the secret is empty") from None
