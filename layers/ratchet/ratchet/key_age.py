"""How old the keys are: told with every sweep, by a function that may not read them.

A rotation that never runs makes no error. Only the age shows it.
"""

from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from ratchet import events
from ratchet.secret_versions import SecretVersions


def report(secrets: Mapping[str, SecretVersions], now: int) -> None:
    """One metric a secret, `<name>AgeSeconds`: since what it holds was last changed.

    A fault is logged and leaves the metric out.
    """
    for name, versions in secrets.items():
        try:
            age = now - versions.describe().published_at
        except ClientError as error:
            _unknown(name, error.response["Error"]["Code"])
        except BotoCoreError as error:
            _unknown(name, type(error).__name__)
        else:
            events.count({"function": "sweep"}, {f"{name}AgeSeconds": ("Seconds", age)})


def _unknown(name: str, why: str) -> None:
    events.log("the age of a key is not known", level="WARNING", fault=f"{name}: {why}")
