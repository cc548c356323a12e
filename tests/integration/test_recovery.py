"""Archive under load, lose, restore and recover: real servers of every major version."""

import json
import shutil
from pathlib import Path

import pytest

from tests.fixtures.cluster import installed_command
from tests.fixtures.postgres import DEFAULT_MAJOR, MAJORS, Cluster, ClusterFactory, archiving, give, new_base
from tests.fixtures.recovery import (
    PGBENCH_CONTENT,
    archive_all,
    pgbench,
    pgbench_in_background,
    recover,
    recover_fully,
    segments_switched,
    wait_until,
)

every_major = pytest.mark.parametrize(
    "major",
    [pytest.param(major, marks=() if major == DEFAULT_MAJOR else pytest.mark.matrix) for major in MAJORS],
)


@pytest.fixture
def primary(major: int, make_cluster: ClusterFactory, archive_folder: Path) -> Cluster:
    """A cluster with pgbench's tables that archives to archive_folder."""
    settings, environment = archiving(archive_folder, installed_command())
    cluster = make_cluster(major, settings=settings, environment=environment)
    pgbench(cluster, "-i", "-q", "-s", "2")
    return cluster


def restored(primary: Cluster, make_cluster: ClusterFactory, *arguments: str) -> Cluster:
    """A new cluster, fetched from the archive of primary and not started."""
    cluster = make_cluster(primary.major, initdb=False, environment=primary.environment)
    cluster.walpy("backup-fetch", str(cluster.data_directory), *(arguments or ["LATEST"]))
    return cluster


def recovery_settings(archive_folder: Path, **more: str) -> dict[str, str]:
    """Settings to recover from the archive without adding to it."""
    settings, _ = archiving(archive_folder, installed_command())
    return {"restore_command": settings["restore_command"], "archive_mode": "off", **more}


@every_major
def test_backup_under_load_recovers_to_the_end_and_to_a_time(
    primary: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    load = pgbench_in_background(primary, 6)
    primary.walpy("backup-push", str(primary.data_directory))
    assert load.wait() == 0
    at_some_time = primary.execute(PGBENCH_CONTENT)
    moment = primary.execute("select pg_sleep(0.01), clock_timestamp(), pg_sleep(0.01)").strip("|")
    pgbench(primary, "-n", "-t", "300")
    at_the_end = primary.execute(PGBENCH_CONTENT)
    archive_all(primary)
    primary.stop("immediate")
    shutil.rmtree(primary.data_directory)

    to_the_end = restored(primary, make_cluster)
    recover_fully(to_the_end, recovery_settings(archive_folder))
    assert to_the_end.execute(PGBENCH_CONTENT) == at_the_end

    to_a_time = restored(primary, make_cluster)
    recover_fully(to_a_time, recovery_settings(archive_folder, recovery_target_time=moment))
    assert to_a_time.execute(PGBENCH_CONTENT) == at_some_time != at_the_end


@every_major
def test_recovery_follows_the_newest_timeline(
    primary: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    primary.walpy("backup-push", str(primary.data_directory))
    pgbench(primary, "-n", "-t", "100")
    archive_all(primary)
    primary.stop()

    settings, _ = archiving(archive_folder)
    second = restored(primary, make_cluster)
    recover_fully(second, settings)
    assert second.execute("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)") == "00000002"
    pgbench(second, "-n", "-t", "200")
    expected = second.execute(PGBENCH_CONTENT)
    archive_all(second)
    assert list((archive_folder / "wal_005").glob("00000002.history*"))
    second.stop()

    third = restored(primary, make_cluster)
    recover_fully(third, recovery_settings(archive_folder, recovery_target_timeline="latest"))
    assert third.execute(PGBENCH_CONTENT) == expected


@every_major
def test_backup_of_a_standby(primary: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    primary.walpy("backup-push", str(primary.data_directory))
    standby = restored(primary, make_cluster)
    conninfo = f"host={primary.socket_directory} port={primary.port} user=postgres"
    recover(standby, recovery_settings(archive_folder, primary_conninfo=conninfo), signal="standby.signal")
    primary.execute("select pg_sleep(0.1)")
    pgbench(primary, "-n", "-t", "200")
    expected = primary.execute(PGBENCH_CONTENT)
    primary.execute("checkpoint")
    archive_all(primary)
    lsn = primary.execute("select pg_current_wal_lsn()")
    wait_until(standby, f"select pg_last_wal_replay_lsn() >= '{lsn}'")

    load = pgbench_in_background(primary, 3)
    with segments_switched(primary):
        standby.walpy("backup-push", str(standby.data_directory))
    assert load.wait() == 0
    archive_all(primary)
    expected = primary.execute(PGBENCH_CONTENT)
    backups = json.loads(primary.walpy("backup-list", "--json").stdout)
    assert len(backups) == 2

    again = restored(primary, make_cluster)
    recover_fully(again, recovery_settings(archive_folder))
    assert again.execute(PGBENCH_CONTENT) == expected


@every_major
def test_tablespaces_move_with_a_restore_spec(
    primary: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    base = new_base()
    try:
        for name in ("one", "two"):
            (base / name).mkdir()
        give(base)
        primary.execute(f"create tablespace one location '{base / 'one'}'")
        primary.execute("create table spaced tablespace one as select i, md5(i::text) from generate_series(1, 5000) i")
        expected = primary.execute("select sum(hashtextextended(t::text, 0)) from spaced t")
        primary.walpy("backup-push", str(primary.data_directory))
        archive_all(primary)
        oid = primary.execute("select oid from pg_tablespace where spcname = 'one'")
        primary.stop("immediate")
        shutil.rmtree(primary.data_directory)
        shutil.rmtree(base / "one")

        in_place = restored(primary, make_cluster)
        assert (in_place.data_directory / "pg_tblspc" / oid).readlink() == base / "one"
        recover_fully(in_place, recovery_settings(archive_folder))
        assert in_place.execute("select sum(hashtextextended(t::text, 0)) from spaced t") == expected
        in_place.stop()
        shutil.rmtree(base / "one")

        moved = make_cluster(primary.major, initdb=False, environment=primary.environment)
        location = {"loc": str(base / "two"), "link": f"pg_tblspc/{oid}"}
        spec = {"base_prefix": str(moved.data_directory), "tablespaces": [oid], oid: location}
        (base / "spec.json").write_text(json.dumps(spec))
        moved.walpy("backup-fetch", str(moved.data_directory), "LATEST", "--restore-spec", str(base / "spec.json"))
        assert (moved.data_directory / "pg_tblspc" / oid).readlink() == base / "two"
        recover_fully(moved, recovery_settings(archive_folder))
        assert moved.execute("select sum(hashtextextended(t::text, 0)) from spaced t") == expected
        assert not (base / "one").exists()
    finally:
        shutil.rmtree(base, ignore_errors=True)
