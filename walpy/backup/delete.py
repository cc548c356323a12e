"""delete: removes old backups and the WAL that no kept backup needs.

First the whole plan: one listing of the sentinels, the sentinels and metadata of all backups. Then the objects, in an
order that leaves no kept backup broken, and no listed backup incomplete, wherever it stops: sentinels (deltas before
what they are made on), then parts (metadata.json last: it tells that the backup does not run any more), then what
unfinished backups left, then WAL, the oldest first.

Memory: what retention holds of each backup, and BATCH names of objects; WAL is listed as it goes.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import Backup, in_parallel, list_backups, read_metadata, read_sentinel
from walpy.backup.model import BackupMetadata
from walpy.backup.retention import PERMANENT, Archived, Candidate, Deletion, position_in, position_of
from walpy.errors import BackupError, ObjectMissing
from walpy.storage.base import StoredObject
from walpy.wal.segment import configured_segment_size, segment_before_lsn, segment_name

BATCH: Final = 5_000  # names of objects that are removed in one call
RUNNING_NS: Final = 24 * 3600 * 10**9  # a backup without metadata that stored something since may still run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a delete looks at."""

    backups: bool = True
    wal: bool = True


@dataclass(slots=True)
class Total:
    """What was, or would be, removed: objects and bytes."""

    count: int = 0
    size: int = 0


def read_archived(*archives: Archive, by_time: bool = False) -> Archived:
    """All backups as retention sees them. by_time: order them by start time.

    archives: one for each storage. A backup that several hold is one, as the first tells of it, but permanent if it is
    so anywhere. Raises BackupError, and DataCorrupt or StorageError for a sentinel or metadata that is there and cannot
    be read: nothing is guessed.
    """
    logger.info("Backup to delete will be searched in storages: [%s]", " ".join(map(_storage_name, archives)))
    held = [(archive, backup) for archive in archives for backup in list_backups(archive)]
    logger.info("retrieving permanent objects")
    segment_size = configured_segment_size(archives[0].config)
    candidates = in_parallel(lambda item: _candidate(*item, segment_size), held)
    found: dict[str, Candidate] = {}
    storage_of: dict[str, str] = {}
    for (archive, _), candidate in zip(held, candidates, strict=True):
        if candidate.name not in found or (candidate.is_permanent and not found[candidate.name].is_permanent):
            found[candidate.name] = candidate
            storage_of[candidate.name] = _storage_name(archive)
    running = [place for archive in archives for place in _running(archive, set(found), segment_size)]
    in_order = sorted(found.values(), key=lambda item: item.modified_ns)
    archived = Archived(in_order, by_time=by_time, running=running)
    _tell_permanent(archived, storage_of, segment_size)
    if archived.is_mixed:
        logger.warning("the archive holds backups of several clusters: they are compared by their start times")
    if by_time and not archived.by_time:
        logger.warning("not every backup tells when it started: they are compared by their WAL positions")
    return archived


def _candidate(archive: Archive, backup: Backup, segment_size: int) -> Candidate:
    described = _metadata_or_none(archive, backup.name)
    sentinel = read_sentinel(archive, backup.name)
    position = position_of(backup.name, segment_size)
    return Candidate(
        name=backup.name,
        timeline=position[0],
        segment=position[1],
        modified_ns=backup.modified.ns,
        start_ns=described.start_time.ns if described and not described.start_time.is_zero else None,
        is_permanent=described is not None and described.is_permanent,
        base=sentinel.delta_from,
        wal=_own_wal(described, position[1], segment_size),
        system_identifier=described.system_identifier if described else sentinel.system_identifier,
    )


def _metadata_or_none(archive: Archive, name: str) -> BackupMetadata | None:
    try:
        return read_metadata(archive, name)
    except ObjectMissing:
        logger.info("backup %s has no metadata.json: it is not permanent", name)
        return None


def _running(archive: Archive, committed: set[str], segment_size: int) -> Iterator[tuple[int, int]]:
    """Where backups started that have no sentinel, no metadata yet, and stored something within RUNNING_NS."""
    for folder in archive.storage.list_folder(layout.BACKUP_FOLDER).folders:
        name = folder.rpartition("/")[2]
        position = position_in(name, segment_size)
        if name in committed or position is None:
            continue
        found = list(archive.storage.list(folder))
        newest_ns = max((item.modified_ns for item in found), default=0)
        is_finished = any(item.name == layout.metadata(name) for item in found)
        if not is_finished and time.time_ns() - newest_ns < RUNNING_NS:
            logger.warning("%s has no sentinel and is not a day old: its backup may still run, so it stays", folder)
            yield position


def _own_wal(metadata: BackupMetadata | None, first: int, segment_size: int) -> tuple[int, int] | None:
    if metadata is None or not metadata.finish_lsn:
        return None
    begin = segment_before_lsn(metadata.start_lsn, segment_size) if metadata.start_lsn else first
    return min(first, begin), segment_before_lsn(metadata.finish_lsn, segment_size)


def _storage_name(archive: Archive) -> str:
    return archive.config.storage_name()


def _tell_permanent(archived: Archived, storage_of: Mapping[str, str], segment_size: int) -> None:
    permanent = sorted((item for item in archived.backups if item.is_permanent), key=lambda item: item.name)
    if permanent:
        backups = " ".join(f"{{{item.name} {storage_of[item.name]}}}:true" for item in permanent)
        wals = sorted(
            (segment_name(item.timeline, number, segment_size), storage_of[item.name])
            for item in permanent
            if item.wal
            for number in range(item.wal[0], item.wal[1] + 1)
        )
        shown = " ".join(f"{{{name} {storage}}}:true" for name, storage in wals)
        logger.info("Found permanent objects: backups=map[%s], wals=map[%s]", backups, shown)


def tell(plan: Deletion) -> None:
    """Log what becomes of every backup."""
    for item in plan.archived.backups:
        reason = plan.kept.get(item.name)
        if reason is None:
            logger.info("Backup %s goes", item.name)
        else:
            logger.info("Backup %s stays: %s", item.name, reason)


def carry_out(plan: Deletion, *archives: Archive, confirm: bool, scope: Scope = Scope()) -> Total:
    """Remove what a plan says, or only tell it; every object is logged. Raises StorageError.

    archives: one for each storage. It may be stopped at any point: running it again goes on.
    """
    logger.info("Evaluating objects for deletion...")
    total = Total()
    for place, stage in _stages(archives, plan, scope):
        _remove(place, stage, total, confirm=confirm)
    _tell_total(total, confirm=confirm)
    return total


def remove_everything(archived: Archived, *archives: Archive, force: bool, confirm: bool) -> Total:
    """Remove every object, in every storage. Raises BackupError for permanent backups, unless force."""
    permanent = sorted(item.name for item in archived.backups if item.is_permanent)
    if permanent:
        text = f"Found permanent backups=[{' '.join(permanent)}]"
        if not force:
            raise BackupError(text, "Add FORCE to remove them as well.")
        logger.info("%s", text)
    logger.info("Evaluating objects for deletion...")
    total = Total()
    for place in archives:
        sentinels = place.storage.list_folder(layout.BACKUP_FOLDER).objects
        _remove(place, sentinels, total, confirm=confirm)
        seen = {item.name for item in sentinels}
        _remove(place, (item for item in place.storage.list() if item.name not in seen), total, confirm=confirm)
    _tell_total(total, confirm=confirm)
    return total


def _stages(
    archives: Sequence[Archive], plan: Deletion, scope: Scope
) -> Iterator[tuple[Archive, Iterable[StoredObject]]]:
    """Objects to remove, and where, in groups: each is gone before the next one is touched."""
    if scope.backups:
        folders = [archive.storage.list_folder(layout.BACKUP_FOLDER) for archive in archives]
        sentinels = [{item.name: item for item in folder.objects} for folder in folders]
        for group in plan.groups:
            names = [layout.sentinel(item.name) for item in group]
            for archive, found in zip(archives, sentinels, strict=True):
                yield archive, [found[name] for name in names if name in found]
        for archive, folder in zip(archives, folders, strict=True):
            for name in _doomed_folders(archive, plan, folder.folders):
                for stage in _parts(archive, name):
                    yield archive, stage
    if scope.wal:
        for archive in archives:
            yield archive, _doomed_wal(archive, plan)


def _doomed_folders(archive: Archive, plan: Deletion, found: Sequence[str]) -> Iterator[str]:
    """Folders of the backups that go, then those that unfinished ones left."""
    there = set(found)
    yield from (name for backup in plan.removed if (name := layout.backup_folder(backup.name)) in there)
    committed = {layout.backup_folder(name) for name in plan.archived.by_name}
    yield from (name for name in found if name not in committed and _is_leftover(archive, plan, name))


def _is_leftover(archive: Archive, plan: Deletion, folder: str) -> bool:
    """Whether a folder without sentinel is older than the target, and its backup does not run any more."""
    position = position_in(folder.rpartition("/")[2], configured_segment_size(archive.config))
    return position is not None and plan.removes_leftover(*position)


def _parts(archive: Archive, folder: str) -> Iterator[list[StoredObject]]:
    """What a backup stored beside its sentinel, in two groups."""
    found = list(archive.storage.list(folder))
    last = f"{folder}/metadata.json"
    yield [item for item in found if item.name != last]
    yield [item for item in found if item.name == last]


def _doomed_wal(archive: Archive, plan: Deletion) -> Iterator[StoredObject]:
    """WAL that no kept backup needs, and what lies beside it, in name order; foreign names stay."""
    segment_size = configured_segment_size(archive.config)
    prefix = f"{layout.WAL_FOLDER}/"
    for item in archive.storage.list(layout.WAL_FOLDER):
        name = item.name.removeprefix(prefix)
        position = position_in(name[:24], segment_size)
        if position is not None and plan.removes_wal(*position):
            yield item


def _remove(archive: Archive, items: Iterable[StoredObject], total: Total, *, confirm: bool) -> None:
    batch: list[str] = []
    for item in items:
        logger.info("Object marked for deletion: %s storage=%s", item.name, _storage_name(archive))
        total.count += 1
        total.size += item.size
        if confirm:
            batch.append(item.name)
        if len(batch) >= BATCH:
            archive.storage.delete(batch)
            batch = []
    if batch:
        archive.storage.delete(batch)


def _tell_total(total: Total, *, confirm: bool) -> None:
    if not total.count:
        logger.info("No objects matched the deletion criteria.")
    elif confirm:
        logger.info("Objects deleted successfully: count=%d", total.count)
        logger.info("%d bytes were freed", total.size)
    else:
        logger.info("Dry run: objects would be deleted count=%d, Run with --confirm to execute", total.count)
        logger.info("%d bytes would be freed", total.size)


def explain(plan: Deletion, name: str) -> str:
    """Why one backup goes or stays. Raises BackupError for an unknown one."""
    if name not in plan.archived.by_name:
        raise BackupError(f"Backup '{name}' does not exist.")
    backup = plan.archived.by_name[name]
    reason = plan.kept.get(name)
    if reason is not None:
        permanent = f" ({PERMANENT})" if backup.is_permanent and reason != PERMANENT else ""
        return f"{name} stays: {reason}{permanent}\n"
    why = f"it is older than {plan.target.name}" if plan.target else "it was chosen, or is made on what was"
    return f"{name} goes: {why}, not permanent, and no kept backup is made on it\n"


def as_document(plan: Deletion, total: Total) -> dict[str, object]:
    """The plan as JSON."""
    return {
        "target": plan.target.name if plan.target else None,
        "order": "start_time" if plan.archived.by_time else "wal_position",
        "removed_backups": [item.name for item in plan.removed],
        "kept_backups": [{"backup_name": name, "reason": reason} for name, reason in sorted(plan.kept.items())],
        "objects": total.count,
        "bytes": total.size,
    }
