"""Peak memory of backup-push and backup-fetch, all processes together, on a big database and on many small files.

Proportional set size (PSS) of the whole process tree, sampled: pages that processes share count once.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fixtures.cluster import (
    DEFAULT_MAJOR,
    SETTINGS,
    Cluster,
    bin_directory,
    give,
    new_base,
    unprivileged,
)

BIG_ROWS = 24_000_000  # about 3 GB with its index
SMALL_FILES = 100_000
SAMPLE_SECONDS = 0.05
BOUND_MIB = 256  # for two cores; stated in docs/architecture.md


def children_of(pid: int) -> list[int]:
    """Direct children of a process; none when it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        lists = [Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def tree_pss_kib(pid: int) -> int:
    """PSS of a process and all its descendants, KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own + sum(tree_pss_kib(child) for child in children_of(pid))


def peak(cluster: Cluster, arguments: Sequence[str]) -> tuple[float, float]:
    """Run walpy as the cluster's user; its peak PSS in MiB and its seconds."""
    started = time.monotonic()
    with (cluster.base / "walpy.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "walpy", *arguments],
            cwd=cluster.base,
            env=cluster.process_environment(),
            stdout=log,
            stderr=log,
            **unprivileged(),  # type: ignore[call-overload]
        )
        highest = 0
        while process.poll() is None:
            highest = max(highest, tree_pss_kib(process.pid))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"walpy {' '.join(arguments)} failed:\n{(cluster.base / 'walpy.log').read_text()}")
    return highest / 1024, time.monotonic() - started


def measure(label: str, cluster: Cluster) -> None:
    """Push the cluster and fetch it again."""
    target = cluster.base / "restored"
    push, push_seconds = peak(cluster, ["backup-push", str(cluster.data_directory)])
    fetch, fetch_seconds = peak(cluster, ["backup-fetch", str(target), "LATEST"])
    shutil.rmtree(target)
    for command, memory, seconds in (("backup-push", push, push_seconds), ("backup-fetch", fetch, fetch_seconds)):
        verdict = "within" if memory <= BOUND_MIB else "ABOVE"
        print(f"| {label} | {command} | {memory:.0f} | {verdict} {BOUND_MIB} | {seconds:.1f} |", flush=True)


def big_database(cluster: Cluster) -> None:
    """A table of about 3 GB."""
    cluster.execute(
        "create unlogged table big as select i, md5(i::text) as a, repeat(md5((i * 7)::text), 2) as b "
        f"from generate_series(1, {BIG_ROWS}) i"
    )
    cluster.execute("alter table big set logged")
    cluster.execute("checkpoint")


def many_files(cluster: Cluster) -> None:
    """Small files in 100 directories of the data directory, 40 bytes to 12 KB each."""
    folder = cluster.data_directory / "many"
    for number in range(SMALL_FILES):
        directory = folder / f"{number % 100:02d}"
        if number < 100:
            directory.mkdir(parents=True)
        (directory / f"{number:06d}").write_bytes(f"{number:040d}".encode() * (number % 300 + 1))
    give(folder)


def main() -> None:
    """Both shapes, on folder storage."""
    programs = bin_directory(DEFAULT_MAJOR)
    if programs is None:
        raise SystemExit("no PostgreSQL found")
    print("| data | command | peak PSS MiB | bound MiB | s |\n|---|---|---|---|---|")
    for label, fill in (("3 GB database", big_database), ("100,000 small files", many_files)):
        storage = new_base()
        environment = {"WALG_FILE_PREFIX": str(storage)}
        cluster = Cluster(DEFAULT_MAJOR, programs, new_base(), environment)
        try:
            cluster.initdb()
            cluster.configure({**SETTINGS, "archive_mode": "on", "archive_command": "/bin/true", "max_wal_size": "4GB"})
            cluster.start()
            fill(cluster)  # its WAL needs no archive: the backup comes later
            cluster.configure({"archive_command": f"{sys.executable} -m walpy wal-push %p"})
            cluster.execute("select pg_reload_conf()")
            measure(label, cluster)
        finally:
            cluster.remove()
            shutil.rmtree(storage, ignore_errors=True)
