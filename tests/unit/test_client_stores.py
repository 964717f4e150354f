"""ratchet_client: stores on this machine. They keep one text, privately and whole, and one lock."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest

from ratchet_client import FileStore, MemoryStore, Store, StoreFailed
from ratchet_client.keyring_store import KeyringStore
from tests.key_store import InMemory


@pytest.fixture
def backend() -> Iterator[InMemory]:
    before = keyring.get_keyring()
    backend = InMemory()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


@pytest.fixture(params=["memory", "file", "keyring"])
def two(request: pytest.FixtureRequest, tmp_path: Path, backend: InMemory) -> tuple[Store, Store]:
    """Two that share a session, as two processes would; of a store in memory there is only one."""
    if request.param == "memory":
        one = MemoryStore()
        return one, one
    if request.param == "file":
        return FileStore(tmp_path / "session"), FileStore(tmp_path / "session")
    return (
        KeyringStore("shop", "ada", folder=tmp_path),
        KeyringStore("shop", "ada", folder=tmp_path),
    )


def test_what_one_has_saved_the_other_loads(two: tuple[Store, Store]) -> None:
    one, other = two
    assert other.load() is None
    assert one.try_lock()
    for text in ("first", "second ä"):
        one.save(text)
        assert other.load() == text
    one.unlock()


def test_the_lock_is_one_for_all_and_nobody_waits_for_it(two: tuple[Store, Store]) -> None:
    one, other = two
    for _ in range(3):
        assert one.try_lock()
        assert not other.try_lock()
        assert not one.try_lock()
        one.unlock()
        assert other.try_lock()
        assert not one.try_lock()
        other.unlock()


# --- the file ------------------------------------------------------------------------------------


def saved(path: Path, text: str = "text") -> FileStore:
    store = FileStore(path)
    store.save(text)
    return store


def test_the_file_and_the_folder_it_makes_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        saved(tmp_path / "new" / "session").try_lock()
    finally:
        os.umask(before)
    for path in (tmp_path / "new" / "session", tmp_path / "new" / "session.lock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    store = saved(tmp_path / "session")
    store.path.chmod(mode)
    with pytest.raises(StoreFailed, match="chmod 600"):
        store.load()
    # signing in makes it private again
    store.save("new")
    assert store.load() == "new"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    store = saved(tmp_path / "session")
    os.chown(store.path, 12345, 12345)
    with pytest.raises(StoreFailed, match="another user"):
        store.load()


def test_a_write_that_fails_leaves_the_text_before_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = saved(tmp_path / "session")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left"):
        store.save("new")
    assert store.load() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["session"]


DIES_IN_A_WRITE = """
import os, sys
from ratchet_client import FileStore
store = FileStore(sys.argv[1])
assert store.try_lock()
os.fsync = lambda _: os.kill(os.getpid(), 9)
store.save("its token")
"""


def test_a_draft_of_somebody_who_died_is_gone_after_the_next_write(tmp_path: Path) -> None:
    program = [sys.executable, "-c", DIES_IN_A_WRITE, str(tmp_path / "session")]
    assert subprocess.run(program, check=False, timeout=30).returncode == -signal.SIGKILL
    (draft,) = tmp_path.glob(".session*")
    assert draft.stat().st_mode & 0o777 == 0o600
    saved(tmp_path / "session")
    assert {path.name for path in tmp_path.iterdir()} == {"session", "session.lock"}


def test_who_reads_while_another_writes_sees_the_one_text_or_the_other(tmp_path: Path) -> None:
    """a reader that has the file open keeps the whole old text"""
    store = saved(tmp_path / "session", "old" * 1000)
    with store.path.open() as open_file:
        assert open_file.read(3) == "old"
        store.save("new")
        assert open_file.read() == "old" * 999
    assert store.load() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "session")
    saved(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "session").read_text() == "text"


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_what_cannot_be_read_is_a_failed_store(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "session"
    if content is None:
        path.mkdir(mode=0o700)
    else:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(StoreFailed):
        FileStore(path).load()


def test_a_folder_that_is_none_is_a_failed_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed):
        FileStore(tmp_path / "file" / "session")


# --- whoever has the lock dies -------------------------------------------------------------------

HOLDER = """
import sys, time
from ratchet_client import FileStore
assert FileStore(sys.argv[1]).try_lock()
print("locked", flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_process_that_was_killed_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "session"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        store = FileStore(path)
        assert not store.try_lock()
        holder.send_signal(signal.SIGKILL)
    assert store.try_lock()
    store.unlock()


FORK = """
import os, sys
from ratchet_client import FileStore
store = FileStore(sys.argv[1])
assert store.try_lock()
child_is_ready, ready = os.pipe()
child = os.fork()
if child == 0:
    # not its lock; and it does not hold it for a parent that is gone
    assert not store.try_lock()
    os.write(ready, b"!")
    sys.stdin.read()
    assert store.try_lock()
    print("free", flush=True)
    os._exit(0)
os.read(child_is_ready, 1)
os.kill(os.getpid(), 9)
"""


def test_a_child_that_was_forked_in_the_middle_holds_nothing(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORK, tmp_path / "session"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        program.wait(timeout=30)
        assert program.returncode == -signal.SIGKILL
        output, _ = program.communicate(b"go on", timeout=30)
    assert output.splitlines()[-1] == b"free"


# --- the key store -------------------------------------------------------------------------------


def test_a_key_store_that_is_locked_is_a_failed_store(tmp_path: Path, backend: InMemory) -> None:
    store = KeyringStore("shop", "ada", folder=tmp_path)
    store.save("text")
    assert backend.entries == {("shop", "ada"): "text"}
    backend.locked = True
    with pytest.raises(StoreFailed, match="KeyringLocked"):
        store.load()
    with pytest.raises(StoreFailed, match="PasswordSetError"):
        store.save("new")


def test_what_was_removed_is_as_if_it_had_never_been(tmp_path: Path, backend: InMemory) -> None:
    for store in (FileStore(tmp_path / "session"), KeyringStore("shop", "ada", folder=tmp_path)):
        store.save("text")
        for _ in range(2):
            store.remove()
            assert store.load() is None
    assert backend.entries == {}
    backend.locked = True
    with pytest.raises(StoreFailed, match="KeyringLocked"):
        KeyringStore("shop", "ada", folder=tmp_path).remove()


def test_two_entries_have_two_locks(tmp_path: Path, backend: InMemory) -> None:
    ada, bob = (KeyringStore("shop", name, folder=tmp_path) for name in ("ada", "bob"))
    assert ada.try_lock()
    assert bob.try_lock()
    ada.unlock()
    bob.unlock()
    # and the file that is the lock says nothing
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"", b""]


# --- what is imported ----------------------------------------------------------------------------

IMPORTS = """
import sys
import ratchet_client
for name in ("httpx", "requests", "keyring", "boto3", "botocore", "ratchet", "asyncio"):
    assert name not in sys.modules, name
"""


def test_the_package_itself_imports_no_library() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
