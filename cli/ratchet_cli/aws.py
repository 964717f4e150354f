"""How everything local talks to AWS: one endpoint on this machine, never the user's account."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

REGION = "eu-central-1"


def environment(endpoint_url: str) -> dict[str, str]:
    """Return the variables that bind an AWS SDK to the endpoint, with credentials for nothing."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def enter(variables: Mapping[str, str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Replace every AWS setting of this process by `variables`, the user's profile included."""
    for name in [name for name in environ if name.startswith("AWS_")]:
        del environ[name]
    environ.update(variables)
    # Behind a corporate proxy the SDK would ask the proxy for 127.0.0.1.
    for name in ("NO_PROXY", "no_proxy"):
        environ[name] = ",".join(filter(None, [environ.get(name), "127.0.0.1"]))
