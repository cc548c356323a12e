"""Progress for people: one line that is redrawn on a terminal, a log line now and then elsewhere."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from walpy.logs import ERASE_LINE

if TYPE_CHECKING:
    from typing import TextIO

    from walpy.progress import Progress

REDRAW_SECONDS = 0.1
LOG_SECONDS = 30.0
RATE_SECONDS = 15.0  # the rate is that of the last seconds, so that a stall shows

logger = logging.getLogger(__name__)


class PeriodicProgress:
    """Counts bytes, and hands a text about them to show at most once an interval while a label is being counted.

    show(text, final) is called by a thread of its own, and once more, with final, by finish(). clock: seconds.
    """

    def __init__(
        self, show: Callable[[str, bool], None], interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show = show
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reset(None, "")

    def _reset(self, total: int | None, label: str) -> None:
        self._total = total
        self._label = label
        self._count = 0
        self._started = self._clock()
        self._samples = deque([(self._started, 0)])

    def start(self, total: int | None, label: str) -> None:
        """Begin to count towards total bytes (None: unknown); ends what was counted before."""
        self.finish()
        with self._lock:
            self._reset(total, label)
        self._stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._stop,), name="progress", daemon=True)
        thread.start()
        self._thread = thread  # after: a signal between the two must not leave one that nobody can join

    def advance(self, count: int) -> None:
        """Count bytes."""
        with self._lock:
            self._count += count

    def finish(self) -> None:
        """Show the last state; does nothing when nothing is being counted."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._show(self.text(final=True), True)

    def text(self, *, final: bool = False) -> str:
        """`label: 42% (1.2 of 2.9 GiB), 310 MiB/s, 0:05 left`; when final the mean rate and the time taken."""
        with self._lock:
            now, count, total = self._clock(), self._count, self._total
            since, before = (self._started, 0) if final else self._sample(now)
            label, elapsed = self._label, now - self._started
        rate = (count - before) / (now - since) if now > since else 0.0
        parts = [f"{label}: {_amount(count, total)}", f"{size_text(rate)}/s"]
        if final:
            parts.append(f"{clock_text(elapsed)} in all")
        elif total is not None and rate > 0:
            parts.append(f"{clock_text(max(0, total - count) / rate)} left")
        return ", ".join(parts)

    def _sample(self, now: float) -> tuple[float, int]:
        """Remember the count; return the oldest one that the rate is measured from. Call with the lock held."""
        self._samples.append((now, self._count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_SECONDS:
            self._samples.popleft()
        return self._samples[0]

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval):
            self._show(self.text(), False)


def terminal_progress(stream: "TextIO") -> "Progress":
    """One line on a terminal, as wide as it is at each redraw."""

    def show(text: str, final: bool) -> None:
        line = ERASE_LINE + text[: _columns(stream) - 1] + ("\n" if final else "")
        try:
            stream.write(line)
            stream.flush()
        except (OSError, ValueError):
            return  # the terminal is gone: the work goes on

    return PeriodicProgress(show, REDRAW_SECONDS)


def log_progress() -> "Progress":
    """An INFO line every 30 seconds; nothing for what is done sooner."""

    def show(text: str, final: bool) -> None:
        if not final:
            logger.info("%s", text)

    return PeriodicProgress(show, LOG_SECONDS)


def _amount(count: int, total: int | None) -> str:
    if total is None:
        return size_text(count)
    percent = min(100, count * 100 // total) if total else 100
    return f"{percent}% ({size_text(count)} of {size_text(total)})"


def size_text(size: float) -> str:
    """Bytes for people, in powers of 1024 and three digits: `0 B`, `1.25 MiB`, `20.0 MiB`, `310 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 999.5 or unit == "TiB":
            break
        size /= 1024
    decimals = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{decimals}f} {unit}"


def clock_text(seconds: float) -> str:
    """Seconds as `0:05`, `12:34` or `3:25:45`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(stream: "TextIO") -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
