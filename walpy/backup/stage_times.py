"""Where the time of a backup or a restore went: what its workers measured, and the line that tells what limited it.

Times are seconds of each stage, such as `reading`, for each of the threads that share it; added up over parts and
workers. What the threads wait for each other is no stage.
"""

from collections.abc import Iterable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Final, Self

StageTimes = Mapping[str, float]  # seconds by stage, in the order in which they are told

READING, VERIFYING, COMPRESSING = "reading", "verifying", "compressing"
ENCRYPTING, STORING = "encrypting", "storing"
DECOMPRESSING, WRITING = "decompressing", "writing"
RATE_LIMIT, SERVER, FLUSHING = "the rate limit", "the server", "flushing to disk"
_LEAST_SHARE: Final = 0.005  # of the whole; a stage below it is not told


class Stopwatch:
    """Seconds spent in its context, which may be entered again and again."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += perf_counter() - self._began


def added(parts: Iterable[StageTimes]) -> dict[str, float]:
    """The times of several parts together."""
    total: dict[str, float] = {}
    for times in parts:
        for stage, seconds in times.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def limited_by(times: StageTimes, outside: str, outside_seconds: float, whole_seconds: float) -> str:
    """A sentence on what limited a command; empty when nothing took any time.

    outside: what the command waited for without its workers, for outside_seconds of its whole_seconds; it counts when
    that was more than half. Else it is the stage of the workers that took the longest.
    """
    if outside_seconds > whole_seconds / 2:
        return f"Limited by {outside}: {outside_seconds:.1f} of {whole_seconds:.1f} s"
    whole = sum(times.values())
    if not whole:
        return ""
    told = [
        f"{stage} {seconds / whole * 100:.0f} %" for stage, seconds in times.items() if seconds / whole > _LEAST_SHARE
    ]
    return f"Limited by {max(times, key=lambda stage: times[stage])}: {', '.join(told)} of the workers' time"
