"""A delta backup after a part of the pages changed: a copy of the big cluster, each program on its own full backup.

From PostgreSQL 17 on a server can keep WAL summaries, which walpy takes the changed pages from: a row of its own, on a
cluster of such a server with the same tables.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data.cluster import SETTINGS, Cluster, server_since
from benchmarks.data.plan import ACCOUNTS_PER_PAGE
from benchmarks.data.wal import load
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Plan, Variant
from benchmarks.rows.backup import ROUNDS
from benchmarks.rows.wal_push import void
from benchmarks.tools import pgbackrest
from benchmarks.tools.walg_like import TUNED, Place, place, settings

SUMMARIES_SINCE = 17
SENTINEL = "_backup_stop_sentinel.json"
DELTA = "_D_"  # in the name of a delta backup


def delta_plan(bench: Bench, codec: str, percent: int, name: str = "") -> Plan:
    """Every program's delta (pgBackRest: differential) backup after one row on so many of 100 pages was updated.

    name: of the row's folder, where none has it before in the same run.
    """
    cluster = bench.cluster(copy_of_big(bench, name or f"delta-{percent}"))
    settle(cluster)
    entries = [*both(bench, cluster, codec), with_pgbackrest(bench, cluster, codec)]
    return changed_plan(bench, cluster, entries, percent)


def summaries_plan(bench: Bench, codec: str, percent: int) -> Plan:
    """The same on a server that keeps WAL summaries. Raises LookupError where there is none."""
    major = server_since(SUMMARIES_SINCE)
    directory = bench.folder("delta-summaries") / "data"
    Cluster(directory, bench.environment, major).initialise({**SETTINGS, "summarize_wal": "on"})
    cluster = bench.cluster(directory, major)
    load(cluster, bench.data.plan)
    settle(cluster)
    return changed_plan(bench, cluster, both(bench, cluster, codec), percent)


def both(bench: Bench, cluster: Cluster, codec: str) -> list[Variant | Absent]:
    """Deltas of walpy and of WAL-G."""
    return [
        walg_like(bench, OWN, OWN, cluster, codec, {}),
        walg_like(bench, "wal-g", "wal-g, defaults", cluster, codec, {}),
        walg_like(bench, "wal-g", "wal-g, 2 readers", cluster, codec, TUNED),
    ]


def changed_plan(bench: Bench, cluster: Cluster, entries: list[Variant | Absent], percent: int) -> Plan:
    """Change so many of 100 pages, after the full backups, and measure."""
    apart = ACCOUNTS_PER_PAGE * 100 // percent
    cluster.execute(f"update pgbench_accounts set abalance = abalance + 1 where aid % {apart} = 0", "checkpoint")
    return Plan(entries, bench.rounds(ROUNDS), cluster.size / 1e9, is_synced=True)


def settle(cluster: Cluster) -> None:
    """Freeze the accounts before the full backups: else the first scan sets hint bits, and all pages have changed."""
    cluster.execute("vacuum (freeze) pgbench_accounts", "checkpoint")


def copy_of_big(bench: Bench, name: str) -> Path:
    """A data directory of the row's own, since the row changes it."""
    original = bench.cluster(bench.data.big)
    original.stop()
    del bench.clusters[bench.data.big]
    target = bench.work / name / "data"
    assert target not in bench.clusters, f"another row of this run uses {name}"
    bench.folder(name)
    shutil.copytree(bench.data.big, target)
    return target


def walg_like(
    bench: Bench, program: str, label: str, cluster: Cluster, codec: str, more: Mapping[str, str]
) -> Variant | Absent:
    """backup-push of walpy or WAL-G; its full backup is taken now."""
    if program not in bench.programs:
        return bench.missing(program, label)
    where = place(bench, f"{program}-{len(more)}-delta", "file")
    environment = settings(bench, where, codec, {**cluster.environment, **more})
    words = ["backup-push", str(cluster.directory)]
    run(bench.command(program, *words, environment=environment, directory=bench.work))
    (full,) = backups(where)
    delta = {**environment, "WALG_DELTA_MAX_STEPS": "7", "WALG_DELTA_FROM_NAME": full}
    command = bench.command(program, *words, environment=delta, directory=bench.work)

    def forget() -> None:
        for path in where.folder.glob(f"basebackups_005/*{DELTA}*"):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    def check() -> None:
        made = backups(where)
        assert sum(DELTA in name for name in made) == 1, f"{label} made {made}"

    return Variant(program, label, lambda: void(run(command)), forget, check, stored=lambda: delta_size(where))


def backups(where: Place) -> list[str]:
    """Names of all backups in a place."""
    sentinels = where.folder.glob(f"basebackups_005/*{SENTINEL}")
    return [path.name.removesuffix(SENTINEL) for path in sentinels]


def delta_size(where: Place) -> int:
    """Bytes of the delta backup in a place."""
    paths = where.folder.glob(f"basebackups_005/*{DELTA}*/**/*")
    return sum(path.stat().st_size for path in paths if path.is_file())


def with_pgbackrest(bench: Bench, cluster: Cluster, codec: str) -> Variant | Absent:
    """A differential backup with a process for each core: whole files that changed."""
    name = pgbackrest.NAME
    if name not in bench.programs:
        return bench.missing(name)
    repository = pgbackrest.repository(bench, "pgbackrest-delta", cluster.directory, codec, sockets=cluster.sockets)
    run(repository.command("backup", "--type=full", "--no-archive-check", "--start-fast"))
    command = repository.command("backup", "--type=diff", "--no-archive-check", "--start-fast")
    before: list[int] = []
    return Variant(
        name,
        f"{name}, differential",
        lambda: void(run(command)),
        lambda: before.append(repository.stored()),
        stored=lambda: repository.stored() - before[-1],
    )
