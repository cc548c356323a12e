"""Flushing whole file systems."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from walpy.backup import durability
from walpy.backup.durability import FLUSH_SIZE, EarlyFlush, FileSystems, sync_file
from walpy.errors import BackupError


def test_the_real_calls_succeed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with FileSystems([str(tmp_path), str(tmp_path / "a")]) as file_systems:
        (tmp_path / "a/file").write_bytes(b"data")
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
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durability, "sync_file_system", fail)
    with FileSystems([str(tmp_path)]) as file_systems, pytest.raises(BackupError, match="Input/output error"):
        file_systems.sync()


def test_a_file_is_flushed_early_when_much_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushing, go_on = threading.Event(), threading.Event()
    flushed: list[str] = []

    def flush(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        flushing.set()
        go_on.wait(10)
        raise OSError(5, "Input/output error")  # the flush at the end tells it

    monkeypatch.setattr(os, "fdatasync", flush)
    early = EarlyFlush()
    with (tmp_path / "a").open("wb") as first, (tmp_path / "b").open("wb") as second:
        early.note(first.fileno(), FLUSH_SIZE - 1)
        assert flushed == []
        early.note(first.fileno(), 1)
        assert flushing.wait(10)
        early.note(second.fileno(), FLUSH_SIZE)  # one at a time
        assert flushed == [str(tmp_path / "a")]
        go_on.set()
        wait_until(lambda: not early._under_way.locked())
        early.note(second.fileno(), 1)  # what could not begin then counts still
        wait_until(lambda: len(flushed) == 2)
    assert flushed[1] == str(tmp_path / "b")


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")
