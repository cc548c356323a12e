"""What a worker does: one partition's files in, one uploaded tar object out.

The tar is cut into pieces; a few threads each read a piece into a reused, page-aligned buffer, verify its pages and
compress it, and the thread that uploads encrypts and writes the pieces in their order. A codec whose objects cannot be
put together from pieces compresses in the uploading thread too, and only the reading runs ahead.

Memory of a worker: (threads + PIECES_AHEAD) pieces of at most 1 MiB, plain and compressed, besides what the storage's
put holds and the partition's list of files; a batch of pages when they are verified (see verifier); for a delta backup
see changed_files.
"""

import mmap
import queue
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from walpy import layout
from walpy.archive import Archive
from walpy.backup.changed_files import ChangedFiles
from walpy.backup.cut import Item, cut
from walpy.backup.entry_columns import packed_entries, unpacked_entries
from walpy.backup.file_entries import tar_listing
from walpy.backup.files_metadata import TarListing
from walpy.backup.rate_limits import DISK_LIMIT, MeasuredSleep, open_limited_archive
from walpy.backup.source_files import Pages, Pass, SourceFiles
from walpy.backup.stage_times import (
    COMPRESSING,
    ENCRYPTING,
    RATE_LIMIT,
    READING,
    STORING,
    VERIFYING,
    StageTimes,
)
from walpy.postgres.entry import any_with_base, sizes_of
from walpy.storage.limit import RateLimiter
from walpy.stream.allocator import keep_freed_memory
from walpy.stream.pieces import PIECE_SIZE
from walpy.stream.transform import pump

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from walpy.backup.entry_columns import Packed
    from walpy.config import Config
    from walpy.pipeline import Report
    from walpy.postgres.entry import Entry, EntryTable
    from walpy.storage.base import Chunk
    from walpy.storage.limit import SharedMoment

PIECES_AHEAD = 2  # pieces that are ready while the writer is busy with another


@dataclass(frozen=True, slots=True)
class PartitionJob:
    """One tar to make of the entries, in their order.

    threads: how many read and compress. kept_blocks: how many numbers of corrupt blocks the listing keeps for a file;
    None: there is no listing.
    """

    backup: str
    tar_name: str
    entries: "tuple[Entry, ...] | EntryTable"
    threads: int
    pages: Pages
    kept_blocks: int | None

    def __str__(self) -> str:
        return f"{self.backup}/{self.tar_name}"

    @property
    def has_bases(self) -> bool:
        """Whether changed pages may stand for some file."""
        return any_with_base(self.entries)

    def __reduce__(self) -> "tuple[Callable[..., PartitionJob], tuple[object, ...]]":
        """Pickle the entries by columns, or as the table that they are: there may be many."""
        rest = (self.threads, self.pages, self.kept_blocks)
        return _job_of, (self.backup, self.tar_name, packed_entries(self.entries), *rest)


def _job_of(
    backup: str, tar_name: str, entries: "Packed", threads: int, pages: Pages, kept_blocks: int | None
) -> PartitionJob:
    return PartitionJob(backup, tar_name, unpacked_entries(entries), threads, pages, kept_blocks)


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """What became of a partition.

    size: bytes of file data in the tar, without headers and padding. listing: of what is in it. corrupt: block numbers
    with wrong checksums, ascending, by name. times: where the time went.
    """

    tar_name: str
    object_name: str
    size: int
    stored_size: int
    listing: TarListing
    corrupt: tuple[tuple[str, tuple[int, ...]], ...] = ()
    times: StageTimes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Worker:
    archive: Archive
    disk: RateLimiter | None
    network_waits: MeasuredSleep


_workers: list[_Worker] = []  # one at most: this process's


def start_worker(config: "Config", disk: "SharedMoment | None", network: "SharedMoment | None") -> None:
    """Initializer of a worker process: opens its archive. disk, network: the rate limits' state, shared by all."""
    keep_freed_memory()
    waits = MeasuredSleep()
    archive = open_limited_archive(config, network, waits)
    _workers[:] = [_Worker(archive, RateLimiter.from_config(config, DISK_LIMIT, disk), waits)]


def pack(job: PartitionJob, report: "Report") -> PartitionResult:
    """Make one tar and store it. Raises BackupError for a file that cannot be read, StorageError."""
    worker = _workers[0]
    return Packer(worker.archive, job, report, worker.disk, worker.network_waits).run()


class _Filled(NamedTuple):
    """One piece: its buffer, the bytes in it, what the codec made of them, and what that took."""

    buffer: memoryview
    size: int
    encoded: bytes
    reading: float
    encoding: float
    done: Pass


class Packer:
    """The packing of one partition. network_waits: what the archive's limiter sleeps with, if it is measured."""

    def __init__(
        self,
        archive: Archive,
        job: PartitionJob,
        report: "Report",
        disk: RateLimiter | None = None,
        network_waits: MeasuredSleep | None = None,
    ) -> None:
        self._archive = archive
        self._job = job
        self._report = report
        self._network_waits = network_waits or MeasuredSleep()
        self._files = SourceFiles(job.pages, disk)
        self._form = archive.codec.pieces
        self._threads = job.threads if self._form else 1
        self._depth = job.threads + PIECES_AHEAD
        self._buffers: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        cipher = (ENCRYPTING,) if archive.cipher else ()
        self._times = dict.fromkeys((READING, VERIFYING, COMPRESSING, *cipher, STORING, RATE_LIMIT), 0.0)
        self._waited = 0.0  # seconds in which the thread that stores did not

    def run(self) -> PartitionResult:
        """Make the tar and store it."""
        name = layout.tar_partition(self._job.backup, self._job.tar_name, self._archive.codec.extension)
        began, limited_before = perf_counter(), self._network_waits.seconds
        try:
            with closing(self._chunks()) as chunks:
                stored_size = self._archive.storage.put(name, self._encrypted(chunks))
        finally:
            self._files.close()
        ended = perf_counter()
        corrupt = tuple((name, tuple(sorted(blocks))) for name, blocks in sorted(self._files.corrupt().items()))
        self._times[VERIFYING] += perf_counter() - ended
        limited = self._network_waits.seconds - limited_before
        self._times[RATE_LIMIT] += limited
        self._times[STORING] += max(0.0, ended - began - self._waited - limited)
        return PartitionResult(
            self._job.tar_name,
            name,
            self._size(),
            stored_size,
            self._listing(dict(corrupt)),
            corrupt,
            self._times,
        )

    def _size(self) -> int:
        """Bytes of file data in the tar."""
        vanished, increments = self._files.vanished, self._files.increments
        if not vanished and not increments:
            return sum(sizes_of(self._job.entries))
        return sum(increments.get(entry.name, entry.size) for entry in self._job.entries if entry.name not in vanished)

    def _listing(self, corrupt: dict[str, tuple[int, ...]]) -> TarListing:
        kept_blocks = self._job.kept_blocks
        if kept_blocks is None:
            return TarListing()
        files = self._files
        return tar_listing(self._job.entries, files.vanished, corrupt, kept_blocks, increments=files.increments.keys())

    def _chunks(self) -> "Generator[Chunk, None, None]":
        if self._form is None:
            yield from self._encoded_here()
            return
        tail = self._form.tail()
        yield self._form.head
        with closing(self._filled(self._form.encode)) as filled:
            for plain, encoded in filled:
                tail.update(plain)
                yield encoded
        yield tail.finish()

    def _encoded_here(self) -> "Generator[Chunk, None, None]":
        """Compress in this thread, which also stores; what it takes is told apart."""
        with closing(self._filled(None)) as filled:
            chunks = pump((plain for plain, _ in filled), [self._archive.codec.encoder()])
            yield from self._told_apart(chunks, COMPRESSING)

    def _encrypted(self, chunks: "Iterable[Chunk]") -> "Iterable[Chunk]":
        """Encrypt in this thread, if there is a cipher; what it takes is told apart."""
        if self._archive.cipher is None:
            return self._archive.encrypt(chunks)
        return self._told_apart(iter(self._archive.encrypt(chunks)), ENCRYPTING)

    def _told_apart(self, chunks: "Iterator[Chunk]", stage: str) -> "Generator[Chunk, None, None]":
        """The chunks; what this thread makes them in, without what it waits for others, is the stage's time."""
        while True:
            began, waited_before = perf_counter(), self._waited
            chunk = next(chunks, None)
            spent = perf_counter() - began - (self._waited - waited_before)
            self._times[stage] += spent
            self._waited += spent  # what counts as storing is the rest
            if chunk is None:
                return
            yield chunk

    def _filled(self, encode: "Callable[[Chunk], bytes] | None") -> "Generator[tuple[memoryview, bytes], None, None]":
        """Pieces in their order, plain and encoded; the plain one is valid until the next is asked for."""
        for _ in range(self._depth):
            self._buffers.put(memoryview(mmap.mmap(-1, PIECE_SIZE)))  # page aligned: reads into it are the fastest
        pending: deque[Future[_Filled]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="piece")
        page_size = self._job.pages.size
        changed = ChangedFiles(self._files, pool, self._note_reading)
        entries = changed.ahead(self._job.entries) if self._job.has_bases else self._job.entries
        try:
            for items in cut(entries, changed.open, piece_size=PIECE_SIZE, page_size=page_size):
                if len(pending) == self._depth:
                    yield from self._next(pending)
                pending.append(pool.submit(self._piece, items, encode))
            while pending:
                yield from self._next(pending)
        finally:
            self._files.end()
            pool.shutdown(cancel_futures=True)

    def _next(self, pending: "deque[Future[_Filled]]") -> Iterator[tuple[memoryview, bytes]]:
        began = perf_counter()
        piece = pending.popleft().result()
        self._waited += perf_counter() - began
        self._note(piece)
        if piece.size:
            yield piece.buffer[: piece.size], piece.encoded
        self._buffers.put(piece.buffer)

    def _note(self, piece: _Filled) -> None:
        self._note_reading(piece.done, piece.reading)
        self._times[COMPRESSING] += piece.encoding / self._threads

    def _note_reading(self, done: Pass, seconds: float) -> None:
        """seconds: of all that done was done in."""
        self._report(done.size)
        reading = seconds - done.verifying - done.limited
        for stage, spent in ((READING, reading), (VERIFYING, done.verifying), (RATE_LIMIT, done.limited)):
            self._times[stage] += spent / self._threads

    def _piece(self, items: list[Item], encode: "Callable[[Chunk], bytes] | None") -> _Filled:
        """Fill a buffer; runs in the pool's threads."""
        buffer = self._buffers.get_nowait()  # there is one for every piece in flight
        began = perf_counter()
        fill, done = self._files.fill, Pass()
        size = 0
        for item in items:
            size += fill(item, buffer[size:], done)
        filled = perf_counter()
        encoded = encode(buffer[:size]) if encode and size else b""
        return _Filled(buffer, size, encoded, filled - began, perf_counter() - filled, done)
