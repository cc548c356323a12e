"""wal-show: the timelines of an archive, their gaps and backups; as WAL-G prints them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.backup.catalog import NO_BACKUPS
from walpy.backup.listing import Row, detailed_rows, json_object
from walpy.errors import ObjectMissing
from walpy.postgres.lsn import format_lsn
from walpy.table import Column, table
from walpy.wal.history import SegmentRanges, Switch
from walpy.wal.inventory import Inventory, read_history
from walpy.wal.segment import configured_segment_size, segment_name, segment_of_lsn

OK: Final = "OK"
LOST: Final = "LOST_SEGMENTS"
_COLUMNS: Final = (
    Column("TLI", is_number=True),
    Column("PARENT TLI", is_number=True),
    Column("SWITCHPOINT LSN", is_number=True),
    Column("START SEGMENT"),
    Column("END SEGMENT"),
    Column("SEGMENT RANGE", is_number=True),
    Column("SEGMENTS COUNT", is_number=True),
    Column("STATUS"),
)
_BACKUPS_COLUMN: Final = Column("BACKUPS COUNT", is_number=True)

History = Callable[[int], list[Switch]]

logger = logging.getLogger(__name__)


class TimelineRow(NamedTuple):
    """One timeline: its segments, where it began (None: it tells no parent), and the backups on it, newest first."""

    timeline: int
    segments: SegmentRanges
    segment_size: int
    origin: Switch | None
    backups: Sequence[Row]

    @property
    def status(self) -> str:
        """Whether segments are missing between the first and the last one."""
        return LOST if self.segments.gaps() else OK

    def name_of(self, number: int) -> str:
        """Name of a segment of this timeline."""
        return segment_name(self.timeline, number, self.segment_size)


def wal_show(archive: Archive, *, json: bool = False, with_backups: bool = True) -> str:
    """The whole output. Raises BackupError for a backup without metadata.json, as WAL-G."""
    segment_size = configured_segment_size(archive.config)
    inventory = Inventory.of(archive, segment_size)
    backups = list(reversed(detailed_rows(archive))) if with_backups else []
    if with_backups and not backups:
        logger.info("%s in storage.", NO_BACKUPS)
    for name in inventory.strange:
        logger.warning("%s is no segment of %d bytes: see WALG_PG_WAL_SIZE", name, segment_size)
    return show(inventory, partial(read_history, archive), backups, json=json, with_backups=with_backups)


def show(inventory: Inventory, history: History, backups: Sequence[Row], *, json: bool, with_backups: bool) -> str:
    """The whole output for an inventory. history: rows of a timeline's history file; raises ObjectMissing."""
    rows = [_timeline_row(history, inventory, timeline, backups) for timeline in inventory.timelines]
    if json:
        return "[" + ",".join(_json(row, with_backups=with_backups) for row in rows) + "]"
    columns = (*_COLUMNS, _BACKUPS_COLUMN) if with_backups else _COLUMNS
    return table(columns, [list(_cells(row, with_backups=with_backups)) for row in rows])


def _timeline_row(history: History, inventory: Inventory, timeline: int, backups: Sequence[Row]) -> TimelineRow:
    segments = inventory.segments[timeline]
    try:
        switches = history(timeline)
    except ObjectMissing:
        switches = []
    own = [row for row in backups if _lies_on(row, timeline, segments, inventory.segment_size)]
    return TimelineRow(timeline, segments, inventory.segment_size, switches[-1] if switches else None, own)


def _lies_on(row: Row, timeline: int, segments: SegmentRanges, segment_size: int) -> bool:
    """Whether a backup was taken on a timeline, with its first and its last segment among those between its ends."""
    if row.metadata is None or row.backup.wal_file_name[:8] != f"{timeline:08X}":
        return False
    first, last = (segment_of_lsn(lsn, segment_size) for lsn in (row.metadata.start_lsn, row.metadata.finish_lsn))
    return segments.first <= first and last <= segments.last


def _cells(row: TimelineRow, *, with_backups: bool) -> Iterator[str]:
    yield str(row.timeline)
    yield str(row.origin.timeline if row.origin else 0)
    yield format_lsn(row.origin.lsn if row.origin else 0)
    yield row.name_of(row.segments.first)
    yield row.name_of(row.segments.last)
    yield str(row.segments.last - row.segments.first + 1)
    yield str(len(row.segments))
    yield row.status
    if with_backups:
        yield str(len(row.backups))


def _json(row: TimelineRow, *, with_backups: bool) -> str:
    missing = [
        f'"{row.name_of(number)}"'
        for first, last in reversed(row.segments.gaps())
        for number in range(last, first - 1, -1)
    ]
    members = [
        f'"id":{row.timeline}',
        f'"parent_id":{row.origin.timeline if row.origin else 0}',
        f'"switch_point_lsn":{row.origin.lsn if row.origin else 0}',
        f'"start_segment":"{row.name_of(row.segments.first)}"',
        f'"end_segment":"{row.name_of(row.segments.last)}"',
        f'"segments_count":{len(row.segments)}',
        f'"missing_segments":[{",".join(missing)}]',
    ]
    if with_backups and row.backups:
        members.append(f'"backups":[{",".join(map(json_object, row.backups))}]')
    members += [f'"segment_range_size":{row.segments.last - row.segments.first + 1}', f'"status":"{row.status}"']
    return "{" + ",".join(members) + "}"
