"""A real server archives, crashes, and recovers through walpy."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.cluster import archiving
from tests.fixtures.postgres import Cluster, ClusterFactory
from tests.unit.wal.synthetic import archive_in, content
from walpy.wal.segment import WalKind, is_segment_name, wal_kind

WAIT_SECONDS = 60
ROWS = "select count(*), sum(hashtextextended(t::text, 0)) from t"


def wait_until(condition: Callable[[], bool], cluster: Cluster) -> None:
    """Poll until a condition of a server holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, cluster.log_tail()
        time.sleep(0.05)


def archive_up_to_now(cluster: Cluster) -> str:
    """Switch to a new segment and wait until the one before is archived; its name."""
    last = cluster.execute("select pg_walfile_name(pg_switch_wal())")
    wait_until(
        lambda: cluster.execute("select coalesce(last_archived_wal, '') from pg_stat_archiver")[8:24] >= last[8:24],
        cluster,
    )
    return last


def wal_files(folder: Path) -> set[str]:
    return {name.rpartition(".")[0] for name in os.listdir(folder / "wal_005")}


@pytest.fixture
def small(make_cluster: ClusterFactory, archive_folder: Path) -> Cluster:
    """A running cluster of 1 MiB segments that archives to archive_folder."""
    settings, environment = archiving(archive_folder)
    settings |= {"max_wal_size": "8MB", "min_wal_size": "2MB"}
    return make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)


def copy_of(cluster: Cluster, make_cluster: ClusterFactory) -> Cluster:
    """A cluster whose data directory is a base backup of a running one, taken by pg_basebackup."""
    copy = make_cluster(initdb=False, environment=cluster.environment)
    command = [str(cluster.programs / "pg_basebackup"), "-D", str(copy.data_directory), "-X", "none", "-c", "fast"]
    cluster.run([*command, "-h", str(cluster.socket_directory), "-p", str(cluster.port), "-U", "postgres"])
    return copy


def fill(cluster: Cluster, rows: int) -> None:
    cluster.execute(f"insert into t select n, repeat(md5(n::text), 8) from generate_series(1, {rows}) n")


def test_every_segment_is_archived_as_it_was(small: Cluster, archive_folder: Path) -> None:
    small.execute("create table t (n int, x text)")
    fill(small, 20_000)
    last = archive_up_to_now(small)
    assert small.execute("select failed_count from pg_stat_archiver") == "0", small.log_tail()
    archive = archive_in(archive_folder)
    names = {name for name in wal_files(archive_folder) if is_segment_name(name)}
    assert last in names
    assert len(names) >= 5
    wal = small.data_directory / "pg_wal"
    left = names & set(os.listdir(wal))
    assert left
    for name in left:
        assert content(archive, name) == (wal / name).read_bytes()
    markers = wal / "walg_data/walg_archive_status"
    assert not markers.exists() or os.listdir(markers) == []


@pytest.mark.slow
def test_recovery_across_a_timeline_switch(small: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    small.execute("create table t (n int, x text)")
    copy = copy_of(small, make_cluster)
    second = copy_of(small, make_cluster)
    fill(small, 30_000)
    archive_up_to_now(small)
    expected = small.execute(ROWS)
    small.stop("immediate")

    (copy.data_directory / "recovery.signal").touch()
    copy.start()
    wait_until(lambda: copy.execute("select pg_is_in_recovery()") == "f", copy)
    assert copy.execute(ROWS) == expected
    fill(copy, 10_000)
    archive_up_to_now(copy)
    wait_until(lambda: copy.execute("select failed_count from pg_stat_archiver") == "0", copy)
    assert "00000002.history" in wal_files(archive_folder)
    expected = copy.execute(ROWS)
    copy.stop("immediate")

    (second.data_directory / "recovery.signal").touch()
    second.start()
    wait_until(lambda: second.execute("select pg_is_in_recovery()") == "f", second)
    assert second.execute(ROWS) == expected
    assert second.execute("select timeline_id from pg_control_checkpoint()") in ("2", "3")
    prefetch = second.data_directory / "pg_wal/.wal-g/prefetch"
    assert prefetch.is_dir()


@pytest.mark.slow
def test_a_standby_follows_the_archive(small: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    small.execute("create table t (n int, x text)")
    standby = copy_of(small, make_cluster)
    (standby.data_directory / "standby.signal").touch()
    standby.configure({"wal_retrieve_retry_interval": "100ms"})
    standby.start()
    for _ in range(2):
        fill(small, 5_000)
        archive_up_to_now(small)
        expected = small.execute(ROWS)
        wait_until(lambda expected=expected: standby.execute(ROWS) == expected, standby)  # type: ignore[misc]
    standby.execute("select pg_promote()")
    wait_until(lambda: "00000002.history" in wal_files(archive_folder), standby)
    partial = [name for name in wal_files(archive_folder) if wal_kind(name) is WalKind.PARTIAL]
    assert len(partial) <= 1


def test_a_recovery_stops_when_the_storage_fails(
    small: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    small.execute("create table t (n int, x text)")
    copy = copy_of(small, make_cluster)
    fill(small, 10_000)
    archive_up_to_now(small)
    away = archive_folder.rename(f"{archive_folder}-away")
    (copy.data_directory / "recovery.signal").touch()
    with pytest.raises(RuntimeError, match="could not restore file"):
        copy.start()
    assert (copy.data_directory / "recovery.signal").exists()

    away.rename(archive_folder)
    copy.start()
    wait_until(lambda: copy.execute("select pg_is_in_recovery()") == "f", copy)
    assert copy.execute(ROWS) == small.execute(ROWS)


def test_another_cluster_cannot_push_to_the_archive(
    small: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    archive_up_to_now(small)
    before = wal_files(archive_folder)
    settings, environment = archiving(archive_folder)
    other = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    other.execute("select pg_switch_wal()")
    wait_until(lambda: int(other.execute("select failed_count from pg_stat_archiver")) > 0, other)
    assert "belongs to the cluster with system identifier" in other.log.read_text()
    assert wal_files(archive_folder) == before
    other.walpy("wal-admit", other.execute("select system_identifier from pg_control_system()"))
    refused = other.walpy("wal-push", str(waiting(other)[0]), check=False)
    assert "already archived, contents differ" in refused.stderr  # both clusters began with the same names
    while waiting(other)[-1].name <= max(before):
        other.execute("create table if not exists t (); select pg_switch_wal(); checkpoint")
    other.walpy("wal-push", str(waiting(other)[-1]))
    assert waiting(other)[-1].name in wal_files(archive_folder)


def waiting(cluster: Cluster) -> list[Path]:
    """WAL files that wait to be archived."""
    wal = cluster.data_directory / "pg_wal"
    return [wal / path.stem for path in sorted((wal / "archive_status").glob("*.ready"))]
