"""What backup-list prints: WAL-G's plain text, table and JSON, byte for byte."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import NO_BACKUPS, Backup, list_backups, read_metadata_of_all
from walpy.backup.gojson import indented, text_v1
from walpy.backup.model import BackupMetadata
from walpy.backup.timestamp import Timestamp
from walpy.postgres.lsn import format_lsn
from walpy.table import Column, table

TimeText = Callable[[Timestamp], str]

_COLUMNS: Final = (
    ("backup_name", "BACKUP NAME"),
    ("modified", "MODIFIED"),
    ("wal_file_name", "WAL FILE NAME"),
    ("storage_name", "STORAGE NAME"),
)
_DETAIL_COLUMNS: Final = (
    ("start_time", "START TIME"),
    ("finish_time", "FINISH TIME"),
    ("hostname", "HOSTNAME"),
    ("data_dir", "DATADIR"),
    ("pg_version", "PG VERSION"),
    ("start_lsn", "START LSN"),
    ("finish_lsn", "FINISH LSN"),
    ("is_permanent", "PERMANENT"),
)
_INDENT: Final = 4  # spaces, with --json --pretty

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """One line of the listing; metadata only with --detail."""

    backup: Backup
    metadata: BackupMetadata | None = None


def backup_list(*archives: Archive, detail: bool = False, pretty: bool = False, json: bool = False) -> str:
    """The whole output, ending in a newline; empty when there is no backup (`[]` as JSON).

    archives: one for each storage; a backup that several hold is shown for each. With detail a backup without readable
    metadata.json is an error, as in WAL-G.
    """
    logger.info("List backups from storages: [%s]", " ".join(archive.config.storage_name() for archive in archives))
    rows = detailed_rows(*archives) if detail else [Row(backup) for _, backup in _listed(archives)]
    return _shown(rows, detail=detail, pretty=pretty, json=json)


def catchup_list(archive: Archive, *, detail: bool = False, pretty: bool = False, json: bool = False) -> str:
    """The same of an archive's catchups."""
    folder = layout.CATCHUP_FOLDER
    if detail:
        rows = detailed_rows(archive, folder=folder)
    else:
        rows = [Row(backup) for backup in list_backups(archive, folder)]
    return _shown(rows, detail=detail, pretty=pretty, json=json)


def _shown(rows: Sequence[Row], *, detail: bool, pretty: bool, json: bool) -> str:
    if json:
        return json_text(rows, pretty=pretty)
    if not rows:
        logger.info(NO_BACKUPS)
        return ""
    return pretty_table(rows, detail=detail) if pretty else plain(rows, detail=detail)


def _listed(archives: Sequence[Archive], folder: str = layout.BACKUP_FOLDER) -> list[tuple[Archive, Backup]]:
    """Backups of all archives, the oldest first."""
    found = [(archive, backup) for archive in archives for backup in list_backups(archive, folder)]
    return sorted(found, key=lambda item: item[1].modified.ns)


def detailed_rows(*archives: Archive, folder: str = layout.BACKUP_FOLDER) -> list[Row]:
    """All backups with their metadata, by start time; by the sentinels' times when one does not tell when it started.

    Raises BackupError for a backup without readable metadata.json.
    """
    listed = _listed(archives, folder)
    metadata = read_metadata_of_all([(archive, f"{folder}/{backup.name}") for archive, backup in listed])
    rows = [Row(backup, entry) for (_, backup), entry in zip(listed, metadata, strict=True)]
    if any(entry.start_time.is_zero for entry in metadata):
        return rows
    order = sorted(range(len(rows)), key=lambda index: metadata[index].start_time.ns)
    return [rows[index] for index in order]


def plain(rows: Sequence[Row], *, detail: bool = False) -> str:
    """Columns of text."""
    headers = [name for name, _ in _columns(detail=detail)]
    return plain_lines(headers, [list(_cells(row, Timestamp.rfc3339)) for row in rows])


def plain_lines(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns, all but the last as wide as their widest."""
    lines = [headers, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        " ".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + f" {line[-1]}\n"
        for line in lines
    )


def pretty_table(rows: Sequence[Row], *, detail: bool = False) -> str:
    """A table with numbered rows."""
    return numbered_table(_columns(detail=detail), [list(_cells(row, rfc850)) for row in rows])


def numbered_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """A table of columns, by their plain and their pretty titles, with the number of each row in front."""
    titles = [Column("#", is_number=True), *(Column(title) for _, title in columns)]
    return table(titles, [[str(number), *cells] for number, cells in enumerate(rows)])


def json_text(rows: Sequence[Row], *, pretty: bool) -> str:
    """A line of JSON, or many with indentation."""
    return json_lines(map(json_object, rows), pretty=pretty)


def json_lines(objects: Iterable[str], *, pretty: bool) -> str:
    """JSON objects as a list, in one line or indented."""
    text = f"[{','.join(objects)}]"
    return (indented(text, _INDENT) if pretty else text) + "\n"


def json_object(row: Row) -> str:
    """One backup as JSON."""
    return "{" + ",".join(_members(row)) + "}"


def _columns(*, detail: bool) -> tuple[tuple[str, str], ...]:
    return _COLUMNS + _DETAIL_COLUMNS if detail else _COLUMNS


def _cells(row: Row, time_text: TimeText) -> Iterator[str]:
    def shown(moment: Timestamp) -> str:
        return "-" if moment.is_zero else time_text(moment)

    backup, metadata = row.backup, row.metadata
    yield from (backup.name, shown(backup.modified), backup.wal_file_name, backup.storage_name)
    if metadata is not None:
        yield from (shown(metadata.start_time), shown(metadata.finish_time), metadata.hostname, metadata.data_dir)
        yield from (str(metadata.pg_version), format_lsn(metadata.start_lsn), format_lsn(metadata.finish_lsn))
        yield "true" if metadata.is_permanent else "false"


def _members(row: Row) -> Iterator[str]:
    backup = row.backup
    yield f'"backup_name":{text_v1(backup.name)}'
    yield f'"time":"{backup.modified.rfc3339_ns()}"'
    yield f'"wal_file_name":{text_v1(backup.wal_file_name)}'
    yield f'"storage_name":{text_v1(backup.storage_name)}'
    if row.metadata is not None:
        yield from (f'"{name}":{value}' for name, value in row.metadata.members())


def rfc850(moment: Timestamp) -> str:
    """For people, with the local zone's abbreviation where the time is in local time, as Go prints it."""
    local = time.localtime(moment.ns // 1_000_000_000)
    is_local = moment.utc_offset_seconds != 0 and local.tm_gmtoff == moment.utc_offset_seconds
    return moment.rfc850(local.tm_zone if is_local else "")
