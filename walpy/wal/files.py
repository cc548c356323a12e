"""Local files on their way: read to be archived without changing, or written to appear when complete.

Memory: one READ_SIZE buffer for each SourceFile that is read.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from walpy import interrupts
from walpy.errors import InvalidWal, WalpyError
from walpy.storage.base import READ_SIZE, Chunk
from walpy.wal.validate import HEADER_SIZE, announced_size

if TYPE_CHECKING:
    from io import FileIO

KERNEL_MODULE = "walpy.kernel"  # imported for segments that arrive alone: ctypes takes as long as it saves elsewhere


class Fingerprint(NamedTuple):
    """What changes when a file does: the kernel sets changed_ns (ctime) on every write, and nobody can set it back."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Fingerprint of a stat result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


class SourceFile:
    """A local file to be archived, which must not change while it is read. A context manager.

    shown: the path that it goes by, when it is another one. Raises WalpyError when it cannot be opened or is no regular
    file.
    """

    def __init__(self, path: str, shown: str = "") -> None:
        self.path = shown or path
        self._file = _open(path)
        self.fingerprint = Fingerprint.of(os.fstat(self._file.fileno()))

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self.fingerprint.size

    def head(self) -> bytes:
        """The first HEADER_SIZE bytes, or all of a shorter file."""
        return os.pread(self._file.fileno(), HEADER_SIZE, 0)

    def chunks(self) -> Iterator[Chunk]:
        """All bytes, from the start, in one reused buffer. Raises as read_into."""
        buffer = memoryview(mmap.mmap(-1, min(READ_SIZE, self.size + 1)))
        offset = 0
        while count := self.read_into(buffer, offset):
            yield buffer[:count]
            offset += count

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Put the bytes from offset on into a buffer: as many as it takes, fewer at the end, 0 behind it.

        A page-aligned buffer is filled at several times the speed of another. Raises InvalidWal behind the end when the
        file changed since it was opened, so that what it feeds never completes.
        """
        count = self._read(buffer, offset)
        if not count:
            self._check_unchanged(offset)
        return count

    def equals(self, chunks: Iterator[Chunk]) -> bool:
        """Whether the file holds exactly the bytes of chunks. Raises InvalidWal when it changed since it was opened."""
        buffer = memoryview(mmap.mmap(-1, READ_SIZE))
        offset = 0
        for chunk in chunks:
            view = memoryview(chunk)
            while len(view):
                count = self._read(buffer[: len(view)], offset)
                if count == 0 or buffer[:count] != view[:count]:
                    return False
                offset += count
                view = view[count:]
        if self._read(buffer[:1], offset):
            return False
        self._check_unchanged(offset)
        return True

    def _read(self, buffer: memoryview, offset: int) -> int:
        try:
            return os.preadv(self._file.fileno(), [buffer], offset)
        except OSError as error:
            raise WalpyError(f"cannot read {self.path!r}: {error.strerror}") from None

    def _check_unchanged(self, read: int) -> None:
        now = Fingerprint.of(os.fstat(self._file.fileno()))
        before = self.fingerprint
        # Not ctime: a link to the file, made by somebody else meanwhile, changes it without harm.
        if read != before.size or (now.size, now.modified_ns) != (before.size, before.modified_ns):
            raise InvalidWal(f"{self.path!r} changed while it was read")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _open(path: str) -> "FileIO":
    if not os.path.isfile(path) and os.path.exists(path):  # before open: that of a pipe would wait for its writer
        raise WalpyError(f"could not open {path!r}: not a regular file")
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - SourceFile closes it
    except OSError as error:
        raise WalpyError(f"could not open '{path}': {(error.strerror or '').lower()}") from None
    with contextlib.suppress(OSError):  # advice: not every file system takes it
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return file


def write_all(descriptor: int, chunk: Chunk) -> None:
    """Write a chunk to its end: a signal, or the last bytes of a full disk, may cut a write short. Raises OSError."""
    view = memoryview(chunk)
    while len(view):
        view = view[os.write(descriptor, view) :]


class IncomingFile:
    """A file that appears at its place complete or not at all. A context manager: left without commit, it is removed.

    Written at temporary, which a kill may leave behind: the next writer of the same name takes it over, told by the
    lock that nobody else writes it. Not synced: PostgreSQL recovers by fetching again. final may exist, and is replaced
    in one step. Raises BlockingIOError when another process writes temporary now.
    """

    def __init__(self, temporary: str, final: str) -> None:
        self.temporary = temporary
        self.final = final
        self.size = 0
        self._reserved = 0
        self._is_committed = False
        is_ours_already = temporary in interrupts.unfinished_files
        interrupts.unfinished_files.add(temporary)  # first: a signal may come as soon as the file is there
        try:
            self._descriptor = _open_locked(temporary)
        except OSError:
            if not is_ours_already:
                interrupts.unfinished_files.discard(temporary)
            raise

    def write(self, chunk: Chunk) -> None:
        """Append a chunk."""
        if not self.size:
            self._reserve(announced_size(bytes(chunk[:HEADER_SIZE])))
        write_all(self._descriptor, chunk)
        self.size += len(chunk)

    def head(self) -> bytes:
        """The first HEADER_SIZE bytes written, or all when there are fewer."""
        return os.pread(self._descriptor, HEADER_SIZE, 0)

    def _reserve(self, size: int) -> None:
        """Reserve the room of a segment, which file systems then take in half of the time."""
        if size:
            import_module(KERNEL_MODULE).reserve(self._descriptor, size)
            self._reserved = size

    def commit(self) -> None:
        """Make it appear."""
        if self.size < self._reserved:
            os.ftruncate(self._descriptor, self.size)
        os.rename(self.temporary, self.final)
        self._is_committed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_committed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.temporary)
        interrupts.unfinished_files.discard(self.temporary)
        os.close(self._descriptor)  # last: it gives up the lock


def _open_locked(path: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            _lock(descriptor)
            if is_same_file(descriptor, path):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last writer finished between the two calls: that file is not ours to touch


def _lock(descriptor: int) -> None:
    for pause in (0.002, 0.004, 0.008):  # seconds: whoever only looks whether it is locked holds it for microseconds
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return
    raise BlockingIOError(errno.EWOULDBLOCK, "is being written by another process")


def is_same_file(descriptor: int, path: str) -> bool:
    """Whether an open file is the one that path names now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def is_being_written(path: str) -> bool:
    """Whether a living process writes a IncomingFile at path (a file that a kill left behind is not being written)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
