"""copy: backups, with the WAL that makes them consistent, from one archive to another, byte for byte.

First the whole plan: every chain, every conflict, every missing segment is known before anything is written. Then the
objects, in an order that leaves no listed backup incomplete wherever it stops: parts and WAL, metadata.json, sentinels,
each after that of the backup it is made on. What the target has already is left alone, so that a copy that was stopped
goes on where it was.

Memory: names of the parts, what copying states, what the inventory states; WAL is listed as it goes.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Final, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import (
    NO_BACKUPS,
    BackupSelector,
    find_backup,
    in_parallel,
    list_backups,
    read_metadata,
    read_sentinel,
)
from walpy.backup.mark import chain_by
from walpy.backup.retention import position_of
from walpy.copying import Copying, CopySummary, pairs
from walpy.errors import BackupError, ObjectMissing
from walpy.progress import Progress
from walpy.storage.base import StoredObject
from walpy.wal.history import SegmentRanges
from walpy.wal.identity import take_identity
from walpy.wal.inventory import Inventory, without_extension
from walpy.wal.segment import (
    WalKind,
    configured_segment_size,
    segment_before_lsn,
    segment_name,
    segment_of_lsn,
    segment_position,
    wal_kind,
)

END: Final = "G"  # follows every WAL name

logger = logging.getLogger(__name__)


class WalRange(NamedTuple):
    """Segments, by name, that a backup's copy has to bring. last is END with the WAL that follows."""

    first: str
    last: str


def copy_backups(
    source: Archive, target: Archive, name: str, progress: Progress, *, with_history: bool = False
) -> CopySummary:
    """Copy a backup (a name, LATEST, or empty: all), with those that it is made on.

    with_history: also all WAL that follows. Raises BackupError, before anything is written, for an unknown backup, a
    missing segment, and an object that the target has with other content; ConfigError for one archive on both sides.
    """
    copying = Copying(source, target, progress)
    requested = _requested(source, name)
    chains = _chains(source, requested)
    stages = _Stages()
    for backup in dict.fromkeys(backup for names in chains for backup in names):
        stages.add(backup, source, target, copying)
    wal = _WalPlan(in_parallel(partial(_wal_range, source, with_history=with_history), requested))
    wal.check(copying, configured_segment_size(source.config), with_history=with_history)
    take_identity(source, target)
    progress.start(copying.size, "copying")
    try:
        copying.run(stages.parts)
        copying.run(wal.missing(source, target))
        copying.run(stages.metadata)
        for names in _by_depth(chains):
            copying.run([stages.sentinels[backup] for backup in names if backup in stages.sentinels])
    finally:
        progress.finish()
    logger.info("Success copy.")
    return copying.summary


def _requested(source: Archive, name: str) -> list[str]:
    if name:
        return [find_backup(source, BackupSelector(name))]
    backups = [backup.name for backup in list_backups(source)]
    if not backups:
        raise BackupError(NO_BACKUPS)
    return backups


def _chains(source: Archive, requested: Sequence[str]) -> list[list[str]]:
    """Each backup with those that it is made on; every sentinel is read once."""

    @cache
    def base_of(backup: str) -> str | None:
        return read_sentinel(source, backup).delta_from

    in_parallel(base_of, requested)
    return [chain_by(base_of, backup) for backup in requested]


def _by_depth(chains: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Backups, the full ones first, then those made on them, and so on."""
    for depth in range(max(map(len, chains))):
        yield list(dict.fromkeys(names[depth] for names in chains if depth < len(names)))


# ---- backups


class _Stages:
    """The objects of backups that the target lacks: parts, metadata.json, and sentinels by backup."""

    def __init__(self) -> None:
        self.parts: list[StoredObject] = []
        self.metadata: list[StoredObject] = []
        self.sentinels: dict[str, StoredObject] = {}

    def add(self, backup: str, source: Archive, target: Archive, copying: Copying) -> None:
        """Add what the target lacks of one backup. Raises Conflict."""
        folder = layout.backup_folder(backup)
        for item, present in pairs(source.storage.list(folder), target.storage.list(folder)):
            is_document = item.name == layout.metadata(backup)
            if copying.is_missing(item, present, by_content=is_document):
                (self.metadata if is_document else self.parts).append(item)
        sentinel = layout.sentinel(backup)
        found = target.storage.stat_many([sentinel])
        item = source.storage.stat(sentinel)
        if copying.is_missing(item, found[0] if found else None, by_content=True):
            self.sentinels[backup] = item


# ---- WAL


def _wal_range(source: Archive, backup: str, *, with_history: bool) -> WalRange:
    """What WAL-G copies: from the segment of the byte before the start, to that of the end."""
    try:
        metadata = read_metadata(source, backup)
    except ObjectMissing:
        raise BackupError(
            f"backup {backup} has no metadata.json, which tells the WAL that it needs", "WAL-E writes none."
        ) from None
    segment_size = configured_segment_size(source.config)
    timeline, _ = position_of(backup, segment_size)
    first = segment_name(timeline, segment_before_lsn(metadata.start_lsn, segment_size), segment_size)
    last = segment_name(timeline, segment_of_lsn(metadata.finish_lsn, segment_size), segment_size)
    return WalRange(first, END if with_history else last)


class _WalPlan:
    """Which WAL objects a copy brings: those of the ranges, and all history files."""

    def __init__(self, ranges: Sequence[WalRange]) -> None:
        self._ranges = ranges
        self._firsts: list[str] = []  # of the ranges joined where they overlap, ascending
        self._lasts: list[str] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def holds(self, name: str) -> bool:
        """Whether an object of the WAL folder is wanted, by its name without the folder."""
        if wal_kind(without_extension(name)) is WalKind.HISTORY:
            return True
        base = name.partition(".")[0]
        index = bisect_right(self._firsts, base) - 1
        return index >= 0 and base <= self._lasts[index]

    def pairs(self, source: Archive, target: Archive) -> Iterator[tuple[StoredObject, StoredObject | None]]:
        """Wanted objects of the source, with the target's."""
        cut = len(layout.WAL_FOLDER) + 1
        wanted = (item for item in source.storage.list(layout.WAL_FOLDER) if self.holds(item.name[cut:]))
        return pairs(wanted, target.storage.list(layout.WAL_FOLDER))

    def missing(self, source: Archive, target: Archive) -> Iterator[StoredObject]:
        """Wanted objects that the target lacks."""
        return (item for item, present in self.pairs(source, target) if present is None)

    def check(self, copying: Copying, segment_size: int, *, with_history: bool) -> None:
        """Count what will be copied. Raises Conflict, and BackupError when a segment is missing."""
        inventory = Inventory(self._counted(copying), segment_size)
        for name in inventory.strange:
            segment_position(name, segment_size)  # raises what tells why
        for wanted in self._ranges:
            _check_range(wanted, inventory.segments, segment_size)
        if with_history:
            for timeline in inventory.timelines:
                _check_gaps(timeline, inventory.segments[timeline].gaps())

    def _counted(self, copying: Copying) -> Iterator[str]:
        """Names of the wanted WAL files, each compared with the target's. Raises Conflict."""
        cut = len(layout.WAL_FOLDER) + 1
        for item, present in self.pairs(copying.source, copying.target):
            copying.is_missing(item, present)
            yield without_extension(item.name[cut:])


def _check_range(wanted: WalRange, found: dict[int, SegmentRanges], segment_size: int) -> None:
    timeline, first = segment_position(wanted.first, segment_size)
    there = found.get(timeline)
    if there is None or first not in there:
        raise BackupError(f'first required PostgreSQL WAL segment "{wanted.first}" is missing')
    if wanted.last == END:
        return
    _, last = segment_position(wanted.last, segment_size)
    if last not in there:
        raise BackupError(f'last required PostgreSQL WAL segment "{wanted.last}" is missing')
    _check_gaps(timeline, [gap for gap in there.gaps() if first < gap[0] < last])


def _check_gaps(timeline: int, gaps: Iterable[tuple[int, int]]) -> None:
    for first, last in gaps:
        raise BackupError(
            f"gap in PostgreSQL WAL history on timeline {timeline:08X} between segments {first - 1} and {last + 1}"
        )
