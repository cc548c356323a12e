"""wal-fetch from a folder: what is handed over, what is refused, and with which exit code."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import (
    FIRST,
    OTHER_SYSTEM_IDENTIFIER,
    DataDirectory,
    archive_in,
    segment,
)
from walpy.archive import Archive
from walpy.errors import ConfigError, DataCorrupt, ObjectMissing, StorageError, StorageUnavailable, WalpyError
from walpy.storage.base import Chunk
from walpy.wal import fetch
from walpy.wal.fetch import failure_code, take_prefetched, wal_fetch
from walpy.wal.files import IncomingFile

HISTORY = "00000002.history"
SECOND = "000000010000000000000002"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return archive_in(tmp_path / "archive", WALG_PG_WAL_SIZE="1")


def recovery(data: DataDirectory) -> str:
    return str(data.wal / "RECOVERYXLOG")


@pytest.mark.parametrize("name", [FIRST, f"{FIRST}.partial", HISTORY, f"{FIRST}.00000028.backup", "0SEGMENT"])
@pytest.mark.parametrize("method", ["lz4", "none", "zstd"])
def test_every_kind_of_file_by_every_codec(data: DataDirectory, tmp_path: Path, name: str, method: str) -> None:
    written_by = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD=method)
    written_by.put_wal(name, [segment(FIRST)])
    wal_fetch(archive_in(tmp_path / "archive"), name, recovery(data))
    assert Path(recovery(data)).read_bytes() == segment(FIRST)
    assert set(os.listdir(data.wal)) - {".wal-g"} == {"RECOVERYXLOG", "archive_status"}


def test_a_relative_destination(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    monkeypatch.chdir(data.path)
    wal_fetch(archive, FIRST, "pg_wal/RECOVERYXLOG")
    assert Path(recovery(data)).read_bytes() == segment(FIRST)


def test_an_existing_destination_is_replaced(data: DataDirectory, archive: Archive) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    Path(recovery(data)).write_bytes(b"old and longer" * 200_000)
    wal_fetch(archive, FIRST, recovery(data))
    assert Path(recovery(data)).read_bytes() == segment(FIRST)


def test_a_linked_destination_stays_a_link(archive: Archive, tmp_path: Path) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    wal_fetch(archive, FIRST, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == segment(FIRST)


def test_destinations_that_cannot_be(archive: Archive, tmp_path: Path) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for destination, words in [
        ("nodir/out", "no such file or directory"),
        ("pipe", "not a regular file"),
        ("archive", "not a regular file"),
        ("file/out", "not a directory"),
    ]:
        with pytest.raises(WalpyError, match=f"open .*{destination}: {words}") as failure:
            wal_fetch(archive, FIRST, str(tmp_path / destination))
        assert not isinstance(failure.value, ObjectMissing)


@pytest.mark.parametrize("name", [FIRST, HISTORY])
def test_absence_is_told_in_walgs_words(data: DataDirectory, archive: Archive, name: str) -> None:
    Path(recovery(data)).write_bytes(b"old")
    with pytest.raises(ObjectMissing, match=rf"^Archive '{name}' does not exist\.$"):
        wal_fetch(archive, name, recovery(data))
    assert Path(recovery(data)).read_bytes() == b"old"


def test_a_storage_that_is_not_there_proves_nothing(data: DataDirectory, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "archive").rename(tmp_path / "unmounted")
    with pytest.raises(StorageError) as failure:
        wal_fetch(archive, FIRST, recovery(data))
    assert not isinstance(failure.value, ObjectMissing)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        segment(FIRST)[: 512 << 10],
        bytes(1 << 20),
        segment(SECOND),
        segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER),
    ],
)
def test_a_wrong_segment_is_not_handed_to_postgresql(
    data: DataDirectory, archive: Archive, tmp_path: Path, wrong: bytes
) -> None:
    archive.put_wal(FIRST, [wrong])
    with pytest.raises(DataCorrupt):
        wal_fetch(archive, FIRST, recovery(data))
    assert os.listdir(data.wal) == ["archive_status"]
    if wrong:
        wal_fetch(archive, FIRST, str(tmp_path / "by-hand"))
        assert (tmp_path / "by-hand").read_bytes() == wrong


@pytest.mark.parametrize("size", [0, 3000, -1])
def test_a_truncated_object(data: DataDirectory, archive: Archive, tmp_path: Path, size: int) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    path = tmp_path / f"archive/wal_005/{FIRST}.lz4"
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    for destination in (recovery(data), str(tmp_path / "by-hand")):
        with pytest.raises(DataCorrupt):
            wal_fetch(archive, FIRST, destination)
        assert not os.path.exists(destination)
    assert os.listdir(data.wal) == ["archive_status"]


def test_an_empty_plain_object(tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD="none")
    archive.put_bytes(f"wal_005/{HISTORY}", b"")
    with pytest.raises(DataCorrupt, match="empty"):
        wal_fetch(archive, HISTORY, str(tmp_path / "out"))


def test_a_broken_download_leaves_the_destination_alone(data: DataDirectory, archive: Archive) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    Path(recovery(data)).write_bytes(b"old")

    def decode(_extension: str, _chunks: object) -> Iterator[Chunk]:
        yield segment(FIRST)[:1000]
        raise StorageUnavailable("broken")

    archive.decode = decode  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable):
        wal_fetch(archive, FIRST, recovery(data))
    assert Path(recovery(data)).read_bytes() == b"old"
    assert sorted(os.listdir(data.wal)) == ["RECOVERYXLOG", "archive_status"]


def test_exit_codes(data: DataDirectory, tmp_path: Path) -> None:
    broken = StorageUnavailable("gone")
    inside, outside = recovery(data), str(tmp_path / "out")
    assert failure_code(ObjectMissing("x"), inside) == 74
    assert failure_code(ObjectMissing("x"), outside) == 74
    for error in (broken, DataCorrupt("x"), ConfigError("x"), ValueError("x")):
        assert failure_code(error, inside) == 200
        assert failure_code(error, outside) == 1
    (data.path / "standby.signal").touch()
    assert failure_code(broken, inside) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [("standby_mode = 'on'", 1), ("standby_mode=true", 1), ("#standby_mode = 'on'", 200), ("standby_mode = off", 200)],
)
def test_exit_codes_with_a_recovery_conf(data: DataDirectory, line: str, code: int) -> None:
    (data.path / "recovery.conf").write_text(f"restore_command = 'x'\n{line}\n")
    assert failure_code(StorageUnavailable("gone"), recovery(data)) == code


def prefetched(folder: Path, name: str, content: bytes) -> Path:
    path = folder / ".wal-g/prefetch" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_prefetched_file_is_moved_without_asking_the_storage(data: DataDirectory, archive: Archive) -> None:
    path = prefetched(data.wal, FIRST, segment(FIRST))
    inode = path.stat().st_ino
    assert take_prefetched(archive.config, FIRST, recovery(data))
    assert Path(recovery(data)).stat().st_ino == inode
    assert not path.exists()


def test_a_prefetch_folder_of_its_own(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_PREFETCH_DIR=str(tmp_path / "fast"))
    prefetched(tmp_path / "fast", FIRST, segment(FIRST))
    assert take_prefetched(archive.config, FIRST, recovery(data))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        segment(FIRST)[:5000],
        bytes(1 << 20),
        segment(SECOND),
        segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER),
    ],
)
def test_a_wrong_prefetched_file_is_removed_and_the_archive_asked(
    data: DataDirectory, archive: Archive, wrong: bytes
) -> None:
    path = prefetched(data.wal, FIRST, wrong)
    archive.put_wal(FIRST, [segment(FIRST)])
    wal_fetch(archive, FIRST, recovery(data))
    assert Path(recovery(data)).read_bytes() == segment(FIRST)
    assert not path.exists()


def test_outside_a_data_directory_the_size_has_to_do(archive: Archive, tmp_path: Path) -> None:
    random = os.urandom(1 << 20)
    prefetched(tmp_path, FIRST, random)
    prefetched(tmp_path, SECOND, random[:-1])
    assert take_prefetched(archive.config, FIRST, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == random
    assert not take_prefetched(archive.config, SECOND, str(tmp_path / "out"))


def test_across_file_systems(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prefetched(data.wal, FIRST, segment(FIRST))
    rename = os.rename

    def rename_within(source: str, target: str) -> None:
        if source == str(path):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_within)
    assert take_prefetched(archive.config, FIRST, recovery(data))
    assert Path(recovery(data)).read_bytes() == segment(FIRST)
    assert not path.exists()
    assert "RECOVERYXLOG" in os.listdir(data.wal)


def test_a_destination_that_cannot_be_is_no_reason_to_lose_a_prefetched_file(archive: Archive, tmp_path: Path) -> None:
    fast = archive_in(tmp_path / "archive", WALG_PG_WAL_SIZE="1", WALG_PREFETCH_DIR=str(tmp_path))
    path = prefetched(tmp_path, FIRST, segment(FIRST))
    with pytest.raises(WalpyError, match="no such file or directory"):
        take_prefetched(fast.config, FIRST, str(tmp_path / "nodir/out"))
    assert path.exists()


def test_a_prefetch_under_way_is_waited_for(data: DataDirectory, archive: Archive) -> None:
    path = prefetched(data.wal, FIRST, b"")
    path.unlink()
    (path.parent / "running").mkdir()
    running = IncomingFile(str(path.parent / "running" / FIRST), str(path))
    began = threading.Event()

    def finish() -> None:
        began.wait()
        with running:
            running.write(segment(FIRST))
            running.commit()

    thread = threading.Thread(target=finish)
    thread.start()
    began.set()
    assert take_prefetched(archive.config, FIRST, recovery(data))
    thread.join()


def test_a_prefetch_that_does_not_grow_is_not_waited_for(
    data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "STALLED_SECONDS", 0.02)
    path = prefetched(data.wal, FIRST, b"")
    path.unlink()
    (path.parent / "running").mkdir()
    with IncomingFile(str(path.parent / "running" / FIRST), str(path)) as running:
        running.write(b"some")
        assert not take_prefetched(archive.config, FIRST, recovery(data))


def test_what_a_killed_prefetch_left_is_not_waited_for(
    data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "STALLED_SECONDS", 3600.0)
    path = prefetched(data.wal, FIRST, b"")
    path.unlink()
    prefetched(data.wal, f"running/{FIRST}", b"some")
    assert not take_prefetched(archive.config, FIRST, recovery(data))


def test_two_fetches_to_the_same_destination(data: DataDirectory, archive: Archive) -> None:
    archive.put_wal(FIRST, [segment(FIRST)])
    with IncomingFile(str(data.wal / ".RECOVERYXLOG.walpy"), recovery(data)):
        wal_fetch(archive, FIRST, recovery(data))
        assert Path(recovery(data)).read_bytes() == segment(FIRST)
    assert sorted(os.listdir(data.wal)) == ["RECOVERYXLOG", "archive_status"]
