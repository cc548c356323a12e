"""What files_metadata.json says of each file of a partition."""

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice

from walpy.backup.entry import CorruptBlocks, FileEntry
from walpy.backup.files_metadata import LISTED_AT_ONCE, TarListing, entry_text, files_text, plain_entry_text
from walpy.backup.timestamp import Timestamp, fraction
from walpy.postgres.entry import Entry, times_of

SOME_BLOCKS = 10  # how many numbers of corrupt blocks WAL-G keeps for a file
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

    def text(name: str, mtime_ns: int, updates: int) -> str:
        if name not in increments and name not in damage:
            return plain_entry_text(_local_text(mtime_ns), updates)
        time = local_timestamp(mtime_ns)
        return entry_text(FileEntry(time, name in increments, corrupt_blocks=damage.get(name), updates_count=updates))

    stored = (file for file in times_of(entries) if file[0] not in vanished)
    return TarListing.of_texts((file[0], text(*file)) for file in stored)


def local_timestamp(ns: int) -> Timestamp:
    """An instant with the offset that local time had then, as WAL-G notes modification times."""
    return Timestamp(ns, time.localtime(ns // 1_000_000_000).tm_gmtoff)


def _local_text(ns: int) -> str:
    """local_timestamp(ns).rfc3339_ns(), in a third of its time."""
    second, nanoseconds = divmod(ns, 1_000_000_000)
    date_time, zone = _local_second(second)
    return f"{date_time}{fraction(nanoseconds)}{zone}"


@functools.lru_cache(maxsize=4096)  # many files were written in the same second
def _local_second(second: int) -> tuple[str, str]:
    text = local_timestamp(second * 1_000_000_000).rfc3339()
    zone = len("2026-11-21T19:10:32")
    return text[:zone], text[zone:]


def unchanged_listings(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The entries of files that are as the backup's base has them, and in no tar; some thousands at a time."""
    entries = iter(entries)
    while some := list(islice(entries, LISTED_AT_ONCE)):
        yield files_text(
            (entry.name, FileEntry(local_timestamp(entry.mtime_ns), is_skipped=True, updates_count=entry.updates))
            for entry in some
        )
