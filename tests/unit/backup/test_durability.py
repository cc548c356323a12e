"""Flushing and reserving: the real calls, and what happens when they fail."""

import errno
import os
import threading
from pathlib import Path

import pytest

from walpy.backup import durability
from walpy.backup.durability import FileSystems, reserve, start_writing, sync_file
from walpy.errors import BackupError


class Libc:
    """A C library whose functions fail with one error, or, without a number, are missing."""

    def __init__(self, number: int = 0) -> None:
        if number:
            self.syncfs = self.fallocate = self._fail
            self.number = number

    def _fail(self, *arguments: object) -> int:
        durability.ctypes.set_errno(self.number)
        return -1


def test_the_real_calls_succeed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with FileSystems([str(tmp_path), str(tmp_path / "a")]) as file_systems:
        with (tmp_path / "a/file").open("wb") as file:
            reserve(file.fileno(), 1 << 20)
            assert os.fstat(file.fileno()).st_size == 1 << 20
            assert os.fstat(file.fileno()).st_blocks * 512 >= 1 << 20
            start_writing(file.fileno(), 0, 1 << 20)
        file_systems.sync()
    sync_file(str(tmp_path / "a/file"))


def test_each_file_system_is_flushed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(durability, "_sync", lambda directory, descriptor, failures: flushed.append(directory))
    (tmp_path / "a").mkdir()
    with FileSystems([str(tmp_path), str(tmp_path / "a"), "/proc"]) as file_systems:
        file_systems.sync()
    assert sorted(flushed) == sorted([str(tmp_path), "/proc"])


def test_a_failed_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_LIBC", Libc(errno.EIO))
    with FileSystems([str(tmp_path)]) as file_systems, pytest.raises(BackupError, match="Input/output error"):
        file_systems.sync()


def test_without_syncfs_everything_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()
    monkeypatch.setattr(durability, "_LIBC", Libc())
    monkeypatch.setattr(durability.os, "sync", called.set)
    with FileSystems([str(tmp_path)]) as file_systems:
        file_systems.sync()
    assert called.is_set()


def test_only_a_full_disk_makes_a_reservation_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_LIBC", Libc(errno.EOPNOTSUPP))
    reserve(0, 1)
    monkeypatch.setattr(durability, "_LIBC", Libc())
    reserve(0, 1)
    monkeypatch.setattr(durability, "_LIBC", Libc(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        reserve(0, 1)
