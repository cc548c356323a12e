"""One run: makes or finds the data, measures floors and rows, writes the result after each row."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.bench import Bench, base_environment, find_programs, running
from benchmarks.data.make import make, say
from benchmarks.data.plan import FULL, QUICK, DataPlan
from benchmarks.floors import write_speed
from benchmarks.interleave import measure_row
from benchmarks.machine import BUSY_CORES, conditions
from benchmarks.measure import adopt_orphans
from benchmarks.model import OWN, Cell, Result, Row, RowResult
from benchmarks.privileges import lock
from benchmarks.report.write import write_report
from benchmarks.rows.table import Planner, all_rows
from benchmarks.services import Services, start_sink

VERSIONS = {
    OWN: ["--version"],
    "wal-g": ["--version"],
    "pgbackrest": ["version"],
    "pg_basebackup": ["--version"],
    "barman-cloud-backup": ["--version"],
    "lz4": ["--version"],
    "zstd": ["--version"],
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. work: kept between runs; output: where results go."""

    work: Path
    output: Path
    rows: Sequence[str]
    is_quick: bool = False
    most_rounds: int | None = None
    is_sink_in_memory: bool = False


def prepared(options: Options) -> Bench:
    """Data made, servers started, floors measured."""
    adopt_orphans()
    lock(options.work)  # until this process ends
    plan: DataPlan = QUICK if options.is_quick else FULL
    environment = base_environment(options.work)
    data = make(plan, options.work / f"data-{plan.name}", environment)
    scratch = options.work / "run"
    scratch.mkdir(exist_ok=True)
    Path(environment["TMPDIR"]).mkdir(exist_ok=True)
    sink_folder = Path("/dev/shm") if options.is_sink_in_memory else scratch
    services = Services(sink=start_sink(sink_folder / "benchmark-sink"))
    bench = Bench(data, scratch, services, find_programs(), environment, options.most_rounds)
    say("measuring the floors")
    bench.write_speed = write_speed(scratch)
    return bench


def measure(options: Options) -> Result:
    """Measure the rows that were asked for."""
    rows = all_rows()
    result = Result({}, [])
    with running(prepared(options)) as bench:
        result = Result(describe(bench, options), [])
        for number, name in enumerate(options.rows, 1):
            row, planner = rows[name]
            say(f"row {number} of {len(options.rows)}: {row.title}")
            result.rows.append(measured(bench, row, planner))
            results.save(result, options.output / "result.json")
            write_report(result, options.output)
    return result


def measured(bench: Bench, row: Row, planner: Planner) -> RowResult:
    """One row; when it cannot even be prepared, it says why."""
    try:
        return measure_row(row, planner(bench), bench.services, bench.work, Path(bench.environment["TMPDIR"]))
    except Exception as error:  # noqa: BLE001 - one row's trouble must not cost the others
        print(f"  {row.name}: {error}", file=sys.stderr, flush=True)
        return RowResult(row, [Cell(OWN, OWN, "failed", str(error) or repr(error))])


def describe(bench: Bench, options: Options) -> dict[str, str]:
    """Conditions of a run."""
    plan = bench.data.plan
    return {
        "date": time.strftime("%Y-%m-%d"),
        **conditions(),
        "data": f"{plan.name}: pgbench scale {plan.scale}, {plan.small_files} small files, "
        f"{len(bench.data.kinds)} segments, {plan.burst} of them in bursts",
        "floors": f"{codec_floors(bench)}; a new file written and flushed {bench.write_speed / 1e6:.0f} MB/s",
        "S3": "own sink, objects in memory" if options.is_sink_in_memory else "own sink, objects in files",
        "busy rule": f"dropped when other processes used more than {BUSY_CORES} of a core",
        **{f"version of {name}": version(bench, name) for name in VERSIONS},
    }


def codec_floors(bench: Bench) -> str:
    """What the codecs do on one core with the big cluster's content."""
    speeds = {codec: bench.speed(codec, bench.data.sample_of(bench.data.big)) for codec in ("lz4", "zstd", "brotli")}
    return ", ".join(
        f"{codec} {one.encode / 1e6:.0f} (back {one.decode / 1e6:.0f}) MB/s a core" for codec, one in speeds.items()
    )


def version(bench: Bench, name: str) -> str:
    """What a program says of itself."""
    if name not in bench.programs:
        return "absent"
    words = [bench.programs[name], *VERSIONS[name]]
    output = subprocess.run(words, env=dict(bench.environment), capture_output=True, text=True).stdout
    return " ".join(output.split("\n", 1)[0].split())
