"""Timelines: their history files, and which timeline each segment on the way to a position belongs to. Pure.

Source: PostgreSQL, src/backend/access/transam/timeline.c; the walks: xlogrecovery.c, XLogFileReadAnyTLI.
"""

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from walpy.errors import DataCorrupt, InvalidWal
from walpy.postgres.lsn import Lsn, parse_lsn
from walpy.wal.segment import Timeline, segment_of_lsn

_ROW = re.compile(r"\s*(\d+)\s+(\S+)")


class Switch(NamedTuple):
    """One row of a history file: timeline was left at the position lsn, for the next row's, or the file's own."""

    timeline: Timeline
    lsn: Lsn


def history_name(timeline: int) -> str:
    """Name of a timeline's history file; timeline 1 has none."""
    return f"{timeline:08X}.history"


def parse_history(text: str, name: str) -> list[Switch]:
    """Rows of a history file, oldest first; comments and empty lines are passed over.

    name: for messages. Raises DataCorrupt for any other line, and for timelines that do not ascend.
    """
    rows: list[Switch] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ROW.match(line)
        try:
            if match is None:
                raise InvalidWal("no timeline and position")
            rows.append(Switch(Timeline(int(match[1])), parse_lsn(match[2])))
        except InvalidWal as error:
            raise DataCorrupt(f"history file {name!r} has a line that is none: {line!r} ({error})") from None
    if any(later.timeline <= earlier.timeline for earlier, later in pairwise(rows)):
        raise DataCorrupt(f"history file {name!r} has timelines that do not ascend")
    return rows


def read_local_history(wal: str, timeline: int) -> list[Switch]:
    """Rows of a timeline's history file in a WAL directory; none for timeline 1. Raises OSError, DataCorrupt."""
    if timeline == 1:
        return []
    path = os.path.join(wal, history_name(timeline))
    with open(path, encoding="utf-8", errors="replace") as file:
        return parse_history(file.read(), path)


class Path(NamedTuple):
    """The way of the WAL to a timeline: segments from begin (a number) on belong to timeline, the newest one first."""

    steps: tuple[tuple[int, Timeline], ...]

    @classmethod
    def to(cls, timeline: int, history: Sequence[Switch], segment_size: int) -> "Path":
        """The way that a timeline's history tells; the segment of a switch belongs to the new timeline."""
        begins = [segment_of_lsn(row.lsn, segment_size) for row in history]
        timelines = [*(row.timeline for row in history), Timeline(timeline)]
        return cls(tuple(zip([0, *begins], timelines, strict=True))[::-1])

    def timeline_of(self, number: int) -> Timeline:
        """Timeline that segment number belongs to."""
        return self.step_of(number)[0]

    def step_of(self, number: int) -> tuple[Timeline, int]:
        """Timeline that segment number belongs to, and its first segment."""
        return next((timeline, begin) for begin, timeline in self.steps if number >= begin)

    def begin_of(self, timeline: int) -> int | None:
        """First segment of a timeline on this way; None when it is not on it."""
        return next((begin for begin, step in self.steps if step == timeline), None)

    def end_of(self, timeline: int) -> int | None:
        """The segment after the last one of a timeline on this way; None for the newest, and when it is not on it."""
        following: int | None = None
        for begin, step in self.steps:
            if step == timeline:
                return following
            following = begin
        return None

    def contains(self, timeline: int, number: int) -> bool:
        """Whether a segment lies on this way: on one of its timelines, not before it began, nor after it was left."""
        begin, end = self.begin_of(timeline), self.end_of(timeline)
        return begin is not None and begin <= number and (end is None or number < end)


_last = itemgetter(1)  # of a range


class SegmentRanges:
    """Numbers of the segments that exist on one timeline, as ranges; cheap as long as they mostly follow each other.

    numbers: at least one, in any order, any of them several times.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._ranges: list[tuple[int, int]] = []  # first and last, ascending, never touching
        ascending = iter(sorted(numbers))
        first = last = next(ascending)
        for number in ascending:
            if number > last + 1:
                self._ranges.append((first, last))
                first = number
            last = number
        self._ranges.append((first, last))

    @property
    def first(self) -> int:
        """The lowest number."""
        return self._ranges[0][0]

    @property
    def last(self) -> int:
        """The highest number."""
        return self._ranges[-1][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._ranges)

    def __contains__(self, number: int) -> bool:
        index = bisect_left(self._ranges, number, key=_last)
        return index < len(self._ranges) and self._ranges[index][0] <= number

    def run_begin(self, number: int) -> int:
        """The lowest number from which on, up to this one, all are there, or none is."""
        index = bisect_left(self._ranges, number, key=_last)
        if index < len(self._ranges) and self._ranges[index][0] <= number:
            return self._ranges[index][0]
        return self._ranges[index - 1][1] + 1 if index else 0

    def gaps(self) -> list[tuple[int, int]]:
        """Ranges (first, last) between the lowest and the highest number that are not there, ascending."""
        return [(earlier[1] + 1, later[0] - 1) for earlier, later in pairwise(self._ranges)]
