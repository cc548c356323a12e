"""Which backups an archive holds, and which one a user means.

A backup exists when its sentinel does; a listing costs one request, metadata is read only where it is needed, in
parallel. Memory: one row a backup.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from walpy import layout
from walpy.archive import Archive
from walpy.backup.gojson import parse, same_value
from walpy.backup.model import BackupMetadata, Sentinel
from walpy.backup.timestamp import Timestamp
from walpy.errors import BackupError, DataCorrupt, ObjectMissing, UsageError

LATEST: Final = "LATEST"
NO_BACKUPS: Final = "No backups found"  # WAL-G's words; scripts look for them
_READERS: Final = 16  # metadata objects read at the same time
_WAL_NAME: Final = re.compile("[0-9A-F]{24}")
_WALE_NAME: Final = re.compile("base_[0-9A-F]{24}_[0-9A-F]{8}")

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Backup(NamedTuple):
    """One backup of a listing; modified is when its sentinel was stored. first_wal: when the name does not tell it."""

    name: str
    modified: Timestamp
    storage_name: str = "default"
    first_wal: str = ""

    @property
    def wal_file_name(self) -> str:
        """First WAL file that the backup needs; all Z when nothing tells it."""
        if self.first_wal:
            return self.first_wal
        match = _WAL_NAME.search(self.name)
        return match.group() if match else "Z" * 24


class BackupSelector:
    """How a user names a backup: by name, as LATEST, or by the user data it was taken with (JSON text)."""

    def __init__(self, name: str = "", user_data: str = "") -> None:
        if name and user_data:
            raise UsageError("incorrect arguments. Specify target backup name OR target userdata, not both")
        if not name and not user_data:
            raise UsageError("insufficient arguments")
        self.name = name
        self.user_data = user_data

    @property
    def is_latest(self) -> bool:
        """Whether it asks for the newest backup."""
        return self.name == LATEST

    def describe(self) -> str:
        """WAL-G's log line for it; scripts look for it."""
        if self.user_data:
            return "Selecting the backup with the specified user data..."
        return "Selecting the latest backup..." if self.is_latest else f"Selecting the backup with name {self.name}..."


def is_wale(backup_name: str) -> bool:
    """Whether WAL-E took the backup: such a one has no tar of its own for pg_control."""
    return _WALE_NAME.fullmatch(backup_name) is not None


def list_backups(archive: Archive, folder: str = layout.BACKUP_FOLDER) -> list[Backup]:
    """All backups, in the order in which their sentinels were stored (then by name): the newest is the last.

    folder: that of base backups, or of catchups.
    """
    is_local = archive.config.storage_kind() == "FILE"  # WAL-G shows local time for files, UTC for object stores
    storage_name = archive.config.storage_name()
    backups = []
    for found in archive.storage.list_folder(folder).objects:
        name = layout.backup_name_of(found.name)
        if name:
            offset = _local_offset(found.modified_ns) if is_local else 0
            backups.append(Backup(name, Timestamp(found.modified_ns, offset), storage_name))
    return sorted(backups, key=lambda backup: backup.modified.ns)


def find_backup(archive: Archive, selector: BackupSelector) -> str:
    """Name of the backup that the selector means. Raises BackupError, in WAL-G's words, when it is not exactly one."""
    if selector.user_data:
        return _find_by_user_data(archive, selector.user_data)
    if selector.is_latest:
        backups = list_backups(archive)
        if not backups:
            raise BackupError(NO_BACKUPS)
        return backups[-1].name
    check_exists(archive, selector.name)
    return selector.name


def find_catchup(archive: Archive, name: str) -> str:
    """The catchup that a name or LATEST means, as layout takes it. Raises BackupError when there is none."""
    if name == LATEST:
        catchups = list_backups(archive, layout.CATCHUP_FOLDER)
        if not catchups:
            raise BackupError(NO_BACKUPS)
        return layout.catchup(catchups[-1].name)
    check_exists(archive, name, layout.CATCHUP_FOLDER)
    return layout.catchup(name)


def check_exists(archive: Archive, name: str, folder: str = layout.BACKUP_FOLDER) -> None:
    """Raise BackupError, in WAL-G's words, unless a folder has a backup of this name."""
    try:
        if "/" in name:
            raise ObjectMissing(f"no backup has the name {name!r}")
        archive.storage.stat(layout.sentinel(f"{folder}/{name}"))
    except ObjectMissing:
        raise BackupError(f"Backup '{name}' does not exist.") from None


def _find_by_user_data(archive: Archive, text: str) -> str:
    try:
        wanted = parse(text)
    except ValueError as error:
        raise UsageError(f"user data is not JSON: {error}", "Text needs quotes of its own: '\"nightly\"'.") from None
    names = [backup.name for backup in list_backups(archive)]
    found = [
        name
        for name, metadata in zip(names, readable_metadata(archive, names), strict=True)
        if metadata is not None and metadata.user_data is not None and same_value(metadata.user_data, wanted)
    ]
    if not found:
        raise BackupError(NO_BACKUPS, "No backup was taken with this user data.")
    if len(found) > 1:
        raise BackupError(
            f"too many backups ({len(found)}) found with specified user data: {' '.join(found)}", "Choose one by name."
        )
    return found[0]


def read_sentinel(archive: Archive, backup: str) -> Sentinel:
    """Read a backup's sentinel. Raises BackupError when the backup does not exist, DataCorrupt for a damaged one."""
    name = layout.sentinel(backup)
    try:
        return Sentinel.from_json(archive.get_bytes(name), f"sentinel {name!r}")
    except ObjectMissing:
        raise BackupError(f"Backup '{backup}' does not exist.") from None


def read_metadata(archive: Archive, backup: str) -> BackupMetadata:
    """Read a backup's metadata.json. Raises ObjectMissing (WAL-E writes none) or DataCorrupt."""
    name = layout.metadata(backup)
    return BackupMetadata.from_json(archive.get_bytes(name), f"object {name!r}")


def read_metadata_of_all(backups: Sequence[tuple[Archive, str]]) -> list[BackupMetadata]:
    """metadata.json of every backup, in the same order. Raises BackupError, naming the backup, for a missing one."""
    return in_parallel(lambda item: _metadata_or_error(*item), backups)


def readable_metadata(archive: Archive, backups: Sequence[str]) -> list[BackupMetadata | None]:
    """metadata.json of every backup, in the same order; None, with a warning, for one that is missing or damaged."""
    return in_parallel(lambda backup: _metadata_or_none(archive, backup), backups)


def in_parallel(read: Callable[[Item], Result], backups: Sequence[Item]) -> list[Result]:
    """What read gives for each backup, in the same order. Raises what it raises."""
    if not backups:
        return []
    with ThreadPoolExecutor(min(_READERS, len(backups))) as pool:
        return list(pool.map(read, backups))


def _metadata_or_error(archive: Archive, backup: str) -> BackupMetadata:
    try:
        return read_metadata(archive, backup)
    except ObjectMissing as error:
        raise BackupError(
            f"backup {layout.bare_name(backup)} has no metadata.json",
            "WAL-E writes none; a listing without --detail does not need it.",
        ) from error


def _metadata_or_none(archive: Archive, backup: str) -> BackupMetadata | None:
    try:
        return read_metadata(archive, backup)
    except (ObjectMissing, DataCorrupt) as error:
        logger.warning("cannot use the metadata of backup %s: %s", backup, error)
        return None


def _local_offset(ns: int) -> int:
    return time.localtime(ns // 1_000_000_000).tm_gmtoff
