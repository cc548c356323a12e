"""What a worker of backup-fetch does: one stored tar in, its files in the destination out.

A chain is extracted from its newest backup down: see newer_pages.py.

Workers create directories and regular files only. Links, directory modes and pg_control are left to the parent: no name
can lead through a link that an archive brought along, and a destination in which a worker failed cannot be started.
Names never leave the destination. Nothing is flushed per file (see durability.py).

Memory of a worker: one chunk of the storage (at most 1 MiB; see the backend for more), threads + 1 pieces of the
decoder (1 MiB, 4 in what WAL-G stored as lz4) and as much that waits for its writing, the names of one tar's members,
and four bytes for each page of its increments. A part that may hold any of a chain's files, because the backup does not
tell, comes with all their names.
"""

import logging
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from walpy.archive import Archive
from walpy.backup.durability import EarlyFlush
from walpy.backup.file_writer import FileWriter, make_for_increment, writing
from walpy.backup.increment import Increment, read_increment
from walpy.backup.journal import pages_path, share_lock
from walpy.backup.newer_pages import NewerPages, PagesReader, PagesWriter, whole_file
from walpy.backup.rate_limits import MeasuredSleep, open_limited_archive
from walpy.backup.records import NOT_RECORDED, FileRecord, new_checksum
from walpy.backup.stage_times import DECOMPRESSING, RATE_LIMIT, READING, WRITING, StageTimes
from walpy.backup.tar import DIRECTORY, HARD_LINK, REGULAR, SYMLINK
from walpy.backup.tar_reader import TarMember, TarReader
from walpy.config import Config
from walpy.errors import DataCorrupt, SecretKeyMissing, WrongKey
from walpy.postgres.control import CONTROL_FILE
from walpy.storage.base import Chunk
from walpy.storage.limit import SharedMoment
from walpy.stream.allocator import keep_freed_memory
from walpy.stream.codecs import codec_for_extension
from walpy.stream.decode_ahead import decode_ahead

_PLAIN_NAME: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*", re.ASCII)  # below the destination, for sure
_NEW_DIRECTORY_MODE: Final = 0o700  # until the parent applies the stored modes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExtractPlan:
    """What is the same for all parts of one restore; names are relative to the destination, without a slash in front.

    left_out: files never to extract. links: the links that lead to tablespaces. all_directories: also those that are
    not wanted, and links; false below a delta. control_file: where pg_control goes, empty to leave it out.
    is_in_place: increments change files of a standby, and make one that is not there, if they have all of its pages.
    reserves_room: not where the file system compresses, which it would stop. is_flushed: at the end, and so from the
    start. threads: of each worker, to decode and to write. journal: folder of the restore's journal, empty without one.
    boot: this run of the machine, for the journal.
    """

    destination: str
    links: frozenset[str] = frozenset()
    all_directories: bool = True
    left_out: frozenset[str] = frozenset()
    control_file: str = ""
    is_in_place: bool = False
    retries: int = 0
    reserves_room: bool = True
    is_flushed: bool = True
    threads: int = 2
    journal: str = ""
    boot: str = ""

    def target(self, name: str) -> str:
        """Where a file goes below the destination; empty for pg_control that is left out."""
        return self.control_file if name == CONTROL_FILE else name


@dataclass(frozen=True, slots=True)
class PartJob:
    """One tar object to extract, and the extension that tells its codec.

    wanted: what to extract of it, None for all. increments: the files among it that are stored as increments; names are
    relative to the destination. newer: where it is written which pages of its files newer backups brought.
    must_be_recorded: older backups have been begun since, so that its increments cannot be extracted any more.
    """

    object_name: str
    extension: str
    wanted: frozenset[str] | None = None
    increments: frozenset[str] = frozenset()
    newer: Mapping[str, str] = field(default_factory=dict)
    must_be_recorded: bool = False

    @property
    def part(self) -> str:
        """Its name without folders, as log lines show it."""
        return self.object_name.rpartition("/")[2]

    def __str__(self) -> str:
        return self.object_name


@dataclass(frozen=True, slots=True)
class PartResult:
    """What one part brought: files, directories with their modes, links with their targets.

    size: bytes of file data in it, also of files that were left out. times: where the time went. records: of the files,
    for the journal alone. is_kept: all of it was there already.
    """

    job: PartJob
    files: tuple[str, ...]
    directories: tuple[tuple[str, int], ...]
    links: tuple[tuple[str, str], ...]
    size: int
    times: StageTimes = field(default_factory=dict)
    records: Mapping[str, FileRecord] = field(default_factory=dict)
    is_kept: bool = False


@dataclass(slots=True)
class _Worker:
    archive: Archive
    network_waits: MeasuredSleep
    plan: ExtractPlan
    early_flush: EarlyFlush | None


_workers: list[_Worker] = []  # one at most: this process's


def start_worker(config: Config, plan: ExtractPlan, network: SharedMoment | None = None) -> None:
    """Initializer of a worker process: opens its archive. network: the rate limit's state, shared by all."""
    keep_freed_memory()
    if plan.journal:
        share_lock(plan.journal)
    waits = MeasuredSleep()
    work_here(open_limited_archive(config, network, waits), waits, plan)


def work_here(archive: Archive, network_waits: MeasuredSleep, plan: ExtractPlan) -> None:
    """Initializer for extracting in this process, with an archive that is open already, and what its limit waits."""
    _workers[:] = [_Worker(archive, network_waits, plan, EarlyFlush() if plan.is_flushed else None)]


def worker_plan() -> ExtractPlan:
    """The plan of this process."""
    return _workers[0].plan


def place_of(name: str) -> str:
    """Where a file of this name is restored to."""
    return f"{worker_plan().destination}/{worker_plan().target(name)}"


def make_directories(names: Iterable[str]) -> None:
    """Make directories that an interrupted restore has made: a power loss may have undone that."""
    extraction = _Extraction(worker_plan(), PartJob("", ""))
    for name in names:
        extraction.make_directory(name)


def extract_part(job: PartJob, report: Callable[[int], None]) -> PartResult:
    """Extract one part, from its start again when it is damaged; report counts bytes of file data.

    Raises DataCorrupt and SecretKeyMissing naming the object, BackupError for what the file system refuses,
    StorageError.
    """
    return _extract_with_retries(_workers[0], job, report)


def _extract_with_retries(worker: _Worker, job: PartJob, report: Callable[[int], None]) -> PartResult:
    """Damage at rest looks the same twice, damage on the way does not; no further try changes the keys.

    A transient error is final: the storage has repeated what failed until its deadline.
    """
    progress = _PartProgress(report)
    failed: list[_Extraction] = []
    failure = ""
    left = worker.plan.retries
    while True:
        extraction = _Extraction(worker.plan, job)
        try:
            _extract(worker, job, extraction, progress.started())
        except SecretKeyMissing as error:
            raise worker.archive.unreadable("part", job.object_name, error) from error
        except DataCorrupt as error:
            final = worker.archive.unreadable("part", job.object_name, error)
            if left == 0 or str(error) == failure or isinstance(final, WrongKey):
                try:
                    raise final from error
                finally:
                    del final  # else it would keep itself alive, by its traceback
            failure = str(error)
            logger.warning("part %s is damaged, trying it again (at most %d times): %s", job.part, left, error)
            left -= 1
            failed.append(extraction)
        else:
            _check_repeated(job, extraction, failed)
            return extraction.result()


def _check_repeated(job: PartJob, extraction: "_Extraction", failed: Iterable["_Extraction"]) -> None:
    """Raise DataCorrupt when an earlier try changed pages that the last one did not write: nothing brings them back.

    Files that a part makes, and pages that are written again, are as new.
    """
    for earlier in failed:
        for name, pages in earlier.changes.items():
            if extraction.changes.get(name) != pages:
                raise DataCorrupt(
                    f"part {job.object_name!r} came damaged and was applied to wrong pages of {name!r}",
                    "The archive is sound: restore again, into an empty directory.",
                )


def _extract(worker: _Worker, job: PartJob, extraction: "_Extraction", report: Callable[[int], None]) -> None:
    """Read and decrypt the part in this thread; decode it, and write its files, in others."""
    archive = worker.archive
    codec, threads, times = codec_for_extension(job.extension), worker.plan.threads, extraction.times
    limited_before = worker.network_waits.seconds

    def measure(seconds: float) -> None:
        times[DECOMPRESSING] += seconds / threads

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="extract") as pool,
        archive.storage.open(job.object_name) as stored,
        closing(decode_ahead(codec, archive.decrypt(_timed(stored, times)), pool, threads, measure)) as plain,
        _pages_writer(worker.plan, job) as pages,
        FileWriter(pool, report, reserves_room=worker.plan.reserves_room, early_flush=worker.early_flush) as writer,
    ):
        extraction.run(TarReader(plain), writer, pages)
    times[WRITING] = writer.seconds / threads
    times[RATE_LIMIT] = worker.network_waits.seconds - limited_before
    times[READING] -= times[RATE_LIMIT]


def _pages_writer(plan: ExtractPlan, job: PartJob) -> AbstractContextManager[PagesWriter | None]:
    if job.increments and not plan.is_in_place:
        return PagesWriter(pages_path(plan.journal, job.object_name))
    return nullcontext()


def _timed(chunks: Iterable[Chunk], times: dict[str, float]) -> Iterator[Chunk]:
    """The chunks; adds what waiting for them takes."""
    waiting = iter(chunks)
    while True:
        began = perf_counter()
        chunk = next(waiting, None)
        times[READING] += perf_counter() - began
        if chunk is None:
            return
        yield chunk


class _PartProgress:
    """Reports bytes of file data, each once however often the part is tried."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report
        self._reported = 0
        self._done = 0

    def started(self) -> Callable[[int], None]:
        """Begin a try."""
        self._done = 0
        return self._add

    def _add(self, count: int) -> None:
        self._done += count
        if self._done > self._reported:
            self._report(self._done - self._reported)
            self._reported = self._done


@dataclass(slots=True)
class _Extraction:
    """One try of one part."""

    plan: ExtractPlan
    job: PartJob
    files: dict[str, FileRecord] = field(default_factory=dict)  # in their order
    changes: dict[str, "tuple[int, array[int]]"] = field(default_factory=dict)  # of files that were there: size, pages
    directories: list[tuple[str, int]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0
    newer: PagesReader = field(init=False)
    known: set[str] = field(default_factory=lambda: {""})
    times: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys((READING, DECOMPRESSING, WRITING, RATE_LIMIT), 0.0)
    )

    def __post_init__(self) -> None:
        self.newer = PagesReader(self.job.newer)

    def run(self, reader: TarReader, writer: FileWriter, pages: PagesWriter | None) -> None:
        for member in reader:
            name = relative_name(member.name)
            if member.kind == DIRECTORY:
                if self.plan.all_directories or self._is_wanted(name):
                    self.make_directory(name)
                    self.directories.append((name, member.mode & 0o777))
            elif member.kind == SYMLINK:
                if self.plan.all_directories or self._is_wanted(name):
                    self.links.append((name, member.link))
            elif member.kind == REGULAR:
                self._extract_file(name, member, reader, writer, pages)
            elif member.kind == HARD_LINK:
                raise DataCorrupt(f"member {member.name!r} is a hard link, which no backup program writes")
            else:
                logger.info("leaving out %r: neither file, directory nor link", member.name)

    def result(self) -> PartResult:
        records = self.files if self.plan.journal else {}
        places = tuple(self.directories), tuple(self.links)
        return PartResult(self.job, tuple(self.files), *places, self.size, self.times, records)

    def _is_wanted(self, name: str) -> bool:
        return self.job.wanted is None or name in self.job.wanted

    def _extract_file(
        self, name: str, member: TarMember, reader: TarReader, writer: FileWriter, pages: PagesWriter | None
    ) -> None:
        if not name:
            raise DataCorrupt(f"member {member.name!r} is a file in place of the data directory")
        self.size += member.size
        target = self.plan.target(name)
        if not target or not self._is_wanted(name) or name in self.plan.left_out:
            return
        folder = target.rpartition("/")[0]
        if folder not in self.known:
            self.make_directory(folder)
        if name in self.files:
            writer.flush()  # the later one counts
        path, mode = f"{self.plan.destination}/{target}", member.mode & 0o777
        if name not in self.job.increments:
            self.files[name] = self._write(name, path, mode, member.size, reader, writer)
        elif pages is None:
            self.files[name] = self._change(name, path, mode, member.size, reader, writer)
        else:
            together = self._add_increment(name, path, mode, member.size, reader, writer)
            pages.add(name, together)
            self.files[name] = FileRecord(together.size, "")

    def _write(self, name: str, path: str, mode: int, size: int, reader: TarReader, writer: FileWriter) -> FileRecord:
        """Write a whole file, or what newer backups have left of it."""
        newer = self.newer.of(name)
        if newer is not None:
            self.changes[name] = (size, array("I"))
            writer.write_runs(path, size, newer.missing(whole_file(reader.data())))
            return FileRecord(newer.size, "")
        if not self.plan.journal:
            writer.write(path, mode, size, reader.data())
            return NOT_RECORDED
        checksum = new_checksum()
        writer.write(path, mode, size, checksum.passing(reader.data()))
        return FileRecord(size, checksum.text)

    def _change(self, name: str, path: str, mode: int, size: int, reader: TarReader, writer: FileWriter) -> FileRecord:
        """Change a file that is there."""
        increment = _increment(name, size, reader)
        with writing(path):
            make_for_increment(path, increment)
        self.changes[name] = (increment.file_size, increment.blocks)  # before the first of them is written
        writer.write_increment(path, mode, size, increment)
        return FileRecord(increment.file_size, "")

    def _add_increment(
        self, name: str, path: str, mode: int, size: int, reader: TarReader, writer: FileWriter
    ) -> NewerPages:
        """Make a file of its newest increment, or write what newer ones have left of this one; what is there then."""
        increment = _increment(name, size, reader)
        newer = self.newer.of(name)
        with _naming(name):
            together = newer.joined(increment) if newer else NewerPages.of(increment)
        if newer is None:
            writer.write_increment(path, mode, size, increment, is_new=True)
            return together
        self.changes[name] = (increment.file_size, increment.blocks)
        writer.write_runs(path, size, newer.missing(increment.runs))
        return together

    def make_directory(self, name: str) -> None:
        """Make a directory and its parents; what exists must be a directory, or a tablespace's link."""
        if name in self.known:
            return
        path = os.path.join(self.plan.destination, name)
        with writing(path), suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)  # fails for a path that is too long, before its parents are made
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            ancestor = "/".join(parts[:depth])
            if ancestor not in self.known:
                self._make_one_directory(ancestor)
                self.known.add(ancestor)

    def _make_one_directory(self, name: str) -> None:
        path = os.path.join(self.plan.destination, name)
        with writing(path):
            try:
                os.mkdir(path, _NEW_DIRECTORY_MODE)
            except FileExistsError:
                if name not in self.plan.links and (os.path.islink(path) or not os.path.isdir(path)):
                    raise DataCorrupt(f"member {name!r} needs a directory where a file or link is") from None


def _increment(name: str, size: int, reader: TarReader) -> Increment:
    with _naming(name):
        return read_increment(size, reader.data())


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the member of the tar that is damaged."""
    try:
        yield
    except DataCorrupt as error:
        raise DataCorrupt(f"member {name!r}: {error}", error.hint) from error


def relative_name(member_name: str) -> str:
    """A member's place below the destination; empty for the destination itself.

    WAL-G's names start with a slash, those of remote backups do not. Raises DataCorrupt for one that would leave it.
    """
    name = member_name.removeprefix("/")
    if _PLAIN_NAME.fullmatch(name):
        return name  # nearly all are
    parts = [part for part in member_name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in member_name:
        raise DataCorrupt(f"member {member_name!r} would be written outside the destination")
    return "/".join(parts)
