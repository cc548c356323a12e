"""Which pages of a cluster changed since a backup began, from the WAL in between: no file need be read to find them.

Memory: two bytes for each changed page, or one bit for each page of a relation's 65,536 where many changed; at most
MAP_SIZE in all, 64 MiB, which 4 TiB of changed pages take. A map that would be larger is given up. numpy, whose import
takes as long as looking through half a GB, is needed where many changed alone.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from walpy.postgres.page import RELATION_SEGMENT_SIZE
from walpy.postgres.relation_file import Relation, relation_file
from walpy.postgres.wal_summaries import BITMAP_WORDS, CHUNK_BLOCKS, MAIN_FORK, NO_LIMIT, ForkChanges

MAP_SIZE: Final = 64 << 20  # bytes


class MapTooLarge(Exception):
    """More pages changed than a map may hold."""


class ChangeMap:
    """Changed pages of main forks, by relation. page_size: bytes."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._segment_blocks = RELATION_SEGMENT_SIZE // page_size
        self._chunks: dict[Relation, dict[int, array[int]]] = {}
        self._limits: dict[Relation, int] = {}
        self._size = 0

    def add(self, changes: Iterable[ForkChanges]) -> None:
        """Take in what happened to forks. Raises MapTooLarge, and what giving them out raises."""
        for relation, fork, limit, chunks in changes:
            if fork != MAIN_FORK:
                continue
            if limit != NO_LIMIT:
                self._limits[relation] = min(limit, self._limits.get(relation, NO_LIMIT))
            known = self._chunks.setdefault(relation, {})
            for number, words in chunks.items():
                before = known.get(number)
                known[number] = words if before is None else _union(before, words)
                self._size += words.itemsize * (len(known[number]) - (0 if before is None else len(before)))
            if self._size > MAP_SIZE:
                raise MapTooLarge(f"more than {MAP_SIZE >> 20} MiB of changed pages' numbers")

    def changed(self, name: str, size: int) -> Sequence[int] | None:
        """Numbers of the pages of a relation's file that changed, ascending; None when it must be stored whole.

        name: in the backup; size: bytes, whole pages. A file that was made anew, or cut to nothing, meanwhile has
        nothing in common with its predecessor; where a file was cut, everything behind counts as changed.
        """
        file = relation_file(name)
        if file is None:
            return None
        relation = file.relation
        if relation._replace(number=0) in self._limits:
            return None
        first = file.segment * self._segment_blocks
        limit = self._limits.get(relation, NO_LIMIT)
        if limit <= first:
            return None
        end = first + size // self._page_size
        found = array("I")
        until = min(end, limit)
        chunks = self._chunks.get(relation, {})
        for number in range(first // CHUNK_BLOCKS, -(-until // CHUNK_BLOCKS)):
            if number in chunks:
                start = number * CHUNK_BLOCKS
                found += _numbers(chunks[number], first - start, until - start)
        found.extend(range(limit - first, end - first))
        return found


def _union(one: "array[int]", other: "array[int]") -> "array[int]":
    if len(one) < BITMAP_WORDS and len(other) < BITMAP_WORDS:
        offsets = sorted({*one, *other})
        if len(offsets) < BITMAP_WORDS:
            return array("H", offsets)
    from walpy.backup.change_bitmaps import united

    return united(one, other)


def _numbers(words: "array[int]", low: int, high: int) -> "array[int]":
    """Offsets of a chunk's blocks from low to high (excluded), ascending, counted from low."""
    if len(words) < BITMAP_WORDS:
        return array("I", sorted(offset - low for offset in words if low <= offset < high))
    from walpy.backup.change_bitmaps import numbers

    return numbers(words, low, high)
