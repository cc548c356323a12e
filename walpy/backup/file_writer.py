"""Writes restored files with the threads of a pool, while their reader goes on with the next ones.

Small files are written as a whole, many in one task; large ones piece by piece, wherever the pieces belong, and so are
the pages of increments. Nothing is flushed per file (see durability.py); the kernel is told early to begin.

Memory: BYTES_AHEAD of pieces that wait for their writing, and what holds them alive: the decoder's own pieces.
"""

import os
import stat
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from time import perf_counter
from typing import Final, NamedTuple

from walpy.backup.durability import RESERVED_SIZE, WRITEBACK_SIZE, EarlyFlush
from walpy.backup.increment import Increment
from walpy.backup.shared_file import SharedFile
from walpy.errors import BackupError
from walpy.kernel import reserve, start_writing
from walpy.wal.files import write_all

BYTES_AHEAD: Final = 4 << 20  # bytes that wait for their writing
BATCH_SIZE: Final = 512 << 10  # bytes of small files in one task
BATCH_FILES: Final = 64  # small files in one task
BATCH_HELD: Final = 2 << 20  # bytes of pieces from which one task takes runs, few of each perhaps


Runs = list[tuple[int, memoryview]]  # offsets in a file, and what belongs there


class _SmallFile(NamedTuple):
    path: str
    mode: int
    pieces: list[memoryview]

    def write(self) -> None:
        descriptor = _open_empty(self.path, self.mode)
        try:
            for piece in self.pieces:
                write_all(descriptor, piece)
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != self.mode:  # umask; setting it costs more than looking
                os.fchmod(descriptor, self.mode)
        finally:
            os.close(descriptor)


class _Change(NamedTuple):
    """How a file is changed. size, mode: what it gets; None leaves them. is_new: it is made, or made anew."""

    path: str
    size: int | None = None
    mode: int | None = None
    is_new: bool = False
    reserves_room: bool = False

    def begin(self) -> int:
        """Open the file, of the size that it gets."""
        descriptor = _open_empty(self.path, 0o600) if self.is_new else _open_existing(self.path)
        try:
            if self.size is not None:
                if self.reserves_room and self.size > os.fstat(descriptor).st_size:
                    reserve(descriptor, self.size)
                os.ftruncate(descriptor, self.size)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


class _SmallChange(NamedTuple):
    change: _Change
    runs: Runs

    @property
    def path(self) -> str:
        return self.change.path

    def write(self) -> None:
        descriptor = self.change.begin()
        try:
            for offset, data in self.runs:
                _write_at(descriptor, data, offset)
            if self.change.mode is not None:
                os.fchmod(descriptor, self.change.mode)
        finally:
            os.close(descriptor)


class _LargeFile(SharedFile):
    """A file while its pieces are written; its mode is set when the last one is done, unless it keeps what it has."""

    def __init__(self, path: str, mode: int | None, descriptor: int) -> None:
        super().__init__(descriptor)
        self.path = path
        self._mode = mode

    def finish(self) -> None:
        if self._mode is not None:
            with writing(self.path):
                os.fchmod(self.descriptor, self._mode)


class FileWriter:
    """The files of one part; a context manager whose end waits for all threads, and raises what failed.

    report: told the bytes of file data written, in the caller's thread. seconds: what writing took, added up over the
    threads. early_flush: of all parts of this process. Raises BackupError, also for earlier files.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        report: Callable[[int], None],
        *,
        reserves_room: bool,
        early_flush: EarlyFlush | None = None,
    ) -> None:
        self.seconds = 0.0
        self._early_flush = early_flush
        self._pool = pool
        self._report = report
        self._reserves_room = reserves_room
        self._batch: list[_SmallFile | _SmallChange] = []
        self._batch_size = 0
        self._pending: deque[tuple[Future[float], int, int]] = deque()  # tasks, bytes written, bytes held
        self._bytes_ahead = 0

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            wait([future for future, *_ in self._pending])

    def write(self, path: str, mode: int, size: int, pieces: Iterable[memoryview]) -> None:
        """Write a new file, or replace one. pieces: size bytes together, valid until the end.

        Its modification time stays that of the restore, as in WAL-G: a later delta backup compares modification times,
        and must not take restored files for unchanged ones.
        """
        if size < RESERVED_SIZE:
            self._add_small(_SmallFile(path, mode, list(pieces)), size)
            return
        with writing(path):
            file = _LargeFile(path, mode, _open_empty(path, 0o600))
        try:
            if self._reserves_room:
                with writing(path):
                    reserve(file.descriptor, size)
            offset = 0
            for piece in pieces:
                file.hold()
                self._submit(len(piece), len(piece), _write_piece, file, piece, offset)
                offset += len(piece)
                if self._early_flush:
                    self._early_flush.note(file.descriptor, len(piece))
        finally:
            file.release()

    def write_increment(self, path: str, mode: int, size: int, increment: Increment, *, is_new: bool = False) -> None:
        """Change a file that is there: its size, and the pages of an increment of size bytes. Repeating it is harmless.

        is_new: make the file instead, with zeros for all other pages. What the increment's runs bring is valid until
        the end.
        """
        reserves_room = self._reserves_room and increment.file_size >= RESERVED_SIZE
        change = _Change(path, increment.file_size, mode, is_new, reserves_room)
        self._write_runs(change, size, increment.runs, flushes=not is_new)  # an older backup brings what is between

    def write_runs(self, path: str, size: int, runs: Iterable[tuple[int, memoryview]]) -> None:
        """Fill places of a file that is there: runs out of size bytes, valid until the end; all size is reported."""
        written = self._write_runs(_Change(path), size, runs, flushes=True)
        self._report(size - written)

    def _write_runs(self, change: _Change, size: int, runs: Iterable[tuple[int, memoryview]], *, flushes: bool) -> int:
        """Returns how many bytes are reported when they are written."""
        if size < RESERVED_SIZE:
            self._add_small(_SmallChange(change, list(runs)), size)
            return size
        total = 0
        with writing(change.path):
            file = _LargeFile(change.path, change.mode, change.begin())
        try:
            for group, written, held in _grouped(runs):
                total += written
                file.hold()
                self._submit(written, held, _write_runs, file, group)
                if self._early_flush and flushes:
                    self._early_flush.note(file.descriptor, written)
        finally:
            file.release()
        return total

    def flush(self) -> None:
        """Wait until everything so far is written."""
        self._submit_batch()
        self._wait_for(0)

    def _add_small(self, file: _SmallFile | _SmallChange, size: int) -> None:
        self._batch.append(file)
        self._batch_size += size
        if self._batch_size >= BATCH_SIZE or len(self._batch) >= BATCH_FILES:
            self._submit_batch()

    def _submit_batch(self) -> None:
        if self._batch:
            self._submit(self._batch_size, self._batch_size, _write_small_files, self._batch)
            self._batch, self._batch_size = [], 0

    def _submit(self, size: int, held: int, function: Callable[..., None], *arguments: object) -> None:
        self._pending.append((self._pool.submit(_timed, function, *arguments), size, held))
        self._bytes_ahead += held
        self._wait_for(BYTES_AHEAD)

    def _wait_for(self, bytes_ahead: int) -> None:
        while self._pending and (self._bytes_ahead > bytes_ahead or not bytes_ahead):
            future, size, held = self._pending.popleft()
            self._bytes_ahead -= held
            self.seconds += future.result()
            self._report(size)


def _timed(function: Callable[..., None], *arguments: object) -> float:
    began = perf_counter()
    function(*arguments)
    return perf_counter() - began


def _grouped(runs: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[Runs, int, int]]:
    """Runs for one task each, with their bytes, and those of the pieces that they hold: each with its first task.

    Changed pages lie far apart, and a task costs more than a page; but a piece of which little is left stays whole.
    """
    group: Runs = []
    size, held = 0, 0
    last: object = None
    for run in runs:
        piece = run[1].obj
        if piece is not last:
            last = piece
            piece_size = sys.getsizeof(piece)
            if group and held + piece_size > BATCH_HELD:
                yield group, size, held
                group, size, held = [], 0, 0
            held += piece_size
        group.append(run)
        size += len(run[1])
        if size >= BATCH_SIZE:
            yield group, size, held
            group, size, held = [], 0, 0
    if group:
        yield group, size, held


def _write_small_files(files: list[_SmallFile | _SmallChange]) -> None:
    for file in files:
        with writing(file.path):
            file.write()


def _open_existing(path: str) -> int:
    """Open a file that an earlier backup of the chain brought."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise BackupError(f"cannot apply an increment to {path!r}: the file is missing") from error


def make_for_increment(path: str, increment: Increment) -> None:
    """Make the file that an increment changes, if it is not there.

    Raises BackupError unless the increment has every page behind the end of the file that is there: a page that neither
    has would be a hole, which PostgreSQL takes for a new page. (A try that failed may have let the file grow, but it
    had seen the proof.) OSError.
    """
    try:
        size = os.lstat(path).st_size
    except FileNotFoundError:
        size = -1
    if not _covers(increment, max(0, size)):
        raise BackupError(
            f"{path!r} has {max(0, size)} of {increment.file_size} bytes, and not all pages behind them have changed",
            "The file was copied, by CREATE DATABASE say, after the position from which on changes were collected. "
            "It is as it was; restore the standby from a backup.",
        )
    if size < 0:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _covers(increment: Increment, size: int) -> bool:
    """Whether an increment has all pages of the file behind the first size bytes."""
    if increment.file_size <= size:
        return True
    if not increment.page_size:
        return False
    first, end = size // increment.page_size, increment.file_size // increment.page_size
    return bisect_left(increment.blocks, end) - bisect_left(increment.blocks, first) == end - first


def _open_empty(path: str, mode: int) -> int:
    """Make a file, or empty the one that is there, which keeps its mode."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def _write_piece(file: _LargeFile, piece: memoryview, offset: int) -> None:
    try:
        end = offset + len(piece)
        with writing(file.path):
            _write_at(file.descriptor, piece, offset)
        flushed = end // WRITEBACK_SIZE * WRITEBACK_SIZE
        if flushed > offset:  # what other threads have not written yet is left to the end
            start_writing(file.descriptor, max(0, flushed - 2 * WRITEBACK_SIZE), min(flushed, 2 * WRITEBACK_SIZE))
    finally:
        file.release()


def _write_runs(file: _LargeFile, runs: Runs) -> None:
    try:
        with writing(file.path):
            for offset, data in runs:
                _write_at(file.descriptor, data, offset)
    finally:
        file.release()


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    end = offset + len(data)
    while data:
        data = data[os.pwrite(descriptor, data, end - len(data)) :]


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Name the path in errors of the file system; they are never retried."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"cannot write {path!r}: {error.strerror or error}") from error
