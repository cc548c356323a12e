"""wal-push on a folder: what is stored, what is refused."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import (
    FIRST,
    OTHER_SYSTEM_IDENTIFIER,
    SYSTEM_IDENTIFIER,
    DataDirectory,
    archive_in,
    content,
    segment,
    stored,
)
from walpy.archive import Archive
from walpy.errors import (
    ConfigError,
    DataCorrupt,
    Interrupted,
    InvalidWal,
    StorageUnavailable,
    WalConflict,
    WalpyError,
)
from walpy.storage.base import Chunk
from walpy.wal.push import finish_marked, wal_push

HISTORY = "00000002.history"


@pytest.mark.parametrize("name", [FIRST, f"{FIRST}.partial", HISTORY, f"{FIRST}.00000028.backup", "test_file"])
@pytest.mark.parametrize("method", ["lz4", "none", "zstd"])
def test_every_kind_of_file(data: DataDirectory, tmp_path: Path, name: str, method: str) -> None:
    archive = archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD=method)
    path = data.add(name, segment(FIRST) if name.startswith(FIRST) else b"5 b\n")
    wal_push(archive, path)
    extension = {"lz4": ".lz4", "none": "", "zstd": ".zst"}[method]
    assert stored(archive) == [f"wal_005/{name}{extension}"]
    assert content(archive, name) == Path(path).read_bytes()


def test_a_relative_path(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    data.add(FIRST)
    monkeypatch.chdir(data.path)
    wal_push(archive, f"pg_wal/{FIRST}")
    assert content(archive, FIRST) == segment(FIRST)
    assert archive.get_json("walpy_005/identity.json")
    assert "walg_data" in os.listdir(data.wal)


def test_the_lines_of_walg(data: DataDirectory, archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    path = data.add(FIRST)
    with caplog.at_level(logging.INFO):
        wal_push(archive, path)
        wal_push(archive, path)
    assert [record.getMessage() for record in caplog.records] == [
        "Files will be uploaded to storage: default",
        f"FILE PATH: {FIRST}.lz4",
        "Files will be uploaded to storage: default",
        f"WAL file '{path}' already archived with equal content, skipping",
    ]


@pytest.mark.parametrize("settings", [{}, {"WALG_PREVENT_WAL_OVERWRITE": "true"}])
@pytest.mark.parametrize("name", [FIRST, HISTORY])
def test_other_content_is_never_overwritten(
    data: DataDirectory, tmp_path: Path, settings: dict[str, str], name: str
) -> None:
    archive = archive_in(tmp_path / "archive", **settings)
    path = data.add(name, segment(FIRST))
    wal_push(archive, path)
    data.add(name, segment(FIRST, seed=1))
    with pytest.raises(WalConflict, match="already archived, contents differ, unable to overwrite") as failure:
        wal_push(archive, path)
    assert "share this prefix" in failure.value.hint
    assert content(archive, name) == segment(FIRST)


def test_overwriting_allowed_by_a_setting_spares_history(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_PREVENT_WAL_OVERWRITE="false")
    for name in (FIRST, HISTORY):
        wal_push(archive, data.add(name, segment(FIRST)))
    wal_push(archive, data.add(FIRST, segment(FIRST, seed=1)))
    assert content(archive, FIRST) == segment(FIRST, seed=1)
    with pytest.raises(WalConflict):
        wal_push(archive, data.add(HISTORY, b"1\t0/2\tother\n"))


@pytest.mark.parametrize(("name", "setting"), [(FIRST, {"WALG_PREVENT_WAL_OVERWRITE": "true"}), (HISTORY, {})])
def test_other_codecs_are_looked_up(data: DataDirectory, tmp_path: Path, name: str, setting: dict[str, str]) -> None:
    path = data.add(name, segment(FIRST))
    wal_push(archive_in(tmp_path / "archive", WALG_COMPRESSION_METHOD="zstd"), path)
    archive = archive_in(tmp_path / "archive", **setting)
    wal_push(archive, path)
    assert stored(archive) == [f"wal_005/{name}.zst"]
    data.add(name, segment(FIRST, seed=1))
    with pytest.raises(WalConflict):
        wal_push(archive, path)


def test_a_damaged_object_is_not_taken_for_equal(data: DataDirectory, tmp_path: Path, archive: Archive) -> None:
    path = data.add(FIRST)
    wal_push(archive, path)
    os.truncate(tmp_path / f"archive/wal_005/{FIRST}.lz4", 3000)
    with pytest.raises(DataCorrupt):
        wal_push(archive, path)


@pytest.mark.parametrize(
    "wrong",
    [
        segment(FIRST)[: 512 << 10],
        bytes(1 << 20),
        segment("000000010000000000000002"),
        segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER),
    ],
)
def test_a_wrong_segment_is_refused_in_a_data_directory_alone(
    data: DataDirectory, archive: Archive, tmp_path: Path, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidWal):
        wal_push(archive, data.add(FIRST, wrong))
    assert stored(archive) == []
    (tmp_path / FIRST).write_bytes(wrong)
    wal_push(archive, str(tmp_path / FIRST))
    assert content(archive, FIRST) == wrong
    assert ("is archived as it is" in caplog.text) == (wrong[8:16] != segment(FIRST)[8:16] or len(wrong) != 1 << 20)


def test_both_identities_are_shown(data: DataDirectory, archive: Archive) -> None:
    with pytest.raises(InvalidWal) as failure:
        wal_push(archive, data.add(FIRST, segment(FIRST, system_identifier=OTHER_SYSTEM_IDENTIFIER)))
    assert str(SYSTEM_IDENTIFIER) in str(failure.value)
    assert str(OTHER_SYSTEM_IDENTIFIER) in str(failure.value)


@pytest.mark.parametrize("name", [FIRST, HISTORY])
def test_another_clusters_archive_is_refused(data: DataDirectory, archive: Archive, name: str) -> None:
    archive.put_json("walpy_005/identity.json", {"system_identifier": str(OTHER_SYSTEM_IDENTIFIER)})
    with pytest.raises(InvalidWal, match="belongs to the cluster"):
        wal_push(archive, data.add(name, segment(FIRST)))
    assert stored(archive) == []


def test_a_newer_postgresql_is_told(data: DataDirectory, archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    wal_push(archive, data.add(FIRST, segment(FIRST, magic=0xD11B)))
    assert "does not know" in caplog.text


def test_a_file_that_changes_meanwhile_is_not_stored(data: DataDirectory, archive: Archive) -> None:
    path = data.add(FIRST)
    put = archive.storage.put

    def put_late(name: str, chunks: Iterator[Chunk], *, create_only: bool = False) -> int:
        if name.startswith("wal_005"):
            os.utime(path, ns=(1, 1))
        return put(name, chunks, create_only=create_only)

    archive.storage.put = put_late  # type: ignore[method-assign]
    with pytest.raises(InvalidWal, match="changed while"):
        wal_push(archive, path)
    assert stored(archive) == []


@pytest.mark.parametrize(
    "setting",
    [
        {"WALG_UPLOAD_WAL_METADATA": "some"},
        {"WALG_UPLOAD_CONCURRENCY": "0"},
        {"WALG_PREVENT_WAL_OVERWRITE": "perhaps"},
        {"WALPY_SYSTEM_ID_CHECK": "off"},
    ],
)
def test_wrong_settings_fail_before_anything_is_stored(
    data: DataDirectory, tmp_path: Path, setting: dict[str, str]
) -> None:
    archive = archive_in(tmp_path / "archive", **setting)
    with pytest.raises(ConfigError):
        wal_push(archive, data.add(FIRST))
    assert list(archive.storage.list("")) == []


def test_an_absent_file(archive: Archive, data: DataDirectory) -> None:
    with pytest.raises(WalpyError, match=r"could not open .* no such file or directory"):
        wal_push(archive, str(data.wal / FIRST))


def test_metadata_is_stored_with_the_file(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_UPLOAD_WAL_METADATA="INDIVIDUAL")
    wal_push(archive, data.add(FIRST))
    assert stored(archive) == [f"wal_005/{FIRST}.json", f"wal_005/{FIRST}.lz4"]


def test_walgs_marker_is_not_believed_and_goes(data: DataDirectory, archive: Archive) -> None:
    data.markers.mkdir(parents=True)
    (data.markers / FIRST).touch()
    path = data.add(FIRST)
    assert not finish_marked(archive.config, path)
    wal_push(archive, path)
    assert stored(archive) == [f"wal_005/{FIRST}.lz4"]
    assert os.listdir(data.markers) == []


SECOND, THIRD, FIFTH = (f"00000001000000000000000{digit}" for digit in "235")


def test_what_is_ready_is_archived_ahead(data: DataDirectory, archive: Archive) -> None:
    path = data.add(FIRST, ready=True)
    for name in (SECOND, THIRD, FIFTH):
        data.add(name, ready=True)
    data.add(HISTORY, b"1\t0/1\tone\n", ready=True)
    data.add("000000010000000000000004")
    with ahead_finishes_first(archive):
        wal_push(archive, path)
    assert stored(archive) == [f"wal_005/{name}.lz4" for name in (FIRST, SECOND, THIRD, FIFTH, HISTORY)]
    assert sorted(os.listdir(data.markers)) == [SECOND, THIRD, FIFTH, HISTORY]
    assert finish_marked(archive.config, str(data.wal / SECOND))
    wal_push(archive, str(data.wal / THIRD))
    assert sorted(os.listdir(data.markers)) == [FIFTH, HISTORY]


def test_a_marked_file_costs_no_request(data: DataDirectory, archive: Archive) -> None:
    data.add(SECOND, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, data.add(FIRST))
    archive.storage = None  # type: ignore[assignment]
    wal_push(archive, str(data.wal / SECOND))


def test_a_marked_file_that_changed_is_pushed_and_refused(data: DataDirectory, archive: Archive) -> None:
    path = data.add(SECOND, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, data.add(FIRST))
    data.add(SECOND, segment(SECOND, seed=1))
    assert not finish_marked(archive.config, path)
    with pytest.raises(WalConflict):
        wal_push(archive, path)


def test_metadata_of_a_marked_file_comes_at_its_turn(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive", WALG_UPLOAD_WAL_METADATA="INDIVIDUAL")
    path = data.add(SECOND, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, data.add(FIRST))
    assert f"wal_005/{SECOND}.json" not in stored(archive)
    assert not finish_marked(archive.config, path)
    wal_push(archive, path)
    assert f"wal_005/{SECOND}.json" in stored(archive)
    assert not (data.markers / SECOND).exists()


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"WALG_UPLOAD_CONCURRENCY": "1"}, 1),
        ({"TOTAL_BG_UPLOADED_LIMIT": "1"}, 1),
        ({"TOTAL_BG_UPLOADED_LIMIT": "3"}, 3),
        ({"WALG_UPLOAD_CONCURRENCY": "2"}, 9),
        ({"WALG_UPLOAD_CONCURRENCY": "100"}, 9),
    ],
)
def test_limits_count_the_file_itself(
    data: DataDirectory, tmp_path: Path, settings: dict[str, str], count: int
) -> None:
    archive = archive_in(tmp_path / "archive", **settings)
    for digit in range(1, 10):
        data.add(f"00000001000000000000000{digit}", ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, str(data.wal / FIRST))
    assert stored(archive) == [f"wal_005/00000001000000000000000{digit}.lz4" for digit in range(1, count + 1)]


def test_a_failure_ahead_never_fails_the_command(
    data: DataDirectory, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    data.add(SECOND, b"damaged", ready=True)
    data.status(THIRD).touch()  # no such file
    data.add(FIFTH, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, data.add(FIRST))
    assert stored(archive) == [f"wal_005/{FIRST}.lz4", f"wal_005/{FIFTH}.lz4"]
    assert f"could not archive {SECOND} ahead" in caplog.text
    assert os.listdir(data.markers) == [FIFTH]


def test_conflicts_ahead_are_left_for_their_turn(data: DataDirectory, archive: Archive) -> None:
    wal_push(archive, data.add(SECOND))
    data.add(SECOND, segment(SECOND, seed=1), ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, data.add(FIRST))
    assert content(archive, SECOND) == segment(SECOND)
    assert not (data.markers / SECOND).exists()


def test_a_failed_file_stops_uploads_ahead(data: DataDirectory, archive: Archive) -> None:
    for digit in range(2, 10):
        data.add(f"00000001000000000000000{digit}", ready=True)
    with pytest.raises(InvalidWal):
        wal_push(archive, data.add(FIRST, b"damaged"))
    assert stored(archive) == []


def test_ready_files_are_renamed_when_wanted(data: DataDirectory, tmp_path: Path) -> None:
    settings = {"PG_READY_RENAME": "true", "WALG_UPLOAD_WAL_METADATA": "INDIVIDUAL"}
    archive = archive_in(tmp_path / "archive", **settings)
    path = data.add(FIRST, ready=True)
    data.add(SECOND, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, path)
    assert sorted(os.listdir(data.wal / "archive_status")) == [f"{FIRST}.ready", f"{SECOND}.done"]
    assert not (data.markers / SECOND).exists()  # nobody would ever remove it
    assert f"wal_005/{SECOND}.json" in stored(archive)


def test_the_last_of_a_bulk_group_is_left_to_postgresql(data: DataDirectory, tmp_path: Path) -> None:
    settings = {"PG_READY_RENAME": "true", "WALG_UPLOAD_WAL_METADATA": "BULK"}
    archive = archive_in(tmp_path / "archive", **settings)
    group = "00000001000000000000000"
    for last in "DEF":
        data.add(group + last, ready=True)
    with ahead_finishes_first(archive):
        wal_push(archive, str(data.wal / f"{group}D"))
    assert data.status(f"{group}E", "done").exists()
    assert data.status(f"{group}F").exists()
    assert f"wal_005/{group}.json" not in stored(archive)
    wal_push(archive, str(data.wal / f"{group}F"))
    document = archive.get_json(f"wal_005/{group}.json")
    assert isinstance(document, dict)
    assert list(document) == [group + last for last in "DEF"]


def test_without_archive_status_there_is_only_the_file(archive: Archive, tmp_path: Path) -> None:
    for name in (FIRST, SECOND):
        (tmp_path / name).write_bytes(segment(name))
    wal_push(archive, str(tmp_path / FIRST))
    assert stored(archive) == [f"wal_005/{FIRST}.lz4"]
    assert "walg_data" not in os.listdir(tmp_path)


def test_an_unreachable_storage_fails_the_command(data: DataDirectory, archive: Archive) -> None:
    wal_push(archive, data.add(FIRST))

    def put(name: str, chunks: Iterator[Chunk], *, create_only: bool = False) -> int:
        raise StorageUnavailable("gone")

    archive.storage.put = put  # type: ignore[method-assign]
    data.add(THIRD, ready=True)
    with pytest.raises(StorageUnavailable):
        wal_push(archive, data.add(SECOND))
    assert not data.markers.exists()


def test_a_signal_does_not_wait_for_uploads_ahead(data: DataDirectory, archive: Archive) -> None:
    data.add(SECOND, ready=True)
    put, go_on = archive.storage.put, threading.Event()

    def put_interrupted(name: str, chunks: Iterator[Chunk], *, create_only: bool = False) -> int:
        if threading.current_thread() is threading.main_thread():
            raise Interrupted("interrupted by SIGTERM")
        go_on.wait()
        return put(name, chunks, create_only=create_only)

    wal_push(archive, data.add(FIRST))  # claims the archive
    archive.storage.put = put_interrupted  # type: ignore[method-assign]
    (data.markers / SECOND).unlink(missing_ok=True)
    archive.storage.delete([f"wal_005/{SECOND}.lz4"])
    with pytest.raises(Interrupted):
        wal_push(archive, data.add(THIRD))
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ahead-"):
            thread.join()


@contextmanager
def ahead_finishes_first(archive: Archive) -> Iterator[None]:
    """Hold the main thread's put back until no upload ahead is left to begin."""
    put = archive.storage.put

    def put_last(name: str, chunks: Iterator[Chunk], *, create_only: bool = False) -> int:
        if threading.current_thread() is threading.main_thread() and name.startswith("wal_005"):
            for thread in threading.enumerate():
                if thread.name.startswith("ahead-"):
                    thread.join()
        return put(name, chunks, create_only=create_only)

    archive.storage.put = put_last  # type: ignore[method-assign]
    yield
    archive.storage.put = put  # type: ignore[method-assign]
