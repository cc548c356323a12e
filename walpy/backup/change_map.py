"""Which pages of a cluster changed since a backup began, from the WAL in between: no file need be read to find them.

Memory: two bytes for each changed page, or one bit for each page of a relation's 65,536 where many changed; at most
MAP_SIZE in all, 64 MiB, which 4 TiB of changed pages take. A map that would be larger is given up.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from walpy.postgres.arrays import NDArray, np
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
        self._chunks: dict[Relation, dict[int, NDArray[np.uint16]]] = {}
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
                self._size += known[number].nbytes - (0 if before is None else before.nbytes)
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
        found = array("I", self._between(relation, first, min(end, limit)).tobytes())
        found.extend(range(limit - first, end - first))
        return found

    def _between(self, relation: Relation, first: int, end: int) -> "NDArray[np.uint32]":
        """Numbers of a relation's changed blocks from first to end (excluded), counted from first."""
        chunks = self._chunks.get(relation, {})
        parts = [
            _offsets(chunks[number]) + np.uint32(number * CHUNK_BLOCKS)
            for number in range(first // CHUNK_BLOCKS, -(-end // CHUNK_BLOCKS))
            if number in chunks
        ]
        blocks = np.concatenate([np.empty(0, np.uint32), *parts])
        return blocks[(blocks >= first) & (blocks < end)] - np.uint32(first)


def changes_of(places: bytes) -> Iterator[ForkChanges]:
    """Changed blocks as WAL records name them: tablespace, database, relation and block, 32 bits each.

    The fork is not told, so that blocks of other forks count as the main one's: some pages more than changed.
    """
    table = np.frombuffer(places, "<u4").reshape(-1, 4)
    table = table[np.lexsort(table.T[::-1])]
    for rows in np.split(table, np.flatnonzero(np.diff(table[:, :3], axis=0).any(axis=1)) + 1):
        if len(rows):
            blocks = np.unique(rows[:, 3])
            numbers = blocks // CHUNK_BLOCKS
            chunks = {
                int(number): _words((blocks[numbers == number] % CHUNK_BLOCKS).astype(np.uint16))
                for number in np.unique(numbers)
            }
            yield ForkChanges(Relation(*rows[0, :3].tolist()), MAIN_FORK, NO_LIMIT, chunks)


def _union(one: "NDArray[np.uint16]", other: "NDArray[np.uint16]") -> "NDArray[np.uint16]":
    if len(one) == len(other) == BITMAP_WORDS:
        return one | other
    return _words(np.union1d(_offsets(one), _offsets(other)).astype(np.uint16))


def _words(offsets: "NDArray[np.uint16]") -> "NDArray[np.uint16]":
    """As a summary's words tell offsets of blocks in their chunk."""
    return offsets if len(offsets) < BITMAP_WORDS else _bitmap(offsets)


def _offsets(words: "NDArray[np.uint16]") -> "NDArray[np.uint32]":
    """Offsets of blocks in their chunk, ascending, as a summary's words tell them."""
    if len(words) < BITMAP_WORDS:
        return np.sort(words).astype(np.uint32)
    bits = np.unpackbits(words.astype("<u2").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits).astype(np.uint32)


def _bitmap(offsets: "NDArray[np.uint16]") -> "NDArray[np.uint16]":
    bits = np.zeros(CHUNK_BLOCKS, np.uint8)
    bits[offsets] = 1
    return np.packbits(bits, bitorder="little").view("<u2")
