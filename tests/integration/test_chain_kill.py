"""kill -9 at any moment of a delta push and of the restore of a chain: nothing half done counts, and a rerun succeeds.

WALPY_KILLS=100 kills that often instead of a few times; WALPY_SEED chooses other moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, archiving, unprivileged
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully
from tests.integration.backup_restore import newest_backup

KILLS = int(os.environ.get("WALPY_KILLS", "3"))
SEED = int(os.environ.get("WALPY_SEED", "1"))
SMALL_PARTS = {"WALG_TAR_SIZE_THRESHOLD": "1000000", "WALG_DELTA_MAX_STEPS": "99"}
CONTENT = "select count(*) || ' ' || sum(hashtextextended(t::text, 0)) from filled t"
pytestmark = pytest.mark.timeout(120 + 60 * KILLS)
TARGET = {"archive_mode": "off", "recovery_target": "immediate", "recovery_target_action": "promote"}


@dataclass(frozen=True)
class Chain:
    """A server, the names of its backups, the files of a whole restore of the newest one, and how long that took."""

    cluster: Cluster
    newest: str
    files: dict[str, bytes]
    fetch_seconds: float
    push_seconds: float
    content: str


def change(cluster: Cluster, step: int) -> None:
    cluster.execute(f"update filled set x = x || {step} where i % 20 = {step}")
    cluster.execute(f"insert into filled select n, md5(n::text) from generate_series(1, 20000) n where {step} < 90")
    cluster.execute("checkpoint")


def push(cluster: Cluster) -> float:
    started = time.monotonic()
    cluster.walpy("backup-push", str(cluster.data_directory), **SMALL_PARTS)
    return time.monotonic() - started


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def chain(make_cluster: ClusterFactory, archive_folder: Path) -> Chain:
    """A full backup and two deltas, in many small parts."""
    settings, environment = archiving(archive_folder)
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    cluster.execute("create table filled as select n as i, md5(n::text) as x from generate_series(1, 60000) n")
    seconds = 0.0
    for step in range(3):
        change(cluster, step)
        seconds = push(cluster)
    content = cluster.execute(CONTENT)
    archive_all(cluster)
    newest = newest_backup(archive_folder).name
    assert newest.count("_D_") == 1
    started = time.monotonic()
    cluster.walpy("backup-fetch", str(cluster.base / "reference"), newest)
    return Chain(cluster, newest, contents(cluster.base / "reference"), time.monotonic() - started, seconds, content)


@contextmanager
def running(cluster: Cluster, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A walpy that is killed when the body ends, it alone: its workers must see to themselves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "walpy", *arguments],
        cwd=cluster.base,
        env={**cluster.process_environment(), **SMALL_PARTS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **unprivileged(),  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def killed(cluster: Cluster, seconds: float, *arguments: str) -> None:
    """Run walpy for so long, unless it ends before."""
    with running(cluster, *arguments) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def moments(longest: float, seed: int) -> Iterator[float]:
    chosen = random.Random(SEED * 1000 + seed)
    return (chosen.uniform(0.1, 1.05) * longest for _ in range(KILLS))


def test_a_killed_restore_of_a_chain_is_resumed(chain: Chain, make_cluster: ClusterFactory) -> None:
    kept = 0
    for number, seconds in enumerate(moments(chain.fetch_seconds, 1)):
        destination = chain.cluster.base / f"restored{number}"
        order = [[], ["--reverse-unpack"]][number % 2]
        command = ["backup-fetch", str(destination), chain.newest, *order, "--resume"]
        killed(chain.cluster, seconds, *command)
        if number % 3 == 0 and not is_complete(destination, chain):
            killed(chain.cluster, seconds / 2, *command)
        if not is_complete(destination, chain):
            kept += chain.cluster.walpy(*command).stderr.count("is there already")
        found = contents(destination)
        assert {name for name, data in found.items() if chain.files.get(name) != data} == set()
        assert found.keys() == chain.files.keys()
        subprocess.run(["rm", "-r", str(destination)], check=True)
    assert kept > 0 or KILLS < 10
    restored = make_cluster(initdb=False, environment=chain.cluster.environment)
    killed(chain.cluster, chain.fetch_seconds / 2, "backup-fetch", str(restored.data_directory), chain.newest)
    if not is_complete(restored.data_directory, chain):
        restored.walpy("backup-fetch", str(restored.data_directory), chain.newest, "--resume")
    recover_fully(restored, {**archiving(Path(chain.cluster.environment["WALG_FILE_PREFIX"]))[0], **TARGET})
    assert restored.execute(CONTENT) == chain.content


def is_complete(destination: Path, chain: Chain) -> bool:
    """Whether the killed restore had come to its end; what a server could start from must be whole."""
    if not (destination / "global/pg_control").exists():
        return False
    assert contents(destination).items() >= chain.files.items()
    return not (destination / ".walpy-restore/header").exists()


def test_a_killed_delta_push_leaves_no_backup_or_a_whole_one(chain: Chain, archive_folder: Path) -> None:
    cluster = chain.cluster
    for number, seconds in enumerate(moments(chain.push_seconds, 2)):
        change(cluster, number + 3)
        before = cluster.walpy("backup-list").stdout
        killed(cluster, seconds, "backup-push", str(cluster.data_directory))
        if cluster.walpy("backup-list").stdout == before:
            push(cluster)
            assert cluster.walpy("backup-list").stdout != before
        newest = newest_backup(archive_folder).name
        assert "_D_" in newest
        destination = cluster.base / f"pushed{number}"
        cluster.walpy("backup-fetch", str(destination), newest)
        assert (destination / "global/pg_control").exists()
        subprocess.run(["rm", "-r", str(destination)], check=True)
