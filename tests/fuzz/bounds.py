"""Bounds on what one input may take: CPU time, and memory beyond what the first inputs took."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CPU_SECONDS = 4.0  # for one input of at most LARGEST bytes, on a slow machine
GROWTH = 64 << 20  # bytes


class Hang(BaseException):
    """An input took too long; no handler of errors may take it for one."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {CPU_SECONDS} seconds of CPU time")


@contextmanager
def watched() -> Iterator[None]:
    """Within: limit_time works. Main thread alone."""
    before = signal.signal(signal.SIGPROF, _stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def limit_time() -> Iterator[None]:
    """Within: raises Hang after CPU_SECONDS."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class MemoryLimit:
    """The process may not grow by more than GROWTH after this was made, by its highest mark."""

    def __init__(self) -> None:
        self._most = peak() + GROWTH

    def check(self) -> None:
        """Raise AssertionError when it did."""
        assert peak() <= self._most, f"memory grew by more than {GROWTH >> 20} MiB"


def peak() -> int:
    """Bytes of the highest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
