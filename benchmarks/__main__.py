"""python -m benchmarks run | quick | report | scaling | ciphers | rows; see benchmarks/README.md."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.ciphers.command import add_arguments, ciphers
from benchmarks.privileges import claim, compile_all, lock, run_unprivileged
from benchmarks.report.markdown import summary_table
from benchmarks.report.write import generated, replace_generated, write_plots
from benchmarks.rows.table import GROUPS, all_rows, chosen
from benchmarks.scaling import scaling
from benchmarks.session import Options, measure

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
QUICK_ROUNDS = 2  # enough to see that a row works
PLOTS = "benchmarks"  # folder beside the page


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    work = Path(tempfile.gettempdir()) / "walpy-benchmarks"
    for name in ("run", "quick", "scaling", "startup", *GROUPS):
        command = commands.add_parser(name)
        command.add_argument("--work", type=Path, default=work, help="where the data stays (default: %(default)s)")
        command.add_argument("--output", type=Path, help="where results go (default: WORK/results)")
        command.add_argument("--quick", action="store_true", help="a tenth of the data, two samples")
        command.add_argument("--rounds", type=int, metavar="N", help="at most so many samples (quick: 2)")
        command.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows, groups, or how names begin")
        command.add_argument("--memory-sink", action="store_true", help="S3 objects in memory instead of files")
    report = commands.add_parser("report")
    report.add_argument("result", type=Path, nargs="+", help="result.json; of later ones the rows replace earlier rows")
    report.add_argument("--page", type=Path, default=PAGE)
    report.add_argument("--scaling", type=Path, help="scaling.md of a run of `scaling`")
    commands.add_parser("rows")
    add_arguments(commands.add_parser("ciphers", help="encryption alone, in memory"))
    return made


def options_of(arguments: argparse.Namespace) -> Options:
    """What to measure."""
    names = arguments.only or ([] if arguments.command in ("run", "quick", "scaling") else [arguments.command])
    is_quick = arguments.quick or arguments.command == "quick"
    output = arguments.output or arguments.work / "results"
    return Options(
        work=arguments.work.absolute(),
        output=output.absolute(),
        rows=chosen(names),
        is_quick=is_quick,
        most_rounds=arguments.rounds or (QUICK_ROUNDS if is_quick else None),
        is_sink_in_memory=arguments.memory_sink,
    )


def start(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Measure, as an unprivileged user; the exit status."""
    options = options_of(arguments)
    claim(options.work)
    options.output.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.close(lock(options.work))  # the child takes it
        compile_all()
        made = options.work / "results"
        shutil.rmtree(made, ignore_errors=True)
        status = run_unprivileged(options.work, [*words, "--work", str(options.work), "--output", str(made)])
        if made.exists() and made != options.output:
            shutil.copytree(made, options.output, dirs_exist_ok=True)
        return status
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped on the way out
    print(scaling(options) if arguments.command == "scaling" else summary_table(measure(options)))
    print(f"results: {options.output}")
    return 0


def report(paths: Sequence[Path], page: Path, scaling_path: Path | None) -> None:
    """Renew the generated part of the page, and its plots."""
    result = results.load(paths[0])
    for path in paths[1:]:
        result = results.merged(result, results.load(path))
    content = generated(result, PLOTS)
    if scaling_path:
        content += f"\n### Scaling of a backup, file, lz4\n\n{scaling_path.read_text()}"
    page.write_text(replace_generated(page.read_text(), content))
    plots = page.parent / PLOTS
    plots.mkdir(exist_ok=True)
    write_plots(result, plots)


def main() -> None:
    """Do what the command line names."""
    words = sys.argv[1:]
    arguments = parser().parse_args(words)
    if arguments.command == "report":
        report(arguments.result, arguments.page, arguments.scaling)
    elif arguments.command == "ciphers":
        print(ciphers(arguments))
    elif arguments.command == "rows":
        print("\n".join(f"{row.name:22} {row.title}" for row, _ in all_rows().values()))
    else:
        try:
            sys.exit(start(arguments, words))
        except (FileExistsError, LookupError, BlockingIOError) as error:
            sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
