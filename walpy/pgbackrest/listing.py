"""What `pgbackrest backup-list` and `pgbackrest wal-show` print: as WAL-G, byte for byte."""

import logging
import time
from collections.abc import Iterator
from typing import Final

from walpy.archive import Archive
from walpy.backup.catalog import NO_BACKUPS, Backup
from walpy.backup.gojson import text_v1
from walpy.backup.listing import Row, json_lines, json_text, numbered_table, plain, plain_lines, pretty_table, rfc850
from walpy.backup.timestamp import Timestamp
from walpy.pgbackrest.repository import Manifest, Repository, RestBackup
from walpy.postgres.lsn import format_lsn

DETAIL: Final = (
    ("name", "NAME"),
    ("modified", "MODIFIED"),
    ("wal_file_name", "WAL FILE NAME"),
    ("type", "TYPE"),
    ("start_time", "START TIME"),
    ("finish_time", "FINISH TIME"),
    ("pg_version", "PG VERSION"),
    ("start_lsn", "START LSN"),
    ("finish_lsn", "FINISH LSN"),
)

logger = logging.getLogger(__name__)


def backup_list(archive: Archive, *, detail: bool = False, pretty: bool = False, json: bool = False) -> str:
    """The whole output; empty when there is no backup (`[]` as JSON)."""
    repository = Repository(archive)
    backups = repository.backups()
    if not backups and not json:
        logger.info(NO_BACKUPS)
        return ""
    if not detail:
        rows = [_row(backup) for backup in backups]
        if json:
            return json_text(rows, pretty=pretty)
        return pretty_table(rows) if pretty else plain(rows)
    manifests = [repository.manifest(backup.label) for backup in backups]
    details = list(zip(backups, manifests, strict=True))
    if json:
        return json_lines(("{" + ",".join(_members(*pair)) + "}" for pair in details), pretty=pretty)
    if pretty:
        return numbered_table(DETAIL, [list(_cells(*pair, pretty=True)) for pair in details])
    return plain_lines([name for name, _ in DETAIL], [list(_cells(*pair, pretty=False)) for pair in details])


def _row(backup: RestBackup) -> Row:
    return Row(Backup(backup.label, _moment(backup.stopped), "", backup.first_wal))


def _cells(backup: RestBackup, manifest: Manifest, *, pretty: bool) -> Iterator[str]:
    def shown(seconds: int) -> str:
        moment = _moment(seconds)
        return rfc850(moment) if pretty else moment.rfc3339()

    yield from (backup.label, shown(backup.stopped), backup.first_wal, backup.kind)
    yield from (shown(backup.started), shown(backup.stopped), manifest.pg_version)
    yield from (format_lsn(backup.start_lsn), format_lsn(backup.stop_lsn))


def _members(backup: RestBackup, manifest: Manifest) -> Iterator[str]:
    """Go's own names of the fields, in their order."""
    stopped = _moment(backup.stopped).rfc3339_ns()
    yield f'"BackupName":{text_v1(backup.label)}'
    yield f'"ModifiedTime":"{stopped}"'
    yield f'"WalFileName":{text_v1(backup.first_wal)}'
    yield f'"Type":{text_v1(backup.kind)}'
    yield f'"StartTime":"{_moment(backup.started).rfc3339_ns()}"'
    yield f'"FinishTime":"{stopped}"'
    yield f'"PgVersion":{text_v1(manifest.pg_version)}'
    yield f'"StartLsn":{backup.start_lsn}'
    yield f'"FinishLsn":{backup.stop_lsn}'
    yield f'"SystemIdentifier":{manifest.system_identifier}'
    yield f'"DirectoryPaths":[{",".join(text_v1(name) for name, _ in manifest.directories)}]'
    yield f'"DefaultFileMode":{manifest.file_mode}'
    yield f'"DefaultDirectoryMode":{manifest.directory_mode}'


def _moment(seconds: int) -> Timestamp:
    """In the local zone, as WAL-G prints these."""
    return Timestamp(seconds * 1_000_000_000, time.localtime(seconds).tm_gmtoff)
