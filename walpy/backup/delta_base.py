"""The backup that a delta backup continues: which one, whether it may be, and which files it saves.

A base that cannot be used makes the new backup a full one, and the log says why; only a base that the user named and
that does not exist is an error. A base is of use when its chain is there, when it belongs to the same cluster, and when
it ended on the way of the WAL that led to here: else pages could have changed in a history that was given up.
Source: WAL-G 3.0.9 for the choice.
"""

import logging
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from walpy import layout
from walpy.backup.catalog import BackupSelector, find_backup, is_wale, list_backups, read_metadata, read_sentinel
from walpy.backup.entry import FileEntry
from walpy.backup.files_metadata import read_files_metadata
from walpy.backup.mark import chain_by
from walpy.errors import BackupError, DataCorrupt, ObjectMissing
from walpy.postgres.entry import EntryTable, table_of
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.postgres.page import has_increments
from walpy.wal.history import Switch, read_local_history
from walpy.wal.inventory import read_history

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.backup.model import Sentinel
    from walpy.backup.start_stop import RunningBackup
    from walpy.postgres.entry import Entry
    from walpy.postgres.server import ServerFacts

LATEST_FULL = "LATEST_FULL"
WAL_NAME_SIZE = 24

# A file that was changed less than this before its base began may have been changed again within the clock's tick of
# its modification time, after the base had read it: then an equal time proves nothing.
UNCERTAIN_NS = 2_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeltaChoice:
    """What the user wants of deltas. max_steps: 0 for none. from_name, from_user_data: empty for the newest backup.

    permanent: the new backup is. ignores_mtime: every page is looked at, whatever the files' modification times say.
    copies: the base is to be copied from, not continued.
    """

    max_steps: int = 0
    origin: str = "LATEST"
    from_name: str = ""
    from_user_data: str = ""
    permanent: bool = False
    ignores_mtime: bool = False
    copies: bool = False


class Base(NamedTuple):
    """A backup to continue.

    full_name: of the full backup at the root of its chain. step: number of the new delta on that. lsn,
    finish_lsn: where it began and ended. files: what it knows of each file. started_ns: when it began. tars: the files
    of each of its tars, when those are to be copied; None for a base to continue. is_catchup: it only tells which files
    there were, and lsn is a standby's position, given by the user.
    """

    name: str
    full_name: str
    step: int
    lsn: Lsn
    finish_lsn: Lsn
    system_identifier: int | None
    files: Mapping[str, FileEntry]
    started_ns: int
    tars: Mapping[str, Sequence[str]] | None = None
    is_catchup: bool = False

    @property
    def copies(self) -> bool:
        """Whether it is copied from, not continued."""
        return self.tars is not None

    @property
    def timeline(self) -> int:
        """Timeline on which it began."""
        return int(self._wal_name[:8], 16)

    @property
    def suffix(self) -> str:
        """What the names of deltas on it end in."""
        return f"_D_{self._wal_name}"

    def delta_name(self, backup: str) -> str:
        """Name of a delta on it, from what the server named the backup."""
        return layout.catchup(backup) if self.is_catchup else backup + self.suffix

    @property
    def _wal_name(self) -> str:
        return self.name.removeprefix(layout.BACKUP_PREFIX)[:WAL_NAME_SIZE]


class Unusable(Exception):
    """A base that cannot be continued, and why."""


def choose_base(archive: "Archive", choice: DeltaChoice) -> Base | None:
    """The backup to continue; None for a full backup. Raises BackupError for a named backup that does not exist."""
    if choice.max_steps <= 0:
        return None
    selected = _selected(archive, choice)
    if selected is None:
        logger.info("There is no backup to continue, so a full one is taken")
        return None
    try:
        return _base(archive, selected, choice)
    except Unusable as reason:
        logger.info("%s %s: %s", _instead(copies=choice.copies), selected, reason)
        return None


def _selected(archive: "Archive", choice: DeltaChoice) -> str | None:
    if choice.from_name or choice.from_user_data:
        try:
            return find_backup(archive, BackupSelector(choice.from_name, choice.from_user_data))
        except BackupError:
            if choice.from_name:
                raise
            return None
    backups = list_backups(archive)
    return backups[-1].name if backups else None


def _base(archive: "Archive", selected: str, choice: DeltaChoice) -> Base:
    read = cache(partial(read_sentinel, archive))
    sentinel = read(selected)
    step = (sentinel.delta_count or 0) + 1
    if step > choice.max_steps:
        raise Unusable(f"WALG_DELTA_MAX_STEPS is {choice.max_steps}")
    if choice.origin != LATEST_FULL and not choice.permanent and _is_permanent(archive, selected):
        raise Unusable("it is permanent, and the new one is not")
    names = _chain(read, selected)
    if choice.origin == LATEST_FULL and sentinel.is_delta:
        selected, sentinel = names[0], read(names[0])
    if is_wale(selected) or sentinel.lsn is None or sentinel.finish_lsn is None:
        raise Unusable(f"{selected} does not tell where it began and ended")
    listed = read_files_metadata(archive, selected, sentinel)
    if not listed.files:
        raise Unusable(f"{selected} has no list of its files")
    return Base(
        name=selected,
        full_name=names[0],
        step=step,
        lsn=Lsn(sentinel.lsn),
        finish_lsn=Lsn(sentinel.finish_lsn),
        system_identifier=sentinel.system_identifier,
        files=listed.files,
        started_ns=sentinel.start_time.ns,
        tars=listed.tar_file_sets if choice.copies else None,
    )


def _instead(*, copies: bool) -> str:
    return "Everything is packed instead of copying from" if copies else "A full backup is taken instead of a delta on"


def _is_permanent(archive: "Archive", name: str) -> bool:
    try:
        return read_metadata(archive, name).is_permanent
    except (ObjectMissing, DataCorrupt) as error:
        raise Unusable(f"its metadata cannot be used: {error}") from None


def _chain(read: "Callable[[str], Sentinel]", name: str) -> list[str]:
    try:
        return chain_by(lambda backup: read(backup).delta_from, name)
    except BackupError as error:
        raise Unusable(f"its chain is broken: {error}") from None


def is_usable(base: Base, backup: "RunningBackup", facts: "ServerFacts", archive: "Archive") -> bool:
    """Whether a backup that has just begun may continue its base; if not, the log says why. Raises StorageError."""
    reason = why_unusable(base, backup, facts, archive)
    if reason:
        logger.warning("%s %s: %s", _instead(copies=base.copies), base.name, reason)
    return not reason


def why_unusable(base: Base, backup: "RunningBackup", facts: "ServerFacts", archive: "Archive") -> str:
    """Why a backup that has just begun may not continue its base; empty when it may. Raises StorageError."""
    try:
        _check_cluster(base, backup, facts)
        if base.timeline != backup.timeline:
            _check_ancestry(base, _history(archive, facts, backup.timeline), backup.timeline)
    except Unusable as reason:
        return str(reason)
    return ""


def _check_cluster(base: Base, backup: "RunningBackup", facts: "ServerFacts") -> None:
    if base.system_identifier not in (None, facts.system_identifier):
        raise Unusable(f"it belongs to the cluster with system identifier {base.system_identifier}")
    if base.finish_lsn > backup.lsn:
        end, here = format_lsn(base.finish_lsn), format_lsn(Lsn(backup.lsn))
        raise Unusable(f"it ended at {end}, which is greater than current LSN {here}")


def _check_ancestry(base: Base, history: Sequence[Switch], timeline: int) -> None:
    left = next((row.lsn for row in history if row.timeline == base.timeline), None)
    if left is None:
        raise Unusable(f"its timeline {base.timeline} does not lead to timeline {timeline}")
    if base.finish_lsn > left:
        raise Unusable(f"it ended behind {format_lsn(left)}, where timeline {base.timeline} was left")


def _history(archive: "Archive", facts: "ServerFacts", timeline: int) -> list[Switch]:
    """The way to a timeline, as the server's own file tells, or the archive's."""
    try:
        return read_local_history(os.path.join(facts.data_directory, "pg_wal"), timeline)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise BackupError(f"cannot read {error.filename!r}: {error.strerror}") from error
    try:
        return read_history(archive, timeline)
    except ObjectMissing as error:
        raise Unusable(f"nothing tells how timeline {timeline} began: {error}") from None


def check_base_is_there(archive: "Archive", base: Base) -> None:
    """Raise BackupError when the base was deleted meanwhile: nothing could be restored from a delta on it."""
    if base.is_catchup:
        return
    try:
        archive.storage.stat(layout.sentinel(base.name))
    except ObjectMissing:
        raise BackupError(
            f"backup {base.name}, which this delta was to continue, was deleted meanwhile", "Push the backup again."
        ) from None


def is_unchanged(entry: "Entry", base: Base) -> bool:
    """Whether a file is as the base has it, by its modification time."""
    known = base.files.get(entry.name)
    certain = base.started_ns - UNCERTAIN_NS
    return known is not None and known.mtime.ns == entry.mtime_ns and entry.mtime_ns < certain


class Division(NamedTuple):
    """What is left to pack, in its order, and the files that are as the base has them."""

    entries: "Sequence[Entry]"
    unchanged: "Sequence[Entry]"


def divide(entries: "Iterable[Entry]", base: Base, page_size: int, *, ignores_mtime: bool = False) -> Division:
    """Tell the files of a listing that need not be stored, and those whose changed pages are enough (has_base).

    ignores_mtime: none is taken for unchanged; so it is in a catchup, for a standby's files have times of their own.
    """
    table = entries if isinstance(entries, EntryTable) else table_of(entries)
    changed, unchanged = array("I"), array("I")
    for number, entry in enumerate(table):
        known = base.files.get(entry.name) if entry.is_file else None
        if known is not None and not (ignores_mtime or base.is_catchup) and is_unchanged(entry, base):
            unchanged.append(number)
            continue
        changed.append(number)
        if known is not None and has_increments(entry.name, entry.size, page_size):
            table.note_base(number)
    return Division(table.choice(changed), table.choice(unchanged))
