"""wal-push --missing: what is archived of a WAL directory, and what is never taken."""

import os
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import DataDirectory, content, segment, stored
from walpy.archive import Archive
from walpy.cli import main
from walpy.errors import UsageError, WalConflict, WalpyError
from walpy.wal.missing import push_missing
from walpy.wal.push import wal_push


def name_of(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}00000000{number:08X}"


def note(data: DataDirectory, name: str, state: str) -> None:
    (data.wal / f"archive_status/{name}.{state}").touch()


def test_a_promoted_standby(data: DataDirectory, archive: Archive) -> None:
    """Segments 1 to 4 were received (PostgreSQL takes them for archived), 5 is partial; 5 to 7 are of timeline 2."""
    for number in (1, 2, 3, 4):
        data.add(name_of(number))
        note(data, name_of(number), "done")
    wal_push(archive, str(data.wal / name_of(1)))
    partial = data.add(f"{name_of(5)}.partial", segment(name_of(5)))
    note(data, f"{name_of(5)}.partial", "ready")
    data.add("00000002.history", b"1\t0/5000100\tno recovery target specified\n")
    note(data, "00000002.history", "done")
    for number in (5, 6, 7):
        data.add(name_of(number, 2), segment(name_of(number, 2)))
    expected = [name_of(2), name_of(3), name_of(4), os.path.basename(partial), "00000002.history"]
    expected += [name_of(5, 2), name_of(6, 2)]  # 7 is being written
    assert sorted(push_missing(archive, str(data.path))) == sorted(expected)
    assert stored(archive) == sorted(f"wal_005/{name}.lz4" for name in [name_of(1), *expected])
    assert content(archive, name_of(4)) == segment(name_of(4))
    assert push_missing(archive, str(data.wal)) == []


def test_recycled_segments_are_never_taken(data: DataDirectory, archive: Archive) -> None:
    """PostgreSQL keeps segments that it needs no more under names to come; they hold what they held."""
    for number in (2, 3):
        data.add(name_of(number))
    for number in (4, 5, 6):
        data.add(name_of(number), segment(name_of(1)))
    assert push_missing(archive, str(data.path)) == [name_of(2)]  # 3 is being written


def test_a_segment_that_the_archive_has_in_another_codec(data: DataDirectory, archive: Archive) -> None:
    for number in (1, 2):
        data.add(name_of(number))
    archive.put_bytes(f"wal_005/{name_of(1)}.zst", b"whatever it holds")
    assert push_missing(archive, str(data.path)) == []


def test_a_conflict_ends_it(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer is quicker, between the listing and the upload."""
    for number in (1, 2):
        data.add(name_of(number))
    monkeypatch.setattr("walpy.wal.missing.archived_names", lambda archive: iter(()))
    archive.put_wal(name_of(1), [segment(name_of(1), seed=2)])
    with pytest.raises(WalConflict):
        push_missing(archive, str(data.path))


def test_damage_is_told(data: DataDirectory, archive: Archive) -> None:
    data.add(name_of(1), b"short")
    note(data, name_of(1), "done")
    with pytest.raises(WalpyError, match="is not archived"):
        push_missing(archive, str(data.path))
    assert stored(archive) == []


def test_what_is_no_data_directory(tmp_path: Path, archive: Archive) -> None:
    for directory in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UsageError, match="neither a data directory nor"):
            push_missing(archive, str(directory))


def test_the_command_line(data: DataDirectory, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        data.add(name_of(number))
    monkeypatch.setenv("WALG_FILE_PREFIX", archive.config.prefix())
    assert main(["wal-push", "--missing"]) == 1
    assert stored(archive) == []
    assert main(["wal-push", "--missing", str(data.path)]) == 0
    assert stored(archive) == [f"wal_005/{name_of(1)}.lz4"]
    (data.wal / name_of(3)).write_bytes(segment(name_of(3)))
    assert main(["wal-push", "--missing", str(data.wal)]) == 0
    assert stored(archive) == [f"wal_005/{name_of(number)}.lz4" for number in (1, 2)]
