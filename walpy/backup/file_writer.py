"""Writes restored files with the threads of a pool, while their reader goes on with the next ones.

Small files are written as a whole, many in one task; large ones piece by piece, wherever the pieces belong. Nothing is
flushed per file (see durability.py); the kernel is told early to begin.

Memory: BYTES_AHEAD of pieces that wait for their writing, and what holds them alive: the decoder's own pieces.
"""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from time import perf_counter
from typing import Final, NamedTuple

from walpy.backup.durability import RESERVED_SIZE, WRITEBACK_SIZE, EarlyFlush
from walpy.backup.shared_file import SharedFile
from walpy.errors import BackupError
from walpy.kernel import reserve, start_writing
from walpy.wal.files import write_all

BYTES_AHEAD: Final = 4 << 20  # bytes that wait for their writing
BATCH_SIZE: Final = 512 << 10  # bytes of small files in one task
BATCH_FILES: Final = 64  # small files in one task


class _SmallFile(NamedTuple):
    path: str
    mode: int
    pieces: list[memoryview]


class _LargeFile(SharedFile):
    """A file while its pieces are written; its mode is set when the last one is done."""

    def __init__(self, path: str, mode: int, descriptor: int) -> None:
        super().__init__(descriptor)
        self.path = path
        self._mode = mode

    def finish(self) -> None:
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
        self._batch: list[_SmallFile] = []
        self._batch_size = 0
        self._pending: deque[tuple[Future[float], int]] = deque()
        self._bytes_ahead = 0

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            wait([future for future, _ in self._pending])

    def write(self, path: str, mode: int, size: int, pieces: Iterable[memoryview]) -> None:
        """Write a new file, or replace one. pieces: size bytes together, valid until the end.

        Its modification time stays that of the restore, as in WAL-G: a later delta backup compares modification times,
        and must not take restored files for unchanged ones.
        """
        if size < RESERVED_SIZE:
            self._batch.append(_SmallFile(path, mode, list(pieces)))
            self._batch_size += size
            if self._batch_size >= BATCH_SIZE or len(self._batch) >= BATCH_FILES:
                self._submit_batch()
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
                self._submit(len(piece), _write_piece, file, piece, offset)
                offset += len(piece)
                if self._early_flush:
                    self._early_flush.note(file.descriptor, len(piece))
        finally:
            file.release()

    def flush(self) -> None:
        """Wait until everything so far is written."""
        self._submit_batch()
        self._wait_for(0)

    def _submit_batch(self) -> None:
        if self._batch:
            self._submit(self._batch_size, _write_small_files, self._batch)
            self._batch, self._batch_size = [], 0

    def _submit(self, size: int, function: Callable[..., None], *arguments: object) -> None:
        self._pending.append((self._pool.submit(_timed, function, *arguments), size))
        self._bytes_ahead += size
        self._wait_for(BYTES_AHEAD)

    def _wait_for(self, bytes_ahead: int) -> None:
        while self._pending and (self._bytes_ahead > bytes_ahead or not bytes_ahead):
            future, size = self._pending.popleft()
            self._bytes_ahead -= size
            self.seconds += future.result()
            self._report(size)


def _timed(function: Callable[..., None], *arguments: object) -> float:
    began = perf_counter()
    function(*arguments)
    return perf_counter() - began


def _write_small_files(files: list[_SmallFile]) -> None:
    for file in files:
        try:
            _write_small_file(file)
        except OSError as error:
            raise _unwritable(file.path, error) from error


def _write_small_file(file: _SmallFile) -> None:
    path, mode, pieces = file
    descriptor = _open_empty(path, mode)
    try:
        for piece in pieces:
            write_all(descriptor, piece)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:  # umask; and setting it costs more than looking
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _open_empty(path: str, mode: int) -> int:
    """Make a file, or empty the one that is there, which keeps its mode."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def _write_piece(file: _LargeFile, piece: memoryview, offset: int) -> None:
    try:
        end = offset + len(piece)
        with writing(file.path):
            while piece:
                piece = piece[os.pwrite(file.descriptor, piece, end - len(piece)) :]
        flushed = end // WRITEBACK_SIZE * WRITEBACK_SIZE
        if flushed > offset:  # what other threads have not written yet is left to the end
            start_writing(file.descriptor, max(0, flushed - 2 * WRITEBACK_SIZE), min(flushed, 2 * WRITEBACK_SIZE))
    finally:
        file.release()


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Name the path in errors of the file system; they are never retried."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> BackupError:
    return BackupError(f"cannot write {path!r}: {error.strerror or error}")
