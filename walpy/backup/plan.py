"""Divides the walked objects of a cluster into tar partitions: pure functions.

As WAL-G's regular composer with one queue, and in groups as its other composers: objects keep the order of the walk, so
part_001 starts with the data directory itself. Unlike WAL-G, a partition is closed before a file that would make it
exceed the threshold, and a bigger file has a partition of its own; partitions also stay small enough to keep every
worker busy. The same walk gives the same plan.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from walpy.postgres.entry import HasSize, sizes_of

PARTS_PER_WORKER = 4  # so that workers end at about the same time
SMALLEST_COST = 64 << 20  # a partition for parallelism alone is not smaller than this
MOST_MEMBERS = 30_000  # of a partition: whoever packs or restores it holds their names
FILE_COST = 32 << 10  # opening, a header and bookkeeping take as long as packing about this many bytes


Entry = TypeVar("Entry", bound=HasSize)


@dataclass(frozen=True, slots=True)
class Partition(Generic[Entry]):
    """One tar to be: its number, from 1, its members in order and their bytes of data."""

    number: int
    entries: Sequence[Entry]
    size: int

    @property
    def tar_name(self) -> str:
        """`part_001.tar`; numbers above 999 have more digits."""
        return f"part_{self.number:03d}.tar"

    @property
    def cost(self) -> int:
        """How long it takes to pack, in bytes of one big file."""
        return self.size + FILE_COST * len(self.entries)


def partitions(groups: Sequence[Sequence[Entry]], *, threshold: int, workers: int) -> list[Partition[Entry]]:
    """Divide entries, in their order, into partitions; none has entries of two groups.

    threshold: bytes of data that a partition of more than one file does not exceed; 0 gives every non-empty file its
    own. workers: how many partitions are packed at the same time.
    """
    total = sum(sum(sizes_of(entries)) + FILE_COST * len(entries) for entries in groups)
    limit = max(SMALLEST_COST, -(-total // (max(1, workers) * PARTS_PER_WORKER)))
    cut = (part for entries in groups for part in _cut(entries, threshold, limit))
    return [Partition(number, entries, size) for number, (entries, size) in enumerate(cut, 1)]


def _cut(entries: Sequence[Entry], threshold: int, limit: int) -> Iterator[tuple[Sequence[Entry], int]]:
    """Entries of one partition after the other, and their bytes of data."""
    start = size = 0
    for index, more in enumerate(sizes_of(entries)):
        cost = size + more + FILE_COST * (index - start)
        is_full = _exceeds(size, more, threshold) or cost > limit or index - start == MOST_MEMBERS
        if index > start and is_full:
            yield entries[start:index], size
            start, size = index, 0
        size += more
    if start < len(entries):
        yield entries[start:], size


def _exceeds(size: int, more: int, threshold: int) -> bool:
    return size > 0 and more > 0 and size + more > threshold


def longest_first(parts: Iterable[Partition[Entry]]) -> list[Partition[Entry]]:
    """Order in which to hand partitions to workers: the last ones to end are short."""
    return sorted(parts, key=lambda part: (-part.cost, part.number))
