"""`make clients`: many processes share a session of ratchet_client, and things go wrong.

The service is the local stack, and the application has no leeway: whoever presents a refresh token
twice, and not with the same key, ends the session. A front counts, loses and refuses.
"""

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from ratchet_cli import client
from ratchet_client import FileStore
from tests.clients import fault_front, quick, worker
from tests.clients.worker import LOST
from tests.local_stack import ROOT, LocalStack, started


@dataclass
class Bench:
    """A session in a file, and the front that its processes talk to."""

    front: fault_front.Front
    path: Path
    client_id: str

    def worker(self, calls: int, pause: float, front: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.clients.worker", self.front.url, self.path),
                *(self.client_id, str(calls), str(pause), front),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, processes: int, calls: int, pause: float) -> Counter[str]:
        """How often all of them got what."""
        fronts = cycle(["httpx", "requests", "plain"])
        workers = [self.worker(calls, pause, next(fronts)) for _ in range(processes)]
        total: Counter[str] = Counter()
        for process in workers:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
            total.update(json.loads(output))
        return total

    def age(self) -> None:
        store = FileStore(self.path)
        content = json.loads(store.load() or "{}")
        store.save(json.dumps({**content, "expires_at": 1, "refresh_at": 1}))

    def judge(self) -> dict[str, list[fault_front.Seen]]:
        """What holds always: nobody is signed out, and a token is presented with one key only."""
        tokens: dict[str, list[fault_front.Seen]] = {}
        for seen in self.front.refreshes:
            tokens.setdefault(seen.token, []).append(seen)
        for presented in tokens.values():
            assert len({seen.key for seen in presented}) == 1
            assert {seen.status for seen in presented} <= {200, 503, None}, presented
        content = json.loads(FileStore(self.path).load() or "{}")
        assert content["ended"] is None
        return tokens


@contextmanager
def bench(stack: LocalStack, folder: Path, client_id: str = quick.NATIVE) -> Iterator[Bench]:
    path = folder / secrets.token_hex(4)
    with fault_front.front(stack.url) as front:
        quick.session(stack.url, FileStore(path), client_id=client_id).start(
            quick.start(stack, f"eve-{path.name}", client_id)
        )
        yield Bench(front, path, client_id)


def one_refresh_each(
    stack: LocalStack, folder: Path, processes: int, calls: int, pause: float = 1
) -> str:
    """Tokens of a second: exactly one refresh per expiry, and no sign-out.

    `exp` has whole seconds, so the API takes such a token for anything from none to one second. A
    call whose second token expires on its way, too, is a 401.
    """
    with bench(stack, folder, quick.SECOND) as made:
        begun = time.monotonic()
        total = made.run(processes, calls, pause)
        seconds = time.monotonic() - begun
        tokens = made.judge()
        rotated = quick.generation(stack, content(made)["sid"])
    assert total["200"] + total["401"] == processes * calls, total
    assert total["200"] >= 0.5 * processes * calls, total
    # What the server has issued, what was presented, and what began in the store are the same.
    noted = [json.loads(line) for line in worker.notes(made.path).read_text().splitlines()]
    started = [note for note in noted if note["idempotency_key"]]
    assert {len(presented) for presented in tokens.values()} == {1}
    assert rotated == len(made.front.refreshes) == len(tokens) == len(started)
    assert len({note["refresh_token"] for note in started}) == rotated
    # None of them before three quarters of its access token's life, or its end.
    early = sum(note["saved_at"] < expires_at(note["access_token"]) for note in started)
    assert all(
        note["saved_at"] >= min(note["issued_at"] + 0.75, expires_at(note["access_token"]))
        for note in started
    )
    return (
        f"{processes} processes x {calls} calls in {seconds:.0f} s, {total['200']} of them 200:"
        f" {rotated} access tokens of a second were over, {rotated} refreshes ({early} ahead of"
        " time), no sign-out"
    )


def expires_at(access_token: str) -> int:
    part = access_token.split(".")[1]
    found: int = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"]
    return found


def lost_answers(stack: LocalStack, folder: Path, processes: int, calls: int) -> str:
    """Every third answer is lost, of refreshes and of calls."""
    with bench(stack, folder) as made:
        made.front.fault = lambda path, number: "drop" if number % 3 == 0 else ""
        total = made.run(processes, calls, 0.1)
        tokens = made.judge()
    assert total["200"] >= 0.9 * processes * calls, total
    assert set(total) <= {"200", "401", LOST}, total
    lost = [seen for seen in made.front.refreshes if seen.status is None]
    answered = Counter(seen.token for seen in made.front.answered)
    assert set(answered.values()) <= {1}
    return (
        f"{processes} processes x {calls} calls, {total[LOST]} answers and {len(lost)} refreshes"
        f" lost: {len(answered)} of {len(tokens)} refreshes answered in the end, no sign-out"
    )


def outage(stack: LocalStack, folder: Path, processes: int, calls: int, seconds: float) -> str:
    """503 to every refresh for a while."""
    with bench(stack, folder) as made:
        made.age()
        until = time.monotonic() + seconds

        def fault(path: str, number: int) -> str:
            down = path in fault_front.REFRESHES and time.monotonic() < until
            return "503" if down else ""

        made.front.fault = fault
        total = made.run(processes, calls, 0.1)
        made.judge()
    assert total["200"] >= 0.9 * processes * calls, total
    assert set(total) <= {"200", "401", "unavailable"}, total
    refused = [seen for seen in made.front.refreshes if seen.status == 503]
    # all processes together wait as one does: half a second, one, two, four ... 30
    assert 1 <= len(refused) <= 5 + seconds / 5, len(refused)
    return f"{processes} processes, 503 for {seconds:.0f} s: {len(refused)} attempts, no sign-out"


def refused_for_ever(stack: LocalStack, folder: Path, processes: int, calls: int) -> str:
    """An API that refuses every token, though they live for an hour, gets one refresh."""
    with bench(stack, folder, quick.LONG_LIVED) as made:
        made.front.fault = lambda path, number: "" if path in fault_front.REFRESHES else "401"
        begun = time.monotonic()
        total = made.run(processes, calls, 0.01)
        seconds = time.monotonic() - begun
        made.judge()
    assert total == {"401": processes * calls}, total
    count = len(made.front.refreshes)
    assert 1 <= count <= 1 + seconds / 60, count
    return f"{processes} processes x {calls} calls, all 401: {count} refresh in {seconds:.0f} s"


def commands(stack: LocalStack, folder: Path, processes: int) -> str:
    """`ratchet token` in all of them at once, when the token has expired: one new one for all.

    Twice: the second time the first answer is lost, and asked for again.
    """
    lost = iter(["", "drop"])
    with bench(stack, folder, quick.LONG_LIVED) as made:
        path = folder / "ratchet" / client.path_of(made.front.url, made.client_id).name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        made.path = made.path.rename(path)
        made.front.fault = lambda path, number: next(lost, "")
        old = content(made)["access_token"]
        begun = time.monotonic()
        for _ in range(2):
            made.age()
            # An old token that is presented again without its key would end the session.
            printed = tokens_of_commands(made, processes)
            assert printed == {f"{content(made)['access_token']}\n": processes}
            assert old not in str(printed)
            assert made.front.api(f"Bearer {next(iter(printed)).strip()}")[0] == 200
            old = content(made)["access_token"]
        seconds = time.monotonic() - begun
        made.judge()
    assert [seen.status for seen in made.front.refreshes] == [200, None, 200]
    return (
        f"2 x {processes} processes of ratchet token in {seconds:.0f} s, one answer lost:"
        " 2 refreshes answered, the same token for all"
    )


def tokens_of_commands(made: Bench, processes: int) -> Counter[str]:
    """What they print, and how many of them."""
    program = "from ratchet_cli.main import cli; cli()"
    options = ["--issuer", made.front.url, "--client-id", made.client_id]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, "token", *options],
            env={**os.environ, "XDG_CONFIG_HOME": str(made.path.parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    outputs = [process.communicate(timeout=600) for process in started]
    assert {errors for _, errors in outputs} == {""}
    return Counter(output for output, _ in outputs)


def content(made: Bench) -> dict[str, str]:
    found: dict[str, str] = json.loads(made.path.read_text(encoding="utf-8"))
    return found


def kills(stack: LocalStack, folder: Path, rounds: int, seed: int) -> str:
    """SIGKILL in the middle of a refresh, and another process takes it up."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    places: Counter[str] = Counter()
    with bench(stack, folder) as made:
        for _ in range(rounds):
            made.age()
            place = chance.choice(["before it is handled", "after it", "around its answer"])
            places[place] += 1
            killed(made, place, chance.uniform(0, 0.03))
        survivor = made.run(1, 1, 0)
        tokens = made.judge()
    assert survivor == {"200": 1}, survivor
    again = sum(len(presented) - 1 for presented in tokens.values())
    told = ", ".join(f"{count} {place}" for place, count in sorted(places.items()))
    return f"{rounds} kills ({told}; seed {seed}): {again} times taken up, no sign-out"


def killed(made: Bench, place: str, delay: float) -> None:
    """A worker that dies while its refresh is under way."""
    there, dead = threading.Event(), threading.Event()

    def fault(path: str, number: int) -> str:
        if path not in fault_front.REFRESHES or there.is_set():
            return ""
        there.set()
        if place == "before it is handled":
            dead.wait(10)
            return "503"
        return "drop" if place == "after it" else ""

    made.front.fault = fault
    process = made.worker(1, 0, "plain")
    assert there.wait(60)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    dead.set()
    made.front.fault = lambda path, number: ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    many = (given.processes, given.calls)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tree").mkdir()
        with started(folder / "tree") as stack:
            quick.register(stack)
            say(one_refresh_each(stack, folder, *many))
            say(lost_answers(stack, folder, *many))
            say(outage(stack, folder, *many, 60))
            say(refused_for_ever(stack, folder, *many))
            say(commands(stack, folder, given.processes))
            say(kills(stack, folder, 40, given.seed))


def say(result: str) -> None:
    print(result, flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
