"""A million files: what their number alone costs a backup, a delta backup and restores, in time and memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data.cluster import SETTINGS, Cluster
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows import delta, restore
from benchmarks.rows.backup import walg_like as backup_by
from benchmarks.rows.chain import push
from benchmarks.tools.walg_like import TUNED, place, settings

COMMANDS = ("backup", "delta", "restore")
ROUNDS = 1
SIZES = {"full": 1_000_000, "quick": 20_000}  # files
CHANGED = 100  # every so many'th is changed before the delta backup
CONTENT = b"one of very many files "


def million_plan(bench: Bench, command: str, codec: str) -> Plan:
    """One command of walpy and of WAL-G with two readers."""
    cluster = bench.cluster(many_files(bench, SIZES[bench.data.plan.name]))
    more = {OWN: {}, "wal-g": TUNED}
    made: dict[str, Callable[[str], list[Variant | Absent]]] = {
        "backup": lambda program: [backup_by(bench, program, label(program), cluster, codec, "file", more[program])],
        "delta": lambda program: [delta.walg_like(bench, program, label(program), cluster, codec, more[program])],
        "restore": lambda program: restores(bench, program, cluster, codec),
    }
    entries = [entry for program in more for entry in made[command](program)]
    if command == "delta":
        touch(cluster.directory)
    return Plan(entries, bench.rounds(ROUNDS), cluster.size / 1e9, is_synced=True)


def label(program: str) -> str:
    """The program, with what its options are."""
    return program if program == OWN else f"{program}, 2 readers"


def many_files(bench: Bench, count: int) -> Path:
    """A data directory with so many files, made once in a run."""
    directory = bench.work / "million" / "data"
    if not directory.exists():
        directory.parent.mkdir()
        Cluster(directory, bench.environment).initialise(SETTINGS)
        for number in range(count):
            path = file_of(directory, number)
            if number % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(CONTENT)
    return directory


def touch(directory: Path) -> None:
    """Change every CHANGED'th file."""
    number = 0
    while (path := file_of(directory, number)).exists():
        path.write_bytes(CONTENT + b"changed")
        number += CHANGED


def file_of(directory: Path, number: int) -> Path:
    """The n-th file, a thousand in a folder."""
    return directory / "many" / f"{number // 1000:04d}" / f"{number:07d}"


def restores(bench: Bench, program: str, cluster: Cluster, codec: str) -> list[Variant | Absent]:
    """backup-fetch of a full backup, and of a delta backup without changes, whose list of files counts twice."""
    if program not in bench.programs:
        return [bench.missing(program, label(program))]
    where = place(bench, f"{program}-million-restore", "file")
    environment = settings(bench, where, codec, {})

    def fetch(name: str) -> Callable[[Path], Command]:
        return lambda target: bench.command(
            program, "backup-fetch", str(target), name, environment=environment, directory=bench.work
        )

    push(bench, program, cluster, where, codec)
    (full,) = delta.backups(where)
    push(bench, program, cluster, where, codec)
    full_restore = restore.variant(bench, program, label(program), cluster, fetch(full))
    of_delta = restore.variant(bench, program, f"{label(program)}, of a delta", cluster, fetch("LATEST"))
    return [full_restore, replace(of_delta, is_headline=False)]
