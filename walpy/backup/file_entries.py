"""What files_metadata.json says of each file of a partition."""

import time
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice

from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.files_metadata import TarListing, files_text
from walpy.backup.timestamp import Timestamp
from walpy.postgres.entry import Entry, times_of

SOME_BLOCKS = 10  # how many numbers of corrupt blocks WAL-G keeps for a file
LISTED_AT_ONCE = 10_000
ALL_BLOCKS = 1 << 32  # more than there are


def tar_listing(
    entries: Iterable[Entry],
    vanished: Set[str],
    corrupt: Mapping[str, tuple[int, ...]],
    kept_blocks: int,
    *,
    increments: Set[str] = frozenset(),
) -> TarListing:
    """The entries that are in a tar, in their order.

    vanished: names of those that are not. corrupt: blocks with wrong checksums, ascending, by name of their file.
    kept_blocks: how many of their numbers to keep for a file. increments: names of files that changed pages stand for.
    """
    damage = {name: CorruptBlocks(len(blocks), blocks[:kept_blocks]) for name, blocks in corrupt.items()}
    return TarListing.of(
        [
            (
                name,
                FileEntry(local_timestamp(mtime_ns), name in increments, False, damage.get(name), updates),
            )
            for name, mtime_ns, updates in times_of(entries)
            if name not in vanished
        ]
    )


def local_timestamp(ns: int) -> Timestamp:
    """An instant with the offset that local time had then, as WAL-G notes modification times."""
    return Timestamp(ns, time.localtime(ns // 1_000_000_000).tm_gmtoff)


def unchanged_listings(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The entries of files that are as the backup's base has them, and in no tar; some thousands at a time."""
    entries = iter(entries)
    while some := list(islice(entries, LISTED_AT_ONCE)):
        yield files_text(
            (entry.name, FileEntry(local_timestamp(entry.mtime_ns), is_skipped=True, updates_count=entry.updates))
            for entry in some
        )
