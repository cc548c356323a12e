"""backup-fetch: restores a full backup into an empty directory.

Everything that can be checked is checked first. The data tars are extracted in worker processes; then come links,
directory modes and the check that every file of the backup is there; then all of it is flushed to disk; pg_control is
last and is flushed by itself. A restore that failed, or was killed, therefore has no pg_control, and no server starts
from it.

Memory of this process: the backup's list of files, about 600 bytes a file; for the workers see extract.py.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from walpy import interrupts, layout
from walpy.archive import Archive
from walpy.backup.catalog import (
    BackupSelector,
    find_backup,
    is_wale,
    read_sentinel,
    require_full,
)
from walpy.backup.completeness import Restored, check_complete, check_parts
from walpy.backup.durability import FileSystems, sync_file
from walpy.backup.extract import (
    ExtractPlan,
    PartJob,
    extract_part,
    start_worker,
    work_here,
)
from walpy.backup.fetch_summary import FetchSummary, wal_segments
from walpy.backup.files_metadata import FilesMetadata, read_files_metadata
from walpy.backup.mask import compile_mask
from walpy.backup.model import Sentinel, Tablespace
from walpy.backup.next_steps import given_arguments, next_steps, version_of_directory
from walpy.backup.rate_limits import NETWORK_LIMIT, MeasuredSleep, open_limited_archive, shared_limit
from walpy.backup.restore_spec import chosen_tablespaces, make_tablespaces, read_restore_spec
from walpy.backup.restore_target import check_empty, check_places, make_destination, may_compress
from walpy.backup.restore_tree import finish_tree
from walpy.backup.stage_times import FLUSHING, Stopwatch, added, limited_by
from walpy.config import Config
from walpy.errors import BackupError, Interrupted, UsageError, WalpyError
from walpy.pipeline import run_jobs
from walpy.postgres.control import CONTROL_FILE
from walpy.progress import Progress
from walpy.stream.codecs import codec_for_extension

_SPECIAL: Final = re.compile(r"(pg_control|backup_label)\.tar(\..*)?$")  # WAL-G 3.0.8 left the dot of the codec none
_UNFINISHED_CONTROL_FILE: Final = f"{CONTROL_FILE}.unfinished"  # WAL-E's backups have it among the other files
_TABLESPACE_MAP: Final = "tablespace_map"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Flags of backup-fetch; empty text means that a flag was not given.

    mask: pattern on paths below the destination. restore_spec: path of a file. reverse_unpack changes nothing for a
    full backup; with it, skip_redundant_tars leaves out tars in which the mask finds nothing.
    """

    mask: str = ""
    restore_spec: str = ""
    reverse_unpack: bool = False
    skip_redundant_tars: bool = False
    restore_only: str = ""


@dataclass(frozen=True, slots=True)
class _Restore:
    """All that is known before the first byte is written."""

    backup: str
    sentinel: Sentinel
    names: tuple[str, ...]  # of everything in the backup; none when it has no list
    destination: str
    tablespaces: tuple[Tablespace, ...]
    parts: tuple[PartJob, ...]
    special_parts: tuple[PartJob, ...]  # backup_label first, pg_control last
    stored_size: int
    plan: ExtractPlan
    concurrency: int
    is_masked: bool
    network_waits: MeasuredSleep  # of this process


def backup_fetch(
    config: Config, destination: str, selector: BackupSelector, options: FetchOptions, progress: Progress
) -> FetchSummary:
    """Restore the backup that selector means into destination, which must be empty or missing.

    Success means complete and durable (WALG_TAR_DISABLE_FSYNC leaves the flushing to the operating system). Raises
    BackupError, UsageError, DataCorrupt or StorageError; after a failure the destination has no pg_control.
    """
    started = time.monotonic()
    if options.restore_only:
        raise UsageError(
            "--restore-only is not supported by this version of walpy", "Restore everything, or use WAL-G for it."
        )
    waits, flushing = MeasuredSleep(), Stopwatch()
    with closing(open_limited_archive(config, sleep=waits)) as archive:
        backup = _select(archive, selector)
        with _failing("Failed to fetch backup"):
            restore = _prepare(archive, backup, os.path.abspath(destination), options, waits)
            with _unstartable_after_failure(restore.destination):
                restored = _restore(archive, restore, progress, flushing)
    logger.info("Backup extraction complete.")
    seconds = time.monotonic() - started
    limits = limited_by(added(restored.times), FLUSHING, flushing.seconds, seconds)
    summary = _summary(config, restore, restored, seconds, limits)
    summary.log()
    return summary


def _select(archive: Archive, selector: BackupSelector) -> str:
    logger.info("%s", selector.describe())
    logger.info("Backup to fetch will be searched in storages: [default]")
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
    spec = read_restore_spec(options.restore_spec) if options.restore_spec else None
    sentinel = read_sentinel(archive, backup)
    require_full(backup, sentinel)
    check_empty(destination)
    files = read_files_metadata(archive, backup, sentinel)
    tablespaces = chosen_tablespaces(sentinel.spec, spec)
    check_places(archive, destination, tablespaces, sentinel.data_catalog_size or sentinel.uncompressed_size)
    wanted = _wanted(files, options.mask)
    parts, special_parts, stored_size = _list_parts(archive, backup)
    check_parts(backup, files, [job.part for job in (*parts, *special_parts)])
    if wanted is not None and options.reverse_unpack and options.skip_redundant_tars:
        parts = tuple(job for job in parts if _holds_any(files, job, wanted))
    plan = ExtractPlan(
        destination,
        links=frozenset(entry.link for entry in tablespaces),
        wanted=wanted,
        left_out=frozenset([_TABLESPACE_MAP] if spec else []),  # it would send the server to the old places
        control_file="" if special_parts else _UNFINISHED_CONTROL_FILE,
        retries=config.integer("WALG_DOWNLOAD_FILE_RETRIES", minimum=0),
        reserves_room=not may_compress([destination, *(entry.location for entry in tablespaces)]),
        is_flushed=not config.boolean("WALG_TAR_DISABLE_FSYNC"),
    )
    return _Restore(
        backup=backup,
        sentinel=sentinel,
        names=tuple(files.files),
        destination=destination,
        tablespaces=tablespaces,
        parts=parts,
        special_parts=special_parts,
        stored_size=stored_size,
        plan=plan,
        concurrency=config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1),
        is_masked=wanted is not None,
        network_waits=network_waits,
    )


def _wanted(files: FilesMetadata, mask: str) -> frozenset[str] | None:
    """Files that the mask lets through, relative to the destination; None for all of them."""
    if not mask:
        return None
    if not files.files:
        logger.warning("the backup has no list of files, so the mask is ignored and everything is restored")
        return None
    pattern = compile_mask(f"/{mask}")
    names = {*files.files, f"/{CONTROL_FILE}"}
    return frozenset(name.strip("/") for name in names if pattern.fullmatch(name))


def _list_parts(archive: Archive, backup: str) -> tuple[tuple[PartJob, ...], tuple[PartJob, ...], int]:
    """The backup's data tars, those of backup_label and pg_control in the order to extract them, and all tars' bytes.

    Raises BackupError when a tar that every backup has is missing, and for an extension that names no codec.
    """
    folder = archive.storage.list_folder(layout.tar_folder(backup))
    largest_first = sorted(folder.objects, key=lambda found: -found.size)  # so that workers end at the same time
    stored_size = sum(found.size for found in folder.objects)
    jobs = [PartJob(found.name, _extension(found.name)) for found in largest_first]
    for job in jobs:
        codec_for_extension(job.extension)
    special = {match.group(1): job for job in jobs if (match := _SPECIAL.search(job.part))}
    parts = tuple(job for job in jobs if not _SPECIAL.search(job.part))
    if not parts:
        raise BackupError(f"backup {backup} has no data: nothing is in {layout.tar_folder(backup)!r}")
    if is_wale(backup):
        return parts, (), stored_size
    if "pg_control" not in special:
        raise BackupError(f"backup {backup} has no pg_control tar in {layout.tar_folder(backup)!r}")
    return parts, tuple(special[name] for name in ("backup_label", "pg_control") if name in special), stored_size


def _extension(object_name: str) -> str:
    extension = object_name.rpartition("/")[2].rpartition(".")[2]
    return "" if extension == "tar" else extension


def _holds_any(files: FilesMetadata, job: PartJob, wanted: frozenset[str]) -> bool:
    return any(name.strip("/") in wanted for name in files.tar_file_sets.get(job.part, ()))


# ---- from the first byte on


def _restore(archive: Archive, restore: _Restore, progress: Progress, flushing: Stopwatch) -> Restored:
    """Extract everything; on return it is complete, durable and can be started. flushing: measures the wait."""
    make_destination(restore.destination)
    make_tablespaces(restore.destination, restore.tablespaces)
    places = [restore.destination, *(entry.location for entry in restore.tablespaces)]
    restored = Restored()
    with FileSystems(places) as file_systems:
        _extract_parts(archive, restore, restored, progress)
        _extract_here(archive, restore, restore.special_parts[:-1], restored)
        finish_tree(restore.destination, restored, is_whole=not restore.is_masked)
        check_complete(restore.backup, restore.sentinel, restore.names, restore.plan, restored)
        if not archive.config.boolean("WALG_TAR_DISABLE_FSYNC"):
            with flushing:
                file_systems.sync()
        _finish_control_file(archive, restore, restored)
    return restored


def _extract_parts(archive: Archive, restore: _Restore, restored: Restored, progress: Progress) -> None:
    processes = min(restore.concurrency, len(restore.parts), _usable_processes(archive.config))
    progress.start(restore.sentinel.uncompressed_size or None, f"restoring {restore.backup}")
    try:
        if processes > 1:
            _extract_in_workers(archive.config, restore, processes, restored, progress)
        else:
            _extract_here(archive, restore, restore.parts, restored, progress.advance)
    finally:
        progress.finish()


def _usable_processes(config: Config) -> int:
    """Cores for a local archive; twice as many for a remote one, since half of them wait for the network."""
    cores = len(os.sched_getaffinity(0))
    return cores if config.storage_kind() == "FILE" else 2 * cores


def _extract_in_workers(
    config: Config, restore: _Restore, processes: int, restored: Restored, progress: Progress
) -> None:
    run_jobs(
        extract_part,
        restore.parts,
        processes=processes,
        initializer=start_worker,
        initargs=(config, restore.plan, shared_limit(config, NETWORK_LIMIT)),
        on_result=restored.add,
        on_progress=progress.advance,
    )


def _extract_here(
    archive: Archive,
    restore: _Restore,
    parts: Sequence[PartJob],
    restored: Restored,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Extract parts one by one in this process: a worker would cost more than it brings."""
    run_jobs(
        extract_part,
        parts,
        processes=0,
        initializer=work_here,
        initargs=(archive, restore.network_waits, restore.plan),
        on_result=restored.add,
        on_progress=on_progress,
    )


def _finish_control_file(archive: Archive, restore: _Restore, restored: Restored) -> None:
    """Put pg_control in place, durably: from here on a server can start."""
    path = os.path.join(restore.destination, CONTROL_FILE)
    interrupts.unfinished_files.add(path)
    last = replace(restore, plan=replace(restore.plan, control_file=CONTROL_FILE))
    _extract_here(archive, last, restore.special_parts[-1:], restored)
    if restore.plan.wanted is None or CONTROL_FILE in restore.plan.wanted:
        if CONTROL_FILE not in restored.files:
            raise BackupError(f"backup {restore.backup} holds no {CONTROL_FILE!r}")
        if not restore.special_parts:
            os.rename(os.path.join(restore.destination, _UNFINISHED_CONTROL_FILE), path)
        if not archive.config.boolean("WALG_TAR_DISABLE_FSYNC"):
            sync_file(path)
    interrupts.unfinished_files.discard(path)


@contextmanager
def _unstartable_after_failure(destination: str) -> Iterator[None]:
    """Leave what was restored, but not pg_control, after any failure, and say so."""
    try:
        yield
    except BaseException as error:
        path = os.path.join(destination, CONTROL_FILE)
        if os.path.lexists(path):
            os.unlink(path)
        if not os.path.isdir(destination) or not os.listdir(destination):
            raise
        note = (
            f"What was restored so far is left in {destination}, without pg_control, so that no server starts from it; "
            "empty the directory before the next try."
        )
        if isinstance(error, Interrupted) or not isinstance(error, WalpyError):
            logger.warning("%s", note)
            raise
        raise type(error)(str(error), f"{error.hint} {note}".strip()) from error.__cause__


# ---- afterwards


def _summary(config: Config, restore: _Restore, restored: Restored, seconds: float, limits: str) -> FetchSummary:
    version = restore.sentinel.pg_version or version_of_directory(restore.destination)
    return FetchSummary(
        backup=restore.backup,
        destination=restore.destination,
        files=len(restored.files),
        size=restored.size,
        stored_size=restore.stored_size,
        seconds=seconds,
        limited_by=limits,
        pg_version=version,
        wal_segments=wal_segments(restore.backup, restore.sentinel, restore.destination),
        next_steps=() if restore.is_masked else next_steps(restore.destination, version, given_arguments(config)),
    )
