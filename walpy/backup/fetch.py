"""backup-fetch: restores a backup, full or delta, into an empty directory.

Everything that can be checked is checked first (chain.py). The data tars are extracted in worker processes, in a chain
those of the newest backup first (newer_pages.py), and all files that a backup has to bring must be there before the one
below fills in the rest. Then come links and directory modes; then all of it is flushed to disk; pg_control is last and
is flushed by itself. A restore that failed, or was killed, therefore has no pg_control, and no server starts from it.

Memory of this process: the list of files of each backup, 60 to 80 bytes a file (chain.py), and the names of the part
that is being handed out; for the workers see extract.py.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from walpy import interrupts
from walpy.archive import Archive
from walpy.backup import journal
from walpy.backup.apply import Applier
from walpy.backup.catalog import BackupSelector, find_backup
from walpy.backup.chain import Chain, Link, plan_chain, read_links
from walpy.backup.completeness import Restored
from walpy.backup.durability import FileSystems, sync_file
from walpy.backup.extract import ExtractPlan
from walpy.backup.fetch_summary import FetchSummary, wal_segments
from walpy.backup.journal import Identity, Journal
from walpy.backup.model import Sentinel, Tablespace
from walpy.backup.next_steps import given_arguments, next_steps, partial_steps, version_of_directory
from walpy.backup.rate_limits import MeasuredSleep, open_limited_archive
from walpy.backup.records import checksum_of, checksum_of_file
from walpy.backup.restore_only import PartialRestore
from walpy.backup.restore_spec import chosen_tablespaces, make_tablespaces, read_restore_spec
from walpy.backup.restore_target import check_empty, check_places, make_destination, may_compress
from walpy.backup.restore_tree import finish_tree
from walpy.backup.selection import Selection
from walpy.backup.stage_times import FLUSHING, Stopwatch, added, limited_by
from walpy.config import Config
from walpy.errors import BackupError, Interrupted, WalpyError
from walpy.postgres.control import CONTROL_FILE
from walpy.progress import Progress

_UNFINISHED_CONTROL_FILE: Final = f"{CONTROL_FILE}.unfinished"  # WAL-E's backups have it among the other files
_TABLESPACE_MAP: Final = "tablespace_map"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Flags of backup-fetch; empty text means that a flag was not given.

    mask: pattern on paths below the destination. restore_spec: path of a file. reverse_unpack alone changes nothing: a
    chain is always restored from the newest backup down. With it, skip_redundant_tars leaves out tars in which the mask
    finds nothing.
    restore_only: databases and tables, with commas; it implies both. resume: go on with an interrupted restore.
    """

    mask: str = ""
    restore_spec: str = ""
    reverse_unpack: bool = False
    skip_redundant_tars: bool = False
    restore_only: str = ""
    resume: bool = False


@dataclass(frozen=True, slots=True)
class _Restore:
    """All that is known before the first byte is written."""

    chain: Chain
    destination: str
    tablespaces: tuple[Tablespace, ...]
    plan: ExtractPlan  # of the newest backup
    identity: Identity
    is_resumed: bool
    is_complete: bool  # by an earlier restore, but for the removal of its journal
    concurrency: int
    is_masked: bool  # only some files, which nothing can be started from
    partial: PartialRestore | None  # some databases or tables
    network_waits: MeasuredSleep  # of this process


def backup_fetch(
    config: Config,
    destination: str,
    selector: BackupSelector,
    options: FetchOptions,
    progress: Progress,
    *,
    given: Config | None = None,
) -> FetchSummary:
    """Restore the backup that selector means into destination, which must be empty or missing unless it is resumed.

    given: the settings of the command, for its next steps, where config is that of one failover storage.
    Success means complete and durable (WALG_TAR_DISABLE_FSYNC leaves the flushing to the operating system). Raises
    BackupError, UsageError, DataCorrupt or StorageError; after a failure the destination has no pg_control.
    """
    started = time.monotonic()
    waits, flushing = MeasuredSleep(), Stopwatch()
    with closing(open_limited_archive(config, sleep=waits)) as archive:
        backup = _select(archive, selector)
        with _failing("Failed to fetch backup"):
            restore = _prepare(archive, backup, os.path.abspath(destination), options, waits)
            make_destination(restore.destination)
            resumes = restore.is_resumed
            with (
                closing(journal.open_journal(restore.destination, restore.identity, resumes=resumes)) as notes,
                _unstartable_after_failure(restore.destination),
            ):
                restored = _restore(archive, restore, notes, progress, flushing)
    logger.info("Backup extraction complete.")
    seconds = time.monotonic() - started
    limits = limited_by(added(restored.times), FLUSHING, flushing.seconds, seconds)
    summary = _summary(given or config, restore, restored, seconds, limits)
    summary.log()
    return summary


def _select(archive: Archive, selector: BackupSelector) -> str:
    logger.info("%s", selector.describe())
    logger.info("Backup to fetch will be searched in storages: [%s]", archive.config.storage_name())
    with _failing("Failed to select backup"):
        return find_backup(archive, selector)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Begin the message of a BackupError as WAL-G does."""
    try:
        yield
    except BackupError as error:
        raise BackupError(f"{what}: {error}", error.hint) from error.__cause__


# ---- before the first byte


def _prepare(
    archive: Archive, backup: str, destination: str, options: FetchOptions, network_waits: MeasuredSleep
) -> _Restore:
    """Read what the backup consists of, and check that it can be restored to where the user wants it."""
    config = archive.config
    archive.cipher  # noqa: B018 - a wrong key is told before anything is written
    spec = read_restore_spec(options.restore_spec) if options.restore_spec else None
    links = read_links(archive, backup)
    is_resumed = options.resume and journal.exists(destination)
    if not is_resumed:
        check_empty(destination, ignored=[journal.FOLDER] if options.resume else [])
    sentinel = links[0].sentinel
    tablespaces = chosen_tablespaces(sentinel.spec, spec)
    needed = 0 if options.restore_only else _needed_room([link.sentinel for link in links])  # lists have no sizes
    identity = _identity(links, options, tablespaces)
    is_complete = False
    if is_resumed:
        is_complete = journal.check_continues(
            destination, identity, checksum_of_file(os.path.join(destination, CONTROL_FILE))
        )
    check_places(archive, destination, tablespaces, needed, is_resumed=is_resumed)
    skips = bool(options.restore_only) or (options.reverse_unpack and options.skip_redundant_tars)
    selection = Selection(backup, options.mask, options.restore_only)
    chain = plan_chain(archive, links, selection.choose, skip_redundant=skips, by_names=bool(options.restore_only))
    plan = ExtractPlan(
        destination,
        links=frozenset(entry.link for entry in tablespaces),
        left_out=frozenset([_TABLESPACE_MAP] if spec else []),  # it would send the server to the old places
        control_file="" if chain.special_parts else _UNFINISHED_CONTROL_FILE,
        retries=config.integer("WALG_DOWNLOAD_FILE_RETRIES", minimum=0),
        reserves_room=not may_compress([destination, *(entry.location for entry in tablespaces)]),
        is_flushed=not config.boolean("WALG_TAR_DISABLE_FSYNC"),
        journal=os.path.join(destination, journal.FOLDER),
        boot=journal.this_boot(),
    )
    return _Restore(
        chain=chain,
        destination=destination,
        tablespaces=tablespaces,
        plan=plan,
        identity=identity,
        is_resumed=is_resumed,
        is_complete=is_complete,
        concurrency=config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1),
        is_masked=bool(options.mask) and chain.selected is not None,
        partial=selection.partial,
        network_waits=network_waits,
    )


def _identity(links: Sequence[Link], options: FetchOptions, tablespaces: Sequence[Tablespace]) -> Identity:
    """What tells this restore from another one into the same directory."""
    chain = [(link.backup, checksum_of(link.sentinel.to_json())) for link in reversed(links)]
    places = [(f"tablespace {entry.name}", entry.location) for entry in tablespaces]
    given = {"--mask": options.mask, "--restore-only": options.restore_only}
    spec = "given" if options.restore_spec else ""
    return Identity(tuple(chain), (*given.items(), ("--restore-spec", spec), *places))


def _needed_room(sentinels: Sequence[Sentinel]) -> int:
    """Bytes of the cluster, the newest sentinel's first; where it does not tell, a delta is as large as its base."""
    return sentinels[0].data_catalog_size or max(sentinel.uncompressed_size for sentinel in sentinels)


# ---- from the first byte on


def _restore(archive: Archive, restore: _Restore, notes: Journal, progress: Progress, flushing: Stopwatch) -> Restored:
    """Extract everything; on return it is complete, durable and can be started. flushing: measures the wait."""
    if restore.is_complete:
        logger.info("%s is complete already", restore.destination)
        notes.remove()
        return Restored()
    make_tablespaces(restore.destination, restore.tablespaces)
    places = [restore.destination, *(entry.location for entry in restore.tablespaces)]
    applier = Applier(archive, notes, restore.plan, restore.concurrency, restore.network_waits, progress)
    with FileSystems(places) as file_systems:
        restored = applier.restore(restore.chain.members, restore.chain.special_parts[:-1])
        finish_tree(restore.destination, restored, is_whole=not restore.is_masked)
        if restore.plan.is_flushed:
            with flushing:
                file_systems.sync()
        _finish_control_file(applier, notes, restore, restored)
    return restored


def _finish_control_file(applier: Applier, notes: Journal, restore: _Restore, restored: Restored) -> None:
    """Put pg_control in place, durably: from here on a server can start."""
    path = os.path.join(restore.destination, CONTROL_FILE)
    unfinished = os.path.join(restore.destination, _UNFINISHED_CONTROL_FILE)
    plan = replace(restore.plan, control_file=_UNFINISHED_CONTROL_FILE, journal="")
    applier.extract_here(restore.chain.special_parts[-1:], plan, restored)
    if restore.chain.has_control_file:
        if CONTROL_FILE not in restored.files:
            raise BackupError(f"backup {restore.chain.newest.backup} holds no {CONTROL_FILE!r}")
        notes.note_control_file(checksum_of_file(unfinished))
        if restore.plan.is_flushed:
            sync_file(unfinished)
        interrupts.unfinished_files.add(path)
        os.rename(unfinished, path)
        if restore.plan.is_flushed:
            sync_file(path)
        interrupts.unfinished_files.discard(path)
    notes.remove()


def _remove_control_file(destination: str) -> None:
    """No server starts from a directory without it."""
    path = os.path.join(destination, CONTROL_FILE)
    if os.path.lexists(path):
        os.unlink(path)


@contextmanager
def _unstartable_after_failure(destination: str) -> Iterator[None]:
    """Leave what was restored, but not pg_control, after any failure, and say so."""
    try:
        yield
    except BaseException as error:
        _remove_control_file(destination)
        if not os.path.isdir(destination) or not os.listdir(destination):
            raise
        note = (
            f"What was restored so far is left in {destination}, without pg_control, so that no server starts from it; "
            "go on with --resume, or empty the directory before the next try."
        )
        if isinstance(error, Interrupted) or not isinstance(error, WalpyError):
            logger.warning("%s", note)
            raise
        raise type(error)(str(error), f"{error.hint} {note}".strip()) from error.__cause__


# ---- afterwards


def _summary(config: Config, restore: _Restore, restored: Restored, seconds: float, limits: str) -> FetchSummary:
    chain, newest = restore.chain, restore.chain.newest
    version = newest.sentinel.pg_version or version_of_directory(restore.destination)
    return FetchSummary(
        backup=newest.backup,
        destination=restore.destination,
        files=max(0, restored.files_below + len(restored.files) - len(newest.increments)),
        size=restored.size,
        stored_size=chain.special_size + sum(member.stored_size for member in chain.members),
        seconds=seconds,
        limited_by=limits,
        pg_version=version,
        wal_segments=wal_segments(newest.backup, newest.sentinel, restore.destination),
        next_steps=() if restore.is_masked else next_steps(restore.destination, version, given_arguments(config)),
        steps_when_running=() if restore.is_masked or not restore.partial else partial_steps(restore.partial),
    )
