"""Parts of a backup that one stream fills, one after the other, while threads of their own compress and store them.

The stream is taken in as fast as it comes: what waits is held in memory, and a part that has all its bytes is ended by
its thread while the next one is filled. The first error ends all.

Memory: for each of MOST_PARTS a BytePipe, and what Helpers.encode and the storage's put hold.
"""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from walpy import layout
from walpy.errors import BackupError, Interrupted
from walpy.interrupts import deferred
from walpy.stream.byte_pipe import BytePipe

if TYPE_CHECKING:
    from walpy.archive import Archive

MOST_PARTS: Final = 3  # one that is filled, and two that are being ended
ABORT_SECONDS: Final = 10.0  # that threads have to take back what they have begun
INTERRUPTED_SECONDS: Final = 0.8  # the same after a signal, which leaves 1.5 s for everything


class StoredPart(NamedTuple):
    """A part that was stored. size: bytes of its tar."""

    tar_name: str
    object_name: str
    size: int
    stored_size: int


class PartUploads:
    """The parts of one backup; a context manager, which ends those that finish() has not.

    on_stored: hears of each part, in the caller's thread. seconds_waited: for threads slower than the stream.
    """

    def __init__(self, archive: "Archive", backup: str, on_stored: Callable[[StoredPart], None]) -> None:
        self.seconds_waited = 0.0
        self._archive = archive
        self._backup = backup
        self._on_stored = on_stored
        self._uploads: deque[_Upload] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make the threads that are still at work give up, and wait for them, but not for ever."""
        deadline = monotonic() + (INTERRUPTED_SECONDS if isinstance(error, Interrupted) else ABORT_SECONDS)
        for upload in self._uploads:  # a storage gives up faster when it hears of a signal
            upload.pipe.fail(error or BackupError("the backup has failed"))
        for upload in self._uploads:
            upload.join(max(0.0, deadline - monotonic()))

    def begin(self, tar_name: str) -> BytePipe:
        """Begin a part: write it, and close it. Raises what storing another one raised."""
        while len(self._uploads) >= MOST_PARTS:
            self._collect()
        upload = _Upload(self._archive, self._backup, tar_name)
        with deferred():  # one that is noted and does not run cannot be joined; one that is not noted would not end
            upload.start()
            self._uploads.append(upload)
        return upload.pipe

    def finish(self) -> None:
        """Wait until all parts are stored. Raises what storing one raised."""
        while self._uploads:
            self._collect()

    def _collect(self) -> None:
        """Wait for the oldest part."""
        upload = self._uploads[0]
        began = perf_counter()
        upload.join()
        self.seconds_waited += perf_counter() - began + upload.pipe.seconds_waited
        part = upload.result()
        self._uploads.popleft()
        self._on_stored(part)


class _Upload(threading.Thread):
    """Stores what comes through its pipe."""

    def __init__(self, archive: "Archive", backup: str, tar_name: str) -> None:
        super().__init__(name=tar_name, daemon=True)
        self.pipe = BytePipe()
        self._archive = archive
        self._tar_name = tar_name
        self._object_name = layout.tar_partition(backup, tar_name, archive.codec.extension)
        self._stored_size = 0
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._stored_size = self._archive.put_pieces(self._object_name, self.pipe)
        except BaseException as error:  # noqa: BLE001 - the worker boundary
            self._error = error
            self.pipe.fail(error)

    def result(self) -> StoredPart:
        """What was stored, once the thread has ended. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return StoredPart(self._tar_name, self._object_name, self.pipe.written_size, self._stored_size)
