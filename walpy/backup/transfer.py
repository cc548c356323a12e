"""st transfer backups: whole backups from one storage of an archive to another.

A backup is restored from one storage, so a chain moves together: bases are copied before what is made on them, and
leave the source after it. Of each backup the parts come first, then metadata.json, and the sentinel is the last that
the target gets and the first that the source loses: no storage ever lists a backup that it has not whole.

A run that was stopped is completed by the next one; parts that it left in the source after the sentinel was removed are
removed when each has its equal in the target.

Memory: one row a backup, and what moving states; parts are listed as they go.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.catalog import LATEST, BackupSelector, find_backup, in_parallel, list_backups, read_sentinel
from walpy.backup.mark import chain_by
from walpy.comparing import same_content
from walpy.copying import in_order, pairs
from walpy.errors import BackupError, StorageError
from walpy.moving import MoveOptions, Mover, Pair, tell_found
from walpy.progress import Progress
from walpy.storage.base import StoredObject
from walpy.wal.identity import take_identity

logger = logging.getLogger(__name__)


class _Held(NamedTuple):
    """What the source holds of one backup: objects; how many the target lacks; those to be moved, and their bytes."""

    files: int = 0
    missing: int = 0
    due: int = 0
    size: int = 0

    def plus(self, item: StoredObject, *, is_missing: bool, is_due: bool) -> "_Held":
        size = item.size if is_due else 0
        return _Held(self.files + 1, self.missing + is_missing, self.due + is_due, self.size + size)


class _Plan(NamedTuple):
    """What to do with backups of the source.

    families: those to copy, or to compare, in chains with the bases first. removed: those that leave the source.
    remains: those of which an earlier run has left parts. bases: what each backup of the source is made on there.
    """

    families: Sequence[Sequence[str]]
    removed: frozenset[str]
    remains: Sequence[str]
    bases: dict[str, str | None]


def transfer_backups(
    source: Archive,
    target: Archive,
    name: str,
    options: MoveOptions,
    progress: Progress,
    *,
    max_backups: int | None = None,
) -> None:
    """Move a backup (a name, or LATEST); empty: all. A base that the target lacks is copied along, and stays.

    A backup that others in the source are made on is copied, and stays until they leave. max_backups and
    options.max_files: how much the target gets, no backup in part.
    Raises BackupError for a backup that is in neither storage, and what moving.move_objects does.
    """
    mover = Mover(source, target, options, progress)
    held = _survey(mover)
    in_target = {backup.name for backup in list_backups(target)}
    plan = _choose(mover, held, in_target, name, max_backups)
    take_identity(source, target)
    progress.start(sum(held[backup].size for family in plan.families for backup in family), "moving")
    try:
        for backup in plan.remains:
            _finish_removal(mover, backup)
        for family in plan.families:
            _Move(mover, plan, in_target).run(family)
    finally:
        progress.finish()
    mover.finish()


# ---- the plan


def _survey(mover: Mover) -> dict[str, _Held]:
    """What the source holds of each backup."""
    found: dict[str, _Held] = {}
    total = missing = 0
    folder = layout.BACKUP_FOLDER
    for item, present in pairs(mover.source.storage.list(folder), mover.target.storage.list(folder)):
        total += 1
        missing += present is None
        backup = _backup_of(item.name)
        if backup:
            is_due = mover.is_due(item, present)
            found[backup] = found.get(backup, _Held()).plus(item, is_missing=present is None, is_due=is_due)
    tell_found(total, missing)
    return found


def _backup_of(name: str) -> str:
    """The backup that an object below the backups' folder belongs to; empty: none."""
    rest = name.removeprefix(f"{layout.BACKUP_FOLDER}/")
    folder, slash, _ = rest.partition("/")
    found = folder if slash else layout.backup_name_of(rest) or ""
    return found if found.startswith(layout.BACKUP_PREFIX) else ""


def _choose(mover: Mover, held: dict[str, _Held], in_target: set[str], name: str, max_backups: int | None) -> _Plan:
    listed = [backup.name for backup in list_backups(mover.source)]
    if name == LATEST:
        name = find_backup(mover.source, BackupSelector(name))
    if name and name not in held and name not in in_target:
        raise BackupError(f"Backup '{name}' does not exist.", "Neither storage has it.")
    wanted = {backup for backup in listed if name in ("", backup) and _has_data(held, backup)}
    bases = _bases(mover.source, listed)
    ordered = dict.fromkeys(
        member for backup in listed if backup in wanted for member in chain_by(bases.__getitem__, backup)
    )
    due = [item for item in ordered if held[item].due and (item in wanted or held[item].missing)]
    logger.info("Backups missing in the target storage: %d", sum(held[item].missing > 0 for item in due))
    chosen = list(_limited(due, held, in_target, mover.options.max_files, max_backups))
    removed = frozenset[str]() if mover.options.preserve else frozenset(chosen) & wanted
    incomplete = [backup for backup in held if backup not in listed and name in ("", backup)]
    remains = [] if mover.options.preserve else [backup for backup in incomplete if backup in in_target]
    for backup in incomplete:
        if backup not in remains:
            _tell_incomplete(backup)
    logger.info("Backups will be transferred: %d", len(chosen))
    mover.left = sum(held[item].due for item in [*chosen, *remains])
    logger.info("Files will be transferred: %d", mover.left)
    families: dict[str, list[str]] = {}
    for backup in chosen:
        families.setdefault(chain_by(bases.__getitem__, backup)[0], []).append(backup)
    return _Plan(list(families.values()), removed, remains, bases)


def _has_data(held: dict[str, _Held], backup: str) -> bool:
    if held.get(backup, _Held()).files > 1:
        return True
    logger.warning("Backup doesn't have any data: %s", backup)
    return False


def _tell_incomplete(backup: str) -> None:
    logger.info("Skip incomplete backup without sentinel file: %s", backup)


def _bases(source: Archive, listed: Sequence[str]) -> dict[str, str | None]:
    """What each backup is made on, as far as the source has it."""
    found = in_parallel(lambda backup: read_sentinel(source, backup).delta_from, listed)
    known = set(listed)
    return {backup: base if base in known else None for backup, base in zip(listed, found, strict=True)}


def _limited(
    due: Iterable[str], held: dict[str, _Held], in_target: set[str], max_files: int | None, max_backups: int | None
) -> Iterator[str]:
    """As many as the limits allow; those that the target has already count for nothing."""
    files = backups = 0
    for backup in due:
        if backup not in in_target:
            files += held[backup].files
            backups += 1
            if (max_files is not None and files > max_files) or (max_backups is not None and backups > max_backups):
                return
        yield backup


# ---- one chain


class _Move:
    """Moves the backups of one chain. in_target: those whose sentinels the target has had from the beginning."""

    def __init__(self, mover: Mover, plan: _Plan, in_target: set[str]) -> None:
        self._mover = mover
        self._plan = plan
        self._in_target = in_target
        self._brought: set[str] = set()
        self._gone: set[str] = set()

    def run(self, family: Sequence[str]) -> None:
        """Copy them, the bases first; then remove them, the bases last. Failures are told by the mover."""
        states = {backup: state for backup in family if (state := self._bring(backup))}
        for backup in reversed(family):
            if backup in states and backup in self._plan.removed:
                self._remove(backup, states[backup])

    def _bring(self, backup: str) -> str:
        """Have a backup in the target; the state of the source's that is there now, empty when something failed."""
        mover, before = self._mover, self._mover.failures
        sentinel, metadata = layout.sentinel(backup), layout.metadata(backup)
        if mover.options.overwrite and backup in self._in_target:
            # What is listed must be whole, so it is not listed while parts are replaced.
            mover.target.storage.delete([sentinel])
        state = _State()
        self._copy(pair for pair in self._listed(backup, state) if pair[0].name != metadata)
        for name in (metadata, sentinel):
            if mover.failures == before and name == sentinel:
                self._check_base(backup)
            if mover.failures == before:
                self._copy(self._single(name))
        if mover.failures != before:
            return ""
        self._brought.add(backup)
        return state.text

    def _check_base(self, backup: str) -> None:
        """Fail, unless the target has what a backup is made on: its sentinel tells one backup from another."""
        base = self._plan.bases[backup]
        if base is None or base in self._brought or _is_same(self._mover, layout.sentinel(base)):
            return
        error = BackupError(f"backup {base}, which it is made on, is not in the target")
        self._mover.fail(layout.sentinel(backup), "copy", error)

    def _copy(self, found: Iterable[Pair]) -> None:
        copied = self._mover.copied(pair for pair in found if self._mover.is_due(*pair))
        if self._mover.options.preserve:
            self._mover.remove(copied)  # which only tells
        else:
            for _ in copied:
                pass

    def _listed(self, backup: str, state: "_State") -> Iterator[Pair]:
        folder = layout.backup_folder(backup)
        yield from pairs(state.noting(self._mover.source.storage.list(folder)), self._mover.target.storage.list(folder))

    def _single(self, name: str) -> Iterator[Pair]:
        for item in self._mover.source.storage.stat_many([name]):
            yield item, next(iter(self._mover.target.storage.stat_many([name])), None)

    def _remove(self, backup: str, state: str) -> None:
        """Remove a backup from the source, unless others there are made on it, or it has changed."""
        mover, source = self._mover, self._mover.source
        sentinel, metadata = layout.sentinel(backup), layout.metadata(backup)
        dependent = self._dependent(backup)
        if dependent:
            logger.warning("backup %s stays in the source, too: %s is made on it", backup, dependent)
            return
        now = _State()
        for _ in self._listed(backup, now):
            pass
        if now.text != state or not _is_same(mover, metadata) or not _is_same(mover, sentinel):
            mover.fail(sentinel, "delete", StorageError("the backup was written to since it was copied"))
            return
        if mover.remove(source.storage.stat_many([sentinel])):
            self._gone.add(backup)
            _remove_parts(mover, backup)

    def _dependent(self, backup: str) -> str:
        """A backup of the source that is made on one, also one that was stored meanwhile; empty: none."""
        bases = dict(self._plan.bases)
        for found in list_backups(self._mover.source):
            if found.name not in bases:
                bases[found.name] = read_sentinel(self._mover.source, found.name).delta_from
        return next((name for name, base in bases.items() if base == backup and name not in self._gone), "")


class _State:
    """Digest of a listing: names, sizes and times."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def noting(self, items: Iterable[StoredObject]) -> Iterator[StoredObject]:
        """Pass objects on."""
        for item in items:
            self._hash.update(repr(item).encode())
            yield item

    @property
    def text(self) -> str:
        return self._hash.hexdigest()


# ---- removal


def _is_same(mover: Mover, name: str) -> bool:
    """Whether a document is the same in both storages, or in neither."""
    here, there = mover.source.storage.stat_many([name]), mover.target.storage.stat_many([name])
    if not here or not there:
        return not here and not there
    return same_content(mover.source.storage, mover.target.storage, name)


def _remove_parts(mover: Mover, backup: str) -> None:
    """Remove what a backup has beside its sentinel; metadata.json last: it tells that the backup does not run."""
    metadata = layout.metadata(backup)
    parts = (item for item in mover.source.storage.list(layout.backup_folder(backup)) if item.name != metadata)
    if mover.remove(parts):
        mover.remove(mover.source.storage.stat_many([metadata]))


def _finish_removal(mover: Mover, backup: str) -> None:
    """Remove what an earlier run has left in the source of a backup that the target has: each object has its equal."""
    folder = layout.backup_folder(backup)
    found = pairs(mover.source.storage.list(folder), mover.target.storage.list(folder))

    def is_safe(pair: Pair) -> bool:
        item, present = pair
        return present is not None and same_content(mover.source.storage, mover.target.storage, item.name)

    if all(future.result() for _, future in in_order(is_safe, found, mover.options.concurrency)):
        _remove_parts(mover, backup)
    else:
        _tell_incomplete(backup)
