"""backup-push on a real server; restores go through tar, not through walpy."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, archiving, give, new_base, unprivileged
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import (
    PGBENCH_CONTENT,
    archive_all,
    pgbench,
    pgbench_in_background,
    segments_switched,
    wait_until,
)
from tests.integration.backup_restore import newest_backup, restore, stored_files

CONTENT = "select count(*), sum(hashtextextended(t::text, 0)) from t"
EXCLUDED = ("/pg_wal/", "/pg_replslot/", "/pg_stat_tmp/", "/postmaster.pid", "/postmaster.opts", "/backup_label")


@pytest.fixture
def cluster(archived: Cluster) -> Cluster:
    archived.execute("create table t as select i, md5(i::text) from generate_series(1, 20000) i")
    archived.execute("checkpoint")
    return archived


@pytest.fixture
def tablespace(cluster: Cluster) -> "Callable[[], Path]":
    def make() -> Path:
        location = cluster.base / "space"
        location.mkdir()
        give(location)
        cluster.execute(f"create tablespace space location '{location}'")
        cluster.execute("create table spaced tablespace space as select i from generate_series(1, 1000) i")
        return location

    return make


def push(cluster: Cluster, *arguments: str, **environment: str) -> str:
    """Push a backup; what it logged."""
    return cluster.walpy("backup-push", str(cluster.data_directory), *arguments, **environment).stderr


def archive_rest(cluster: Cluster) -> None:
    """Archive all WAL; something is written first, for an empty segment is not switched from."""
    cluster.execute("select pg_create_restore_point('rest')")
    archive_all(cluster)


def test_backup_under_load_restores(
    cluster: Cluster, make_cluster: ClusterFactory, archive_folder: Path, tablespace: Callable[[], Path]
) -> None:
    location = tablespace()
    pgbench(cluster, "-i", "-q", "-s", "2")
    load = pgbench_in_background(cluster, 5)
    log = push(cluster, "--permanent", "--add-user-data", '{"job": "nightly"}')
    assert load.wait() == 0
    backup = newest_backup(archive_folder)
    assert f"Started backup with name {backup.name} at LSN " in log
    assert f"Wrote backup with name {backup.name} to storage default" in log
    assert log.count("Limited by ") == 1
    expected, spaced = cluster.execute(PGBENCH_CONTENT), cluster.execute("select count(*) from spaced")
    archive_rest(cluster)
    cluster.stop("immediate")
    shutil.rmtree(location)
    location.mkdir(mode=0o700)

    sentinel, metadata = backup.sentinel(), backup.metadata()
    assert sentinel["IsPermanent"] is metadata["is_permanent"] is True
    assert sentinel["UserData"] == metadata["user_data"] == {"job": "nightly"}
    assert sentinel["FinishLSN"] > sentinel["LSN"]
    (oid,) = sentinel["Spec"]["tablespaces"]
    assert sentinel["Spec"][oid] == {"loc": str(location), "link": f"pg_tblspc/{oid}"}

    settings, environment = archiving(archive_folder)
    restored = make_cluster(initdb=False, environment=environment)
    restore(backup, restored, {**settings, "archive_mode": "off"})
    wait_until(restored, "select not pg_is_in_recovery()")
    assert restored.execute(PGBENCH_CONTENT) == expected
    assert restored.execute("select count(*) from spaced") == spaced


def test_what_is_stored(cluster: Cluster, archive_folder: Path, tablespace: Callable[[], Path]) -> None:
    tablespace()
    (cluster.data_directory / "größe.txt").write_text("ä")
    log = push(cluster)
    backup = newest_backup(archive_folder)
    assert backup.part_names() == ["backup_label.tar.lz4", "part_001.tar.lz4", "pg_control.tar.lz4"]
    assert backup.members("pg_control.tar.lz4") == ["/global/pg_control"]
    assert backup.members("backup_label.tar.lz4") == ["backup_label", "tablespace_map"]
    assert b"START WAL LOCATION: " in backup.tar("backup_label.tar.lz4")[512:1024]

    members = backup.members("part_001.tar.lz4")
    assert members[0] == "/"
    assert not [name for name in members if name.startswith(EXCLUDED)]
    assert {"/pg_wal", "/pg_replslot", "/global", "/PG_VERSION", "/base/1/PG_VERSION"} <= set(members)
    files = backup.files_metadata()
    assert files["TarFileSets"] == {
        "part_001.tar.lz4": [name if name.isascii() else "/größe.txt" for name in members],
        "backup_label.tar.lz4": ["tablespace_map", "backup_label"],
    }
    assert list(files["Files"]) == files["TarFileSets"]["part_001.tar.lz4"]
    assert files["Files"]["/PG_VERSION"]["IsSkipped"] is False
    oid = cluster.execute("select oid from pg_database where datname = 'postgres'")
    assert files["DatabasesByNames"]["postgres"]["oid"] == int(oid)
    relation = files["DatabasesByNames"]["postgres"]["tables_new"]["public.t"]["relfilenode"]
    assert f"/base/{oid}/{relation}" in members

    sentinel = backup.sentinel()
    parts = backup.folder / "tar_partitions"
    assert sentinel["CompressedSize"] == sum(path.stat().st_size for path in parts.iterdir())
    assert sentinel["SystemIdentifier"] == int(cluster.execute("select system_identifier from pg_control_system()"))
    assert sentinel["PgVersion"] == int(cluster.execute("show server_version_num"))
    assert sentinel["DataDir"] == str(cluster.data_directory)
    assert sentinel["DataCatalogSize"] >= sentinel["UncompressedSize"] > 1_000_000
    assert f"a restore needs WAL from {backup.name[5:]} to {backup.name[5:]}" in log
    assert (archive_folder / "wal_005" / f"{backup.name[5:]}.lz4").exists()


def test_many_parts(cluster: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    push(cluster, WALG_TAR_SIZE_THRESHOLD="1000000", WALG_UPLOAD_DISK_CONCURRENCY="3")
    backup = newest_backup(archive_folder)
    parts = [name for name in backup.part_names() if name.startswith("part_")]
    assert len(parts) > 10
    sets = backup.files_metadata()["TarFileSets"]
    for name in parts:
        assert backup.members(name) == sets[name]
    assert sorted(sets) == sorted([*parts, "backup_label.tar.lz4"])
    restored = make_cluster(initdb=False, environment=cluster.environment)
    settings, _ = archiving(archive_folder)
    restore(backup, restored, {**settings, "archive_mode": "off"})
    wait_until(restored, "select not pg_is_in_recovery()")
    assert restored.execute(CONTENT) == cluster.execute(CONTENT)


def test_without_files_metadata(cluster: Cluster, archive_folder: Path) -> None:
    push(cluster, "--without-files-metadata")
    backup = newest_backup(archive_folder)
    assert sorted(path.name for path in backup.folder.iterdir()) == ["metadata.json", "tar_partitions"]
    assert backup.sentinel()["FilesMetadataDisabled"] is True


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"archive_mode": "off"}, "archive_mode is off"),
        ({"archive_mode": "on", "archive_command": ""}, "archive_command is not set"),
    ],
)
def test_a_server_that_archives_nothing_is_warned_of(
    settings: dict[str, str], warning: str, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    log = push(cluster)
    backup = newest_backup(archive_folder)
    assert warning in log
    assert f"The archive does not hold {backup.name[5:]}: the backup can be restored only with WAL from else" in log


def test_wal_that_does_not_come_fails_the_backup(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings = {"archive_mode": "on", "archive_command": "false"}
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    result = cluster.walpy("backup-push", str(cluster.data_directory), check=False, WALPY_WAL_WAIT_TIMEOUT="1s")
    assert result.returncode == 1
    assert "no further WAL segment was archived for 1 s" in result.stderr
    assert stored_files(archive_folder) == []


def test_stop_timeout_fails_the_backup(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings = {"archive_mode": "on", "archive_command": "false"}
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    result = cluster.walpy("backup-push", str(cluster.data_directory), check=False, WALG_STOP_BACKUP_TIMEOUT="1s")
    assert result.returncode == 1
    assert "stopping the backup failed" in result.stderr
    assert stored_files(archive_folder) == []


def test_second_backup_is_refused_while_the_first_runs(cluster: Cluster, archive_folder: Path) -> None:
    environment = {**cluster.process_environment(), "WALG_DISK_RATE_LIMIT": "100000"}
    command = [sys.executable, "-m", "walpy", "backup-push", str(cluster.data_directory)]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **unprivileged())  # type: ignore[call-overload]
    try:
        while "Started backup" not in (line := first.stderr.readline()):
            assert line, "the first backup ended"
        second = cluster.walpy("backup-push", str(cluster.data_directory), check=False)
        assert second.returncode == 1
        assert f"is running (pid {first.pid}, started 20" in second.stderr
        assert cluster.execute("select count(*) from pg_stat_activity where application_name = 'wal-g'") == "1"
    finally:
        first.terminate()
        first.communicate()
    push(cluster)
    assert newest_backup(archive_folder).sentinel()


def test_corrupt_page_is_found_and_does_not_fail_the_backup(cluster: Cluster, archive_folder: Path) -> None:
    path = cluster.execute("select pg_relation_filepath('t')")
    with (cluster.data_directory / path).open("r+b") as file:
        file.seek(3 * 8192 + 4000)
        file.write(b"damage")
    log = push(cluster, "--verify")
    assert f"Corruption found in {cluster.data_directory}/{path}, 1 blocks: 3" in log
    files = newest_backup(archive_folder).files_metadata()["Files"]
    corrupt = {name: entry["CorruptBlocks"] for name, entry in files.items() if "CorruptBlocks" in entry}
    assert corrupt == {f"/{path}": {"CorruptBlocksCount": 1, "SomeCorruptBlocks": [3]}}


def test_verify_without_checksums_is_a_warning(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    cluster = make_cluster(checksums=False, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    assert "data_checksums is off in this cluster" in push(cluster, "--verify")


def test_another_directory_than_the_servers_is_refused(cluster: Cluster, archive_folder: Path) -> None:
    other = new_base()
    try:
        result = cluster.walpy("backup-push", str(other), check=False)
    finally:
        shutil.rmtree(other)
    assert result.returncode == 1
    assert f"is not the server's, which is '{cluster.data_directory}'" in result.stderr
    assert stored_files(archive_folder) == []


def test_a_directory_may_be_named_by_a_link(cluster: Cluster, archive_folder: Path) -> None:
    link = cluster.base / "link"
    link.symlink_to(cluster.data_directory)
    cluster.walpy("backup-push", str(link))
    assert newest_backup(archive_folder).sentinel()["DataDir"] == str(cluster.data_directory)


def test_wrong_segment_size_is_refused(cluster: Cluster, archive_folder: Path) -> None:
    result = cluster.walpy("backup-push", str(cluster.data_directory), check=False, WALG_PG_WAL_SIZE="64")
    assert result.returncode == 1
    assert "WALG_PG_WAL_SIZE is 64" in result.stderr
    assert stored_files(archive_folder) == []


def test_bad_user_data_is_refused_before_anything(archive_folder: Path, cluster: Cluster) -> None:
    result = cluster.walpy("backup-push", "/nowhere", "--add-user-data", "{not json", check=False, PGHOST="/nowhere")
    assert result.returncode == 1
    assert "Failed to unmarshal the provided UserData" in result.stderr


def test_standby(cluster: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    push(cluster)
    standby = make_cluster(initdb=False, environment=cluster.environment)
    settings, _ = archiving(archive_folder)
    primary = f"host={cluster.socket_directory} port={cluster.port} user=postgres"
    restore(
        newest_backup(archive_folder),
        standby,
        {"restore_command": settings["restore_command"], "primary_conninfo": primary},
        signal_file="standby.signal",
    )
    cluster.execute("insert into t select i, 'more' from generate_series(1, 1000) i")
    cluster.execute("checkpoint")
    lsn = cluster.execute("select pg_current_wal_lsn()")
    wait_until(standby, f"select pg_last_wal_replay_lsn() >= '{lsn}'")
    with segments_switched(cluster):
        push(standby)
    backup = newest_backup(archive_folder)
    before = {name: (backup.folder.parent / name).read_bytes() for name in stored_files(archive_folder)}

    again = standby.walpy("backup-push", str(standby.data_directory), check=False)
    assert again.returncode == 1
    assert f"already holds a complete backup '{backup.name}'" in again.stderr
    assert {name: (backup.folder.parent / name).read_bytes() for name in stored_files(archive_folder)} == before

    archive_rest(cluster)
    restored = make_cluster(initdb=False, environment=cluster.environment)
    restore(backup, restored, {"restore_command": settings["restore_command"], "archive_mode": "off"})
    wait_until(restored, "select not pg_is_in_recovery()")
    assert restored.execute(CONTENT) == cluster.execute(CONTENT)


def test_lock_file_belongs_to_the_server(cluster: Cluster) -> None:
    push(cluster)
    folder = cluster.data_directory / "pg_wal" / "walg_data"
    owner = cluster.data_directory.stat().st_uid
    assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {owner}
    assert os.listdir(folder)


def test_deltas(cluster: Cluster, archive_folder: Path) -> None:
    cluster.execute("vacuum t")  # hint bits set later would change every page
    cluster.execute("checkpoint")
    log = push(cluster, WALG_DELTA_MAX_STEPS="2")
    assert "There is no backup to continue" in log
    assert "DeltaFrom" not in newest_backup(archive_folder).sentinel()
    full = newest_backup(archive_folder)
    cluster.execute("create table kept as select i, md5(i::text) from generate_series(1, 20000) i")
    cluster.execute("checkpoint")
    time.sleep(2.1)  # what is younger than its base is never taken for unchanged
    log = push(cluster, WALG_DELTA_MAX_STEPS="2")
    first = newest_backup(archive_folder)
    assert f"Delta backup from {full.name} with LSN " in log
    assert first.name.endswith(f"_D_{full.name.removeprefix('base_')}")
    cluster.execute("update t set md5 = 'changed' where i = 20000")
    time.sleep(2.1)
    push(cluster, "--permanent", WALG_DELTA_MAX_STEPS="2")
    second = newest_backup(archive_folder)
    sentinel = second.sentinel()
    chained = {key: sentinel[key] for key in ("DeltaFrom", "DeltaFullName", "DeltaCount", "DeltaLSN")}
    assert chained == {
        "DeltaFrom": first.name,
        "DeltaFullName": full.name,
        "DeltaCount": 2,
        "DeltaLSN": first.sentinel()["LSN"],
    }
    assert full.metadata()["is_permanent"] is first.metadata()["is_permanent"] is True
    files = second.files_metadata()
    places = {name: cluster.execute(f"select pg_relation_filepath('{name}')") for name in ("t", "kept")}
    assert files["Files"][f"/{places['t']}"]["IsIncremented"] is True
    assert files["Files"][f"/{places['kept']}"]["IsSkipped"] is True
    stored = [name for names in files["TarFileSets"].values() for name in names]
    assert f"/{places['t']}" in stored
    assert f"/{places['kept']}" not in stored
    assert sentinel["UncompressedSize"] < full.sentinel()["UncompressedSize"] / 10
    log = push(cluster, WALG_DELTA_MAX_STEPS="2")
    assert "WALG_DELTA_MAX_STEPS is 2" in log
    assert "_D_" not in newest_backup(archive_folder).name
