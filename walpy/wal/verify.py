"""wal-verify: whether an archive holds every segment from its earliest backup on, and the cluster's timeline.

Only names are looked at. The way of the WAL comes from the history file of the current timeline, so that a segment is
expected on one timeline: the one that a recovery would take it from. Output as WAL-G's.

Memory: what the inventory states, and the ranges of the report.
"""

import logging
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.backup.catalog import NO_BACKUPS, Backup, list_backups, readable_metadata
from walpy.errors import BackupError, InvalidWal, ObjectMissing, UsageError
from walpy.table import Column, table
from walpy.wal.history import Path
from walpy.wal.inventory import Inventory, read_history
from walpy.wal.segment import (
    Timeline,
    configured_segment_size,
    segment_before_lsn,
    segment_name,
    segment_number,
    segment_timeline,
)

INTEGRITY: Final = "integrity"
TIMELINE: Final = "timeline"
CHECKS: Final = (INTEGRITY, TIMELINE)
_COLUMNS: Final = (
    Column("TLI", is_number=True),
    Column("START"),
    Column("END"),
    Column("SEGMENTS COUNT", is_number=True),
    Column("STATUS", is_number=True),  # WAL-G aligns it so
)

logger = logging.getLogger(__name__)


class Status(Enum):
    """The verdict of a check."""

    OK = "OK"
    WARNING = "WARNING"
    FAILURE = "FAILURE"


class Presence(Enum):
    """What is known of a segment."""

    FOUND = "FOUND"
    DELAYED = "MISSING_DELAYED"  # among the newest ones, which may come late
    UPLOADING = "MISSING_UPLOADING"  # among those that may be on their way at the same time
    LOST = "MISSING_LOST"


class Range(NamedTuple):
    """Segments first to last of one timeline that have the same presence."""

    timeline: Timeline
    first: int
    last: int
    presence: Presence


class Position(NamedTuple):
    """Where the cluster is: its timeline, and the segment that it writes (a number)."""

    timeline: Timeline
    segment: int


class Windows(NamedTuple):
    """How many of the newest segments may be late, and how many further ones on their way."""

    delayed: int
    uploading: int


class Report(NamedTuple):
    """The result of one check: its status, and its details as text and as JSON."""

    check: str
    status: Status
    text: str
    json: str


def wal_verify(
    archive: Archive, checks: Sequence[str], position: Position, *, backup_name: str = "", json: bool = False
) -> str:
    """The whole output of the named checks. Raises UsageError for an unknown one, BackupError for an unknown backup."""
    unknown = [check for check in checks if check not in CHECKS]
    if unknown or not checks:
        raise UsageError(f"invalid check specified: {unknown[0]}" if unknown else "no check specified")
    segment_size = configured_segment_size(archive.config)
    inventory = Inventory.of(archive, segment_size)
    reports = []
    for check in dict.fromkeys(checks):
        logger.info("Building check runner: %s", check)
        if check == INTEGRITY:
            reports.append(_check_integrity(archive, inventory, position, backup_name))
        else:
            reports.append(_check_timeline(inventory, position))
    if json:
        return "{" + ",".join(_json(report) for report in sorted(reports, key=lambda report: report.check)) + "}"
    return "".join(_text(report) for report in reports)


def position_of_lsn(timeline: int, lsn: int, segment_size: int) -> Position:
    """The position of a cluster on a timeline that has written up to lsn. Raises UsageError for lsn 0."""
    if lsn == 0:
        raise UsageError("the position 0/0 is none")
    return Position(Timeline(timeline), segment_before_lsn(lsn, segment_size))


def scan(inventory: Inventory, way: Path, position: Position, stop: int, windows: Windows) -> list[Range]:
    """Segments from stop up to the one before the position's, ascending, as ranges.

    The newest ones come first: up to windows.delayed missing ones until one is found, then windows.uploading ones.
    """
    ranges: list[Range] = []
    number = position.segment - 1
    delayed_end = max(stop, number + 1 - windows.delayed)
    while number >= delayed_end:
        found = _run(inventory, way, number, number, Presence.DELAYED)
        _append(ranges, found)
        number -= 1
        if found.presence is Presence.FOUND:
            break
    lost_begin = number - windows.uploading
    while number >= stop:
        is_uploading = number > lost_begin
        lowest = max(stop, lost_begin + 1) if is_uploading else stop
        _append(ranges, _run(inventory, way, number, lowest, Presence.UPLOADING if is_uploading else Presence.LOST))
        number = ranges[-1].first - 1
    return ranges[::-1]


def _run(inventory: Inventory, way: Path, number: int, lowest: int, if_missing: Presence) -> Range:
    """The segments from number downwards, not below lowest, that are on one timeline, and all there or all missing."""
    timeline, begin = way.step_of(number)
    first = max(lowest, begin, inventory.run_begin(timeline, number))
    return Range(timeline, first, number, Presence.FOUND if inventory.holds(timeline, number) else if_missing)


def _append(ranges: list[Range], item: Range) -> None:
    """Add the next lower segments to descending ranges."""
    if ranges and (ranges[-1].timeline, ranges[-1].presence) == (item.timeline, item.presence):
        ranges[-1] = ranges[-1]._replace(first=item.first)
    else:
        ranges.append(item)


def verdict(ranges: Sequence[Range], *, has_backups: bool) -> Status:
    """What the ranges of a scan mean. Without backups nothing is known to be lost below the first segment found."""
    found = [index for index, item in enumerate(ranges) if item.presence is Presence.FOUND]
    lost = [index for index, item in enumerate(ranges) if item.presence is Presence.LOST]
    if (has_backups and lost) or any(found and index > found[0] for index in lost):
        return Status.FAILURE
    return Status.WARNING if any(item.presence is not Presence.FOUND for item in ranges) else Status.OK


def _check_integrity(archive: Archive, inventory: Inventory, position: Position, backup_name: str) -> Report:
    way = _way_to(archive, inventory, position.timeline)
    stop = (
        _named_start(archive, inventory, way, backup_name) if backup_name else _earliest_start(archive, inventory, way)
    )
    logger.info("Running the check: %s", INTEGRITY)
    config = archive.config
    windows = Windows(
        config.integer("WALG_INTEGRITY_MAX_DELAYED_WALS", minimum=0),
        config.integer("WALG_UPLOAD_CONCURRENCY", minimum=1),
    )
    ranges = scan(inventory, way, position, stop or 1, windows)
    status = verdict(ranges, has_backups=stop is not None)
    cells = [_cells(item, inventory.segment_size) for item in ranges]
    details = "[" + ",".join(_range_json(item, inventory.segment_size) for item in ranges) + "]" if ranges else "null"
    return Report(INTEGRITY, status, table(_COLUMNS, cells), details)


def _way_to(archive: Archive, inventory: Inventory, timeline: Timeline) -> Path:
    try:
        history = read_history(archive, timeline)
    except ObjectMissing as error:
        logger.warning("%s: every segment is looked for on timeline %d", error, timeline)
        history = []
    return Path.to(timeline, history, inventory.segment_size)


def _earliest_start(archive: Archive, inventory: Inventory, way: Path) -> int | None:
    """First segment of the earliest backup on the way; None, with a warning, when there is none."""
    backups = list_backups(archive)
    starts = []
    for backup, metadata in zip(backups, readable_metadata(archive, [item.name for item in backups]), strict=True):
        if metadata is not None and metadata.is_permanent:
            logger.warning(
                "checkBackupIsCorrect: %s: backup is permanent, it is not eligible to be selected as the earliest "
                "backup for wal-verify.",
                backup.name,
            )
            continue
        try:
            starts.append((_start_on(way, backup, inventory.segment_size), backup.name))
        except BackupError as error:
            logger.warning("checkBackupIsCorrect: %s: %s", backup.name, error)
    if not starts:
        logger.warning(
            "Failed to detect earliest backup WAL segment no: '%s',will scan until the 0000000X0000000000000001 "
            "segment.",
            NO_BACKUPS,
        )
        return None
    start, name = min(starts)
    logger.info("Detected earliest available backup: %s", name)
    return start


def _named_start(archive: Archive, inventory: Inventory, way: Path, name: str) -> int:
    backup = next((item for item in list_backups(archive) if item.name == name), None)
    if backup is None:
        raise BackupError(
            f'Failed to find specified backup start segment: Backup with specified name "{name}" was not found'
        )
    start = _start_on(way, backup, inventory.segment_size)
    logger.info("Detected correct backup with specified name: %s", name)
    return start


def _start_on(way: Path, backup: Backup, segment_size: int) -> int:
    """First segment of a backup. Raises BackupError when no recovery leads from there to the current timeline."""
    name = backup.wal_file_name
    try:
        timeline, number = segment_timeline(name), segment_number(name, segment_size)
    except InvalidWal as error:
        raise BackupError(str(error)) from None
    if not way.contains(timeline, number):
        raise BackupError(f"it was taken on timeline {timeline} at {name}, which is not on the way to the current one")
    return number


def _check_timeline(inventory: Inventory, position: Position) -> Report:
    logger.info("Running the check: %s", TIMELINE)
    highest = inventory.highest_timeline
    status = Status.OK if highest == position.timeline else Status.WARNING if not highest else Status.FAILURE
    text = f"Highest timeline found in storage: {highest}\nCurrent cluster timeline: {position.timeline}\n"
    details = f'{{"current_timeline_id":{position.timeline},"highest_storage_timeline_id":{highest}}}'
    return Report(TIMELINE, status, text, details)


def _text(report: Report) -> str:
    head = (
        f"[wal-verify] {report.check} check status: {report.status.value}\n[wal-verify] {report.check} check details:\n"
    )
    return head + report.text


def _json(report: Report) -> str:
    return f'"{report.check}":{{"status":"{report.status.value}","details":{report.json}}}'


def _cells(item: Range, segment_size: int) -> list[str]:
    return [str(item.timeline), *_ends(item, segment_size), str(item.last - item.first + 1), item.presence.value]


def _range_json(item: Range, segment_size: int) -> str:
    first, last = _ends(item, segment_size)
    return (
        f'{{"timeline_id":{item.timeline},"start_segment":"{first}","end_segment":"{last}",'
        f'"segments_count":{item.last - item.first + 1},"status":"{item.presence.value}"}}'
    )


def _ends(item: Range, segment_size: int) -> Iterable[str]:
    return tuple(segment_name(item.timeline, number, segment_size) for number in (item.first, item.last))
