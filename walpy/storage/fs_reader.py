"""Reading a stored file, and what the operating system's errors mean for a storage."""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from types import TracebackType
from typing import Self

from walpy.errors import AccessDenied, DataCorrupt, StorageError, StorageFull, StorageUnavailable
from walpy.storage.base import READ_SIZE, Chunk
from walpy.storage.buffers import Buffers

KEPT_SIZE = 4 * READ_SIZE  # for as many readers at a time; others take fresh memory

# What the operating system's errors mean; any other is a plain StorageError.
MEANINGS: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageFull, "Free space in the storage, or make it larger; check its inodes too."),
    errno.EDQUOT: (StorageFull, "The user's disk quota is used up: free space, or raise the quota."),
    errno.EACCES: (AccessDenied, "Give the user that runs walpy permission to read and write the storage's directory."),
    errno.EPERM: (AccessDenied, "Give the user that runs walpy permission to read and write the storage's directory."),
    errno.EROFS: (AccessDenied, "The storage's file system is mounted read-only."),
    errno.ESTALE: (StorageUnavailable, "The network file system lost its server's directory: mount it again."),
    errno.ETIMEDOUT: (StorageUnavailable, "The network file system does not answer."),
    errno.EHOSTDOWN: (StorageUnavailable, "The network file system does not answer."),
    errno.EHOSTUNREACH: (StorageUnavailable, "The network file system does not answer."),
    errno.ENOTCONN: (StorageUnavailable, "The process behind the mounted file system has ended: mount it again."),
}


def storage_error(error: OSError, failed: str) -> StorageError:
    """The storage's error for one of the operating system's. failed: what could not be done, on which object."""
    kind, hint = MEANINGS.get(error.errno or 0, (StorageError, ""))
    return kind(f"{failed}: {error.strerror or error}", hint)


_buffers = Buffers(KEPT_SIZE)


class FsReader:
    """ObjectReader of one file. Memory: one buffer of READ_SIZE, used again for each chunk, and by later readers."""

    def __init__(self, where: str, file: FileIO, offset: int, size: int | None) -> None:
        """where: the object's URL, for messages; file: open for reading, closed by this reader."""
        self._where = where
        self._file = file
        self._before = os.fstat(file.fileno())
        rest = max(0, self._before.st_size - offset)
        self._offset = offset
        self._size = rest if size is None else min(size, rest)

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        return self._size

    def __iter__(self) -> Iterator[Chunk]:
        file = self._file.fileno()
        with suppress(OSError):  # advice: doubles the kernel's read-ahead
            os.posix_fadvise(file, self._offset, self._size, os.POSIX_FADV_SEQUENTIAL)
        memory = _buffers.take(READ_SIZE)
        try:
            buffer = memoryview(memory)
            offset, end = self._offset, self._offset + self._size
            while offset < end:
                count = self._read(buffer[: end - offset], offset)
                offset += count
                yield buffer[:count]
            self._check_unchanged()
        finally:
            _buffers.give_back(memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _read(self, buffer: memoryview, offset: int) -> int:
        try:
            count = os.preadv(self._file.fileno(), [buffer], offset)
        except OSError as error:
            raise storage_error(error, f"cannot read {self._where!r}") from error
        if not count:
            raise DataCorrupt(f"object {self._where!r} became shorter while it was read")
        return count

    def _check_unchanged(self) -> None:
        """No writer of walpy or WAL-G changes a file in place; a tool that copies archives may."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise DataCorrupt(f"object {self._where!r} changed while it was read")
