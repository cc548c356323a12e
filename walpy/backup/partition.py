"""What a worker does: one partition's files in, one uploaded tar object out.

The tar is cut into pieces; a few threads each read a piece into a reused, page-aligned buffer, verify its pages and
compress it, and the thread that uploads writes the pieces in their order. A codec whose objects cannot be put together
from pieces compresses in the uploading thread, and only the reading runs ahead.

Files change while they are read. The header says the size that the walk saw: a file that grew is cut to it, one that
shrank is filled up with zeros (recovery replays what happened to it), one that is gone is left out.

Memory of a worker: (threads + PIECES_AHEAD) pieces of at most 1 MiB, plain and compressed, besides what the storage's
put holds and the partition's list of files.
"""

import mmap
import os
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walpy import layout
from walpy.archive import Archive
from walpy.backup import tar
from walpy.backup.cut import Item, OpenFile, Span, WholeFile, cut
from walpy.backup.rate_limits import DISK_LIMIT, open_limited_archive
from walpy.errors import BackupError
from walpy.postgres.page import corrupt_blocks, relation_segment
from walpy.storage.limit import RateLimiter
from walpy.stream.allocator import keep_freed_memory
from walpy.stream.pieces import PIECE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from walpy.config import Config
    from walpy.pipeline import Report
    from walpy.postgres.datadir import Entry
    from walpy.storage.base import Chunk
    from walpy.storage.limit import SharedMoment

PIECES_AHEAD = 2  # pieces that are ready while the writer is busy with another


@dataclass(frozen=True, slots=True)
class Pages:
    """Data pages of a cluster: their size in bytes, and which checksums to verify.

    verify_before: those of pages last changed before this position in the WAL, where the backup starts; None: none.
    """

    size: int
    verify_before: int | None = None


@dataclass(frozen=True, slots=True)
class PartitionJob:
    """One tar to make of the entries, in their order; threads: how many read and compress."""

    backup: str
    tar_name: str
    entries: "tuple[Entry, ...]"
    threads: int
    pages: Pages

    def __str__(self) -> str:
        return f"{self.backup}/{self.tar_name}"


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """What became of a partition.

    size: bytes of file data in the tar, without headers and padding. vanished: names of files that were gone.
    corrupt: block numbers with wrong checksums, ascending, by name.
    """

    tar_name: str
    object_name: str
    size: int
    stored_size: int
    vanished: tuple[str, ...] = ()
    corrupt: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class _Worker:
    archive: Archive
    disk: RateLimiter | None


_workers: list[_Worker] = []  # one at most: this process's


def start_worker(config: "Config", disk: "SharedMoment | None", network: "SharedMoment | None") -> None:
    """Initializer of a worker process: opens its archive. disk, network: the rate limits' state, shared by all."""
    keep_freed_memory()
    _workers[:] = [_Worker(open_limited_archive(config, network), RateLimiter.from_config(config, DISK_LIMIT, disk))]


def pack(job: PartitionJob, report: "Report") -> PartitionResult:
    """Make one tar and store it. Raises BackupError for a file that cannot be read, StorageError."""
    worker = _workers[0]
    return Packer(worker.archive, job, report, worker.disk).run()


class Packer:
    """The packing of one partition."""

    def __init__(self, archive: Archive, job: PartitionJob, report: "Report", disk: RateLimiter | None = None) -> None:
        self._archive = archive
        self._job = job
        self._report = report
        self._disk = disk
        self._vanished: set[str] = set()
        self._corrupt: dict[str, list[int]] = {}
        self._lock = threading.Lock()  # of what the threads find out
        self._ended = threading.Event()  # ends waits for the disk limit, after a failure
        self._depth = job.threads + PIECES_AHEAD
        self._buffers: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._open_files: list[OpenFile] = []

    def run(self) -> PartitionResult:
        """Make the tar and store it."""
        name = layout.tar_partition(self._job.backup, self._job.tar_name, self._archive.codec.extension)
        try:
            with closing(self._chunks()) as chunks:
                stored_size = self._archive.storage.put(name, chunks)
        finally:
            for file in self._open_files:
                file.close()
        return PartitionResult(
            self._job.tar_name,
            name,
            sum(entry.size for entry in self._job.entries if entry.name not in self._vanished),
            stored_size,
            tuple(entry.name for entry in self._job.entries if entry.name in self._vanished),
            tuple((name, tuple(sorted(blocks))) for name, blocks in sorted(self._corrupt.items())),
        )

    def _chunks(self) -> "Generator[Chunk, None, None]":
        pieces = self._archive.codec.pieces
        if pieces is None:
            with closing(self._filled(None)) as filled:
                yield from self._archive.encode(plain for plain, _ in filled)
            return
        tail = pieces.tail()
        yield pieces.head
        with closing(self._filled(pieces.encode)) as filled:
            for plain, encoded in filled:
                tail.update(plain)
                yield encoded
        yield tail.finish()

    def _filled(self, encode: "Callable[[Chunk], bytes] | None") -> "Generator[tuple[memoryview, bytes], None, None]":
        """Pieces in their order, plain and encoded; the plain one is valid until the next is asked for."""
        for _ in range(self._depth):
            self._buffers.put(memoryview(mmap.mmap(-1, PIECE_SIZE)))  # page aligned: reads into it are the fastest
        pending: deque[Future[tuple[memoryview, int, bytes]]] = deque()
        pool = ThreadPoolExecutor(self._job.threads if encode else 1, thread_name_prefix="piece")
        try:
            for items in cut(self._job.entries, self._open, piece_size=PIECE_SIZE, page_size=self._job.pages.size):
                if len(pending) == self._depth:
                    yield from self._next(pending)
                pending.append(pool.submit(self._piece, items, encode))
            while pending:
                yield from self._next(pending)
        finally:
            self._ended.set()
            pool.shutdown(cancel_futures=True)

    def _next(self, pending: "deque[Future[tuple[memoryview, int, bytes]]]") -> Iterator[tuple[memoryview, bytes]]:
        buffer, size, encoded = pending.popleft().result()
        if size:
            yield buffer[:size], encoded
        self._buffers.put(buffer)

    def _piece(self, items: list[Item], encode: "Callable[[Chunk], bytes] | None") -> tuple[memoryview, int, bytes]:
        """Fill a buffer; runs in the pool's threads."""
        buffer = self._buffers.get_nowait()  # there is one for every piece in flight
        size = 0
        for item in items:
            size += self._fill(item, buffer[size:])
        self._report(sum(_size(item) for item in items))
        return buffer, size, encode(buffer[:size]) if encode and size else b""

    def _fill(self, item: Item, room: memoryview) -> int:
        """Put an item at the beginning of room; how many bytes it took."""
        if isinstance(item, bytes):
            room[: len(item)] = item
            return len(item)
        if isinstance(item, WholeFile):
            return self._fill_whole(item, room)
        view = room[: item.length]
        try:
            self._read_file(item.file.entry, item.file.descriptor, item.offset, view)
        finally:
            item.file.release()
        return item.length

    def _fill_whole(self, item: WholeFile, room: memoryview) -> int:
        entry = item.entry
        descriptor = self._descriptor(entry)
        if descriptor is None:
            return 0
        start = len(item.header)
        end = start + entry.size
        padding = tar.padding(entry.size)
        room[:start] = item.header
        try:
            self._read_file(entry, descriptor, 0, room[start:end])
        finally:
            os.close(descriptor)
        room[end : end + padding] = bytes(padding)
        return end + padding

    def _open(self, entry: "Entry") -> OpenFile | None:
        descriptor = self._descriptor(entry)
        if descriptor is None:
            return None
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        file = OpenFile(entry, descriptor)
        self._open_files = [known for known in self._open_files if known.is_open]
        self._open_files.append(file)
        return file

    def _descriptor(self, entry: "Entry") -> int | None:
        try:
            return os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._vanished.add(entry.name)
            return None
        except OSError as error:
            raise BackupError(f"cannot open {entry.path!r}: {error.strerror}") from error

    def _read_file(self, entry: "Entry", descriptor: int, offset: int, view: memoryview) -> None:
        """Read len(view) bytes of a file, and verify them; what is missing at its end is zero."""
        if self._disk is not None and len(view):
            self._disk.acquire(len(view), self._ended)
        _read(entry, descriptor, offset, view)
        if self._job.pages.verify_before is not None:
            self._verify(entry, descriptor, offset, view, self._job.pages.verify_before)

    def _verify(self, entry: "Entry", descriptor: int, offset: int, view: memoryview, start_lsn: int) -> None:
        segment = relation_segment(entry.name)
        size = self._job.pages.size
        pages = view[: len(view) // size * size]
        if segment is None or not pages:
            return
        blocks = corrupt_blocks(
            pages,
            segment=segment,
            offset=offset,
            page_size=size,
            start_lsn=start_lsn,
            read_again=lambda place: os.pread(descriptor, size, place),
        )
        if blocks:
            with self._lock:
                self._corrupt.setdefault(entry.name, []).extend(blocks)


def _read(entry: "Entry", descriptor: int, offset: int, view: memoryview) -> None:
    done = 0
    try:
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], offset + done)
            if count == 0:
                break
            done += count
    except OSError as error:
        raise BackupError(f"cannot read {entry.path!r} at offset {offset + done}: {error.strerror}") from error
    if done < len(view):
        view[done:] = bytes(len(view) - done)


def _size(item: Item) -> int:
    """Bytes of file data of an item, for progress; a vanished file counts as done."""
    if isinstance(item, Span):
        return item.length
    return item.entry.size if isinstance(item, WholeFile) else 0
