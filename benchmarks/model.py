"""What is measured (rows, each with one variant for every program) and what came out (samples, cells, results)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.summary import Direction

OWN = "walpy"  # the program whose cells are compared with all others


def nothing() -> None:
    """The preparation of a variant that needs none."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, its whole environment, and where it runs."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path


@dataclass(frozen=True, slots=True)
class Variant:
    """One program's way to do a row's work.

    action: what is timed. prepare, finish: before and after each sample, outside the clock; finish raises when the
    result is wrong. stored: bytes that the last action left in the storage. leave: once, after the last sample.
    program: WALPY or a peer's name; label: the program with what matters of its options, unique in its row.
    is_headline: the variant that stands for its program when ratios are made.
    """

    program: str
    label: str
    action: Callable[[], None]
    prepare: Callable[[], None] = nothing
    finish: Callable[[], None] = nothing
    stored: Callable[[], int] | None = None
    leave: Callable[[], None] = nothing
    is_headline: bool = True


@dataclass(frozen=True, slots=True)
class Absent:
    """A program that does not take part in a row, and why."""

    program: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a row is measured in one run.

    amount: GB (1e9 bytes) that one action processes, for CPU seconds per GB; count: items, when the row is a rate.
    floor: seconds (or items a second) that the codec and the disk need alone; None: not defined.
    rounds: clean samples of each variant. is_synced: the time of a flush of the file system belongs to the sample;
    flushed: a directory on it, where that is not the harness's own.
    """

    entries: list[Variant | Absent]
    rounds: int
    amount: float
    count: int = 1
    floor: float | None = None
    is_synced: bool = False
    flushed: Path | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a row has to reach: ratio to the best peer, and MB of memory of all processes together."""

    ratio: float | None = None
    memory: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the targets table. rule: how it is measured, for the reader. unit: "s" or "/s"."""

    name: str
    title: str
    rule: str
    target: Target = field(default_factory=Target)
    unit: str = "s"

    @property
    def direction(self) -> Direction:
        """Seconds want less, rates more."""
        return "less" if self.unit == "s" else "more"


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed action. Seconds: wall (with the flush, when the row asks for it), CPU of all that was started, CPU of
    servers, CPU of the rest of the machine; requests: sent to the S3 server, by operation."""

    wall: float
    cpu: float
    servers: float
    other: float
    requests: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """What came out for one program in one row.

    status: "measured", "absent" (with a reason), "failed" (with the error) or "busy": too many samples were dropped,
    and those shown were taken beside other work. values: clean samples in the row's unit.
    """

    program: str
    label: str
    status: str
    reason: str = ""
    values: list[float] = field(default_factory=list)
    dropped: int = 0
    cpu_per_gb: float | None = None
    servers_cpu_per_gb: float | None = None
    memory: int | None = None
    stored: int | None = None
    requests: Mapping[str, int] = field(default_factory=dict)
    is_headline: bool = True


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row's cells, and the floor in the row's unit."""

    row: Row
    cells: list[Cell]
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    conditions: Mapping[str, str]
    rows: list[RowResult]
