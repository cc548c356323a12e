"""One backup per cluster: refused while held, free after any end of the holder."""

import fcntl
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from walpy.backup import lock
from walpy.backup.lock import backup_lock
from walpy.errors import BackupError

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from walpy.backup.lock import backup_lock
with backup_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_directory(tmp_path: Path) -> Path:
    (tmp_path / "pg_wal").mkdir()
    return tmp_path


def holder(data_directory: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_second_backup_is_refused_and_told_who_runs(data_directory: Path) -> None:
    with holder(data_directory) as process:
        with pytest.raises(BackupError) as caught, backup_lock(str(data_directory)):
            raise AssertionError("got the lock")
        assert f"(pid {process.pid}, started 20" in str(caught.value)
        process.kill()
    with backup_lock(str(data_directory)):
        text = (data_directory / "pg_wal" / "walg_data" / lock.LOCK_FILE).read_text()
    assert re.fullmatch(rf"pid {os.getpid()}, started \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", text)


def test_the_lock_is_free_again(data_directory: Path) -> None:
    for _ in range(2):
        with backup_lock(str(data_directory)):
            pass


def test_without_a_place_for_the_file_the_directory_is_locked(data_directory: Path) -> None:
    (data_directory / "pg_wal").rmdir()
    (data_directory / "pg_wal").write_text("no directory")
    with backup_lock(str(data_directory)):
        with pytest.raises(BackupError, match="another backup"), backup_lock(str(data_directory)):
            raise AssertionError("got the lock")
        assert [path.name for path in data_directory.iterdir()] == ["pg_wal"]


def test_a_file_system_without_locks_is_only_a_warning(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with caplog.at_level(logging.WARNING), backup_lock(str(data_directory)):
        pass
    assert "No locks available" in caplog.text


def test_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="missing"), backup_lock(str(tmp_path / "missing")):
        raise AssertionError("got the lock")
    assert not (tmp_path / "missing").exists()
