"""wal-verify against a search by hand, on archives with holes, timelines and backups of all kinds."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from walpy.wal.history import Path, Switch
from walpy.wal.inventory import Inventory
from walpy.wal.segment import MIB, Timeline, segment_name
from walpy.wal.verify import Position, Presence, Status, Windows, scan, verdict

SEGMENTS = 24


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int, set[tuple[int, int]]]:
    """History rows (timeline, position), the current timeline, and the segments that are there."""
    switches = sorted(draw(st.lists(st.integers(MIB, SEGMENTS * MIB - 1), max_size=3)))
    timelines = sorted(draw(st.sets(st.integers(1, 9), min_size=len(switches) + 1, max_size=len(switches) + 1)))
    rows = list(zip(timelines, switches, strict=False))
    there = draw(st.sets(st.tuples(st.sampled_from([*timelines, 10]), st.integers(0, SEGMENTS)), max_size=60))
    mostly = draw(st.booleans())
    if mostly:
        there |= {(timeline_by_hand(rows, timelines[-1], number), number) for number in range(SEGMENTS)} - there
    return rows, timelines[-1], there


def timeline_by_hand(rows: list[tuple[int, int]], current: int, number: int) -> int:
    """The timeline that a segment is read from: the newest one that has begun by the segment's end."""
    answer = current
    for timeline, lsn in reversed(rows):
        if lsn >= (number + 1) * MIB:  # the switch lies behind this segment
            answer = timeline
    return answer


def presences_by_hand(expected: list[bool], windows: Windows) -> list[Presence]:
    """For segments, the newest first: is it there? -> what the report says of it."""
    delayed = 0
    while delayed < min(windows.delayed, len(expected)) and not expected[delayed]:
        delayed += 1
    looked_at = delayed + (1 if delayed < min(windows.delayed, len(expected)) else 0)
    answer = []
    for index, is_there in enumerate(expected):
        if is_there:
            answer.append(Presence.FOUND)
        elif index < delayed:
            answer.append(Presence.DELAYED)
        elif index < looked_at + windows.uploading:
            answer.append(Presence.UPLOADING)
        else:
            answer.append(Presence.LOST)
    return answer


@settings(max_examples=300)
@given(archives(), st.integers(0, 5), st.integers(1, 6), st.integers(0, SEGMENTS), st.integers(1, SEGMENTS + 2))
def test_every_segment_is_what_a_search_finds(
    archive: tuple[list[tuple[int, int]], int, set[tuple[int, int]]],
    delayed: int,
    uploading: int,
    stop: int,
    current: int,
) -> None:
    rows, timeline, there = archive
    names = sorted(segment_name(number, segment, MIB) for number, segment in there)
    way = Path.to(timeline, [Switch(Timeline(number), lsn) for number, lsn in rows], MIB)  # type: ignore[arg-type]
    windows = Windows(delayed, uploading)
    ranges = scan(Inventory(names, MIB), way, Position(Timeline(timeline), current), stop, windows)

    numbers = list(range(current - 1, stop - 1, -1))
    by_hand = [(timeline_by_hand(rows, timeline, number), number) for number in numbers]
    expected = presences_by_hand([item in there for item in by_hand], windows)
    told = {(item.timeline, number): item.presence for item in ranges for number in range(item.first, item.last + 1)}
    assert told == dict(zip(by_hand, expected, strict=True))
    assert [item.first for item in ranges] == sorted(item.first for item in ranges)
    assert all((a.timeline, a.presence) != (b.timeline, b.presence) for a, b in pairwise(ranges))

    lost = [number for (_, number), presence in zip(by_hand, expected, strict=True) if presence is Presence.LOST]
    found = [number for (_, number), presence in zip(by_hand, expected, strict=True) if presence is Presence.FOUND]
    is_failure = bool(lost)
    assert (verdict(ranges, has_backups=True) is Status.FAILURE) == is_failure
    is_failure = any(found and number > min(found) for number in lost)
    assert (verdict(ranges, has_backups=False) is Status.FAILURE) == is_failure
    is_ok = all(presence is Presence.FOUND for presence in expected)
    assert (verdict(ranges, has_backups=True) is Status.OK) == is_ok
