"""The SSH backend when the server fails: sessions and sshd killed, frozen, a full disk, a lost answer."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.ssh_server import SFTP_SERVER, SshServer, open_ssh
from tests.storage.contract import MIB, SourceFailed, content, names, odd_chunks, read
from walpy.errors import AccessDenied, DataCorrupt, ObjectExists, StorageError, StorageFull, StorageUnavailable
from walpy.storage.base import Chunk, Storage

LARGE = content(26 * MIB + 11)  # more than three segments


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with SshServer(tmp_path) as server:
        yield server
        server.thaw()


def files(server: SshServer) -> list[str]:
    """Every file of the archive, temporary ones too."""
    return sorted(str(path.relative_to(server.archive)) for path in server.archive.rglob("*") if path.is_file())


def chunks_with(data: bytes, at: int, trouble: Callable[[], object]) -> Iterator[Chunk]:
    """Data in pieces; trouble happens once that many bytes were taken."""
    for start in range(0, len(data), MIB):
        if start <= at < start + MIB:
            trouble()
        yield data[start : start + MIB]


@pytest.mark.parametrize("create_only", [False, True])
@pytest.mark.parametrize("at", [0, 5 * MIB, 13 * MIB, 26 * MIB])
def test_a_put_goes_on_after_its_session_was_killed(server: SshServer, at: int, create_only: bool) -> None:
    with open_ssh(server) as storage:
        chunks = chunks_with(LARGE, at, server.kill_sessions)
        assert storage.put("folder/a", chunks, create_only=create_only) == len(LARGE)
        assert read(storage, "folder/a") == LARGE
    assert files(server) == ["folder/a"]


def test_a_put_goes_on_after_several_kills_and_a_restart(server: SshServer) -> None:
    def restart() -> None:
        server.kill()
        threading.Timer(1, server.start).start()

    with open_ssh(server) as storage:
        chunks: Iterator[Chunk] = chunks_with(LARGE, 3 * MIB, server.kill_sessions)
        assert storage.put("a", (chunk for chunk in chunks)) == len(LARGE)
        assert storage.put("b", chunks_with(LARGE, 17 * MIB, restart)) == len(LARGE)
        assert read(storage, "a") == read(storage, "b") == LARGE
    assert files(server) == ["a", "b"]


def test_a_put_fails_when_the_server_stays_away(server: SshServer) -> None:
    with open_ssh(server, WALPY_STORAGE_DEADLINE="2s") as storage:
        started = time.monotonic()
        with pytest.raises(StorageUnavailable, match="upload of 'a' failed"):
            storage.put("a", chunks_with(LARGE, 9 * MIB, server.kill))
        assert time.monotonic() - started < 8
        server.start()
        assert names(storage) == []
        assert storage.discard_unfinished("") == 1
    assert files(server) == []


def test_a_temporary_file_that_became_shorter_is_noticed(server: SshServer) -> None:
    """As after a crash of a server that lost what it said to be durable."""

    def crash() -> None:
        server.kill_sessions()
        for path in server.archive.iterdir():
            os.truncate(path, 5 * MIB)

    with open_ssh(server) as storage:
        with pytest.raises(StorageError, match="lost the temporary file"):
            storage.put("a", chunks_with(LARGE, 25 * MIB, crash))
        assert names(storage) == []
    assert files(server) == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_read_goes_on_after_a_kill(server: SshServer, restart: bool) -> None:
    with open_ssh(server) as storage:
        storage.put("a", odd_chunks(LARGE))
        with storage.open("a", offset=7) as reader:
            pieces: list[bytes] = []
            for chunk in reader:
                pieces.append(bytes(chunk))
                if len(pieces) == 10:
                    if restart:
                        server.kill()
                        server.start()
                    else:
                        server.kill_sessions()
        assert b"".join(pieces) == LARGE[7:]


@pytest.mark.parametrize("change", ["replaced", "shorter"])
def test_a_read_does_not_go_on_with_another_object(server: SshServer, change: str) -> None:
    with open_ssh(server) as storage:
        storage.put("a", odd_chunks(LARGE))
        with storage.open("a") as reader:
            chunks = iter(reader)
            next(chunks)
            if change == "replaced":
                storage.put("a", [b"other"])
                server.kill_sessions()
            else:
                os.truncate(server.archive / "a", 10 * MIB)
            with pytest.raises(DataCorrupt, match=r"changed|shorter"):
                b"".join(chunks)


@pytest.mark.parametrize("call", ["stat", "list", "put", "create", "open", "delete", "read"])
def test_a_server_that_hangs_ends_within_the_deadline(server: SshServer, call: str) -> None:
    with open_ssh(server, WALPY_STORAGE_DEADLINE="2s", WALPY_READ_TIMEOUT="60s") as storage:
        storage.put("a", [LARGE])
        reader = storage.open("a")
        calls: dict[str, Callable[[], object]] = {
            "stat": lambda: storage.stat("a"),
            "list": lambda: list(storage.list()),
            "put": lambda: storage.put("b", [LARGE]),
            "create": lambda: storage.put("b", [LARGE], create_only=True),
            "open": lambda: storage.open("a"),
            "delete": lambda: storage.delete(["a"]),
            "read": lambda: b"".join(reader),
        }
        server.freeze()
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            calls[call]()
        assert time.monotonic() - started < 7
        server.thaw()
        with reader:
            assert "b" not in files(server)


def test_a_server_that_hangs_from_the_start_ends_within_the_deadline(server: SshServer) -> None:
    server.freeze()
    started = time.monotonic()
    with (
        open_ssh(server, WALPY_STORAGE_DEADLINE="2s", WALPY_CONNECT_TIMEOUT="60s") as storage,
        pytest.raises(StorageUnavailable),
    ):
        storage.stat("a")
    assert time.monotonic() - started < 8


def test_no_server_at_all_is_unavailable(server: SshServer) -> None:
    server.kill()
    with (
        open_ssh(server, WALPY_STORAGE_DEADLINE="1s") as storage,
        pytest.raises(StorageUnavailable, match="Connection refused"),
    ):
        storage.stat("a")


def test_threads_that_share_a_broken_connection_all_go_on(server: SshServer) -> None:
    data = content(9 * MIB)
    with open_ssh(server) as storage:

        def work(number: int) -> bool:
            trouble = server.kill_sessions if number == 2 else lambda: None
            storage.put(f"t/{number}", chunks_with(data, 4 * MIB, trouble), create_only=True)
            return read(storage, f"t/{number}") == data

        with ThreadPoolExecutor(6) as threads:
            assert all(threads.map(work, range(6)))
    assert files(server) == [f"t/{number}" for number in range(6)]


def test_a_read_only_server_is_access_denied(tmp_path: Path) -> None:
    with (
        SshServer(tmp_path, subsystem=f"Subsystem sftp {SFTP_SERVER} -R") as server,
        open_ssh(server, WALPY_SSH_FSYNC="false") as storage,
    ):
        (server.archive / "a").write_bytes(b"x")
        for create_only in (False, True):
            with pytest.raises(AccessDenied) as caught:
                storage.put("b", [b"x"], create_only=create_only)
            assert "permission" in caught.value.hint
        with pytest.raises(AccessDenied):
            storage.delete(["a"])
        assert names(storage) == ["a"]


def test_a_full_disk_is_storage_full_and_nothing_stays(tmp_path: Path) -> None:
    with SshServer(tmp_path) as server, small_disk(server.archive), open_ssh(server) as storage:
        storage.put("small", [b"x"])
        for create_only in (False, True):
            with pytest.raises(StorageFull, match="no space left"):
                storage.put("a", odd_chunks(LARGE), create_only=create_only)
        assert files(server) == ["small"]
        storage.put("b", [b"y"])
        assert names(storage) == ["b", "small"]


class small_disk:  # noqa: N801
    """A file system of 3 MiB in place of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __enter__(self) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs", self._folder]
        if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            pytest.skip("only root can mount a small disk, where it is allowed")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", self._folder], check=True)


def test_an_interrupted_source_leaves_nothing_after_a_kill(server: SshServer) -> None:
    def kill_and_fail() -> None:
        server.kill_sessions()
        raise SourceFailed("the disk")

    with open_ssh(server) as storage, pytest.raises(SourceFailed):
        storage.put("a", chunks_with(LARGE, 20 * MIB, kill_and_fail))
    assert files(server) == []


# answers that are lost: the call is done, and the session killed before its answer


@pytest.fixture
def losing_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SshServer]:
    """A server whose first session does one system call, and then nothing any more."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    script = tmp_path / "once"
    script.write_text(
        f"#!/bin/sh\nif mkdir {tmp_path}/used 2>/dev/null\n"
        f"then exec strace -o /dev/null -e inject={request.param}:delay_exit=60000000:when=1 {SFTP_SERVER}\n"
        f"else exec {SFTP_SERVER}\nfi\n"
    )
    script.chmod(0o755)
    with SshServer(tmp_path, subsystem=f"Subsystem sftp {script}") as server:
        yield server


@pytest.mark.parametrize("losing_server", ["link", "linkat", "unlink", "fsync"], indirect=True)
def test_a_created_object_is_known_as_own_after_a_lost_answer(losing_server: SshServer) -> None:
    with open_ssh(losing_server, WALPY_READ_TIMEOUT="1s") as storage:
        assert storage.put("a", [b"mine"], create_only=True) == 4
        assert read(storage, "a") == b"mine"
        with pytest.raises(ObjectExists):
            storage.put("a", [b"mine"], create_only=True)
    assert files(losing_server) == ["a"]


@pytest.mark.parametrize("losing_server", ["link"], indirect=True)
def test_an_equal_object_of_another_is_not_taken_for_own(losing_server: SshServer) -> None:
    (losing_server.archive / "a").write_bytes(b"mine")
    with open_ssh(losing_server, WALPY_READ_TIMEOUT="1s") as storage, pytest.raises(ObjectExists):
        storage.put("a", [b"mine"], create_only=True)
    assert files(losing_server) == ["a"]


@pytest.mark.parametrize("losing_server", ["rename", "fsync"], indirect=True)
def test_a_replaced_object_after_a_lost_answer(losing_server: SshServer) -> None:
    (losing_server.archive / "a").write_bytes(b"old")
    with open_ssh(losing_server, WALPY_READ_TIMEOUT="1s") as storage:
        assert storage.put("a", [b"new one"]) == 7
        assert read(storage, "a") == b"new one"
    assert files(losing_server) == ["a"]


def test_closing_leaves_no_process_and_no_descriptor(server: SshServer) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_ssh(server) as storage:
            use(storage)
    assert len(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [child for child in children if Path(f"/proc/{child}/comm").read_text() == "ssh\n"] == []


def use(storage: Storage) -> None:
    """Put and read."""
    storage.put("a", [b"x"])
    assert read(storage, "a") == b"x"
