"""wal-prefetch from a folder."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import FIRST, OTHER_SYSTEM_IDENTIFIER, DataDirectory, archive_in, segment
from walpy.archive import Archive
from walpy.errors import ConfigError, InvalidWal
from walpy.storage.base import Chunk
from walpy.wal import prefetch
from walpy.wal.fetch import take_prefetched, wal_fetch
from walpy.wal.files import IncomingFile
from walpy.wal.prefetch import PrefetchFolder, is_prefetch_due, wal_prefetch
from walpy.wal.segment import following_segment

MIB = 1 << 20


def names(first: int, last: int, timeline: int = 1) -> list[str]:
    return [f"{timeline:08X}00000000{number:08X}" for number in range(first, last + 1)]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = archive_in(tmp_path / "archive", WALG_DOWNLOAD_CONCURRENCY="4")
    for name in names(1, 9):
        archive.put_wal(name, [segment(name)])
    return archive


def location(data: DataDirectory) -> str:
    return str(data.wal / "RECOVERYXLOG")


def folder_of(data: DataDirectory) -> Path:
    return data.wal / ".wal-g/prefetch"


def finished(data: DataDirectory) -> list[str]:
    return sorted(set(os.listdir(folder_of(data))) - {"running", ".walpy.lock"})


def test_the_next_segments_wait_for_recovery(data: DataDirectory, archive: Archive) -> None:
    wal_prefetch(archive, FIRST, location(data))
    assert finished(data) == names(2, 5)
    assert os.listdir(folder_of(data) / "running") == []
    for name in names(2, 5):
        assert (folder_of(data) / name).read_bytes() == segment(name)
        assert take_prefetched(archive.config, name, location(data))
    assert finished(data) == []


def test_the_archive_may_end(data: DataDirectory, archive: Archive) -> None:
    wal_prefetch(archive, names(7, 7)[0], location(data))
    assert finished(data) == names(8, 9)


def test_recovery_may_change_its_timeline(data: DataDirectory, archive: Archive) -> None:
    for name in names(4, 6, timeline=2):
        archive.put_wal(name, [segment(name)])
    wal_prefetch(archive, FIRST, location(data))
    wal_fetch(archive, names(4, 4, timeline=2)[0], location(data))
    wal_prefetch(archive, names(4, 4, timeline=2)[0], location(data))
    assert finished(data) == names(5, 6, timeline=2)


def test_what_recovery_has_passed_goes_and_what_is_there_stays(data: DataDirectory, archive: Archive) -> None:
    (folder_of(data) / "running").mkdir(parents=True)
    for name in [*names(1, 9), "notes.txt"]:
        (folder_of(data) / name).write_bytes(b"there")
    for name in names(1, 9):
        (folder_of(data) / "running" / name).write_bytes(b"left behind")
    wal_prefetch(archive, names(3, 3)[0], location(data))
    assert finished(data) == [*names(3, 7), "notes.txt"]
    assert (folder_of(data) / names(4, 4)[0]).read_bytes() == b"there"
    assert os.listdir(folder_of(data) / "running") == []


def test_damaged_and_foreign_segments_are_not_kept(data: DataDirectory, archive: Archive, tmp_path: Path) -> None:
    second = names(2, 2)[0]
    os.truncate(tmp_path / f"archive/wal_005/{second}.lz4", 3000)
    wal_prefetch(archive, FIRST, location(data))
    assert second not in finished(data)
    archive.storage.delete([f"wal_005/{second}.lz4"])
    archive.put_wal(second, [segment(second, system_identifier=OTHER_SYSTEM_IDENTIFIER)])
    wal_prefetch(archive, FIRST, location(data))
    assert second not in finished(data)
    assert os.listdir(folder_of(data) / "running") == []


def test_one_prefetcher_at_a_time(data: DataDirectory, archive: Archive) -> None:
    data.serve()
    with first_download_blocked(archive) as (started, go_on):
        thread = threading.Thread(target=wal_prefetch, args=(archive, FIRST, location(data)))
        thread.start()
        started.wait()
        assert not is_prefetch_due(archive.config, FIRST, location(data))
        wal_prefetch(archive_in(Path(archive.config.prefix())), names(6, 6)[0], location(data))
        assert not set(names(7, 9)) & set(finished(data))
        go_on.set()
        thread.join()
    assert finished(data) == names(2, 5)


def test_nothing_comes_and_goes_below_the_wal_directory_of_a_cluster_that_is_down(
    data: DataDirectory, archive: Archive, tmp_path: Path
) -> None:
    assert not is_prefetch_due(archive.config, FIRST, location(data))
    elsewhere = archive_in(Path(archive.config.prefix()), WALG_PREFETCH_DIR=str(tmp_path / "ahead"))
    assert is_prefetch_due(elsewhere.config, FIRST, location(data))
    assert is_prefetch_due(archive.config, FIRST, str(tmp_path / "restored"))  # no WAL directory
    data.serve()
    assert is_prefetch_due(archive.config, FIRST, location(data))


def test_a_segment_that_somebody_else_writes_is_left_to_him(data: DataDirectory, archive: Archive) -> None:
    folder = PrefetchFolder.of(archive.config, location(data))
    os.makedirs(folder.running(""))
    second = names(2, 2)[0]
    with IncomingFile(folder.running(second), folder.finished(second)) as running:
        wal_prefetch(archive, FIRST, location(data))
        assert second not in finished(data)
        running.write(segment(second))
        running.commit()
    assert second in finished(data)


def test_when_a_prefetch_is_due(data: DataDirectory, archive: Archive) -> None:
    data.serve()
    assert is_prefetch_due(archive.config, FIRST, location(data))
    wal_prefetch(archive, FIRST, location(data))
    assert not is_prefetch_due(archive.config, FIRST, location(data))
    due = {}
    for name in names(2, 4):  # of 4 that should wait, 3, 2 and 1 still do
        take_prefetched(archive.config, name, location(data))
        due[name] = is_prefetch_due(archive.config, name, location(data))
    assert list(due.values()) == [False, False, True]


@pytest.mark.parametrize("name", ["00000002.history", f"{FIRST}.partial", f"{FIRST}.00000028.backup", "0SEGMENT"])
def test_only_segments_have_followers(data: DataDirectory, archive: Archive, name: str) -> None:
    assert not is_prefetch_due(archive.config, name, location(data))
    with pytest.raises(InvalidWal):
        wal_prefetch(archive, name, location(data))


def test_prefetch_may_be_off(data: DataDirectory, tmp_path: Path, archive: Archive) -> None:
    off = archive_in(tmp_path / "archive", WALG_DOWNLOAD_CONCURRENCY="1")
    assert not is_prefetch_due(off.config, FIRST, location(data))
    wal_prefetch(off, FIRST, location(data))
    assert not folder_of(data).exists()


def test_a_wrong_setting_does_not_fail_a_fetch_that_succeeded(
    data: DataDirectory, tmp_path: Path, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    data.serve()
    wrong = archive_in(tmp_path / "archive", WALG_DOWNLOAD_CONCURRENCY="0")
    assert not is_prefetch_due(wrong.config, FIRST, location(data))
    assert "no prefetch" in caplog.text
    with pytest.raises(ConfigError):
        wal_prefetch(wrong, FIRST, location(data))


def test_a_folder_elsewhere_is_made(data: DataDirectory, archive: Archive, tmp_path: Path) -> None:
    settings = {"WALG_PREFETCH_DIR": str(tmp_path / "fast/disk"), "WALG_DOWNLOAD_CONCURRENCY": "2"}
    elsewhere = archive_in(tmp_path / "archive", **settings)
    wal_prefetch(elsewhere, FIRST, location(data))
    assert set(names(2, 3)) < set(os.listdir(tmp_path / "fast/disk/.wal-g/prefetch"))
    assert take_prefetched(elsewhere.config, names(2, 2)[0], location(data))


def test_outside_a_data_directory_the_configured_size_counts(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    settings = {"WALG_PG_WAL_SIZE": "1", "WALG_DOWNLOAD_CONCURRENCY": "4"}
    wal_prefetch(archive_in(tmp_path / "archive", **settings), FIRST, str(out / "file"))
    assert set(names(2, 5)) < set(os.listdir(out / ".wal-g/prefetch"))


def test_disk_space_is_bounded(
    data: DataDirectory, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "LARGEST_TOTAL", 2 * MIB)
    wal_prefetch(archive, FIRST, location(data))
    assert finished(data) == names(2, 3)
    monkeypatch.setattr(prefetch, "FREE_SEGMENTS", 1 << 40)
    wal_prefetch(archive, names(3, 3)[0], location(data))
    assert finished(data) == names(3, 3)


def test_it_ends_when_its_time_is_over(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "LONGEST_SECONDS", -1.0)
    wal_prefetch(archive, FIRST, location(data))
    assert finished(data) == []


def test_it_ends_when_the_server_is_gone(data: DataDirectory, archive: Archive) -> None:
    pid_file = data.serve()
    with first_download_blocked(archive) as (started, go_on):
        thread = threading.Thread(target=wal_prefetch, args=(archive, FIRST, location(data)))
        thread.start()
        started.wait()
        pid_file.unlink()
        go_on.set()
        thread.join()
    assert names(2, 2)[0] not in finished(data)
    assert os.listdir(folder_of(data) / "running") == []


def test_names_follow_over_the_end_of_a_log() -> None:
    assert following_segment("000000010000000000000FFF", MIB) == "000000010000000100000000"


@contextmanager
def first_download_blocked(archive: Archive) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Events: the second segment's download has begun, it may go on."""
    started, go_on = threading.Event(), threading.Event()
    decode, opened = archive.decode, archive.storage.open

    def open_noting(name: str, **range_: int) -> object:
        if names(2, 2)[0] in name:
            blocked.add(threading.get_ident())
        return opened(name, **range_)

    def decode_late(extension: str, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        if threading.get_ident() in blocked:
            blocked.discard(threading.get_ident())
            started.set()
            go_on.wait()
        yield from decode(extension, chunks)

    blocked: set[int] = set()
    archive.storage.open = open_noting  # type: ignore[method-assign,assignment]
    archive.decode = decode_late  # type: ignore[method-assign,assignment]
    yield started, go_on
    archive.storage.open, archive.decode = opened, decode  # type: ignore[method-assign]
