"""A backup restored into a fresh directory, from the start of the command to its exit, and a flush."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.bench import SHELL, Bench, tree_size
from benchmarks.data.cluster import Cluster
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows.backup import ROUNDS, TAR
from benchmarks.rows.wal_push import void
from benchmarks.tools import pgbackrest
from benchmarks.tools.walg_like import TUNED, place, settings

LEAST_SHARE = 0.97  # of the cluster's bytes; programs leave out what a start makes again


def restore_plan(
    bench: Bench, codec: str, directory: Path, rounds: int = ROUNDS, room: Callable[[], Path] | None = None
) -> Plan:
    """Every program restores its own backup from a folder. room: makes a directory for each restore.

    Raises LookupError.
    """
    flushed = room() if room else None
    cluster = bench.cluster(directory)
    entries: list[Variant | Absent] = [
        walg_like(bench, OWN, OWN, cluster, codec, {}, room),
        walg_like(bench, "wal-g", "wal-g, defaults", cluster, codec, {}, room),
        walg_like(bench, "wal-g", "wal-g, of 2 readers", cluster, codec, TUNED, room),
        with_pgbackrest(bench, cluster, codec, room),
        with_shell(bench, cluster, codec, room),
    ]
    size = cluster.size
    floor = bench.decoding_floor(codec, size, bench.data.sample_of(directory))
    return Plan(entries, bench.rounds(rounds), size / 1e9, floor=floor, is_synced=True, flushed=flushed)


def variant(
    bench: Bench,
    program: str,
    label: str,
    cluster: Cluster,
    command: Callable[[Path], Command],
    room: Callable[[], Path] | None = None,
) -> Variant:
    """A restore into a directory that no run had before."""
    names: list[Path] = []
    size = cluster.size

    def prepare() -> None:
        parent = room() if room else bench.work
        names.append(parent / f"restored-{program}-{len(label)}-{len(names)}")
        if program in (SHELL, pgbackrest.NAME):
            names[-1].mkdir(mode=0o700)

    def finish() -> None:
        restored = tree_size(names[-1])
        shutil.rmtree(names[-1])
        assert restored >= LEAST_SHARE * size, f"{label} restored {restored} of {size} bytes"

    return Variant(program, label, lambda: void(run(command(names[-1]))), prepare, finish)


def walg_like(
    bench: Bench,
    program: str,
    label: str,
    cluster: Cluster,
    codec: str,
    more: Mapping[str, str],
    room: Callable[[], Path] | None,
) -> Variant | Absent:
    """backup-fetch of walpy or WAL-G."""
    if program not in bench.programs:
        return bench.missing(program, label)
    where = place(bench, f"{program}-{len(more)}-restore", "file")
    environment = settings(bench, where, codec, {**cluster.environment, **more})
    run(bench.command(program, "backup-push", str(cluster.directory), environment=environment, directory=bench.work))
    plain = settings(bench, where, codec, {})

    def fetch(target: Path) -> Command:
        return bench.command(program, "backup-fetch", str(target), "LATEST", environment=plain, directory=bench.work)

    return variant(bench, program, label, cluster, fetch, room)


def with_pgbackrest(bench: Bench, cluster: Cluster, codec: str, room: Callable[[], Path] | None) -> Variant | Absent:
    """restore with a process for each core."""
    name = pgbackrest.NAME
    if name not in bench.programs:
        return bench.missing(name)
    repository = pgbackrest.repository(bench, "pgbackrest-restore", cluster.directory, codec, sockets=cluster.sockets)
    run(repository.command("backup", "--type=full", "--no-archive-check", "--start-fast"))

    def fetch(target: Path) -> Command:
        return repository.command("restore", f"--pg1-path={target}", "--type=none")

    return variant(bench, name, name, cluster, fetch, room)


def with_shell(bench: Bench, cluster: Cluster, codec: str, room: Callable[[], Path] | None) -> Variant | Absent:
    """The codec's command and tar."""
    label = f"{codec} -d, tar"
    if codec not in bench.programs:
        return Absent(SHELL, label, f"{codec} is not on PATH")
    stored = bench.folder("shell-restore") / "backup.tar"
    make: Sequence[str] = ("sh", "-c", f"{TAR.format(source=cluster.directory)} | {codec} -1 -q -c > {stored}")
    run(Command(tuple(make), bench.environment, bench.work))

    def fetch(target: Path) -> Command:
        line = f"{codec} -d -q -c {stored} | tar -x -C {target}"
        return Command(("sh", "-c", line), bench.environment, bench.work)

    return variant(bench, SHELL, label, cluster, fetch, room)
