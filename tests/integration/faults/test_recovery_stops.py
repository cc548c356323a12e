"""A real server whose archive dies in the middle of a recovery: it stops instead of promoting, and goes on later."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import DEFAULT_MAJOR, SETTINGS, Cluster, archiving, bin_directory, client_program, new_base
from tests.fixtures.fault_proxy import FaultProxy, Trouble
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import WAIT_SECONDS, archive_all, recover_fully, wait_until
from tests.fixtures.require import missing
from tests.fixtures.s3_server import S3Server
from tests.integration.faults.commands import s3_environment

ROWS = "select count(*), sum(hashtextextended(t::text, 0)) from t"
SEGMENTS = 6  # that a recovery replays, at least
TROUBLES = (Trouble.REFUSES, Trouble.SILENT, Trouble.UNAVAILABLE, Trouble.DENIES, Trouble.CUTS)

CASES = [
    *(pytest.param(trouble, "1", id=trouble.name.lower()) for trouble in TROUBLES),
    pytest.param(Trouble.SILENT, "3", id="silent-while-prefetching"),
]


class Archived:
    """A cluster that was backed up, filled a table and was lost; its archive is in a bucket."""

    def __init__(self, s3: S3Server, cluster: Cluster) -> None:
        self.bucket = s3.new_bucket()
        cluster.environment = s3_environment(s3.url, self.bucket, "20s")
        cluster.initdb(wal_segment_size_mib=1)
        settings, _ = archiving(Path())
        cluster.configure({**SETTINGS, **settings, "max_wal_size": "8MB", "min_wal_size": "2MB"})
        cluster.start()
        cluster.execute("create table t (n int, x text)")
        cluster.walpy("backup-push", str(cluster.data_directory))
        while cluster.execute(f"select pg_current_wal_lsn() >= '0/{SEGMENTS + 3:X}00000'") != "t":
            cluster.execute("insert into t select n, repeat(md5(n::text), 8) from generate_series(1, 2000) n")
        archive_all(cluster)
        self.rows = cluster.execute(ROWS)
        cluster.stop("immediate")


@pytest.fixture(scope="module")
def archived(s3: S3Server) -> Iterator[Archived]:
    """One for all tests: they only read it."""
    programs = bin_directory(DEFAULT_MAJOR)
    if programs is None:
        missing("postgres", f"no PostgreSQL {DEFAULT_MAJOR} here")
    cluster = Cluster(DEFAULT_MAJOR, programs, new_base())
    try:
        yield Archived(s3, cluster)
    finally:
        cluster.remove()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    """What stands between the recovering server and its archive."""
    with FaultProxy(s3.url) as proxy:
        yield proxy


@pytest.fixture
def restored(archived: Archived, proxy: FaultProxy, make_cluster: ClusterFactory) -> Cluster:
    """A restored data directory that is to recover through the proxy."""
    cluster = make_cluster(initdb=False, environment=s3_environment(proxy.url, archived.bucket, "1s"))
    cluster.walpy("backup-fetch", str(cluster.data_directory), "LATEST")
    return cluster


def recovery_settings() -> dict[str, str]:
    """Recover from the archive, and add nothing to it."""
    settings, _ = archiving(Path())
    return {"restore_command": settings["restore_command"], "archive_mode": "off"}


@pytest.mark.parametrize(("trouble", "prefetch"), CASES)
def test_recovery_stops_and_goes_on(
    trouble: Trouble, prefetch: str, archived: Archived, proxy: FaultProxy, restored: Cluster
) -> None:
    restored.environment["WALG_DOWNLOAD_CONCURRENCY"] = prefetch
    proxy.misbehave(trouble, after_requests=SEGMENTS // 2, part="wal_005")
    with pytest.raises(RuntimeError, match=r"could not restore file .* exit code 200"):
        recover_fully(restored, recovery_settings())
    assert proxy.troubled.is_set()
    while restored.is_running():
        assert "archive recovery complete" not in restored.log.read_text()
    check_not_promoted(restored)

    proxy.heal()
    restored.start()
    wait_until(restored, "select pg_is_in_recovery()", "f")
    assert restored.execute(ROWS) == archived.rows


def test_a_standby_waits_for_its_storage(archived: Archived, proxy: FaultProxy, restored: Cluster) -> None:
    proxy.misbehave(Trouble.UNAVAILABLE, after_requests=SEGMENTS // 2, part="wal_005")
    (restored.data_directory / "standby.signal").touch()
    restored.configure({**recovery_settings(), "hot_standby": "on", "wal_retrieve_retry_interval": "200ms"})
    restored.start(wait=False)
    assert proxy.troubled.wait(60)
    count = len(proxy.requests)
    while len(proxy.requests) < count + 20:  # it asks again and again
        assert restored.is_running(), restored.log_tail()
    proxy.heal()
    wait_until_it_answers(restored)
    wait_until(restored, ROWS, archived.rows)
    assert restored.execute("select pg_is_in_recovery()") == "t"


def wait_until_it_answers(cluster: Cluster) -> None:
    """Wait until a standby has reached a consistent state."""
    deadline = time.monotonic() + WAIT_SECONDS
    command = [client_program("psql"), "-XAtqc", "select 1"]
    while cluster.run(command, check=False).returncode:
        assert time.monotonic() < deadline, cluster.log_tail()
        time.sleep(0.1)


def check_not_promoted(cluster: Cluster) -> None:
    """A new timeline would show as a history file, and in pg_control; recovery.signal goes with the promotion."""
    assert (cluster.data_directory / "recovery.signal").exists()
    assert list((cluster.data_directory / "pg_wal").glob("*.history")) == []
    control = cluster.run([str(cluster.programs / "pg_controldata"), str(cluster.data_directory)]).stdout
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in control.splitlines())}
    assert facts["Latest checkpoint's TimeLineID"] == "1"
    assert facts["Database cluster state"] == "in archive recovery"
