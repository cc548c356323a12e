"""A chain of delta backups restored, in both orders: what a night's delta costs at the next restore.

Every program has made its own chain of the same cluster, whose pages changed in between; walpy's full backup of the
last state is restored beside.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data.cluster import Cluster
from benchmarks.data.plan import ACCOUNTS_PER_PAGE
from benchmarks.measure import run
from benchmarks.model import OWN, Absent, Command, Plan, Variant
from benchmarks.rows.backup import ROUNDS
from benchmarks.rows.delta import DELTA, backups, copy_of_big, settle
from benchmarks.rows.restore import variant
from benchmarks.tools.walg_like import Place, place, settings

STEPS = 5  # backups in a chain, the full one included
PERCENT = 5  # of the accounts' pages that change between two of them
ORDERS = {"": (), ", reverse": ("--reverse-unpack", "--skip-redundant-tars")}


def chain_plan(bench: Bench, codec: str) -> Plan:
    """backup-fetch of the last backup of a chain by walpy and WAL-G, forward and reverse."""
    cluster = bench.cluster(copy_of_big(bench, "chain"))
    settle(cluster)
    programs = [program for program in (OWN, "wal-g") if program in bench.programs]
    places = {program: place(bench, f"{program}-chain", "file") for program in programs}
    apart = ACCOUNTS_PER_PAGE * 100 // PERCENT
    for step in range(STEPS):
        if step:
            change = f"update pgbench_accounts set abalance = abalance + 1 where aid % {apart} = {step}"
            cluster.execute(change, "checkpoint")
        for program in programs:
            push(bench, program, cluster, places[program], codec)
    for program in programs:
        check(places[program])
    full = place(bench, "full-beside-chain", "file")
    push(bench, OWN, cluster, full, codec)
    entries: list[Variant | Absent] = [
        fetch(bench, program, f"{program}{order}", cluster, places[program], codec, flags)
        if program in places
        else bench.missing(program, f"{program}{order}")
        for program in (OWN, "wal-g")
        for order, flags in ORDERS.items()
    ]
    beside = fetch(bench, OWN, f"{OWN}, a full backup instead", cluster, full, codec, ())
    entries.append(replace(beside, is_headline=False))
    return Plan(entries, bench.rounds(ROUNDS), cluster.size / 1e9, is_synced=True)


def push(bench: Bench, program: str, cluster: Cluster, where: Place, codec: str) -> None:
    """Add a backup to a chain."""
    environment = settings(bench, where, codec, {**cluster.environment, "WALG_DELTA_MAX_STEPS": str(STEPS)})
    words = ["backup-push", str(cluster.directory)]
    run(bench.command(program, *words, environment=environment, directory=bench.work))


def check(where: Place) -> None:
    """Raise AssertionError unless there is one chain."""
    made = backups(where)
    assert sum(DELTA in name for name in made) == STEPS - 1 == len(made) - 1, f"a chain of {made}"


def fetch(
    bench: Bench,
    program: str,
    label: str,
    cluster: Cluster,
    where: Place,
    codec: str,
    flags: Sequence[str],
) -> Variant:
    """backup-fetch of the newest backup in a place."""
    environment = settings(bench, where, codec, {})

    def command(target: Path) -> Command:
        words = ["backup-fetch", str(target), "LATEST", *flags]
        return bench.command(program, *words, environment=environment, directory=bench.work)

    return variant(bench, program, label, cluster, command)
