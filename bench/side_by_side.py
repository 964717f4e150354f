"""Ratchet beside other token services; as long as one likes by `make bench-peers`.

One machine, one run, one load driver; the servers take turns, so that whatever else the machine
does meets them all. What each of them does not do, and its settings: docs/performance.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench import engine, picture
from bench.load import Chains, HttpCaller, at_once, cpu_seconds, percentiles
from bench.peer import FOLDER, PEERS, PYTHON, Peer, Server, create_tables, running
from bench.proxy import Wire, relay
from bench.service import service

CALLERS = (1, 8)
RACERS = 16
NPM_NAMES = ("@openauthjs/openauth", "oidc-provider")
PIP_NAMES = (
    *("authlib", "flask", "django", "django-oauth-toolkit", "djangorestframework-simplejwt"),
    "gunicorn",
)
GRACE_SECONDS = 30
PAST_GRACE_SECONDS = 1
Result = dict[str, Any]


# --- How fast -------------------------------------------------------------------------------------


def rates(
    servers: Sequence[Server], engine_pid: int, *, rounds: int, seconds: float, callers: int
) -> dict[str, Result]:
    """Refreshes a second, and what CPU time each takes of the server and of the DynamoDB engine."""
    chains = {
        server.peer.name: Chains([server.caller() for _ in range(callers)]) for server in servers
    }
    found: dict[str, dict[str, list[float]]] = {
        name: {"rate": [], "cpu": [], "engine": [], "took": []} for name in chains
    }
    for number in range(-1, rounds):
        first = number % len(servers)
        for server in [*servers[first:], *servers[:first]]:
            name = server.peer.name
            cpu, engine_cpu = cpu_seconds(server.pid), cpu_seconds(engine_pid)
            load = chains[name].run(seconds if number >= 0 else min(seconds, 1.0))
            cpu, engine_cpu = cpu_seconds(server.pid) - cpu, cpu_seconds(engine_pid) - engine_cpu
            if number < 0:
                continue
            refreshes = load.statuses[200]
            found[name]["rate"].append(load.rate)
            found[name]["cpu"].append(cpu * 1000 / refreshes)
            found[name]["engine"].append(engine_cpu * 1000 / refreshes)
            found[name]["took"] += load.milliseconds
    return {
        name: {
            "refreshes_per_second": spread(kept["rate"]),
            "cpu_ms": spread(kept["cpu"]),
            "engine_cpu_ms": spread(kept["engine"]),
            "latency_ms": percentiles(kept["took"]),
        }
        for name, kept in found.items()
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }


# --- What it costs to keep ------------------------------------------------------------------------


def kept(server: Server, wire: Wire, *, sessions: int, rotations: int) -> Result:
    """Storage operations of a refresh; rows and bytes of a session after so many of them."""
    with contextlib.closing(server.caller()) as caller:
        # What is there before the first session, and the warm caches.
        token = caller.refresh(caller.start()).refresh_token
        caller.refresh(token)
        rows, size, lasting = server.stored()
        tokens = [caller.start() for _ in range(sessions)]
        before = _count(server, wire, caller)
        for _ in range(rotations):
            tokens = [_rotated(caller, token) for token in tokens]
        asked = _count(server, wire, caller) - before
        rows_now, size_now, lasting_now = server.stored()
    each = sessions * rotations
    return {
        # Whatever is asked once a minute is no refresh's.
        "operations": {
            name: round(number / each, 2)
            for name, number in sorted(asked.items())
            if number * 2 >= each
        },
        "rows": round((rows_now - rows) / sessions, 1),
        "lasting_rows": round((lasting_now - lasting) / sessions, 1),
        "bytes": round((size_now - size) / sessions),
    }


def _rotated(caller: HttpCaller, token: str) -> str:
    answer = caller.refresh(token)
    if answer.status != 200:
        raise RuntimeError(str(answer))
    return answer.refresh_token


def _count(server: Server, wire: Wire, caller: HttpCaller) -> Counter[str]:
    return Counter(wire.operations if server.peer.on_dynamodb else caller.get("/count"))


# --- Who survives ---------------------------------------------------------------------------------


def race(server: Server, *, rounds: int, racers: int = RACERS) -> Result:
    """Many present one refresh token at the same time; then each goes on with what it got.

    A caller that was answered 5xx asks once more, as clients do; 4xx signs it out.
    """
    callers = [server.caller() for _ in range(racers)]
    distinct, statuses = [], Counter[int]()
    signed_out = after_that = 0
    for _ in range(rounds):
        callers[0].ready()
        token = _rotated(callers[0], callers[0].start())
        answers = at_once(callers, [token] * racers)
        statuses.update(answer.status for answer in answers)
        answers = [
            caller.refresh(token) if answer.status >= 500 else answer
            for caller, answer in zip(callers, answers, strict=True)
        ]
        distinct.append(len({answer.refresh_token for answer in answers} - {""}))
        winners = [
            (caller, answer.refresh_token)
            for caller, answer in zip(callers, answers, strict=True)
            if answer.status == 200
        ]
        signed_out += racers - len(winners)
        then = at_once([caller for caller, _ in winners], [text for _, text in winners])
        after_that += sum(answer.status != 200 for answer in then)
    for caller in callers:
        caller.close()
    return {
        "rounds": rounds,
        "callers": racers,
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "successors": {
            "median": statistics.median(distinct),
            "least": min(distinct),
            "most": max(distinct),
        },
        "signed_out_at_once": signed_out,
        "signed_out_at_the_next_refresh": after_that,
        "survived": rounds * racers - signed_out - after_that,
    }


def lost_answer(server: Server) -> Result:
    """The answer to a refresh never arrives: the client asks again with what it has."""
    with contextlib.closing(server.caller()) as caller:
        token = _rotated(caller, caller.start())
        lost = _rotated(caller, token)
        again = caller.refresh(token)
        goes_on = again.status == 200 and caller.refresh(again.refresh_token).status == 200
    return {
        "answered": again.status == 200,
        "same_successor": again.refresh_token == lost,
        "goes_on": goes_on,
    }


def old_token(server: Server) -> Result:
    """A thief's copy, presented when the window is over and its owner has gone on twice."""
    with contextlib.closing(server.caller()) as caller:
        stolen = _rotated(caller, caller.start())
        newest = _rotated(caller, _rotated(caller, stolen))
        time.sleep(PAST_GRACE_SECONDS + 1.1)
        caller.ready()
        refused = caller.refresh(stolen).status != 200
        ended = caller.refresh(newest).status != 200
    return {"refused": refused, "ends_the_session": ended}


# --- Clearing up ----------------------------------------------------------------------------------


def clean_up(peer: Peer, folder: Path, sizes: Sequence[int], due: int, rounds: int) -> Result:
    """Seconds to clear the same number of expired tokens out of tables of these sizes, in turns."""
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for size in sizes:
        _program(peer, folder / f"{size}-{peer.name}", "fill", size, 0)
    for number in range(rounds):
        for size in list(sizes)[:: 1 if number % 2 == 0 else -1]:
            database = folder / f"{size}-{peer.name}"
            _program(peer, database, "fill", 0, due)
            done = _program(peer, database, "clear")
            if done["cleared"] != due:
                raise RuntimeError(f"{peer.name}: {done}, not {due}")
            seconds[size].append(done["seconds"])
    paired = [
        large / small for small, large in zip(seconds[sizes[0]], seconds[sizes[-1]], strict=True)
    ]
    return {
        "due": due,
        "seconds": {str(size): spread(took) for size, took in seconds.items()},
        "ratio": spread(paired),
    }


def _program(peer: Peer, database: Path, *arguments: str | int) -> dict[str, float]:
    done = subprocess.run(
        [PYTHON / "python", peer.program, *map(str, arguments)],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "DATABASE": str(database)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- All of it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How much is measured. sizes: of the tables that are cleared up, none for no clearing up."""

    rounds: int = 5
    seconds: float = 1.0
    races: int = 20
    sessions: int = 10
    rotations: int = 100
    sizes: tuple[int, ...] = (10_000, 100_000)
    due: int = 1000


QUICK = Size(rounds=1, seconds=0.3, races=2, sessions=1, rotations=4, sizes=(20, 40), due=5)


def measure(
    environment: Mapping[str, str],
    *,
    quick: bool = False,
    size: Size | None = None,
    only: Sequence[str] = (),
) -> Result:
    """Of all peers that are installed. environment: of Ratchet's functions, see `service`.

    quick: too little of everything to tell anything. only: names of peers.
    """
    size = size or (QUICK if quick else Size())
    peers = [peer for peer in PEERS if peer.installed and (not only or peer.name in only)]
    for peer in PEERS:
        if not peer.installed:
            click.echo(f"{peer.name} is not installed: make bench-peers", err=True)
    # In memory if there is such a place, as the engine's: else a disk is compared with none.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - TemporaryDirectory is our own
    with tempfile.TemporaryDirectory(prefix="ratchet-peers-", dir=place) as name:
        found = _measured(peers, environment, Path(name), size)
    return {"versions": versions(), **asdict(size), "racers": RACERS, "peers": found}


def _measured(
    peers: Sequence[Peer], environment: Mapping[str, str], folder: Path, size: Size
) -> dict[str, Result]:
    endpoint = environment["AWS_ENDPOINT_URL_DYNAMODB"]
    create_tables(peers, endpoint)
    found: dict[str, Result] = {
        peer.name: {"access_token": peer.access_token, "on_dynamodb": peer.on_dynamodb}
        for peer in peers
    }
    with relay(endpoint) as wire:
        how: dict[str, Any] = {"grace_seconds": PAST_GRACE_SECONDS, "counted": True}
        for peer in peers:
            with running(peer, environment, folder, dynamodb=wire.url, **how) as server:
                found[peer.name] |= {
                    "kept": kept(server, wire, sessions=size.sessions, rotations=size.rotations),
                    "old_token": old_token(server),
                }
    with contextlib.ExitStack() as stack:
        usual: dict[str, Any] = {"dynamodb": endpoint, "grace_seconds": GRACE_SECONDS}
        servers = [
            stack.enter_context(running(peer, environment, folder, **usual)) for peer in peers
        ]
        for server in servers:
            found[server.peer.name] |= {
                "race": race(server, rounds=size.races),
                "lost_answer": lost_answer(server),
                "callers": {},
            }
        process = engine.process_id(endpoint)
        for callers in CALLERS:
            measured = rates(
                servers, process, rounds=size.rounds, seconds=size.seconds, callers=callers
            )
            for name, figures in measured.items():
                found[name]["callers"][str(callers)] = figures
    for peer in peers:
        if peer.clears and size.sizes:
            found[peer.name]["clean_up"] = clean_up(peer, folder, size.sizes, size.due, rounds=3)
    return found


def versions() -> dict[str, str]:
    """Of what is compared with."""
    lock = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    found = {name: lock[f"node_modules/{name}"]["version"] for name in NPM_NAMES}
    pinned = (FOLDER / "requirements.txt").read_text(encoding="utf-8")
    for name in PIP_NAMES:
        found[name] = re.findall(rf"^{name}==(\S+)", pinned, re.MULTILINE)[0]
    node = shutil.which("node")
    if node:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        found["Node.js"] = said.stdout.strip().removeprefix("v")
    return found


# --- What is told of it ---------------------------------------------------------------------------


def table(result: Result) -> str:
    peers = result["peers"]
    blocks = [
        _speed(peers),
        _survivors(peers, result["racers"]),
        _storage(peers, result["rotations"]),
    ]
    blocks += (
        [_clearing(peers, result["due"])]
        if any("clean_up" in one for one in peers.values())
        else []
    )
    told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n\n".join([*blocks, f"Versions: {told}."])


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _speed(peers: Mapping[str, Result]) -> str:
    few, many = map(str, CALLERS)
    rows = []
    for name, one in peers.items():
        busy, alone = one["callers"][many], one["callers"][few]
        cpu, wall = busy["cpu_ms"], busy["latency_ms"]
        rows.append(
            [
                name,
                one["access_token"],
                f"{alone['refreshes_per_second']['median']:.0f}",
                _told(busy["refreshes_per_second"], 0),
                f"{_told(cpu, 2)} ms",
                f"{busy['engine_cpu_ms']['median']:.2f} ms" if one["on_dynamodb"] else "",
                f"{wall['p50']:.0f} / {wall['p95']:.0f} / {wall['p99']:.0f} ms",
            ]
        )
    head = [
        "",
        "access token",
        f"refreshes a second, {few} caller",
        f"{many} callers (least to most)",
    ]
    head += [
        "CPU of the server, each",
        "of the DynamoDB engine",
        f"p50 / p95 / p99, {many} callers",
    ]
    return _rows(head, rows)


def _survivors(peers: Mapping[str, Result], racers: int) -> str:
    rows = []
    for name, one in peers.items():
        raced, lost, old = one["race"], one["lost_answer"], one["old_token"]
        many, callers = raced["successors"], raced["rounds"] * raced["callers"]
        again = "goes on, with the same successor" if lost["same_successor"] else "goes on"
        rows.append(
            [
                name,
                f"{many['median']:g} ({many['least']} to {many['most']})",
                f"{raced['survived']} of {callers}",
                again if lost["goes_on"] else "signed out",
                "refused" if old["refused"] else "**taken**",
                "yes" if old["ends_the_session"] else "**no**",
            ]
        )
    head = ["", f"successors that {racers} simultaneous callers get: median (least to most)"]
    head += ["callers that are signed in one refresh later", "the answer was lost: the retry"]
    head += ["a thief's old token", "ends the session"]
    return _rows(head, rows)


def _storage(peers: Mapping[str, Result], rotations: int) -> str:
    rows = []
    for name, one in peers.items():
        stored = one["kept"]
        asked = ", ".join(f"{count:g} {kind}" for kind, count in stored["operations"].items())
        rows.append(
            [
                name,
                asked,
                f"{stored['rows']:g}",
                f"{stored['lasting_rows']:g}",
                f"{stored['bytes']:,}",
            ]
        )
    head = ["", "storage operations of a refresh", f"rows of a session after {rotations} rotations"]
    head += ["of them for over an hour", "bytes"]
    return _rows(head, rows)


def _clearing(peers: Mapping[str, Result], due: int) -> str:
    rows = []
    for name, one in peers.items():
        if "clean_up" not in one:
            continue
        took = one["clean_up"]["seconds"]
        ratio = one["clean_up"]["ratio"]
        cells = [f"{found['median']:.2f} s" for found in took.values()]
        rows.append([name, *cells, _told(ratio, 2)])
        sizes = [f"{int(size):,} live tokens" for size in took]
    return _rows(
        [f"to clear {due:,} expired tokens", *sizes, "large to small (least to most)"], rows
    )


def _told(found: Mapping[str, float], digits: int) -> str:
    return (
        f"{found['median']:.{digits}f} ({found['least']:.{digits}f} to {found['most']:.{digits}f})"
    )


def pictures(result: Result) -> dict[str, str]:
    cpu = {
        name: {"median": found["median"], "low": found["least"], "high": found["most"]}
        for name, one in result["peers"].items()
        for found in [one["callers"][str(CALLERS[-1])]["cpu_ms"]]
    }
    return {"side_by_side": picture.bars("CPU of the server for a refresh, ms", cpu)}


@click.command()
@click.option("--rounds", default=Size.rounds, show_default=True, help="Turns of each server.")
@click.option("--seconds", default=Size.seconds, show_default=True, help="How long a turn is.")
@click.option("--races", default=Size.races, show_default=True)
@click.option("--sessions", default=Size.sessions, show_default=True, help="To look into.")
@click.option("--rotations", default=Size.rotations, show_default=True, help="Of each of those.")
@click.option("--live", default=Size.sizes[-1], show_default=True, help="In the large table.")
@click.option("--due", default=Size.due, show_default=True, help="Expired tokens to clear up.")
@click.option("--only", multiple=True, help="Names of peers; the default is all that are there.")
@click.option("--result", type=click.Path(path_type=Path), help="Where the figures go, as JSON.")
def main(live: int, only: tuple[str, ...], result: Path | None, **given: Any) -> None:
    """Measure as much as you like. What the page quotes is left to make bench ONLY=side_by_side."""
    with service() as environment:
        size = Size(**given, sizes=(live // 10, live))
        found = measure(environment, size=size, only=only)
    click.echo(table(found))
    if result is not None:
        result.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
