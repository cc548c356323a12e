"""History files, the way of the WAL over timelines, and ranges of segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walpy.errors import DataCorrupt
from walpy.wal.history import Path, SegmentRanges, Switch, parse_history
from walpy.wal.segment import MIB, Timeline

TEXT = """1\t0/3000000\tno recovery target specified

# a comment
2\t16/B374D848\tbefore 2026-11-22 02:46:09+00
"""


def test_a_history_file_is_read() -> None:
    assert parse_history(TEXT, "00000003.history") == [
        Switch(Timeline(1), 0x3000000),  # type: ignore[arg-type]  # a plain number is a position
        Switch(Timeline(2), 0x16B374D848),  # type: ignore[arg-type]
    ]
    assert parse_history("", "00000002.history") == []


@pytest.mark.parametrize("text", ["nonsense", "1", "1\tx", "x\t0/1", "1\t0/1\n1\t0/2\n", "2\t0/1\n1\t0/2\n"])
def test_a_damaged_one_is_an_error(text: str) -> None:
    with pytest.raises(DataCorrupt, match=r"00000003\.history"):
        parse_history(text, "00000003.history")


def way(*switches: tuple[int, int], to: int, segment_size: int = MIB) -> Path:
    return Path.to(to, [Switch(Timeline(number), lsn) for number, lsn in switches], segment_size)  # type: ignore[arg-type]


def test_the_segment_of_a_switch_belongs_to_the_new_timeline() -> None:
    path = way((1, 5 * MIB + 17), (2, 9 * MIB), to=3)
    assert [path.timeline_of(number) for number in range(3, 12)] == [1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert (path.begin_of(2), path.end_of(2), path.end_of(3), path.begin_of(4)) == (5, 9, None, None)


def test_of_several_switches_in_one_segment_the_last_counts() -> None:
    path = way((1, 5 * MIB + 1), (2, 5 * MIB + 2), to=3)
    assert [path.timeline_of(number) for number in (4, 5, 6)] == [1, 3, 3]
    assert not path.contains(2, 5)


def test_what_lies_on_the_way() -> None:
    path = way((1, 5 * MIB + 17), (4, 9 * MIB), to=7)
    on_it = {(1, 0), (1, 4), (4, 5), (4, 8), (7, 9), (7, 1000)}
    beside = {(1, 5), (4, 4), (4, 9), (7, 8), (2, 6), (9, 20)}
    assert {(timeline, number) for timeline, number in on_it | beside if path.contains(timeline, number)} == on_it


@given(st.lists(st.integers(0, 60), min_size=1))
def test_ranges_are_the_set_that_was_given(given_numbers: list[int]) -> None:
    ranges, numbers = SegmentRanges(given_numbers), set(given_numbers)
    assert {number for number in range(-1, 63) if number in ranges} == numbers
    assert (ranges.first, ranges.last, len(ranges)) == (min(numbers), max(numbers), len(numbers))
    missing = {number for first, last in ranges.gaps() for number in range(first, last + 1)}
    assert missing == set(range(min(numbers), max(numbers))) - numbers
