"""Recording at wal-push what segments changed, and the maps that come of it."""

import random
import threading
from pathlib import Path

import pytest

from tests.fixtures.delta_maps import read_map, recording_archive
from tests.fixtures.wal_writer import SMGR, Block, lay_out, record, switch
from tests.unit.wal.synthetic import SYSTEM_IDENTIFIER, DataDirectory, archive_in, stored
from walpy.archive import Archive
from walpy.wal.delta_map import group_of
from walpy.wal.push import WalPush, wal_push
from walpy.wal.records import Joint, read_segment
from walpy.wal.segment import following_segment, segment_name

MIB = 1 << 20
FIRST_NUMBER = 15  # the segment before a group
GROUP = "000000010000000000000010"
LOCATOR = b"".join(number.to_bytes(4, "little") for number in (1663, 5, 999))
CUT = LOCATOR + (7).to_bytes(4, "little")  # the first block behind
TRUNCATE = record(SMGR, 0x20, main=(7).to_bytes(4, "little") + LOCATOR + (7).to_bytes(4, "little"))


def block(number: int) -> Block:
    return Block((1663, 5, 16384, number))


def some_wal(count: int = 18) -> dict[str, bytes]:
    """So many segments that change blocks, and cut a fork; some records go on in the next segment, or over it."""
    records = []
    for number in range(count):
        records += [record(blocks=[block(number)]), TRUNCATE]
        is_long = number in (0, 1, 16)
        records.append(record(blocks=[block(100 + number)], main=bytes(3 * MIB // 2)) if is_long else switch())
    segments = lay_out(records, pages=128, first=FIRST_NUMBER, system=SYSTEM_IDENTIFIER)
    return {segment_name(1, FIRST_NUMBER + index, MIB): data for index, data in enumerate(segments[:count])}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return recording_archive(tmp_path / "archive")


def push(archive: Archive, data: DataDirectory, wal: dict[str, bytes], names: list[str]) -> None:
    for name in names:
        wal_push(archive, data.add(name, wal[name]))


def maps(archive: Archive) -> list[str]:
    return [name for name in stored(archive) if "_delta" in name]


def expected(wal: dict[str, bytes], group: str = GROUP) -> tuple[set[bytes], bytes]:
    """Places that a group's map must have, and its head."""
    names = group_of(group, MIB)
    joint = Joint(read_segment(wal[following_segment(group, MIB, -1)]).head)
    found: set[bytes] = set()
    for name in names:
        segment = read_segment(wal[name])
        found |= segment.changes.places | joint.add(segment).places | {CUT}
    return found, joint.head or b""


def folder(data: DataDirectory) -> Path:
    return data.wal / "walg_data/walpy/delta"


@pytest.mark.parametrize("seed", range(6))
def test_a_map_comes_when_its_group_is_complete_in_any_order(
    seed: int, data: DataDirectory, archive: Archive, told: pytest.LogCaptureFixture
) -> None:
    wal = some_wal()
    names = list(wal)[:17]
    if seed:
        random.Random(seed).shuffle(names)
    push(archive, data, wal, names[:-1])
    assert maps(archive) == []
    push(archive, data, wal, names[-1:])
    assert maps(archive) == [f"wal_005/{GROUP}_delta.lz4"]
    found, reader = read_map(archive, GROUP)
    assert (found, reader.head) == expected(wal)
    assert len(found) > 10
    assert reader.limits == {LOCATOR: 7}
    assert reader.covered[1:] == (SYSTEM_IDENTIFIER, 16 * MIB, 32 * MIB)
    assert [path.name for path in folder(data).iterdir()] == [group_of(GROUP, MIB)[-1]]
    assert f"FILE PATH: {GROUP}_delta" in told.text
    assert not [message for message in told.messages if "not recorded" in message]


def test_what_goes_on_behind_a_group_is_in_the_next_one(data: DataDirectory, archive: Archive) -> None:
    records = [record(blocks=[block(1)], main=bytes(20 * MIB))]
    records += [part for number in range(2, 40) for part in (record(blocks=[block(number)]), switch())]
    segments = lay_out(records, pages=128, first=16, system=SYSTEM_IDENTIFIER)
    wal = {segment_name(1, 16 + index, MIB): content for index, content in enumerate(segments)}
    push(archive, data, wal, list(wal)[:32])
    first, reader = read_map(archive, GROUP)
    assert first == set()
    assert len(reader.head) > 15 * MIB
    second, _ = read_map(archive, segment_name(1, 32, MIB))
    assert second == {block(number).packed for number in range(1, 14)}


def test_a_group_whose_begin_is_not_known_gets_no_map(data: DataDirectory, archive: Archive) -> None:
    segments = lay_out(
        [record(main=bytes(MIB)), *[switch()] * 17], pages=128, first=FIRST_NUMBER, system=SYSTEM_IDENTIFIER
    )
    wal = {segment_name(1, FIRST_NUMBER + index, MIB): content for index, content in enumerate(segments)}
    push(archive, data, wal, list(wal)[1:17])
    assert maps(archive) == []
    push(archive, data, wal, list(wal)[:1])
    assert len(maps(archive)) == 1


def test_cuts_are_in_the_map(data: DataDirectory, archive: Archive) -> None:
    segments = lay_out([TRUNCATE, switch()] * 16, pages=128, first=16, system=SYSTEM_IDENTIFIER)
    wal = {segment_name(1, 16 + index, MIB): content for index, content in enumerate(segments)}
    push(archive, data, wal, list(wal))
    found, reader = read_map(archive, GROUP)
    assert (found, reader.limits) == ({CUT}, {LOCATOR: 7})


def test_by_several_at_once(data: DataDirectory, archive: Archive) -> None:
    wal = some_wal()
    names = list(wal)[:17]
    threads = [threading.Thread(target=push, args=(archive, data, wal, names[start::4])) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_map(archive, GROUP)[0] == expected(wal)[0]


def long_wal(*, is_linked: bool = True) -> tuple[dict[str, bytes], list[list[str]]]:
    """Segments of three groups, a record from each group to the next if linked; their names, before and by group."""
    records = []
    for number in range(50):
        is_long = is_linked and number in (0, 16, 32)
        records.append(record(blocks=[block(number)], main=bytes(3 * MIB // 2)) if is_long else switch())
    segments = lay_out(records, pages=128, first=FIRST_NUMBER, system=SYSTEM_IDENTIFIER)
    wal = {segment_name(1, FIRST_NUMBER + index, MIB): data for index, data in enumerate(segments)}
    names = list(wal)
    return wal, [names[:1], names[1:17], names[17:33], names[33:49]]


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3, 2, 1), (0, 1, 3, 2), (3, 2, 1, 0)])
def test_groups_that_are_complete_before_those_before_them(
    order: tuple[int, ...], data: DataDirectory, archive: Archive
) -> None:
    wal, groups = long_wal()
    for number in order:
        push(archive, data, wal, groups[number])
    assert maps(archive) == [f"wal_005/{names[0]}_delta.lz4" for names in groups[1:]]
    for names in groups[1:]:
        assert read_map(archive, names[0])[0] == {
            place for name in names for place in read_segment(wal[name]).changes.places
        } | set(
            Joint(read_segment(wal[following_segment(names[0], MIB, -1)]).head).add(read_segment(wal[names[0]])).places
        )
    assert [path.name for path in folder(data).iterdir()] == groups[-1][-1:]


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("is_linked", [True, False])
def test_groups_whose_last_segments_come_in_any_order(
    order: tuple[int, ...], is_linked: bool, data: DataDirectory, archive: Archive
) -> None:
    wal, groups = long_wal(is_linked=is_linked)
    before, *whole = groups
    push(archive, data, wal, before + [name for names in whole for name in names[:-1]])
    for number in order:
        push(archive, data, wal, whole[number][-1:])
    assert maps(archive) == [f"wal_005/{names[0]}_delta.lz4" for names in whole]
    assert [path.name for path in folder(data).iterdir()] == groups[-1][-1:]


@pytest.mark.parametrize("turn", range(8))
def test_groups_that_are_complete_at_once(turn: int, data: DataDirectory, archive: Archive) -> None:
    wal, groups = long_wal(is_linked=bool(turn % 2))
    before, *whole = groups
    push(archive, data, wal, before + [name for names in whole for name in names[:-1]])
    threads = [threading.Thread(target=push, args=(archive, data, wal, names[-1:])) for names in whole]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maps(archive) == [f"wal_005/{names[0]}_delta.lz4" for names in whole]
    assert [path.name for path in folder(data).iterdir()] == groups[-1][-1:]


def test_a_group_whose_successor_does_not_need_it_still_gets_its_map(data: DataDirectory, archive: Archive) -> None:
    segments = lay_out(
        [record(main=bytes(MIB)), *[switch()] * 60], pages=128, first=FIRST_NUMBER, system=SYSTEM_IDENTIFIER
    )
    wal = {segment_name(1, FIRST_NUMBER + index, MIB): content for index, content in enumerate(segments)}
    names = list(wal)
    push(archive, data, wal, names[1:33])  # the first group lacks its begin
    assert maps(archive) == [f"wal_005/{names[17]}_delta.lz4"]
    push(archive, data, wal, names[:1])
    assert maps(archive) == [f"wal_005/{names[first]}_delta.lz4" for first in (1, 17)]
    assert [path.name for path in folder(data).iterdir()] == [names[32]]


def test_other_files_do_not_matter_and_a_repeated_push_does_no_harm(data: DataDirectory, archive: Archive) -> None:
    wal = some_wal()
    names = list(wal)
    push(archive, data, wal, names[:9])
    wal_push(archive, data.add("00000002.history", b"1\t0/2000000\treason\n"))
    wal_push(archive, data.add(f"{names[3]}.00000028.backup", b"START WAL LOCATION"))
    push(archive, data, wal, names[3:18])
    push(archive, data, wal, names[3:5])
    assert read_map(archive, GROUP)[0] == expected(wal)[0]


def test_a_segment_that_was_archived_ahead_is_recorded_then(data: DataDirectory, archive: Archive) -> None:
    wal = some_wal()
    names = list(wal)[:17]
    paths = [data.add(name, wal[name]) for name in names]
    pusher = WalPush(archive, paths[0])
    for path in paths:
        pusher.archive_file(path)
    assert len(maps(archive)) == 1


@pytest.mark.parametrize("trouble", ["damaged record", "no room", "no WAL", "record gone"])
def test_trouble_fails_no_push(
    trouble: str, data: DataDirectory, archive: Archive, told: pytest.LogCaptureFixture
) -> None:
    wal = some_wal()
    names = list(wal)[:17]
    if trouble == "no room":
        folder(data).parent.mkdir(parents=True)
        folder(data).write_bytes(b"in the way")
    if trouble == "no WAL":
        wal[names[5]] = wal[names[5]][:100] + b"x" * 200 + wal[names[5]][300:]
    push(archive, data, wal, names[:16])
    if trouble == "damaged record":
        path = folder(data) / names[4]
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    if trouble == "record gone":
        (folder(data) / names[4]).unlink()
    push(archive, data, wal, names[16:])
    assert maps(archive) == []
    assert len(stored(archive)) == 17
    assert ("is not recorded for delta backups" in told.text) == (trouble != "record gone")


def test_nothing_is_recorded_unless_it_is_wanted(data: DataDirectory, tmp_path: Path) -> None:
    archive = archive_in(tmp_path / "archive")
    wal = some_wal()
    push(archive, data, wal, list(wal)[:17])
    assert maps(archive) == []
    assert not folder(data).exists()


def test_outside_a_wal_directory_nothing_is_recorded(
    tmp_path: Path, archive: Archive, told: pytest.LogCaptureFixture
) -> None:
    name, content = next(iter(some_wal().items()))
    (tmp_path / name).write_bytes(content)
    wal_push(archive, str(tmp_path / name))
    assert "is in no WAL directory: what it changed is not recorded" in told.text
