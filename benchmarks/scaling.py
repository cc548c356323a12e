"""How a backup scales: one worker on one core, two on two, four on four; what stays serial, and where that saturates.

The parent's threads share one interpreter lock, so they count as one core at most; so does every single thread.
"""

import contextlib
import os
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, running
from benchmarks.machine import CORES, children_of, descendants, is_busy, own_seconds, text
from benchmarks.measure import repeating, run, take
from benchmarks.model import OWN, Command, Sample
from benchmarks.report.markdown import number, table
from benchmarks.session import Options, prepared
from benchmarks.tools.walg_like import Place, place, settings

WORKERS = (1, 2, 4)
ROUNDS = 3
TRIES = 4  # for each sample that is wanted, while the machine is busy
INTERVAL_SECONDS = 0.1  # a look costs milliseconds, on cores that are all in use
START_SECONDS = 0.05  # until the command is there

Threads = Mapping[int, float]  # CPU seconds by thread


@dataclass(frozen=True, slots=True)
class Run:
    """One backup: wall and CPU seconds of all, of the parent, of the busiest worker and of the busiest thread in it."""

    wall: float
    cpu: float
    parent: float
    worker: float
    thread: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Medians of some runs with so many workers on as many cores."""

    workers: int
    wall: float
    cpu: float
    parent: float
    worker_threads: float


@contextlib.contextmanager
def watched(servers: set[int]) -> Iterator[dict[int, Threads]]:
    """Within: CPU seconds of every thread of every process below this one, as last seen; servers apart."""
    seen: dict[int, Threads] = {}

    def look() -> None:
        for pid in descendants(os.getpid(), servers):
            threads = threads_of(pid)
            if threads:
                seen[pid] = threads

    with repeating(look, INTERVAL_SECONDS):
        yield seen


def threads_of(pid: int) -> Threads:
    """CPU seconds of a process's threads; none when it is gone."""
    try:
        names = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return {}
    return {int(name): own_seconds(stat) for name in names if (stat := text(f"/proc/{pid}/task/{name}/stat"))}


def summarise(sample: Sample, seen: Mapping[int, Threads], parent: int) -> Run:
    """What one watched backup comes to. parent: the command's own process."""
    workers = [threads for pid, threads in seen.items() if pid != parent]
    busiest: Threads = max(workers, key=lambda threads: sum(threads.values()), default={})
    return Run(
        wall=sample.wall,
        cpu=sample.cpu,
        parent=sum(seen.get(parent, {}).values()),
        worker=sum(busiest.values()),
        thread=max(busiest.values(), default=0.0),
    )


def scale_of(workers: int, runs: Sequence[Run]) -> Scale:
    """Medians of at least one run. worker_threads: how many cores one worker can use, by its busiest thread."""
    return Scale(
        workers,
        wall=statistics.median(run.wall for run in runs),
        cpu=statistics.median(run.cpu for run in runs),
        parent=statistics.median(run.parent for run in runs),
        worker_threads=statistics.median(run.worker / run.thread if run.thread else 1.0 for run in runs),
    )


def serial_and_parallel(scales: Sequence[Scale]) -> tuple[float, float]:
    """(serial, parallel) seconds of wall = serial + parallel / cores, by least squares over at least two scales.

    Neither is below 0, whatever noise says.
    """
    shares = [1 / scale.workers for scale in scales]
    walls = [scale.wall for scale in scales]
    fit = statistics.linear_regression(shares, walls)
    return max(0.0, fit.intercept), max(0.0, fit.slope)


def saturation(scales: Sequence[Scale], written_seconds: float) -> list[tuple[str, float]]:
    """Cores at which each stage takes as long as all the rest, (stage, cores). written_seconds: of the disk."""
    most = scales[-1]
    spread_out = most.cpu - most.parent
    stages = [
        ("the parent process (lists, plans, collects)", spread_out / most.parent if most.parent else float("inf")),
        ("writing to this disk", spread_out / written_seconds),
    ]
    if len(scales) > 1:
        serial, parallel = serial_and_parallel(scales)
        stages.append(("start, stop and what else is serial", parallel / serial if serial else float("inf")))
    return stages


def backup(bench: Bench, workers: int, where: Place) -> Command:
    """backup-push with so many workers on as many cores."""
    cluster = bench.cluster(bench.data.big)
    more = {**cluster.environment, "WALG_UPLOAD_DISK_CONCURRENCY": str(workers)}
    words = ("taskset", "-c", f"0-{workers - 1}", bench.programs[OWN], "backup-push", str(cluster.directory))
    return Command(words, settings(bench, where, "lz4", more), bench.work)


def warm(directory: Path) -> None:
    """Read all files into the page cache; a backup leaves it as it was."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass


def measure_once(bench: Bench, command: Command, where: Place) -> tuple[Sample, Run]:
    """One watched backup into an empty storage, on a disk that has nothing left to do."""
    where.clear()
    os.sync()
    servers = bench.services.roots()
    parents: set[int] = set()

    def action() -> None:
        noticer = threading.Timer(START_SECONDS, lambda: parents.update(children_of(os.getpid())))
        noticer.start()
        run(command)
        noticer.join()

    with watched(servers) as seen:
        sample = take(action, bench.services, bench.work)
    parent = next(iter(parents - servers))
    return sample, summarise(sample, seen, parent)


def measure(bench: Bench) -> list[Scale]:
    """All numbers of workers that this machine has cores for, in turns."""
    numbers = [workers for workers in WORKERS if workers <= CORES]
    where = place(bench, "scaling", "file")
    warm(bench.cluster(bench.data.big).directory)
    runs: dict[int, list[Run]] = {workers: [] for workers in numbers}
    spare: dict[int, list[Run]] = {workers: [] for workers in numbers}
    for _ in range(TRIES * bench.rounds(ROUNDS)):
        for workers in numbers:
            if len(runs[workers]) < bench.rounds(ROUNDS):
                sample, one = measure_once(bench, backup(bench, workers, where), where)
                (spare if is_busy(sample.other, sample.wall) else runs)[workers].append(one)
    return [scale_of(workers, runs[workers] or spare[workers]) for workers in numbers]


def scaling(options: Options) -> str:
    """Measure, and tell in Markdown; written to scaling.md as well."""
    with running(prepared(options)) as bench:
        scales = measure(bench)
        size = bench.cluster(bench.data.big).size
        speed = bench.speed("lz4", bench.data.sample_of(bench.data.big))
        written = size * speed.ratio / bench.write_speed
    content = describe(scales, size / 1e9, written)
    (options.output / "scaling.md").write_text(content)
    return content


def describe(scales: Sequence[Scale], gigabytes: float, written_seconds: float) -> str:
    """Two tables: the runs, and where each stage saturates."""
    head = (
        "workers, cores",
        "wall s",
        "speed-up",
        "CPU s/GB",
        "parent's CPU s/GB",
        "its share",
        "cores a worker can use",
    )
    lines = [
        [
            str(scale.workers),
            number(scale.wall),
            number(scales[0].wall / scale.wall),
            number(scale.cpu / gigabytes),
            number(scale.parent / gigabytes),
            f"{100 * scale.parent / scale.cpu:.0f} %",
            number(scale.worker_threads),
        ]
        for scale in scales
    ]
    stages = [[stage, number(cores)] for stage, cores in saturation(scales, written_seconds)]
    return f"{table(head, lines)}\n{table(('stage', 'saturates at so many cores'), stages)}"
