"""System calls of whole commands, as the kernel sees them: those that move, sync and name data are counted exactly."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fixtures.require import missing
from tests.integration.walpy_process import environment
from tests.unit.wal.synthetic import FIRST, DataDirectory, segment
from walpy.archive import WAL_PIECE_SIZES
from walpy.wal.segment import MIB, following_segment

SEGMENT_SIZE = 16 * MIB
SECOND = following_segment(FIRST, SEGMENT_SIZE)
PIECES = SEGMENT_SIZE // WAL_PIECE_SIZES["lz4"]
CALL = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)


class Trace:
    """The system calls of one command."""

    def __init__(self, text: str) -> None:
        self.calls = CALL.findall(text)
        self.counts = Counter(name for name, _ in self.calls)

    def with_argument(self, word: str, *names: str) -> int:
        """How many calls of some names have a word among their arguments."""
        return sum(1 for name, rest in self.calls if word in rest and (not names or name in names))

    def on_file(self, path: str, *names: str) -> int:
        """How many calls of some names are on an open file, by the path that strace shows for its descriptor."""
        return sum(1 for name, rest in self.calls if name in names and re.match(rf"\d+<{re.escape(path)}", rest))


@pytest.fixture(scope="module")
def strace() -> str:
    program = shutil.which("strace")
    if program is None:
        missing("strace", "strace is not installed")
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True).returncode:
        missing("strace", "processes must not be traced here")
    return program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


def run(strace: str, tmp_path: Path, folder: Path, *arguments: str) -> Trace:
    """Trace one walpy command."""
    log = tmp_path / "trace"
    settings = {"WALG_FILE_PREFIX": str(folder), "WALPY_AGENT": "off", "WALG_DOWNLOAD_CONCURRENCY": "1"}
    settings |= {"PYTHONDONTWRITEBYTECODE": "1"}  # compiled modules are written and renamed once
    subprocess.run(
        [strace, "-f", "-y", "-s", "256", "-o", str(log), sys.executable, "-m", "walpy", *arguments],
        cwd=tmp_path,
        env=environment(settings),
        check=True,
        capture_output=True,
        timeout=120,
    )
    return Trace(log.read_text(errors="replace"))


def test_a_push_to_a_folder(strace: str, tmp_path: Path, folder: Path) -> None:
    for name in (FIRST, SECOND):
        (tmp_path / name).write_bytes(segment(name, size=SEGMENT_SIZE))
    run(strace, tmp_path, folder, "wal-push", str(tmp_path / FIRST))
    trace = run(strace, tmp_path, folder, "wal-push", str(tmp_path / SECOND))
    source = str(tmp_path / SECOND)
    assert trace.with_argument(source, "openat") == 1
    assert trace.on_file(source, "preadv", "preadv2") == PIECES + 1  # the last one finds the end
    assert trace.counts["fsync"] == 2  # the object, the folder
    assert trace.with_argument("O_TMPFILE", "openat") == trace.counts["linkat"] == 1
    assert trace.on_file(str(folder / "wal_005"), "write") == PIECES + 2  # and the frame's head and tail
    assert_alone(trace)


def test_a_fetch_from_a_folder(strace: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / FIRST).write_bytes(segment(FIRST, size=SEGMENT_SIZE))
    run(strace, tmp_path, folder, "wal-push", str(tmp_path / FIRST))
    stored = folder / f"wal_005/{FIRST}.lz4"
    trace = run(strace, tmp_path, folder, "wal-fetch", FIRST, str(tmp_path / "target"))
    assert (tmp_path / "target").stat().st_size == SEGMENT_SIZE
    assert trace.with_argument(f"wal_005/{FIRST}", "openat") == 1
    assert trace.on_file(str(stored), "preadv", "preadv2") <= stored.stat().st_size // MIB + 2
    assert trace.counts["fsync"] + trace.counts["fdatasync"] == 0  # PostgreSQL fetches again after a crash
    assert trace.counts["rename"] == 1
    assert trace.on_file(str(tmp_path / ".target.walpy"), "write") == PIECES
    assert_alone(trace)


def test_a_marked_segment_opens_no_storage(strace: str, tmp_path: Path, folder: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    paths = [data.add(name, ready=True) for name in (FIRST, following_segment(FIRST, MIB))]
    run(strace, tmp_path, folder, "wal-push", paths[0])
    trace = run(strace, tmp_path, folder, "wal-push", paths[1])
    assert trace.with_argument(str(folder), "openat", "stat", "newfstatat") == 0
    assert trace.counts["fsync"] == 0


def assert_alone(trace: Trace) -> None:
    """No process, no connection, and of threads those that watch for signals and help with pieces."""
    assert trace.counts["execve"] == 1
    assert trace.counts["fork"] + trace.counts["vfork"] + trace.with_argument("AF_INET", "connect") == 0
    threads = trace.counts["clone"] + trace.counts["clone3"]
    assert threads <= 1 + min(len(os.sched_getaffinity(0)) - 1, 3)
