"""WAL delta maps: WAL-G's own, read; ours, read again, cut off and damaged."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wal.synthetic import content
from walpy.archive import open_archive
from walpy.config import Config
from walpy.errors import DataCorrupt
from walpy.wal.delta_map import Covered, MapReader, Unmarked, group_of, write_map
from walpy.wal.records import Joint, read_segment

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "wal-delta"  # PostgreSQL 14, WAL-G 3.0.9, 1 MiB segments
GROUP, BEFORE = "000000010000000000000030", "00000001000000000000002F"
COVERED = Covered(0xD110, 1 << 60, 16 << 20, 32 << 20)
PLACES = st.binary(min_size=16, max_size=16).filter(any)
MAPS = st.tuples(
    st.lists(st.lists(PLACES, max_size=5).map(b"".join), max_size=4),
    st.binary(max_size=30),
    st.dictionaries(st.binary(min_size=12, max_size=12), st.integers(0, (1 << 32) - 1), max_size=3),
)


def read(data: bytes, piece: int = 7) -> tuple[bytes, MapReader]:
    reader = MapReader((data[at : at + piece] for at in range(0, len(data), piece)), "map X")
    return b"".join(reader.places()), reader


def collect(reader: MapReader, found: bytearray) -> None:
    for places in reader.places():
        found += places


def test_walg_finds_the_same_blocks() -> None:
    archive = open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(GOLDEN)}))
    joint = Joint(read_segment(content(archive, BEFORE)).head)
    ours: set[bytes] = set()
    for name in group_of(GROUP, 1 << 20):
        segment = read_segment(content(archive, name))
        ours |= segment.changes.places | joint.add(segment).places
    reader, theirs = MapReader([content(archive, f"{GROUP}_delta")], "WAL-G's"), bytearray()
    with pytest.raises(Unmarked):
        collect(reader, theirs)
    assert {bytes(theirs[at : at + 16]) for at in range(0, len(theirs), 16)} == ours
    assert len(ours) > 20
    assert reader.head == joint.head


@given(MAPS, st.integers(1, 100))
def test_what_is_written_is_read(made: tuple[list[bytes], bytes, dict[bytes, int]], piece: int) -> None:
    places, head, limits = made
    found, reader = read(b"".join(write_map(places, head, limits, COVERED)), piece)
    assert (found, reader.head, reader.limits, reader.covered) == (b"".join(places), head, limits, COVERED)


@given(MAPS, st.data())
def test_damage_is_noticed(made: tuple[list[bytes], bytes, dict[bytes, int]], data: st.DataObject) -> None:
    stored = bytearray(b"".join(write_map(*made, COVERED)))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((DataCorrupt, Unmarked)):
        read(bytes(stored), 50)


@given(MAPS, st.data())
def test_one_that_is_cut_off_is_noticed(made: tuple[list[bytes], bytes, dict[bytes, int]], data: st.DataObject) -> None:
    stored = b"".join(write_map(*made, COVERED))
    with pytest.raises((DataCorrupt, Unmarked)):
        read(stored[: data.draw(st.integers(0, len(stored) - 1))], 50)
    with pytest.raises(DataCorrupt):
        read(stored + b"x", 50)
