"""boto3, and how long and how often it tries. Imported by whoever needs it: that takes 130 ms."""

import gc
from typing import Any

# Of the objects that an import makes none is garbage, and a cold start spent an eighth of its time
# on looking for some. Once here they stay, so that later collections do not go through them either.
gc.disable()
import boto3  # noqa: E402 - as above
from botocore.config import Config  # noqa: E402 - as above

from ratchet.hook import ANSWER_SECONDS, CONNECT_SECONDS  # noqa: E402 - as above

gc.freeze()
gc.enable()


# Three tries of at most 2 seconds each end before a function's 10 do.
CONFIG = Config(
    connect_timeout=1,
    read_timeout=1,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=64,
    # Of what we write ourselves; it is a tenth of a call.
    parameter_validation=False,
)
# A function of the deployment's own is asked once: twice may be too late, and one attempt too many.
HOOK_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS,
    read_timeout=ANSWER_SECONDS,
    retries={"total_max_attempts": 1},
    max_pool_connections=64,
)
# Asked once too: an event that is not accepted now is for the sweep, and nobody waits for it.
EVENTS_CONFIG = CONFIG.merge(Config(retries={"total_max_attempts": 1}))
# The one that checks passwords hashes on purpose slowly.
VERIFIER_CONFIG = HOOK_CONFIG.merge(Config(read_timeout=5))

# A query of the log is asked for again and again until it is done.
LOG_CONFIG = CONFIG.merge(Config(read_timeout=3, retries={"total_max_attempts": 1}))
# To make a key takes seconds, and made twice it costs twice.
ROTATION_CONFIG = CONFIG.merge(Config(read_timeout=15, retries={"total_max_attempts": 1}))


def client(service: Any, config: Config = CONFIG) -> Any:
    return boto3.client(service, config=config)
