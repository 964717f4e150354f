"""What so many sessions cost and where the limits lie: `make bench-scale`.

A small simulation, whose assumptions are parameters: python -m bench.scale --help. It plays a
sample of sessions through the service's own rules (which shard, when the sweep has to come), with
a day that has a busy hour, counts what each session does, and multiplies. Nothing here was measured
on AWS; prices are those of prices.json, limits those below.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import click

from ratchet.policy import DAY, PRESETS
from ratchet.refresh_token import sid_of
from ratchet.session import Session, attention_at, idle_deadline, told
from ratchet.session_item import ATTENTION_SHARDS, attention_shard

HERE = Path(__file__).parent
PRICES = HERE / "prices.json"
RESULTS = HERE / "results" / "scale.json"
PAGE = HERE.parent / "docs" / "scale.md"
SIZES = (10**6, 10**8, 10**10)
MONTH = 30 * DAY
PARTITION_BYTES = 10 * 10**9
PARTITION_WRITES = 1000


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Change them to yours: what matters most is refreshes_a_day.

    sample: sessions that are played, ten times as many for the shards. lasting_days: from sign-in
    to sign-out or the last use, on average. refreshes_a_day: of one live session, 4 means four
    hours of use. busy: the busiest hour in multiples of an average one. item_bytes: with both index
    entries. refresh_ms: of a warm refresh, what Lambda bills. log_bytes, answer_bytes: of one
    request. sweep_a_second: visits of one sweep, as bench/results/sweep.json has it.
    """

    preset: str = "browser"
    sample: int = 5_000
    seed: int = 1
    lasting_days: float = 60
    refreshes_a_day: float = 4
    busy: float = 3
    item_bytes: int = 700
    memory_mb: int = 512
    refresh_ms: float = 15
    log_bytes: int = 1000
    answer_bytes: int = 2000
    sweep_a_second: float = 160
    sweep_run_seconds: int = 220
    sweep_every_seconds: int = 300
    signs_in_kms: bool = False


LIMITS: Mapping[str, tuple[float, str]] = {
    "API Gateway, requests a second": (10_000, "a quota of the account and Region; can be raised"),
    "ThrottlingRateLimit of our template": (1_000, "edit the template"),
    "Lambda, at the same time": (1_000, "a quota of the account and Region; can be raised"),
    "table, write units a second": (40_000, "a quota of each table; can be raised"),
    "the same, of a new on-demand table": (4_000, "grows to twice the last peak in 30 minutes"),
    "hottest shard of `attention`, write units a second": (
        PARTITION_WRITES,
        "fixed: raise ATTENTION_SHARDS",
    ),
    "a run of the sweep, seconds": (
        Assumptions.sweep_run_seconds,
        "what is left waits for the next run; give several functions a part of the shards",
    ),
    "PutEvents, entries a second": (10_000, "a quota of the Region; can be raised"),
    "KMS, RSA signatures a second": (1_000, "only with SigningBackend=kms; can be raised"),
}


@dataclass(frozen=True)
class Played:
    """What one live session does on average, from the sample.

    visits: of the sweep a day, and what came of them. hottest_shard: share of the fullest of the
    shards.
    """

    visits: Mapping[str, float]
    events_a_day: float
    hottest_shard: float


def play(given: Assumptions) -> Played:
    """Sessions of the sample, from sign-in to end, by the service's own rules."""
    random, policy = Random(given.seed), PRESETS[given.preset]
    visits: Counter[str] = Counter()
    shards: Counter[int] = Counter()
    days = events = 0.0
    for _ in range(10 * given.sample):
        shards[attention_shard(sid_of(random.randbytes(16)))] += 1
    for _ in range(given.sample):
        start = MONTH * 700 + int(random.random() * DAY)
        last = start + int(random.expovariate(1 / (given.lasting_days * DAY)))
        absolute = start + policy.absolute_ttl_seconds
        session = Session(
            sid="sample",
            client_id="sample",
            sub="sample",
            scopes=frozenset(),
            started_at=start,
            auth_time=start,
            current_hash=b"",
            idle_deadline_at=idle_deadline(policy, absolute_deadline_at=absolute, now=start),
            absolute_deadline_at=absolute,
            expires_at=absolute,
        )
        session = replace(session, attention_at=attention_at(session, policy))
        events += 1
        while True:
            now = session.attention_at or 0
            # the latest refresh before the visit: those of a Poisson process have no memory
            gap = random.expovariate(given.refreshes_a_day / DAY)
            refreshed = int(max(start, min(now, last) - gap))
            idle = idle_deadline(policy, absolute_deadline_at=absolute, now=refreshed)
            session = replace(session, idle_deadline_at=max(session.idle_deadline_at, idle))
            if session.idle_deadline_at <= now:
                visits["ended"] += 1
                events += 1
                days += (session.idle_deadline_at - start) / DAY
                break
            after = told(session, policy, now)
            before = session.warned_deadline_at, session.warned_absolute_deadline_at
            warned = (after.warned_deadline_at, after.warned_absolute_deadline_at) != before
            visits["warned" if warned else "rearmed"] += 1
            events += warned
            session = after
    return Played(
        visits={what: count / days for what, count in sorted(visits.items())},
        events_a_day=events / days,
        hottest_shard=max(shards.values()) / shards.total(),
    )


def capacity(given: Assumptions) -> float:
    """Visits a second of one sweep after the other."""
    return given.sweep_a_second * given.sweep_run_seconds / given.sweep_every_seconds


def at_scale(sessions: int, given: Assumptions, played: Played, prices: Mapping[str, Any]) -> Any:
    """What so many live sessions need, what it costs, and how near each limit is."""
    day = 1 / DAY
    starts = sessions * sum(v for k, v in played.visits.items() if k == "ended") * day
    refreshes = sessions * given.refreshes_a_day * day
    visits = {what: sessions * each * day for what, each in played.visits.items()}
    retained = starts * 30 * DAY
    # A start writes the item and both indexes, then moves it in one (2) when it is published.
    # An end: the item twice, and its entry in the index moved (2) and removed (1).
    index = starts * 3 + visits["ended"] * 3
    index += 2 * sum(visits.get(what, 0) for what in ("warned", "rearmed"))
    writes = refreshes + starts * 3 + visits["ended"] * 2 + index
    writes += sum(visits.get(what, 0) for what in ("warned", "rearmed"))
    reads = sum(visits.values()) + (refreshes if given.signs_in_kms else 0)
    total_bytes = (sessions + retained) * given.item_bytes
    peak_refreshes = refreshes * given.busy
    by_size = math.ceil(total_bytes / PARTITION_BYTES)
    partitions = max(by_size, math.ceil(peak_refreshes / PARTITION_WRITES), 4)
    requests = peak_refreshes + starts * given.busy
    events = sessions * played.events_a_day * day
    needed = {
        "API Gateway, requests a second": requests,
        "ThrottlingRateLimit of our template": requests,
        "Lambda, at the same time": requests * given.refresh_ms / 1000,
        "table, write units a second": writes * given.busy,
        "the same, of a new on-demand table": writes * given.busy,
        "hottest shard of `attention`, write units a second": index
        * given.busy
        * played.hottest_shard,
        "a run of the sweep, seconds": sum(visits.values())
        * given.busy
        * given.sweep_every_seconds
        / given.sweep_a_second,
        "PutEvents, entries a second": events * given.busy,
        "KMS, RSA signatures a second": requests,
    }
    return {
        "sessions": sessions,
        "a_second": {
            "refreshes": refreshes,
            "starts": starts,
            "sweep_visits": sum(visits.values()),
            "events": events,
        },
        "gigabytes": total_bytes / 10**9,
        "partitions": partitions,
        "needed_at_peak": needed,
        "share_of_limit": {name: need / LIMITS[name][0] for name, need in needed.items()},
        # All of them sign in within an hour, and so are due within one, 12 days later.
        "hours_behind_after_a_mass_sign_in": max(0, sessions / capacity(given) / 3600 - 1),
        "usd_a_month": costs(
            given,
            prices,
            requests=(refreshes + starts) * MONTH,
            writes=writes * MONTH,
            reads=reads * MONTH,
            events=events * MONTH,
            gigabytes=total_bytes / 10**9,
        ),
    }


def costs(
    given: Assumptions,
    prices: Mapping[str, Any],
    *,
    requests: float,
    writes: float,
    reads: float,
    events: float,
    gigabytes: float,
) -> dict[str, float]:
    """USD a month, line by line, at list price."""

    def usd(name: str, amount: float) -> float:
        price = prices["prices"][name]
        return float(amount * price["usd"] / price["per"])

    seconds = requests * given.refresh_ms / 1000 * given.memory_mb / 1024
    log_gigabytes = requests * given.log_bytes / 10**9
    found = {
        "DynamoDB, writes": usd("dynamodb_write_unit", writes),
        "DynamoDB, reads": usd("dynamodb_read_unit", reads),
        "DynamoDB, stored, with PITR": usd("dynamodb_gb_month", gigabytes)
        + usd("dynamodb_pitr_gb_month", gigabytes),
        "Lambda": usd("lambda_request", requests) + usd("lambda_gb_second", seconds),
        "API Gateway": usd("http_api_request", requests),
        "log": usd("logs_gb", log_gigabytes) + usd("logs_gb_month", log_gigabytes * 3),
        "answers to the internet": usd("transfer_gb", requests * given.answer_bytes / 10**9),
        "events": usd("event", events),
        "keys and secrets": usd("secret_month", 2) + usd("kms_key_month", 1),
    }
    if given.signs_in_kms:
        found["KMS, signatures"] = usd("kms_sign_rsa_2048", requests)
    return found


def simulate(given: Assumptions, sizes: Iterable[int] = SIZES) -> dict[str, Any]:
    """Everything, as the results file has it."""
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    played = play(given)
    found = {
        "assumptions": asdict(given),
        "prices_dated": prices["dated"],
        "region": prices["region"],
        "shards": ATTENTION_SHARDS,
        "played": asdict(played),
        # live sessions that one sweep after the other can look after, on an average hour
        "sweep_keeps_up_with": capacity(given) * DAY / sum(played.visits.values()),
        "sizes": [at_scale(size, given, played, prices) for size in sizes],
    }
    # The same on every Python: the last digits of a float are nobody's business.
    return dict(json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.6g}")))


# --- for the page --------------------------------------------------------------------------------


def text(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 1,230."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def tables(found: Mapping[str, Any]) -> str:
    """What stands in docs/scale.md between the marks."""
    sizes = found["sizes"]
    head = " | ".join(f"{size['sessions']:,}" for size in sizes)
    rule = "|---|" + "---|" * len(sizes)

    def row(name: str, values: Iterable[str]) -> str:
        return f"| {name} | {' | '.join(values)} |"

    lines = [f"| live sessions | {head} |", rule]
    for name in ("refreshes", "starts", "sweep_visits", "events"):
        values = [text(size["a_second"][name]) for size in sizes]
        lines.append(row(f"{name.replace('_', ' of the ', 1)} a second, mean", values))
    lines[4] = lines[4].replace("sweep of the visits", "visits of the sweep")
    lines.append(row("GB in the table", [text(size["gigabytes"]) for size in sizes]))
    lines.append(row("partitions at least", [f"{size['partitions']:,}" for size in sizes]))
    behind = [text(size["hours_behind_after_a_mass_sign_in"]) for size in sizes]
    lines.append(row("hours the sweep is behind, if all sign in within an hour", behind))
    lines += ["", f"| USD a month | {head} |", rule]
    for name in sizes[0]["usd_a_month"]:
        lines.append(row(name, [text(size["usd_a_month"][name]) for size in sizes]))
    totals = [sum(size["usd_a_month"].values()) for size in sizes]
    lines.append(row("**all of it**", [f"**{text(total)}**" for total in totals]))
    per = [total / size["sessions"] * 1000 for total, size in zip(totals, sizes, strict=True)]
    lines.append(row("for 1,000 live sessions", [text(each) for each in per]))
    lines += ["", f"| in the busiest hour | limit | {head} | and then |", rule + "---|---|"]
    for name, (limit, then) in LIMITS.items():
        values = [
            f"**{text(need)}**" if size["share_of_limit"][name] > 1 else text(need)
            for size in sizes
            for need in [size["needed_at_peak"][name]]
        ]
        lines.append(f"| {name} | {text(limit)} | {' | '.join(values)} | {then} |")
    return "\n".join(lines)


def with_tables(page: str, found: Mapping[str, Any]) -> str:
    begin, end = "<!-- bench: scale -->\n", "<!-- end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}{tables(found)}\n{end}{rest.split(end, 1)[1]}"


def options(command: Any) -> Any:
    for one in reversed(fields(Assumptions)):
        name = f"--{one.name.replace('_', '-')}"
        if isinstance(one.default, bool):
            command = click.option(name, one.name, is_flag=True)(command)
        else:
            command = click.option(name, one.name, default=one.default, show_default=True)(command)
    return command


@click.command()
@options
@click.option("--result", type=click.Path(path_type=Path), help="Where to write what was found.")
@click.option("--page", is_flag=True, help="Write the tables into docs/scale.md.")
def main(result: Path | None, page: bool, **given: Any) -> None:
    """What a million, a hundred million and ten thousand million sessions cost."""
    found = simulate(Assumptions(**given))
    if result is not None:
        result.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if page:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    print(tables(found))


if __name__ == "__main__":
    main()
