"""kill -9 at any moment, and signals that ask a command to end, even in a call that hangs."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.walpy_process import start_walpy, walpy
from tests.unit.wal.synthetic import FIRST, DataDirectory, archive_in, content, segment, stored
from walpy.wal.segment import MIB

ROUNDS = 12
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    (tmp_path / "archive").mkdir()
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {
        "WALG_FILE_PREFIX": str(tmp_path / "archive"),
        "WALG_DOWNLOAD_CONCURRENCY": "1",
        "WALG_COMPRESSION_METHOD": "lzma",  # slow, so that most kills hit the transfer itself
    }


def kill_sometime(process: "subprocess.Popen[str]", longest: float, chance: random.Random) -> bool:
    """Kill a process after a random time of at most longest seconds; whether it was still running."""
    with process:
        try:
            process.communicate(timeout=chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
    return False


def test_a_killed_push_leaves_nothing_partial(data: DataDirectory, settings: dict[str, str], tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD="lzma")
    chance = random.Random(1)
    names = [f"0000000100000000000000{number:02X}" for number in range(1, ROUNDS + 1)]
    for name in names:
        data.add(name, ready=True)
    longest = run_time("wal-push", f"pg_wal/{names[0]}", cwd=data.path, settings=settings)
    kills = 0
    for name in names:
        kills += kill_sometime(start_walpy("wal-push", f"pg_wal/{name}", cwd=data.path, **settings), longest, chance)
        for stored_name in stored(archive):
            base = os.path.basename(stored_name).removesuffix(".lzma")
            assert content(archive, base) == segment(base)
        assert walpy("wal-push", f"pg_wal/{name}", cwd=data.path, **settings).returncode == 0
        assert content(archive, name) == segment(name)
    assert kills


def test_a_killed_fetch_leaves_nothing_partial(data: DataDirectory, settings: dict[str, str], tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD="lzma")
    archive.put_wal(FIRST, [segment(FIRST)])
    chance = random.Random(2)
    destination = data.wal / "RECOVERYXLOG"
    command = ("wal-fetch", FIRST, "pg_wal/RECOVERYXLOG")
    longest = run_time(*command, cwd=data.path, settings=settings)
    kills = 0
    for _ in range(ROUNDS):
        destination.unlink(missing_ok=True)
        kills += kill_sometime(start_walpy(*command, cwd=data.path, **settings), longest, chance)
        assert not destination.exists() or destination.read_bytes() == segment(FIRST)
    assert kills
    assert walpy(*command, cwd=data.path, **settings).returncode == 0
    assert destination.read_bytes() == segment(FIRST)
    assert sorted(os.listdir(data.wal)) == ["RECOVERYXLOG", "archive_status"]


def run_time(*arguments: str, cwd: Path, settings: dict[str, str]) -> float:
    """Seconds of one undisturbed run."""
    started = time.monotonic()
    assert walpy(*arguments, cwd=cwd, **settings).returncode == 0
    return time.monotonic() - started


class SilentServer:
    """Accepts connections and never answers; asked is set by the first request."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self.asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                if connection.recv(1):
                    self.asked.set()

    def close(self) -> None:
        """Hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


def s3_settings(server: SilentServer) -> dict[str, str]:
    return {
        "WALG_S3_PREFIX": "s3://bucket/prefix",
        "AWS_ENDPOINT": f"http://127.0.0.1:{server.port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_S3_FORCE_PATH_STYLE": "true",
        "WALG_DOWNLOAD_CONCURRENCY": "1",
    }


def signalled(process: "subprocess.Popen[str]", number: int) -> int:
    """Send a signal; the process's return code, which must come within two seconds."""
    started = time.monotonic()
    with process:
        process.send_signal(number)
        process.communicate()
        assert time.monotonic() - started < 2.5  # half a second for a busy machine
    return process.returncode


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_push_whose_storage_hangs(data: DataDirectory, silent: SilentServer, number: int) -> None:
    data.add(FIRST)
    process = start_walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **s3_settings(silent))
    assert silent.asked.wait(30)
    assert signalled(process, number) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_fetch_whose_storage_hangs(data: DataDirectory, silent: SilentServer, number: int) -> None:
    process = start_walpy("wal-fetch", FIRST, "pg_wal/RECOVERYXLOG", cwd=data.path, **s3_settings(silent))
    assert silent.asked.wait(30)
    assert signalled(process, number) in (-number, 128 + number)
    assert os.listdir(data.wal) == ["archive_status"]


def test_a_signal_in_the_middle_of_a_fetch_leaves_no_temporary_file(
    data: DataDirectory, settings: dict[str, str], tmp_path: Path
) -> None:
    archive = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD="lzma")
    name = "000000010000000000000001"
    archive.put_wal(name, [segment(name, size=64 * MIB)])
    process = start_walpy("wal-fetch", name, str(tmp_path / "out"), cwd=tmp_path, **settings)
    while not any(entry.startswith(".out") for entry in os.listdir(tmp_path)):
        assert process.poll() is None
    assert signalled(process, signal.SIGTERM) == -signal.SIGTERM
    assert sorted(os.listdir(tmp_path)) == ["archive", "data"]


def test_an_ignored_signal_stays_ignored(data: DataDirectory, settings: dict[str, str]) -> None:
    data.add(FIRST)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start_walpy("wal-push", f"pg_wal/{FIRST}", cwd=data.path, **settings)
    finally:
        signal.signal(signal.SIGHUP, previous)
    with process:
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
        process.communicate()
    assert process.returncode == 0
