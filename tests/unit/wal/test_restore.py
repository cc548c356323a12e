"""wal-restore: where two histories part, what is missing since, and what is no pair of clusters."""

import struct
from pathlib import Path

import pytest

from tests.unit.wal.synthetic import DataDirectory, archive_in, segment
from walpy.archive import Archive
from walpy.cli import main
from walpy.errors import InvalidWal, WalpyError
from walpy.postgres.control import read_control
from walpy.postgres.crc32c import crc32c
from walpy.wal.history import Switch
from walpy.wal.restore import parting, wal_restore
from walpy.wal.segment import MIB, Timeline, segment_name


def rows(*pairs: tuple[int, int]) -> list[Switch]:
    return [Switch(Timeline(timeline), lsn) for timeline, lsn in pairs]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "timeline", "second", "other", "expected"),
    [
        ([], 1, [(1, 50)], 2, (1, 50)),
        ([(1, 50)], 2, [], 1, (1, 50)),
        ([(1, 40)], 2, [(1, 50)], 3, (1, 40)),  # WAL-G refuses histories of one length
        ([(1, 50)], 2, [(1, 50), (2, 70)], 3, (2, 70)),
        ([(1, 50), (2, 60)], 3, [(1, 50), (2, 70)], 4, (2, 60)),
        ([(1, 50), (2, 60), (3, 90)], 5, [(1, 50), (2, 60), (4, 95)], 6, (2, 60)),
    ],
)
def test_where_histories_part(
    first: list[tuple[int, int]], timeline: int, second: list[tuple[int, int]], other: int, expected: tuple[int, int]
) -> None:
    assert parting(rows(*first), timeline, rows(*second), other) == expected  # type: ignore[arg-type]


def test_histories_that_do_not_part() -> None:
    with pytest.raises(WalpyError, match="no timeline in common"):
        parting(rows((2, 5)), 3, rows((1, 5)), 4)  # type: ignore[arg-type]
    with pytest.raises(WalpyError, match="nothing to rewind"):
        parting(rows((1, 5)), 2, rows((1, 5)), 2)  # type: ignore[arg-type]


def change_control(path: Path, offset: int, data: bytes) -> None:
    """Change some bytes of a pg_control, and its checksum with them."""
    content = path.read_bytes()
    checksums = {at: crc32c(content[:at]) for at in range(200, 400, 4)}
    (place,) = (at for at, checksum in checksums.items() if struct.unpack_from("=I", content, at)[0] == checksum)
    changed = bytearray(content)
    changed[offset : offset + len(data)] = data
    struct.pack_into("=I", changed, place, crc32c(bytes(changed[:place])))
    path.write_bytes(changed)


def cluster(path: Path, timeline: int, checkpoint: int, parted: int = 0) -> DataDirectory:
    """A data directory whose last checkpoint is at a position of a timeline; parted: where timeline 1 was left."""
    data = DataDirectory(path)
    control = data.path / "global/pg_control"
    change_control(control, 32, struct.pack("=QQI", checkpoint, checkpoint, timeline))
    assert read_control(str(control)).timeline == timeline
    if parted:
        data.add(f"{timeline:08X}.history", f"1\t0/{parted:X}\tno recovery target specified\n".encode())
    return data


@pytest.fixture(params=["", "a key of more than twenty-five bytes"], ids=["plain", "encrypted"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> Archive:
    archive = archive_in(tmp_path / "archive", WALG_LIBSODIUM_KEY=request.param)
    for timeline, numbers in ((1, range(1, 6)), (2, range(5, 10))):
        for number in numbers:
            name = segment_name(timeline, number, MIB)
            archive.put_wal(name, [segment(name)])
    return archive


def test_what_is_missing_since_the_parting(tmp_path: Path, archive: Archive) -> None:
    target = cluster(tmp_path / "target", 1, 6 * MIB + 40)
    source = cluster(tmp_path / "source", 2, 9 * MIB + 40, 5 * MIB + 40)
    kept = segment_name(2, 7, MIB)
    source.add(kept)
    expected = [segment_name(2, number, MIB) for number in (9, 8, 6, 5)]
    assert wal_restore(archive, str(target.path), str(source.path)) == expected
    for name in [*expected, kept]:
        assert (source.wal / name).read_bytes() == segment(name)
    assert wal_restore(archive, str(target.path), str(source.path)) == []


def test_a_segment_that_cannot_be_had(tmp_path: Path, archive: Archive) -> None:
    """The others come all the same; WAL-G says nothing but a log line, and exits 0."""
    target = cluster(tmp_path / "target", 1, 6 * MIB + 40)
    source = cluster(tmp_path / "source", 2, 9 * MIB + 40, 5 * MIB + 40)
    gone = segment_name(2, 8, MIB)
    archive.storage.delete([f"wal_005/{gone}.lz4"])
    with pytest.raises(WalpyError, match=f"1 of 5 WAL files could not be restored: {gone}"):
        wal_restore(archive, str(target.path), str(source.path))
    assert (source.wal / segment_name(2, 5, MIB)).exists()
    assert not (source.wal / gone).exists()


def test_what_is_no_pair(tmp_path: Path, archive: Archive) -> None:
    one = cluster(tmp_path / "one", 1, 6 * MIB)
    two = cluster(tmp_path / "two", 2, 6 * MIB, 5 * MIB)
    with pytest.raises(WalpyError, match="both clusters are on timeline 1"):
        wal_restore(archive, str(one.path), str(one.path))
    with pytest.raises(WalpyError, match="cannot read"):
        wal_restore(archive, str(one.path), str(tmp_path))
    (two.wal / "00000002.history").unlink()
    with pytest.raises(WalpyError, match=r"history .*00000002\.history"):
        wal_restore(archive, str(one.path), str(two.path))
    change_control(two.path / "global/pg_control", 0, struct.pack("=Q", 4711))
    two.add("00000002.history", b"")
    with pytest.raises(InvalidWal, match="different clusters"):
        wal_restore(archive, str(one.path), str(two.path))


def test_the_command_line(tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALG_FILE_PREFIX", archive.config.prefix())
    monkeypatch.setenv("WALG_LIBSODIUM_KEY", archive.config.text("WALG_LIBSODIUM_KEY"))
    target = cluster(tmp_path / "target", 1, 6 * MIB + 40)
    source = cluster(tmp_path / "source", 2, 9 * MIB + 40, 5 * MIB + 40)
    assert main(["wal-restore", str(target.path), str(source.path)]) == 0
    assert (source.wal / segment_name(2, 9, MIB)).exists()
    assert main(["wal-restore", str(source.path), str(source.path)]) == 1
