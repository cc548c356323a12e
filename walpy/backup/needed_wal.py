"""Which segments a set of backups needs: asked for millions of segments, for thousands of backups. Pure.

Memory: two numbers for each backup.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable


class NeededWal:
    """Segments (timeline, number) that are needed.

    spans: timeline, first and last segment of what one backup reads itself. starts: timelines and segments from which
    on all is needed, on that timeline and on every higher one.
    """

    def __init__(self, spans: Iterable[tuple[int, int, int]], starts: Iterable[tuple[int, int]]) -> None:
        self._spans: dict[int, tuple[list[int], list[int]]] = {}
        by_timeline = defaultdict(list)
        for timeline, first, last in spans:
            by_timeline[timeline].append((first, last))
        for timeline, found in by_timeline.items():
            self._spans[timeline] = _united(sorted(found))
        self._timelines: list[int] = []
        self._lowest: list[int] = []  # the lowest start on the timeline of that index, and on all lower ones
        for timeline, segment in sorted(starts):
            if not self._lowest or segment < self._lowest[-1]:
                self._timelines.append(timeline)
                self._lowest.append(segment)

    def holds(self, timeline: int, segment: int) -> bool:
        """Whether a segment is needed."""
        index = bisect_right(self._timelines, timeline)
        if index and segment >= self._lowest[index - 1]:
            return True
        firsts, lasts = self._spans.get(timeline, ((), ()))
        index = bisect_right(firsts, segment)
        return index > 0 and segment <= lasts[index - 1]


def _united(spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Firsts and lasts of the spans, those that overlap as one."""
    firsts: list[int] = []
    lasts: list[int] = []
    for first, last in spans:
        if lasts and first <= lasts[-1]:
            lasts[-1] = max(lasts[-1], last)
        else:
            firsts.append(first)
            lasts.append(last)
    return firsts, lasts
