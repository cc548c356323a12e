"""RateLimiter: bytes a second over all threads, and over all processes that share its state; and a limited Storage.

The generic cell rate algorithm (virtual scheduling): the whole state is one moment, at which everything admitted so far
would have passed at exactly the limit. Who comes moves it by his own bytes, and sleeps until it is at most a burst
ahead. So there is no queue, and nobody holds a lock while he sleeps. (A process that is killed in the microsecond in
which it holds the shared lock stops the others: who shares a limit must end together, as a pipeline's workers do.)
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from walpy.storage.base import Chunk, Folder, ObjectReader, Storage, StoredObject, WrappedReader

if TYPE_CHECKING:
    from walpy.config import Config

BURST_OVER_LIMIT = 65536  # bytes that may pass at once, beyond one second's worth; as WAL-G


class SharedMoment(Protocol):
    """A number with a lock: what multiprocessing.Value("d", 0.0) gives, for a limit over several processes."""

    value: float

    def get_lock(self) -> AbstractContextManager[object]:
        """The lock to hold while value is changed."""
        ...


class Moment:
    """The same within one process."""

    def __init__(self) -> None:
        self.value = 0.0
        self._lock = threading.Lock()

    def get_lock(self) -> AbstractContextManager[object]:
        """The lock to hold while value is changed."""
        return self._lock


def monotonic() -> float:
    """Seconds on a clock that all processes of a machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class RateLimiter:
    """Lets limit bytes a second pass, and limit + 65536 at once after a pause.

    moment: shared by the processes that share the limit. sleep: waits so many seconds. clock is there for tests.
    """

    def __init__(
        self,
        limit: int,
        moment: SharedMoment | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.limit = limit
        self.burst = limit + BURST_OVER_LIMIT
        self._moment: SharedMoment = moment if moment is not None else Moment()
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def from_config(
        cls,
        config: "Config",
        key: str,
        moment: SharedMoment | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> "RateLimiter | None":
        """Limiter that a setting (bytes a second) asks for; None when it is unset or not above zero: no limit."""
        limit = config.integer(key)
        return cls(limit, moment, sleep=sleep) if limit > 0 else None

    def acquire(self, count: int, cancel: threading.Event | None = None) -> None:
        """Wait until count more bytes may pass, more than a burst too.

        cancel: ends the wait at once when set, with the bytes counted as passed; the caller looks at it.
        """
        with self._moment.get_lock():
            now = self._clock()
            self._moment.value = max(self._moment.value, now) + count / self.limit
            delay = self._moment.value - self.burst / self.limit - now
        if delay <= 0:
            return
        if cancel is None:
            self._sleep(delay)
        else:
            cancel.wait(delay)

    def limited(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass chunks on as fast as the limit allows, in pieces of at most a burst."""
        for chunk in chunks:
            if len(chunk) <= self.burst:
                self.acquire(len(chunk))
                yield chunk
                continue
            view = memoryview(chunk)
            for start in range(0, len(view), self.burst):
                piece = view[start : start + self.burst]
                self.acquire(len(piece))
                yield piece


def limited(storage: Storage, limiter: RateLimiter | None) -> Storage:
    """The storage with limited puts and reads (WALG_NETWORK_RATE_LIMIT); storage itself when there is no limiter."""
    return storage if limiter is None else LimitedStorage(storage, limiter)


class LimitedStorage:
    """A Storage whose object bytes pass a limiter; look-ups, listings and deletes do not."""

    def __init__(self, storage: Storage, limiter: RateLimiter) -> None:
        self._storage = storage
        self._limiter = limiter

    @property
    def url(self) -> str:
        """Where it is."""
        return self._storage.url

    def put(self, name: str, chunks: Iterable[Chunk], *, create_only: bool = False) -> int:
        """Store an object, limited."""
        return self._storage.put(name, self._limiter.limited(chunks), create_only=create_only)

    def open(self, name: str, *, offset: int = 0, size: int | None = None) -> ObjectReader:
        """Open an object for limited reading."""
        return _LimitedReader(self._storage.open(name, offset=offset, size=size), self._limiter)

    def stat(self, name: str) -> StoredObject:
        """Look up one object."""
        return self._storage.stat(name)

    def stat_many(self, names: Sequence[str]) -> list[StoredObject]:
        """Look up several objects."""
        return self._storage.stat_many(names)

    def list_folder(self, folder: str = "") -> Folder:
        """Direct children of a folder."""
        return self._storage.list_folder(folder)

    def list_names(self, folder: str = "") -> Iterator[str]:
        """Names of every object below a folder."""
        return self._storage.list_names(folder)

    def list(self, folder: str = "") -> Iterator[StoredObject]:
        """Every object below a folder."""
        return self._storage.list(folder)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects."""
        self._storage.delete(names)

    def discard_unfinished(self, folder: str) -> int:
        """Remove what interrupted puts left behind."""
        return self._storage.discard_unfinished(folder)

    def close(self) -> None:
        """Release connections."""
        self._storage.close()


class _LimitedReader(WrappedReader):
    def __init__(self, reader: ObjectReader, limiter: RateLimiter) -> None:
        super().__init__(reader)
        self._limiter = limiter

    def __iter__(self) -> Iterator[Chunk]:
        return self._limiter.limited(self._reader)
