"""An object stored in parts, several of them at a time.

What stays behind when things go wrong: after a kill, the parts so far; after a lost answer to the request that begins
an upload, an upload without parts. Neither is ever visible; discard_unfinished() and bucket lifecycles remove both.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, Self

from walpy.errors import Interrupted, StorageError
from walpy.storage.parts import Part

if TYPE_CHECKING:
    import mmap
    from types import TracebackType

CLEAN_UP_SECONDS = 10.0  # how long an upload is taken back after another failure
INTERRUPTED_SECONDS = 0.7  # the same, twice, when a signal wants the command to end within two seconds

logger = logging.getLogger(__name__)


class PartRequests(Protocol):
    """The requests of one object's upload, each repeated as the storage's policy says. They raise StorageError."""

    @property
    def url(self) -> str:
        """The object, for messages."""
        ...

    def begin(self) -> str:
        """Begin an upload; its id."""
        ...

    def store(self, upload_id: str, part: Part, cancel: threading.Event) -> str:
        """Store a part; its ETag. Raises Cancelled, soon, once cancel is set."""
        ...

    def complete(self, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object of all parts visible. Raises ObjectExists when another one must not be replaced."""
        ...

    def abort(self, upload_id: str, seconds: float) -> None:
        """Remove the upload and its parts, within so many seconds; one that is gone is no failure."""
        ...


def store_parts(
    parts: "Iterable[tuple[Part, bool]]",
    requests: PartRequests,
    give_back: "Callable[[mmap.mmap], None]",
    parts_in_flight: int,
) -> int:
    """Store an object of all parts that cut gives; its size. Raises what requests and parts raise."""
    with MultipartUpload(requests, give_back, parts_in_flight) as upload:
        for part, _ in parts:
            upload.store(part)
        return upload.complete()


class MultipartUpload:
    """Stores parts in daemon threads; leaving the context without complete() takes everything back.

    A part's buffer is handed to give_back as soon as the part is stored, or was given up.
    """

    def __init__(self, requests: PartRequests, give_back: "Callable[[mmap.mmap], None]", parts_in_flight: int) -> None:
        self._requests = requests
        self._give_back = give_back
        self._parts_in_flight = parts_in_flight
        self._upload_id = ""
        self._size = 0
        self._etags: dict[int, str] = {}
        self._queue: SimpleQueue[Part | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._cancel = threading.Event()
        self._error: Exception | None = None
        self._completed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        if not self._completed:
            self._cancel.set()
            self._end_threads()
            self._discard(in_haste=isinstance(error, Interrupted) or not isinstance(error, Exception))

    def store(self, part: Part) -> None:
        """Hand over the next part; raises what an earlier one failed with."""
        if self._error is not None:
            self._give_back(part.buffer)
            raise self._error
        if not self._upload_id:  # begun here, inside the context, so that it cannot be left behind
            self._upload_id = self._requests.begin()
        self._size += part.size
        self._queue.put(part)
        if len(self._threads) < self._parts_in_flight:
            thread = threading.Thread(target=self._work, name=f"part-{part.number}", daemon=True)
            thread.start()
            self._threads.append(thread)  # after: a signal between the two must not leave one that nobody can join

    def complete(self) -> int:
        """Wait for the parts and make the object visible; return its size."""
        self._end_threads()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        self._requests.complete(self._upload_id, self._etags)
        self._completed = True
        return self._size

    def _work(self) -> None:
        while (part := self._queue.get()) is not None:
            try:
                self._etags[part.number] = self._requests.store(self._upload_id, part, self._cancel)
            except Exception as error:  # noqa: BLE001 - a worker: the error goes to the thread that called put
                self._error = self._error or error
                self._cancel.set()
            finally:
                self._give_back(part.buffer)

    def _end_threads(self) -> None:
        for _ in self._threads:
            self._queue.put(None)

    def _discard(self, *, in_haste: bool) -> None:
        """Abort the upload; a failure is logged, because another error is on its way out.

        Parts on their way end first, if they do so in time: stored after the abort, they would stay.
        """
        if not self._upload_id:
            return
        seconds = INTERRUPTED_SECONDS if in_haste else CLEAN_UP_SECONDS
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        thread = threading.Thread(target=self._abort, args=(seconds,), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            logger.warning("parts of an unfinished upload may stay in the storage: %r", self._requests.url)

    def _abort(self, seconds: float) -> None:
        try:
            self._requests.abort(self._upload_id, seconds)
        except StorageError as error:
            logger.warning("parts of an unfinished upload stay in the storage: %s", error)
