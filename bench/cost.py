"""Dollars for a million refreshes, and for a million sessions a month, by list price.

Counted are units, signatures, log lines, answers and CPU; the prices are a file with a date and
sources, bench/prices.json; what is neither is an assumption, and stands here.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import picture, service
from ratchet_cli import template

PRICES = Path(__file__).parent / "prices.json"
SWEEP = Path(__file__).parent / "results" / "sweep.json"
BACKENDS = {"secretsmanager": "keys in Secrets Manager", "kms": "keys in KMS (RSA 2048)"}
ROUNDS, MILLION = 200, 1_000_000
REFRESHES_A_MONTH = (30, 240, 720)
"""Once a day; every hour of eight in a day; every hour there is."""
ASSUMED = {
    # A Lambda function has one whole CPU from this size on, and its share of it below.
    "whole_cpu_mb": 1769,
    "dynamodb_ms": 5,
    "kms_ms": 10,
    # CloudWatch counts so much for each line besides the line, DynamoDB for each item.
    "log_line_bytes": 26,
    "item_overhead_bytes": 100,
    # One visit that files the session anew and one that ends it.
    "sweeps_a_month": 2,
}
Result = dict[str, Any]
Parts = dict[str, float]


def measure(environment: Mapping[str, str], *, quick: bool = False) -> Result:
    """environment: of the functions, see `service`. quick: too few rounds to tell anything."""
    rounds = 12 if quick else ROUNDS
    found = {"secretsmanager": _counted("secretsmanager", environment, rounds)}
    # Its keys move into KMS, so it has a service of its own.
    with service.service() as own:
        found["kms"] = _counted("kms", own, rounds)
    functions = template.functions(template.load(service.ROOT / "template.yaml"))
    swept = json.loads(SWEEP.read_text(encoding="utf-8"))["sweeps"]
    large = list(swept.values())[1]
    report = large["report"]
    due = sum(report[kind] for kind in ("ended", "published", "warned", "rearmed"))
    return {
        "counted": found,
        "memory_mb": functions["RefreshFunction"].memory_mb,
        "sweep": {
            "write_units": round(large["write_units"][0] / due, 3),
            "read_units": round(large["read_units"][0] / due, 3),
            "events": round((report["ended"] + report["published"] + report["warned"]) / due, 3),
        },
        "assumed": ASSUMED,
    }


def _counted(backend: str, environment: Mapping[str, str], rounds: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        service.child("bench.cost_child", [str(path), backend, str(rounds)], environment)
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        return found


def prices() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PRICES.read_text(encoding="utf-8"))
    return found


def price(name: str) -> float:
    """Of one, in dollars."""
    found = prices()["prices"][name]
    return float(found["usd"]) / float(found["per"])


def duration_ms(result: Result, backend: str) -> int:
    """What Lambda charges a refresh for, by the millisecond."""
    assumed, cpu = result["assumed"], result["counted"][backend]["refresh"]["cpu_ms"]["median"]
    share: float = min(result["memory_mb"] / assumed["whole_cpu_mb"], 1.0)
    waits: int = assumed["dynamodb_ms"]
    if backend == "kms":
        # the read before the write, and the signature
        waits += assumed["dynamodb_ms"] + assumed["kms_ms"]
    return math.ceil(float(cpu) / share + waits)


def request(result: Result, backend: str, kind: str) -> Parts:
    """Dollars of one request. kind: refresh or start."""
    counted, assumed = result["counted"][backend][kind], result["assumed"]
    gb_seconds = duration_ms(result, backend) / 1000 * result["memory_mb"] / 1024
    logged = counted["log_bytes"] + 2 * assumed["log_line_bytes"]
    return {
        "API Gateway": price("http_api_request"),
        "Lambda": price("lambda_request") + gb_seconds * price("lambda_gb_second"),
        "DynamoDB": counted["write_units"] * price("dynamodb_write_unit")
        + counted["read_units"] * price("dynamodb_read_unit"),
        "KMS": counted["signatures"] * price("kms_sign_rsa_2048"),
        "log": logged / 1e9 * price("logs_gb"),
        "transfer": counted["answer_bytes"] / 1e9 * price("transfer_gb"),
    }


def session_month(result: Result, backend: str, refreshes: int) -> float:
    """Dollars of a session that starts, is refreshed so often in the month, and is swept."""
    sweep, assumed = result["sweep"], result["assumed"]
    item_bytes = result["counted"][backend]["item"]["bytes"] + assumed["item_overhead_bytes"]
    stored = float(item_bytes) / 1e9
    swept = float(
        sweep["write_units"] * price("dynamodb_write_unit")
        + sweep["read_units"] * price("dynamodb_read_unit")
        + sweep["events"] * price("event")
    )
    sweeps: int = assumed["sweeps_a_month"]
    return (
        sum(request(result, backend, "start").values())
        + price("event")
        + refreshes * sum(request(result, backend, "refresh").values())
        + sweeps * swept
        + stored * (price("dynamodb_gb_month") + price("dynamodb_pitr_gb_month"))
    )


def users_month(name: str, users: int) -> float:
    """Dollars for so many active users at Cognito or Auth0."""
    total, below = 0.0, 0
    for upto, each in prices()["per_user"][name]["tiers"]:
        inside = min(users, upto or users) - below
        if inside <= 0:
            break
        total, below = total + inside * each, below + inside
    return total


def others() -> list[str]:
    return [name for name, found in prices()["per_user"].items() if isinstance(found, dict)]


def table(result: Result) -> str:
    by_backend = {backend: request(result, backend, "refresh") for backend in BACKENDS}
    lines = [
        "| a million refreshes | " + " | ".join(BACKENDS.values()) + " |",
        "|---|" + "---|" * len(BACKENDS),
    ]
    for part in by_backend["kms"]:
        cells = [f"${found[part] * MILLION:.2f}" for found in by_backend.values()]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    all_parts = (f"**${sum(found.values()) * MILLION:.2f}**" for found in by_backend.values())
    lines.append(f"| all | {' | '.join(all_parts)} |")
    names = others()
    lines += [
        "",
        "| a million sessions for a month, each refreshed | "
        + " | ".join([*BACKENDS.values(), *names])
        + " |",
        "|---|" + "---|" * (len(BACKENDS) + len(names)),
    ]
    for refreshes in REFRESHES_A_MONTH:
        ours = [session_month(result, backend, refreshes) * MILLION for backend in BACKENDS]
        cells = [
            f"${dollars:,.0f}" for dollars in (*ours, *(users_month(n, MILLION) for n in names))
        ]
        lines.append(f"| {refreshes} times | {' | '.join(cells)} |")
    counted = {backend: result["counted"][backend]["refresh"] for backend in BACKENDS}
    lines += [
        "",
        "Counted of a refresh: "
        + "; ".join(
            f"with {told} {one['write_units']:g} write and {one['read_units']:g} read units,"
            f" {one['signatures']:g} signatures at KMS, {one['log_bytes']} bytes of log,"
            f" {one['answer_bytes']} of answer, {one['cpu_ms']['median']:.2f} ms of CPU and so"
            f" {duration_ms(result, backend)} ms of Lambda at {result['memory_mb']} MB"
            for (backend, one), told in zip(counted.items(), BACKENDS.values(), strict=True)
        )
        + ".",
    ]
    return "\n".join(lines)


def pictures(result: Result) -> dict[str, str]:
    dollars = {
        f"Ratchet, {told}": session_month(result, backend, REFRESHES_A_MONTH[1]) * MILLION
        for backend, told in BACKENDS.items()
    } | {name: users_month(name, MILLION) for name in others()}
    bars = {
        name: dict.fromkeys(("low", "median", "high"), found) for name, found in dollars.items()
    }
    title = f"Dollars a month: a million sessions, each refreshed {REFRESHES_A_MONTH[1]} times"
    return {"cost": picture.bars(title, bars, digits=0)}
