"""Measures the variants of a row in turns (A B A B), and drops samples that other processes disturbed."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import BUSY_CORES, is_busy
from benchmarks.measure import Patience, end_leftovers, flush, peak_memory, take
from benchmarks.model import Absent, Cell, Plan, Row, RowResult, Sample, Variant
from benchmarks.services import RECEIVED, Services

DROPS_PER_ROUND = 1  # dropped samples for each wanted one, after which a row is called busy
PATIENCE_WINDOWS = 300  # a minute of waiting for a quiet machine, for each row
FLUSHED_CORES = 0.5  # what the kernel's threads may use for a file system in a file: that belongs to the work
TOGETHER_SECONDS = 0.5  # samples shorter than this are judged by their whole turn: one alone has too few ticks


@dataclass
class Series:
    """One variant's samples so far."""

    variant: Variant
    clean: list[Sample] = field(default_factory=list)
    dropped: list[Sample] = field(default_factory=list)
    error: str = ""
    stored: int | None = None
    memory: int | None = None


def judge(turn: Sequence[Sample], cores: float = BUSY_CORES) -> list[bool]:
    """Which samples of a turn were disturbed, as is_busy() says; short ones share one verdict."""
    short = [sample for sample in turn if sample.wall < TOGETHER_SECONDS]
    is_short_busy = is_busy(sum(sample.other for sample in short), sum(sample.wall for sample in short), cores)
    return [
        is_short_busy if sample.wall < TOGETHER_SECONDS else is_busy(sample.other, sample.wall, cores)
        for sample in turn
    ]


def collect(
    series: Sequence[Series], rounds: int, sample: Callable[[Series], Sample | None], cores: float = BUSY_CORES
) -> None:
    """Take turns until every variant has `rounds` clean samples, has failed, or too many samples were dropped."""
    drops_left = DROPS_PER_ROUND * rounds * len(series)
    while drops_left >= 0:
        due = [one for one in series if not one.error and len(one.clean) < rounds]
        if not due:
            return
        taken = [(one, result) for one in due if (result := sample(one)) is not None]
        for (one, result), is_disturbed in zip(taken, judge([result for _, result in taken], cores), strict=True):
            (one.dropped if is_disturbed else one.clean).append(result)
            drops_left -= is_disturbed


def measure_row(row: Row, plan: Plan, services: Services, flushed: Path, temporary: Path) -> RowResult:
    """Measure all variants of a row; a variant that fails is told so in its cell.

    flushed: a directory on the file system of all storage. temporary: TMPDIR of the commands.
    """
    series = [Series(entry) for entry in plan.entries if isinstance(entry, Variant)]
    directory = (plan.flushed or flushed) if plan.is_synced else None
    patience = Patience(PATIENCE_WINDOWS)

    def sample(one: Series) -> Sample | None:
        if one.error:
            return None
        try:
            return attempt(one, services, directory, patience)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way; the other cells go on
            one.error = str(error) or repr(error)
            print(f"  {one.variant.label}: {one.error}", file=sys.stderr, flush=True)
            return None

    end_leftovers(services, temporary)  # of the preparations of the plan
    for one in series:
        is_short = watch(one, sample, services)
        end_leftovers(services, temporary)
        if is_short:
            sample(one)  # resident processes are there again
    collect(series, plan.rounds, sample, BUSY_CORES + (FLUSHED_CORES if plan.flushed else 0.0))
    for one in series:
        one.variant.leave()
    end_leftovers(services, temporary)
    measured = {one.variant.label: cell_of(one, row, plan) for one in series}
    cells = [absent_cell(e) if isinstance(e, Absent) else measured[e.label] for e in plan.entries]
    return RowResult(row, cells, plan.floor)


def watch(one: Series, sample: Callable[[Series], Sample | None], services: Services) -> bool:
    """Measure the memory of a variant, untimed as watching takes time; whether its command is a short one."""
    with peak_memory(services) as peak:
        is_short = is_brief(sample(one)) and is_brief(sample(one))  # the first may only start what serves the second
    one.memory = peak[0] or None
    one.variant.leave()
    return is_short


def attempt(one: Series, services: Services, flushed: Path | None, patience: Patience) -> Sample:
    """One sample, prepared and checked."""
    one.variant.prepare()
    if flushed:
        flush(flushed)  # what earlier samples wrote and removed is not this one's to pay for
    patience.wait()
    result = take(one.variant.action, services, flushed)
    if one.variant.stored:
        one.stored = one.variant.stored()
    one.variant.finish()
    return result


def is_brief(sample: Sample | None) -> bool:
    """Whether a command is one of those that start-up and resident processes matter to."""
    return sample is not None and sample.wall < TOGETHER_SECONDS


def absent_cell(entry: Absent) -> Cell:
    """The cell of a program that takes no part."""
    return Cell(entry.program, entry.label, "absent", entry.reason)


def cell_of(one: Series, row: Row, plan: Plan) -> Cell:
    """What the samples of one variant come to."""
    variant = one.variant
    samples = one.clean if len(one.clean) * 2 >= plan.rounds else [*one.clean, *one.dropped]
    if one.error or not samples:
        return Cell(variant.program, variant.label, "failed", one.error, is_headline=variant.is_headline)
    is_short_of = len(one.clean) < plan.rounds
    values = [sample.wall if row.unit == "s" else plan.count / sample.wall for sample in samples]
    return Cell(
        variant.program,
        variant.label,
        "busy" if is_short_of else "measured",
        values=values,
        dropped=len(one.dropped),
        cpu_per_gb=statistics.median(sample.cpu for sample in samples) / plan.amount if plan.amount else None,
        servers_cpu_per_gb=statistics.median(s.servers for s in samples) / plan.amount if plan.amount else None,
        memory=one.memory,
        stored=one.stored if one.stored is not None else samples[-1].requests.get(RECEIVED),
        requests={name: count for name, count in samples[-1].requests.items() if name != RECEIVED},
        is_headline=variant.is_headline,
    )
