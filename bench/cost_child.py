"""What a refresh asks of AWS, writes to the log and takes of the CPU: with one of the key backends.

python -m bench.cost_child RESULT BACKEND ROUNDS     in the functions' environment
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

REFRESHES = 20


def main(result: str, backend: str, rounds: str) -> None:
    # Before the functions are there: their lines go to where standard output is then.
    lines = sys.stdout = io.StringIO()
    from bench.growth_child import Rotating
    from bench.sweep import Meter
    from bench.turns import in_turn, spread
    from bench.warm_child import Requests
    from ratchet import wiring
    from ratchet.session_item import item_bytes

    if backend == "kms":
        _sign_with_kms(wiring)
    requests, parts = Requests(), wiring.parts()
    session = Rotating(requests, parts)
    times = in_turn({"refresh": session.subject}, rounds=int(rounds))["refresh"]
    store: Any = parts.store
    meter, signed = Meter(store._client), Counter[str]()
    if backend == "kms":
        hooks = wiring._lazily("kms").meta.events
        hooks.register("before-call.kms", lambda model, **_: signed.update([model.name]))

    def counted(act: Any) -> dict[str, float]:
        meter.cost, written = type(meter.cost)(), lines.tell()
        signed.clear()
        answers = [act() for _ in range(REFRESHES)]
        answered = sum(len(str(answer["headers"]) + answer["body"]) for answer in answers)
        return {
            "write_units": meter.cost.write_units / REFRESHES,
            "read_units": meter.cost.read_units / REFRESHES,
            "signatures": signed["Sign"] / REFRESHES,
            "log_bytes": round((lines.tell() - written) / REFRESHES),
            "answer_bytes": round(answered / REFRESHES),
        }

    def refreshed() -> Any:
        answer = session.run(session.prepare())
        session.check(answer)
        return answer

    found = {
        "refresh": {**counted(refreshed), "cpu_ms": spread(times.cpu)},
        "start": counted(lambda: requests.invoke("IssueFunction", requests.starting())),
    }
    sid = json.loads(refreshed()["body"])["sid"]
    item = store._client.get_item(TableName=store._table, Key={"sid": {"S": sid}})["Item"]
    found["item"] = {"bytes": item_bytes(item)}
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def _sign_with_kms(wiring: Any) -> None:
    """Rotates the signing keys into KMS: the first new one is next, and by the second current."""
    import dataclasses
    import time

    import boto3

    from ratchet_cli.rotation import rotate_here

    settings = dataclasses.replace(wiring.settings(), signing_backend="kms")
    for rotation in (1, 2):
        rotate_here(
            wiring.rotation(settings, settings.signing_keys_secret),
            boto3.client("secretsmanager"),
            longest_access_ttl_seconds=0,
            # Not before the last change is known to everybody.
            now=int(time.time()) + rotation * 10 * 86400,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
