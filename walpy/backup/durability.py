"""Makes restored files durable: one flush per file system instead of one per file; and prepares for it early.

syncfs writes back everything a file system holds in memory, names included, and reports errors that happened since the
descriptor was opened; that is why FileSystems is opened before the first byte is written. Workers start the writing
early, so that little is left to wait for at the end.
Source: syncfs(2).
"""

import contextlib
import os
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from walpy.errors import BackupError
from walpy.kernel import sync_file_system

WRITEBACK_SIZE: Final = 8 << 20  # bytes between two requests to start writing a file back
FLUSH_SIZE: Final = 32 << 20  # bytes between two early flushes of a worker
RESERVED_SIZE: Final = 256 << 10  # bytes from which a file's room is reserved; below, the call costs what it saves


class FileSystems:
    """The file systems that hold the given directories, each once; a context manager."""

    def __init__(self, directories: Iterable[str]) -> None:
        self._descriptors: dict[int, tuple[str, int]] = {}
        for directory in directories:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            device = os.fstat(descriptor).st_dev
            if device in self._descriptors:
                os.close(descriptor)
            else:
                self._descriptors[device] = (directory, descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, descriptor in self._descriptors.values():
            os.close(descriptor)

    def sync(self) -> None:
        """Wait until all written so far is durable. Raises BackupError when a file system lost something.

        Threads wait for the disks, so that a signal reaches the main thread meanwhile.
        """
        failures: list[str] = []
        threads = [
            threading.Thread(target=_sync, args=(directory, descriptor, failures), daemon=True)
            for directory, descriptor in self._descriptors.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise BackupError(f"cannot make the restored files durable: {'; '.join(failures)}", "Check the disk.")


def _sync(directory: str, descriptor: int, failures: list[str]) -> None:
    try:
        sync_file_system(descriptor)
    except OSError as error:
        failures.append(f"file system of {directory!r}: {error.strerror}")


class EarlyFlush:
    """Flushes files while others are being written, one at a time: a disk's own cache is else emptied at the end alone.

    Only a matter of time: what fails here, the flush at the end reports. For one thread.
    """

    def __init__(self) -> None:
        self._unflushed = 0
        self._under_way = threading.Lock()

    def note(self, descriptor: int, size: int) -> None:
        """So many bytes of an open file were written; a flush begins when they are many, and none is under way."""
        self._unflushed += size
        if self._unflushed < FLUSH_SIZE or not self._under_way.acquire(blocking=False):
            return
        self._unflushed = 0
        threading.Thread(target=self._flush, args=(os.dup(descriptor),), name="flush", daemon=True).start()

    def _flush(self, descriptor: int) -> None:
        try:
            with contextlib.suppress(OSError):
                os.fdatasync(descriptor)
            os.close(descriptor)
        finally:
            self._under_way.release()


def sync_file(path: str) -> None:
    """Make a file and its name durable."""
    for place, flags in ((path, os.O_RDONLY), (os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
