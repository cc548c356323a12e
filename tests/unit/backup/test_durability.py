"""Flushing whole file systems."""

from pathlib import Path

import pytest

from walpy.backup import durability
from walpy.backup.durability import FileSystems, sync_file
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
