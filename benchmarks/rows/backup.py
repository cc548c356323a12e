"""A base backup of a running server, from the start of the command to its exit, and a flush."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import SHELL, Bench, tree_size
from benchmarks.data.cluster import Cluster
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows.wal_push import void
from benchmarks.tools import barman, pgbackrest
from benchmarks.tools.walg_like import TUNED, place, settings

ROUNDS = 5
BASEBACKUP_OPTIONS = {
    "lz4": {"server-lz4": "server-lz4", "client-lz4": "client-lz4"},
    "zstd": {"client-zstd:1": "client-zstd:1", "server-zstd:1": "server-zstd:1"},
    "none": {"none": "none"},
}
TAR = "tar -C {source} --exclude=./pg_wal/* --exclude=./postmaster.pid -cf - . 2>/dev/null"


def backup_plan(bench: Bench, codec: str, storage: str, directory: Path, rounds: int = ROUNDS) -> Plan:
    """Every program's backup of the cluster in a data directory; storage: "file" or "s3"."""
    cluster = bench.cluster(directory)
    entries: list[Variant | Absent] = [
        walg_like(bench, OWN, OWN, cluster, codec, storage, {}),
        walg_like(bench, "wal-g", "wal-g, defaults", cluster, codec, storage, {}),
        walg_like(bench, "wal-g", "wal-g, 2 readers", cluster, codec, storage, TUNED),
    ]
    if storage == "s3":
        entries.append(with_barman(bench, cluster))
    else:
        entries.insert(1, verifying(bench, cluster, codec))
        entries += [*with_pg_basebackup(bench, cluster, codec), with_pgbackrest(bench, cluster, codec)]
        entries.append(with_shell(bench, cluster, codec))
    size = cluster.size
    floor = bench.floor(codec, size, bench.data.sample_of(directory))
    return Plan(entries, bench.rounds(rounds), size / 1e9, floor=floor, is_synced=True)


def walg_like(
    bench: Bench, program: str, label: str, cluster: Cluster, codec: str, storage: str, more: Mapping[str, str]
) -> Variant | Absent:
    """backup-push of walpy or WAL-G."""
    if program not in bench.programs:
        return bench.missing(program, label)
    where = place(bench, f"{program}-{len(more)}", storage)
    environment = settings(bench, where, codec, {**cluster.environment, **more})
    words = ["backup-push", str(cluster.directory)]
    command = bench.command(program, *words, environment=environment, directory=bench.work)
    return Variant(program, label, lambda: void(run(command)), where.clear, stored=where.stored)


def verifying(bench: Bench, cluster: Cluster, codec: str) -> Variant | Absent:
    """walpy, every page's checksum verified on the way."""
    if OWN not in bench.programs:
        return bench.missing(OWN)
    where = place(bench, "walpy-verify", "file")
    environment = settings(bench, where, codec, cluster.environment)
    words = ["backup-push", "--verify", str(cluster.directory)]
    command = bench.command(OWN, *words, environment=environment, directory=bench.work)
    label = f"{OWN} --verify"
    return Variant(OWN, label, lambda: void(run(command)), where.clear, stored=where.stored, is_headline=False)


def with_pg_basebackup(bench: Bench, cluster: Cluster, codec: str) -> list[Variant | Absent]:
    """pg_basebackup's tar format without WAL, compressed by the server or by the client."""
    name = "pg_basebackup"
    if name not in bench.programs:
        return [bench.missing(name)]
    if codec not in BASEBACKUP_OPTIONS:
        return [Absent(name, name, f"it does not compress by {codec}")]
    return [
        basebackup_variant(bench, cluster, f"{name} {label}", option)
        for label, option in BASEBACKUP_OPTIONS[codec].items()
    ]


def basebackup_variant(bench: Bench, cluster: Cluster, label: str, compression: str) -> Variant:
    """One way of compression."""
    name = "pg_basebackup"
    target = bench.work / label.replace(":", "-")
    options = ["-D", str(target), "-Ft", "-X", "none", "-c", "fast", f"--compress={compression}"]
    command = bench.command(name, *options, environment=cluster.environment, directory=bench.work)

    def prepare() -> None:
        shutil.rmtree(target, ignore_errors=True)

    return Variant(name, label, lambda: void(run(command)), prepare, stored=lambda: tree_size(target), leave=prepare)


def with_pgbackrest(bench: Bench, cluster: Cluster, codec: str) -> Variant | Absent:
    """A full backup with a process for each core."""
    name = pgbackrest.NAME
    if name not in bench.programs:
        return bench.missing(name)
    if codec not in pgbackrest.CODECS:
        return Absent(name, name, f"it does not compress by {codec}")
    repository = pgbackrest.repository(bench, "pgbackrest", cluster.directory, codec, sockets=cluster.sockets)
    command = repository.command("backup", "--type=full", "--no-archive-check", "--start-fast")
    return Variant(name, name, lambda: void(run(command)), repository.create, stored=repository.stored)


def with_barman(bench: Bench, cluster: Cluster) -> Variant | Absent:
    """barman-cloud-backup with two uploaders, uncompressed: this version has no lz4."""
    if barman.NAME not in bench.programs:
        return bench.missing(barman.NAME)
    options = ["-h", str(cluster.sockets), "-p", "5432", "-U", "postgres", "-J", "2", "--immediate-checkpoint"]
    command = barman.command(bench, "backup", [*options, barman.url(), barman.SERVER])
    return Variant(barman.NAME, f"{barman.NAME}, none", lambda: void(run(command)), lambda: barman.clear(bench))


def with_shell(bench: Bench, cluster: Cluster, codec: str) -> Variant | Absent:
    """tar and the codec's command, over a data directory that nobody writes to."""
    label = f"tar, {codec} -1"
    if codec != "none" and codec not in bench.programs:
        return Absent(SHELL, label, f"{codec} is not on PATH")
    target = bench.folder("shell-backup") / "backup.tar"
    through = {"none": "cat", "brotli": "brotli -3 -c"}.get(codec, f"{codec} -1 -q -c")
    line = f"{TAR.format(source=cluster.directory)} | {through} | cat > {target}"
    command = Command(("sh", "-c", line), bench.environment, bench.work)
    return Variant(
        SHELL,
        label,
        lambda: void(run(command)),
        lambda: target.unlink(missing_ok=True),
        stored=lambda: target.stat().st_size,
    )
