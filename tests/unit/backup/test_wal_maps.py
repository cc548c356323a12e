"""The change map from WAL delta maps, from what was recorded of segments, and from segments themselves."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.delta_maps import recording_archive
from tests.fixtures.wal_writer import SMGR, Block, lay_out, record, switch
from tests.unit.backup.test_delta_base import facts as facts_of
from tests.unit.wal.synthetic import SYSTEM_IDENTIFIER, DataDirectory, content
from walpy.archive import Archive
from walpy.backup import wal_maps
from walpy.backup.change_map import ChangeMap
from walpy.backup.delta_base import Base
from walpy.backup.wal_maps import mapped_changes
from walpy.errors import BackupError
from walpy.postgres.lsn import Lsn
from walpy.postgres.server import ServerFacts
from walpy.wal.push import wal_push
from walpy.wal.segment import segment_name

MIB = 1 << 20
FIRST, LAST = 15, 52  # numbers of the segments; groups begin at 16, 32 and 48
CUT_RELATION, CUT_SEGMENT = 999, 35
RELATION = 16384
PAGE = 8192
LSN = (LAST + 1) * MIB + 40  # as on a primary: a segment that holds nothing yet
SIZE = 100 * PAGE


def wal() -> dict[str, bytes]:
    """Segments that change the block of their number; one record lies over a group's end."""
    cut = record(SMGR, 0x20, main=(3).to_bytes(4, "little") + locator(CUT_RELATION) + (1).to_bytes(4, "little"))
    records = []
    for number in range(FIRST, LAST + 1):
        records.append(record(blocks=[Block((1663, 5, RELATION, number))]))
        if number == CUT_SEGMENT:
            records.append(cut)
        if number == 31:
            records.append(record(blocks=[Block((1663, 5, RELATION, 90))], main=bytes(MIB)))
        else:
            records.append(switch())
    segments = lay_out(records, pages=128, first=FIRST, system=SYSTEM_IDENTIFIER)
    return {segment_name(1, FIRST + index, MIB): data for index, data in enumerate(segments[: LAST + 1 - FIRST])}


def locator(relation: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in (1663, 5, relation))


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return recording_archive(tmp_path / "archive")


@pytest.fixture
def facts(data: DataDirectory, caplog: pytest.LogCaptureFixture) -> ServerFacts:
    caplog.set_level(logging.INFO, "walpy")
    return replace(facts_of(SYSTEM_IDENTIFIER, data.path), segment_size=MIB)


@pytest.fixture
def pushed(archive: Archive, data: DataDirectory) -> Archive:
    """An archive with all segments and two maps; the last segments are recorded."""
    for name, segment in wal().items():
        path = data.add(name, segment)
        wal_push(archive, path)
        Path(path).unlink()
    return archive


def base_at(lsn: int) -> Base:
    return Base("base_000000010000000000000001", "base_000000010000000000000001", 1, Lsn(lsn), Lsn(lsn), 1, {}, 0)


def changes_since(
    archive: Archive, facts: ServerFacts, start: int, *, end: int = LSN, timeline: int = 1, is_forced: bool = False
) -> ChangeMap | None:
    return mapped_changes(archive, facts, base_at(start), timeline=timeline, lsn=end, is_forced=is_forced)


def blocks(changes: ChangeMap | None) -> list[int]:
    assert changes is not None
    found = changes.changed(f"/base/5/{RELATION}", SIZE)
    assert found is not None
    return list(found)


@pytest.mark.parametrize("start", [16, 20, 31])
def test_maps_and_what_is_behind_them(
    start: int, pushed: Archive, facts: ServerFacts, caplog: pytest.LogCaptureFixture
) -> None:
    found = blocks(changes_since(pushed, facts, start * MIB + 100))
    assert found == [*range(16, LAST + 1), 90]
    assert "2 WAL delta maps and 5 segments tell what changed since" in caplog.text


def test_what_was_cut_counts(pushed: Archive, facts: ServerFacts) -> None:
    changes = changes_since(pushed, facts, 16 * MIB)
    assert changes is not None
    assert list(changes.changed(f"/base/5/{CUT_RELATION}", 5 * PAGE) or ()) == [3, 4]


def test_a_base_within_the_last_group(pushed: Archive, facts: ServerFacts) -> None:
    assert blocks(changes_since(pushed, facts, 50 * MIB)) == [50, 51, 52]


@pytest.mark.parametrize("source", ["records", "WAL directory", "archive"])
def test_segments_without_a_map(
    source: str, pushed: Archive, facts: ServerFacts, data: DataDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    for name in pushed.storage.list_names("wal_005"):
        if source != "records" and "_delta" in name:
            pushed.storage.delete([name])
    if source != "records":
        for path in (data.wal / "walg_data/walpy/delta").iterdir():
            path.unlink()
    if source == "WAL directory":
        pushed.storage.delete(list(pushed.storage.list_names("wal_005")))
        for name, segment in wal().items():
            data.add(name, segment)
    first = 32 if source == "records" else 40  # a map tells of its whole group
    assert set(blocks(changes_since(pushed, facts, 40 * MIB))) - {90} == {*range(first, LAST + 1)}
    assert ("0 WAL delta maps and 13 segments" in caplog.text) == (source != "records")


def test_a_standby_starts_within_a_segment(pushed: Archive, facts: ServerFacts, data: DataDirectory) -> None:
    name = segment_name(1, LAST + 1, MIB)
    first, second = record(blocks=[Block((1663, 5, RELATION, 77))]), record(blocks=[Block((1663, 5, RELATION, 78))])
    (segment,) = lay_out([first, second], pages=128, first=LAST + 1, system=SYSTEM_IDENTIFIER)
    data.add(name, segment)
    end = (LAST + 1) * MIB + 40 + -(-len(first) // 8) * 8
    assert blocks(changes_since(pushed, facts, 50 * MIB, end=end)) == [50, 51, 52, 77]


def without_the_map(archive: Archive, _: DataDirectory) -> None:
    archive.storage.delete(["wal_005/000000010000000000000010_delta.lz4"])


def walgs_map(archive: Archive, _: DataDirectory) -> None:
    archive.put_wal("000000010000000000000010_delta", [bytes(20)], create_only=False)


def a_damaged_map(archive: Archive, _: DataDirectory) -> None:
    damaged = content(archive, "000000010000000000000010_delta")[:-1] + b"x"
    archive.put_wal("000000010000000000000010_delta", [damaged], create_only=False)


def another_groups_map(archive: Archive, _: DataDirectory) -> None:
    another = content(archive, "000000010000000000000020_delta")
    archive.put_wal("000000010000000000000010_delta", [another], create_only=False)


def without_a_segment(archive: Archive, data: DataDirectory) -> None:
    name = segment_name(1, LAST - 1, MIB)
    (data.wal / "walg_data/walpy/delta" / name).unlink()
    archive.storage.delete([f"wal_005/{name}.lz4"])


TROUBLES = {
    without_the_map: "there is no map of the WAL at 000000010000000000000018",
    walgs_map: "maps that WAL-G makes do not tell what was cut off",
    a_damaged_map: "is damaged: its checksum is wrong",
    another_groups_map: "tells of other WAL",
    without_a_segment: "is neither in the archive nor in the server's WAL directory",
}


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_what_does_not_tell(
    trouble: "type[None]",
    pushed: Archive,
    facts: ServerFacts,
    data: DataDirectory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wal_maps, "MOST_SEGMENTS", 8)
    trouble(pushed, data)
    assert changes_since(pushed, facts, 16 * MIB) is None
    assert TROUBLES[trouble] in caplog.text
    assert "so all changed files are read" in caplog.text
    with pytest.raises(BackupError, match="WAL delta maps cannot tell what changed"):
        changes_since(pushed, facts, 16 * MIB, is_forced=True)


def test_another_timeline_or_cluster(pushed: Archive, facts: ServerFacts, caplog: pytest.LogCaptureFixture) -> None:
    assert changes_since(pushed, facts, 16 * MIB, timeline=2) is None
    assert "the base is on timeline 1, this backup on 2" in caplog.text
    assert changes_since(pushed, replace(facts, system_identifier=5), 16 * MIB) is None
    assert "tells of other WAL" in caplog.text
    assert changes_since(pushed, replace(facts, system_identifier=5), 50 * MIB) is None
    assert "is another segment, or another cluster's" in caplog.text
