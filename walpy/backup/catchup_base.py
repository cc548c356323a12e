"""What a catchup is made on: a standby's position, given by the user, and a list of the files that there were then.

Pages that did not change since the position are left out, so whoever applies the catchup must have them. That is sure
of a file only if it existed at the position: CREATE DATABASE and ALTER DATABASE SET TABLESPACE make files by copying
others, with the old positions of their pages, and a standby behind that has none of them. A backup that had ended by
then tells which files there were; all others are stored whole. Without such a backup all files are, as in WAL-G 3.0.9.

Modification times prove nothing here: they are those of the primary's files.
"""

import logging
from typing import TYPE_CHECKING

from walpy.backup.catalog import is_wale, list_backups, read_sentinel
from walpy.backup.delta_base import Base, why_unusable
from walpy.backup.files_metadata import read_files_metadata
from walpy.errors import BackupError
from walpy.postgres.entry import EntryTable, table_of
from walpy.postgres.exclusions import CONFIGURATION
from walpy.postgres.lsn import Lsn, format_lsn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from walpy.archive import Archive
    from walpy.backup.start_stop import RunningBackup
    from walpy.postgres.entry import Entry
    from walpy.postgres.server import ServerFacts

logger = logging.getLogger(__name__)


def catchup_base(archive: "Archive", position: Lsn, system_identifier: int) -> Base:
    """The base of a catchup on a position: its files are those of the newest backup that had ended by then.

    Raises StorageError, DataCorrupt.
    """
    for backup in reversed(list_backups(archive)):
        if is_wale(backup.name):
            continue
        sentinel = read_sentinel(archive, backup.name)
        if sentinel.lsn is None or sentinel.finish_lsn is None or sentinel.finish_lsn > position:
            continue
        if sentinel.system_identifier != system_identifier:
            continue
        files = read_files_metadata(archive, backup.name, sentinel).files
        if files:
            return Base(
                name=backup.name,
                full_name=backup.name,
                step=1,
                lsn=position,
                finish_lsn=Lsn(sentinel.finish_lsn),
                system_identifier=sentinel.system_identifier,
                files=files,
                started_ns=sentinel.start_time.ns,
                is_catchup=True,
            )
    return Base("", "", 1, position, position, system_identifier, {}, 0, is_catchup=True)


def checked_catchup_base(base: Base, backup: "RunningBackup", facts: "ServerFacts", archive: "Archive") -> Base:
    """The base that a backup which has just begun can be made on. Raises BackupError for a position that is ahead.

    archive: of the WAL.
    """
    if base.lsn > backup.lsn:
        raise BackupError(
            f"--from-lsn {format_lsn(base.lsn)} is greater than current LSN {format_lsn(Lsn(backup.lsn))}",
            "Give the standby's position: the REDO location of its latest checkpoint, as pg_controldata shows it.",
        )
    if base.files and (reason := why_unusable(base, backup, facts, archive)):
        logger.warning("The backup that ended at %s is of no use: %s", format_lsn(base.finish_lsn), reason)
        base = base._replace(files={})
    # Scripts take the catchup's name to be the only backup's in the log.
    if base.files:
        logger.info(
            "Stores the pages since %s of the files that the backup that ended at %s lists, and other files whole",
            *(format_lsn(base.lsn), format_lsn(base.finish_lsn)),
        )
    else:
        logger.warning(
            "All files are stored whole: the archive has no backup that had ended by %s and tells which files there "
            "were then",
            format_lsn(base.lsn),
        )
    return base


def without_configuration(entries: "Iterable[Entry]") -> EntryTable:
    """The files and directories of a listing but for the configuration, which is each server's own."""
    return table_of(entry for entry in entries if entry.name.rpartition("/")[2] not in CONFIGURATION)
