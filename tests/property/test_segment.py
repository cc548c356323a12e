"""Segment names and positions parse back, whatever the segment size."""

from hypothesis import given
from hypothesis import strategies as st

from walpy.postgres.lsn import format_lsn, parse_lsn
from walpy.wal.segment import (
    WalKind,
    following_segment,
    segment_name,
    segment_number,
    segment_of_lsn,
    segment_timeline,
    wal_kind,
)

sizes = st.integers(20, 30).map(lambda power: 2**power)
timelines = st.integers(1, 2**32 - 1)
lsns = st.integers(0, 2**64 - 1)


@given(timelines, lsns, sizes)
def test_a_name_parses_back(timeline: int, lsn: int, size: int) -> None:
    number = segment_of_lsn(lsn, size)
    name = segment_name(timeline, number, size)
    assert wal_kind(name) is WalKind.SEGMENT
    assert (segment_timeline(name), segment_number(name, size)) == (timeline, number)


@given(timelines, st.integers(0, 2**63), sizes)
def test_names_of_a_timeline_sort_as_their_numbers(timeline: int, lsn: int, size: int) -> None:
    name = segment_name(timeline, segment_of_lsn(lsn, size), size)
    following = following_segment(name, size)
    assert name < following
    assert segment_number(following, size) == segment_number(name, size) + 1


@given(lsns)
def test_an_lsn_parses_back(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@given(st.text())
def test_any_text_has_a_kind(text: str) -> None:
    assert wal_kind(text) in WalKind
