"""RetryPolicy: the one place that repeats what a storage failed to do for a passing reason.

A call is repeated when it raised a transient StorageError (StorageThrottled, StorageUnavailable), after a pause that
grows and is drawn at random, so that many clients do not come back in step. It ends when the deadline has passed
without progress: five minutes by default, after which PostgreSQL, or a person, decides. The storages' own SDKs must
not retry, or their attempts multiply with these.
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from walpy.errors import StorageError

if TYPE_CHECKING:
    from threading import Event
    from types import TracebackType

    from walpy.config import Config
    from walpy.storage.base import Chunk

T = TypeVar("T")

BASE_DELAY = 0.1  # seconds; bound of the first pause, doubled for each further one
LONGEST_DELAY = 10.0  # seconds; bound of every pause

logger = logging.getLogger(__name__)


def random_fraction() -> float:
    """A number from 0 up to 1 (the random module would cost milliseconds of every command's start)."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Deadline:
    """How long something may go on without progress; on the monotonic clock.

    One deadline may span several calls, of several threads: the parts of one upload, the pieces of one read.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._started = clock()

    def remaining(self) -> float:
        """Seconds that are left, never below zero."""
        return max(0.0, self._started + self._seconds - self._clock())

    def within(self, timeout: float) -> float:
        """Time-out for one attempt: timeout seconds, or what is left when that is less.

        Never 0, which many clients take for "wait for ever".
        """
        return max(0.001, min(timeout, self.remaining()))

    def restart(self) -> None:
        """Count from now again: there was progress."""
        self._started = self._clock()


class RetryPolicy(NamedTuple):
    """How long to try, in seconds; a deadline of 0 means one attempt.

    connect_timeout and read_timeout are for the backends to hand to their clients: no attempt waits longer than that
    for a connection, or for the next bytes. clock, sleep and fraction (from 0 up to 1) are there for tests.
    """

    deadline: float = 300.0
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    fraction: Callable[[], float] = random_fraction

    @classmethod
    def from_config(cls, config: "Config") -> "RetryPolicy":
        """Policy that a configuration asks for: WALPY_STORAGE_DEADLINE, WALPY_CONNECT_TIMEOUT, WALPY_READ_TIMEOUT."""
        return cls(
            deadline=_seconds(config, "WALPY_STORAGE_DEADLINE", zero_allowed=True),
            connect_timeout=_seconds(config, "WALPY_CONNECT_TIMEOUT"),
            read_timeout=_seconds(config, "WALPY_READ_TIMEOUT"),
        )

    def start(self) -> Deadline:
        """A deadline that begins now, to hand to call() and to bound each attempt with Deadline.within()."""
        return Deadline(self.deadline, self.clock)

    def call(
        self,
        function: Callable[[], T],
        *,
        what: str,
        deadline: Deadline | None = None,
        cancel: "Event | None" = None,
    ) -> T:
        """Result of function, which is called again while it raises transient errors and there is time.

        what: says in messages what was tried, on which object: `upload of 'wal_005/...'`. deadline: a running one, when
        this call is a part of something larger. cancel: when set, no further attempt is made, and a pause ends at once.
        Raises function's last error, of the same class, with how often and how long it was tried, and its cause.
        """
        attempts = _Attempts(self, what, deadline or self.start(), cancel)
        while True:
            try:
                return function()
            except StorageError as error:
                attempts.pause_after(error)

    def resume(
        self,
        open_at: "Callable[[int], Generator[Chunk, None, None]]",
        *,
        what: str,
        cancel: "Event | None" = None,
    ) -> "Iterator[Chunk]":
        """Chunks of a read that goes on after transient errors, where it stopped.

        open_at(position): a generator of the bytes from there; position counts the bytes of this read, from 0. It is
        closed before the next is asked for. The deadline begins again whenever bytes arrive; the time that the consumer
        takes does not count. Raises as call() does.
        """
        position = 0
        attempts = _Attempts(self, what, self.start(), cancel)
        while True:
            try:
                with closing(open_at(position)) as chunks:
                    for chunk in chunks:
                        position += len(chunk)
                        yield chunk
                        attempts.restart()
                    return
            except StorageError as error:
                attempts.pause_after(error)


class ResumedReader:
    """What ObjectReaders share that go on where they stopped: size bytes, which _chunks_from gives.

    what: what is being done, for messages.
    """

    def __init__(self, policy: RetryPolicy, size: int, what: str) -> None:
        self._policy = policy
        self._size = size
        self._what = what

    @property
    def size(self) -> int:
        """Bytes that the iteration will yield."""
        return self._size

    def __iter__(self) -> "Iterator[Chunk]":
        if not self._size:
            return iter(())
        return self._policy.resume(self._chunks_from, what=self._what)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._close()

    def _chunks_from(self, position: int) -> "Generator[Chunk, None, None]":
        """The bytes from a position on, up to size. Raises StorageError."""
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of what is open."""
        raise NotImplementedError


class _Attempts:
    """The attempts of one call since it last made progress."""

    def __init__(self, policy: RetryPolicy, what: str, deadline: Deadline, cancel: "Event | None") -> None:
        self._policy = policy
        self._what = what
        self._deadline = deadline
        self._cancel = cancel
        self._count = 0
        self._began = policy.clock()

    def restart(self) -> None:
        self._count = 0
        self._began = self._policy.clock()
        self._deadline.restart()

    def pause_after(self, error: StorageError) -> None:
        """Wait before the next attempt; raises when there must be none."""
        if not error.transient:
            raise error
        self._count += 1
        longest = min(LONGEST_DELAY, BASE_DELAY * 2.0 ** min(self._count - 1, 30))
        delay = self._policy.fraction() * longest
        if delay >= self._deadline.remaining() or (self._cancel is not None and self._cancel.is_set()):
            raise self._last(error) from (error.__cause__ or error)
        logger.info("%s failed, attempt %d: %s; trying again in %.1f s", self._what, self._count, error, delay)
        if self._cancel is None:
            self._policy.sleep(delay)
        elif self._cancel.wait(delay):
            raise self._last(error) from (error.__cause__ or error)

    def _last(self, error: StorageError) -> StorageError:
        elapsed = self._policy.clock() - self._began
        often = "once" if self._count == 1 else f"{self._count} times"
        return type(error)(f"{self._what} failed: {error} (tried {often} in {elapsed:.1f} s)", error.hint)


def _seconds(config: "Config", key: str, *, zero_allowed: bool = False) -> float:
    seconds = config.seconds(key)
    if seconds < 0 or (seconds == 0 and not zero_allowed):
        raise config.invalid(key, "must not be negative" if zero_allowed else "must be above zero")
    return seconds
