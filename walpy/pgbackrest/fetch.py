"""pgbackrest backup-fetch: restores a backup of pgBackRest, full or not, into an empty directory.

Everything is checked first. Worker processes write the files and compare each with the checksum of the manifest; then
come directory modes, one flush of the file systems, and pg_control last: a restore that failed has none, so that no
server starts from it.

Memory: the manifest, see repository; of a worker: one chunk, decoded.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha1
from typing import Final

from walpy.archive import Archive, open_stored
from walpy.backup.catalog import LATEST, NO_BACKUPS
from walpy.backup.durability import FileSystems, sync_file
from walpy.backup.model import Spec, Tablespace
from walpy.backup.next_steps import given_arguments, next_steps
from walpy.backup.restore_spec import chosen_tablespaces, make_tablespaces, read_restore_spec
from walpy.backup.restore_target import check_empty, check_places, make_destination
from walpy.config import Config
from walpy.errors import BackupError, DataCorrupt, ObjectMissing
from walpy.pgbackrest.repository import DATA, Manifest, Repository, RestBackup, RestFile
from walpy.pipeline import run_jobs
from walpy.postgres.control import CONTROL_FILE
from walpy.progress import Progress
from walpy.stream.allocator import keep_freed_memory
from walpy.wal.files import write_all

TABLESPACE_MAP: Final = f"{DATA}tablespace_map"
JOB_SIZE: Final = 64 << 20  # bytes of files in one job
JOB_FILES: Final = 256
FILE_COST: Final = 16 << 10  # what a file costs beside its bytes, in bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FilesJob:
    """Files to restore below a destination; extension: of their objects."""

    destination: str
    extension: str
    files: tuple[RestFile, ...]

    def __str__(self) -> str:
        return f"{self.files[0].name} and {len(self.files) - 1} more"


_workers: list[Repository] = []  # one at most: this process's


def backup_fetch(
    config: Config, destination: str, name: str, progress: Progress, *, restore_spec: str = ""
) -> tuple[str, ...]:
    """Restore the backup of that label (or LATEST); what to do next, as lines. Success means complete and durable.

    restore_spec: path of a file that gives tablespaces other places. Raises BackupError, UsageError, DataCorrupt,
    StorageError; then the destination has no pg_control.
    """
    started = time.monotonic()
    destination = os.path.abspath(destination)
    spec = read_restore_spec(restore_spec) if restore_spec else None
    with closing(open_stored(config)) as archive:
        repository = Repository(archive)
        backup = _find(repository, name)
        manifest = repository.manifest(backup.label)
        tablespaces = chosen_tablespaces(Spec("", manifest.tablespaces), spec)
        _check(archive, manifest, tablespaces, destination)
        if spec:  # it would send the server to the old places
            manifest = manifest._replace(files=tuple(file for file in manifest.files if file.name != TABLESPACE_MAP))
        size = sum(file.size for file in manifest.files)
        make_destination(destination)
        make_tablespaces(destination, tablespaces)
        with FileSystems([destination, *(entry.location for entry in tablespaces)]) as file_systems:
            _make_directories(manifest, destination)
            control = _restore_files(config, manifest, destination, progress, size)
            _set_modes(manifest, destination)
            file_systems.sync()
        start_here(repository)
        restore_files(FilesJob(destination, manifest.extension, (control,)), lambda _: None)
        sync_file(os.path.join(destination, CONTROL_FILE))
    seconds = time.monotonic() - started
    logger.info("Restored %s: %.1f MB in %.1f s", backup.label, size / 1e6, seconds)
    version = int(manifest.pg_version.partition(".")[0]) * 10_000
    return next_steps(destination, version, given_arguments(config), "pgbackrest wal-fetch")


def _find(repository: Repository, name: str) -> RestBackup:
    backups = repository.backups()
    if not backups:
        raise BackupError(NO_BACKUPS)
    if name == LATEST:
        return backups[-1]
    found = next((backup for backup in backups if backup.label == name), None)
    if found is None:
        raise BackupError(f"Backup '{name}' does not exist.", "backup-list shows those that do.")
    return found


def _check(archive: Archive, manifest: Manifest, tablespaces: Sequence[Tablespace], destination: str) -> None:
    check_empty(destination)
    check_places(archive, destination, tablespaces, sum(file.size for file in manifest.files))
    for name in (*(file.name for file in manifest.files), *(name for name, _ in manifest.directories)):
        if ".." in name.split("/") or name.startswith("/"):
            raise DataCorrupt(f"the manifest names {name!r}, which is outside of every data directory")


def _place(destination: str, name: str) -> str:
    """Where a name of the manifest goes: tablespaces are reached by their links."""
    return os.path.join(destination, name.removeprefix(DATA) if name.startswith(DATA) else name)


def _is_below(name: str) -> bool:
    """Whether a directory of the manifest is one to make, and not the data directory or a tablespace's own."""
    parts = name.split("/")
    return len(parts) > 1 and (parts[0] != "pg_tblspc" or len(parts) > 2)


def _make_directories(manifest: Manifest, destination: str) -> None:
    try:
        for name, _ in manifest.directories:
            if _is_below(name):
                os.makedirs(_place(destination, name), mode=0o700, exist_ok=True)
    except OSError as error:
        raise BackupError(f"cannot make {error.filename!r}: {error.strerror}") from error


def _set_modes(manifest: Manifest, destination: str) -> None:
    """Children first: a parent may become read-only."""
    try:
        for name, mode in reversed(manifest.directories):
            if _is_below(name):
                os.chmod(_place(destination, name), mode & 0o777)
        os.chmod(destination, manifest.directory_mode & 0o777)
    except OSError as error:
        raise BackupError(f"cannot set the mode of {error.filename!r}: {error.strerror}") from error


def _restore_files(config: Config, manifest: Manifest, destination: str, progress: Progress, size: int) -> RestFile:
    """Restore all files but pg_control, which is returned."""
    control = next((file for file in manifest.files if file.name == DATA + CONTROL_FILE), None)
    if control is None:
        raise BackupError(f"backup {manifest.label} has no {CONTROL_FILE}")
    files = sorted((file for file in manifest.files if file is not control), key=lambda file: -file.size)
    jobs = [FilesJob(destination, manifest.extension, group) for group in _groups(files)]
    processes = min(len(jobs), len(os.sched_getaffinity(0)), config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1))
    progress.start(size, f"restoring {manifest.label}")
    try:
        run_jobs(
            restore_files,
            jobs,
            processes=processes,
            initializer=start_worker,
            initargs=(config,),
            on_progress=progress.advance,
        )
    finally:
        progress.finish()
    return control


def _groups(files: Sequence[RestFile]) -> Iterator[tuple[RestFile, ...]]:
    """Files in groups for one job each."""
    group: list[RestFile] = []
    cost = 0
    for file in files:
        if group and (cost + file.size > JOB_SIZE or len(group) == JOB_FILES):
            yield tuple(group)
            group, cost = [], 0
        group.append(file)
        cost += file.size + FILE_COST
    if group:
        yield tuple(group)


# ---- workers


def start_worker(config: Config) -> None:
    """Initializer of a worker process: opens its archive."""
    keep_freed_memory()
    start_here(Repository(open_stored(config)))


def start_here(repository: Repository) -> None:
    """The same for this process, with a repository that is open already."""
    _workers[:] = [repository]


def restore_files(job: FilesJob, report: Callable[[int], None]) -> None:
    """Write the files of a job. Raises DataCorrupt for one that is not what the manifest says, BackupError."""
    for file in job.files:
        path = _place(job.destination, file.name)
        try:
            _restore_file(_workers[0], file, job.extension, path, report)
        except OSError as error:
            raise BackupError(f"cannot write {path!r}: {error.strerror}") from error


def _restore_file(
    repository: Repository, file: RestFile, extension: str, path: str, report: Callable[[int], None]
) -> None:
    content, size = sha1(usedforsecurity=False), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if file.size:
            for chunk in _content(repository, file, extension):
                content.update(chunk)
                size += len(chunk)
                write_all(descriptor, chunk)
                report(len(chunk))
        os.fchmod(descriptor, file.mode & 0o777)
    finally:
        os.close(descriptor)
    if size != file.size or (file.size and content.hexdigest() != file.sha1):
        raise DataCorrupt(
            f"object {repository.object_of(file, extension)!r} is damaged: {file.name!r} has {size} bytes instead of "
            f"{file.size}, or another checksum than the manifest tells"
        )


def _content(repository: Repository, file: RestFile, extension: str) -> Iterator[bytes | memoryview]:
    """Decoded chunks of a file."""
    archive, name = repository.archive, repository.object_of(file, extension)
    _, offset, stored = file.bundle or (0, 0, None)
    try:
        with archive.storage.open(name, offset=offset, size=stored) as reader:
            yield from archive.decode_object(name, extension.removeprefix("."), reader)
    except ObjectMissing:
        raise BackupError(f"the repository has lost {name!r}", "Restore another backup.") from None
