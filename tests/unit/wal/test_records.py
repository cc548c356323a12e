"""What a segment changed: WAL made by hand, whole, cut over pages and segments, damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.wal_writer import (
    DBASE,
    MAGICS,
    PAGE_SIZE,
    SMGR,
    XACT,
    Block,
    lay_out,
    record,
    switch,
)
from walpy.errors import InvalidWal
from walpy.wal.records import Changes, Joint, read_segment

PLACES = st.tuples(st.sampled_from([1663, 16390]), st.integers(1, 3), st.integers(16384, 16386), st.integers(0, 99))
BLOCKS = st.tuples(PLACES, st.integers(0, 3), st.integers(0, 40), st.sampled_from([0, 3000, 8000]), st.booleans())
CONTENTS = st.tuples(st.lists(BLOCKS, max_size=4), st.integers(0, 300) | st.just(20_000))
Contents = tuple[list[tuple[tuple[int, int, int, int], int, int, int, bool]], int]
LOCATOR = struct.pack("<III", 1663, 5, 16384)


def blocks_of(contents: Contents) -> list[Block]:
    """Of numbers and sizes."""
    return [Block(place, fork, bytes(data), bytes(image), small) for place, fork, data, image, small in contents[0]]


def read_all(segments: list[bytes], *, knows_begin: bool = True) -> Changes:
    """What segments changed together."""
    found, joint = Changes(), Joint(b"" if knows_begin else None)
    for data in segments:
        segment = read_segment(data)
        for changes in (segment.changes, joint.add(segment)):
            found.places |= changes.places
            for locator, blocks in changes.limits.items():
                found.cut(locator, blocks)
    assert not joint.head
    return found


@pytest.mark.parametrize("major", MAGICS)
@given(st.lists(CONTENTS, max_size=12), st.integers(1, 3))
def test_every_block_is_found_wherever_its_record_lies(major: int, contents: list[Contents], pages: int) -> None:
    records = [record(blocks=blocks_of(content), main=bytes(content[1]), major=major) for content in contents]
    found = read_all(lay_out([*records, switch()], major=major, pages=pages))
    assert found.places == {block.packed for content in contents for block in blocks_of(content)}
    assert found.limits == {}


@given(st.lists(CONTENTS, min_size=1, max_size=6), st.data())
def test_damage_is_noticed(contents: list[Contents], data: st.DataObject) -> None:
    segments = lay_out([record(blocks=blocks_of(one), main=bytes(one[1])) for one in contents] + [switch()])
    expected = read_all(segments).places
    number = data.draw(st.integers(0, len(segments) - 1))
    damaged = bytearray(segments[number])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    segments[number] = bytes(damaged)
    try:
        found = read_all(segments).places
    except InvalidWal:
        return
    assert found == expected  # it was in what has no meaning: padding, or behind the end


def test_parts_that_carry_other_things_are_passed() -> None:
    block = Block((1663, 5, 16384, 7))
    before = struct.pack("<BH", 253, 3) + struct.pack("<BI", 252, 99)  # an origin, a top transaction
    data = record(blocks=[block], before=before, main=b"x" * 300)
    assert read_all(lay_out([data, switch()])).places == {block.packed}


def test_nothing_counts_behind_a_switch() -> None:
    (segment,) = lay_out([record(blocks=[Block((1663, 5, 16384, 1))]), switch()])
    end = 40 + 8 * (len(record(blocks=[Block((1663, 5, 16384, 1))])) // 8 + 1) + 24
    assert len(read_segment(segment[:end] + b"x" * (len(segment) - end)).changes.places) == 1


@pytest.mark.parametrize("size", [9000, 20_000, 60_000])
def test_a_record_that_a_crash_cut_off_does_not_count(size: int) -> None:
    lost, next_one = Block((1663, 5, 1, 1)), Block((1663, 5, 2, 2))
    records = [
        record(blocks=[Block((1663, 5, 9, 9))], main=bytes(PAGE_SIZE - 4000)),
        record(blocks=[lost], main=bytes(size)),
        record(blocks=[next_one]),
        switch(),
    ]
    for pages in (1, 2):
        found = read_all(lay_out(records, pages=pages, given_up=1))
        assert found.places == {Block((1663, 5, 9, 9)).packed, next_one.packed}


def test_a_record_may_take_several_segments() -> None:
    block = Block((1663, 5, 16384, 1), data=bytes(50_000))
    segments = lay_out([record(), record(blocks=[block]), switch()], pages=1)
    assert read_segment(segments[2]).is_inside
    assert read_all(segments).places == {block.packed}


def test_segments_that_do_not_fit_are_refused() -> None:
    segments = lay_out([record(main=bytes(30_000)), record(main=bytes(30_000)), switch()], pages=1)
    with pytest.raises(InvalidWal):
        read_all([segments[0], *segments[2:]])
    with pytest.raises(InvalidWal):
        read_all(segments[1:])
    with pytest.raises(InvalidWal, match="does not continue"):
        read_all([segments[0], *lay_out([record(), switch()], first=2, pages=1)])
    assert read_all(segments[1:], knows_begin=False).places == set()


def test_a_segment_can_be_read_up_to_a_position() -> None:
    first, second = record(blocks=[Block((1663, 5, 1, 1))]), record(blocks=[Block((1663, 5, 2, 2))])
    (segment,) = lay_out([first, second], first=3)
    start = 3 * len(segment) + 40
    for end, count in ((start, 0), (start + -(-len(first) // 8) * 8, 1)):
        assert len(read_segment(segment, end).changes.places) == count
    with pytest.raises(InvalidWal, match="a record of 0 bytes"):
        read_segment(segment)


@pytest.mark.parametrize(
    ("manager", "info", "main", "expected"),
    [
        (SMGR, 0x10, LOCATOR + struct.pack("<i", 0), {LOCATOR: 0}),
        (SMGR, 0x10, LOCATOR + struct.pack("<i", 2), {}),  # a visibility map
        (SMGR, 0x20, struct.pack("<I", 7) + LOCATOR + struct.pack("<i", 7), {LOCATOR: 7}),
        (SMGR, 0x20, struct.pack("<I", 7) + LOCATOR + struct.pack("<i", 6), {}),  # other forks alone
        (XACT, 0x00, bytes(8), {}),
        (XACT, 0x80, bytes(8) + struct.pack("<IiI", 6, 1, 99) + struct.pack("<i", 1) + LOCATOR, {LOCATOR: 0}),
        (XACT, 0xA0, bytes(8) + struct.pack("<IIIi", 5, 5, 1663, 1) + LOCATOR, {LOCATOR: 0}),
        (XACT, 0x90, bytes(8) + struct.pack("<Ii", 4, 1) + LOCATOR, {}),  # only prepared
    ],
)
def test_what_is_cut_made_or_removed_is_told(manager: int, info: int, main: bytes, expected: dict[bytes, int]) -> None:
    assert read_all(lay_out([record(manager, info, main=main), switch()])).limits == expected


@pytest.mark.parametrize(
    ("major", "info", "main"),
    [
        (14, 0x00, struct.pack("<IIII", 5, 1663, 1, 1663)),  # copied
        (15, 0x00, struct.pack("<IIII", 5, 1663, 1, 1663)),
        (18, 0x10, struct.pack("<II", 5, 1663)),  # logged
        (14, 0x10, struct.pack("<IiI", 5, 1, 1663)),  # removed
        (17, 0x20, struct.pack("<IiI", 5, 1, 1663)),
    ],
)
def test_databases_that_are_made_or_removed_are_told(major: int, info: int, main: bytes) -> None:
    segments = lay_out([record(DBASE, info, main=main, major=major), switch()], major=major)
    assert read_all(segments).limits == {struct.pack("<III", 1663, 5, 0): 0}


@pytest.mark.parametrize("data", [b"", bytes(8192), b"x" * 8192, lay_out([switch()])[0][:100]])
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidWal):
        read_segment(data)


def test_a_switch_may_lie_in_two_segments() -> None:
    records = [record(blocks=[Block((1663, 5, 1, 1))], main=bytes(8087)), switch()]
    segments = lay_out(records, pages=1)
    assert [len(segments), read_segment(segments[1]).is_switched] == [2, True]
    assert len(read_all(segments).places) == 1
    with pytest.raises(InvalidWal):  # nobody knows that it was one
        read_all(segments[1:], knows_begin=False)
    (_, ends_early) = lay_out([record(main=bytes(9000))], pages=1)
    with pytest.raises(InvalidWal, match="ends early"):
        read_all([lay_out([record(main=bytes(9000)), switch()], pages=1)[0], ends_early])
