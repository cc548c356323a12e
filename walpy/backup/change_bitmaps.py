"""Chunks of a change map in which many blocks changed, as bitmaps; and what WAL delta maps name. With numpy."""

from array import array
from collections.abc import Iterator

from walpy.postgres.arrays import NDArray, np
from walpy.postgres.relation_file import Relation
from walpy.postgres.wal_summaries import BITMAP_WORDS, CHUNK_BLOCKS, MAIN_FORK, NO_LIMIT, ForkChanges


def united(one: "array[int]", other: "array[int]") -> "array[int]":
    """The bitmap of the blocks of two chunks, whose words are offsets or bitmaps."""
    return _words(_bitmap(one) | _bitmap(other))


def numbers(bitmap: "array[int]", low: int, high: int) -> "array[int]":
    """Offsets of a bitmap's blocks from low to high (excluded), ascending, counted from low (type code I)."""
    bits = np.unpackbits(_bitmap(bitmap).view(np.uint8), bitorder="little")
    start = max(low, 0)
    found = np.flatnonzero(bits[start : max(high, start)]) + (start - low)
    return array("I", found.astype(np.uint32).tobytes())


def changes_of(places: bytes) -> Iterator[ForkChanges]:
    """Changed blocks as WAL records name them: tablespace, database, relation and block, 32 bits each.

    The fork is not told, so that blocks of other forks count as the main one's: some pages more than changed.
    """
    table = np.frombuffer(places, "<u4").reshape(-1, 4)
    table = table[np.lexsort(table.T[::-1])]
    for rows in np.split(table, np.flatnonzero(np.diff(table[:, :3], axis=0).any(axis=1)) + 1):
        if len(rows):
            blocks = np.unique(rows[:, 3])
            chunk_of = blocks // CHUNK_BLOCKS
            chunks = {
                int(number): _chunk((blocks[chunk_of == number] % CHUNK_BLOCKS).astype(np.uint16))
                for number in np.unique(chunk_of)
            }
            yield ForkChanges(Relation(*rows[0, :3].tolist()), MAIN_FORK, NO_LIMIT, chunks)


def _chunk(offsets: "NDArray[np.uint16]") -> "array[int]":
    """As a summary's words tell offsets of blocks in their chunk."""
    return _words(offsets if len(offsets) < BITMAP_WORDS else _marked(offsets))


def _bitmap(words: "array[int]") -> "NDArray[np.uint16]":
    """A chunk's words as a bitmap, lower bytes first."""
    found = np.frombuffer(words, np.uint16)
    return found.astype("<u2") if len(words) == BITMAP_WORDS else _marked(found)


def _marked(offsets: "NDArray[np.uint16]") -> "NDArray[np.uint16]":
    bits = np.zeros(CHUNK_BLOCKS, np.uint8)
    bits[offsets] = 1
    return np.packbits(bits, bitorder="little").view("<u2")


def _words(values: "NDArray[np.uint16]") -> "array[int]":
    return array("H", values.astype(np.uint16).tobytes())
