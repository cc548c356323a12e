"""The real calls, and what their callers see when they fail or are missing."""

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from walpy import kernel
from walpy.kernel import reserve, start_writing, sync_file_system


class Libc:
    """A C library whose functions fail with one error, or, without a number, are missing."""

    def __init__(self, number: int = 0) -> None:
        if number:
            self.syncfs = self.fallocate = self._fail
            self.number = number

    def _fail(self, *arguments: object) -> int:
        ctypes.set_errno(self.number)
        return -1


def test_the_real_calls_succeed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        reserve(file.fileno(), 1 << 20)
        assert os.fstat(file.fileno()).st_size == 1 << 20
        assert os.fstat(file.fileno()).st_blocks * 512 >= 1 << 20
        start_writing(file.fileno(), 0, 1 << 20)
        sync_file_system(file.fileno())


def test_a_failed_flush_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_LIBC", Libc(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_file_system(0)


def test_without_syncfs_everything_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()
    monkeypatch.setattr(kernel, "_LIBC", Libc())
    monkeypatch.setattr(os, "sync", called.set)
    sync_file_system(0)
    assert called.is_set()


def test_only_a_full_disk_makes_a_reservation_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_LIBC", Libc(errno.EOPNOTSUPP))
    reserve(0, 1)
    monkeypatch.setattr(kernel, "_LIBC", Libc())
    reserve(0, 1)
    monkeypatch.setattr(kernel, "_LIBC", Libc(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        reserve(0, 1)
