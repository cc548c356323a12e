"""backup-push over the replication protocol, on a real server: what it stores, restores of it, and what ends it."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.altering_proxy import AlteringProxy
from tests.fixtures.cluster import DEFAULT_MAJOR, MAJORS, Cluster, archiving, give
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import (
    PGBENCH_CONTENT,
    archive_all,
    pgbench,
    pgbench_in_background,
    recover_fully,
    segments_switched,
    wait_until,
)
from tests.integration.backup_restore import newest_backup, restore, stored_files
from tests.integration.running_push import Push, assert_nothing_is_left, backup_connections
from tests.integration.running_push import wait_until as wait_for

SPACED = "select count(*), sum(hashtextextended(t::text, 0)) from spaced t"
CONTENT = "select count(*), sum(hashtextextended(t::text, 0)) from t"
# Two seconds are promised. A busy machine gets a little more, still less than any time-out that could end it instead.
PROMPT_SECONDS = 4
PIECEMEAL = {"WALG_DISK_RATE_LIMIT": "3000000", "WALG_TAR_SIZE_THRESHOLD": "500000"}  # takes some seconds


def push(cluster: Cluster, *arguments: str, **environment: str) -> str:
    """Push a backup; what it logged."""
    return cluster.walpy("backup-push", *arguments, **environment).stderr


def add_tablespace(cluster: Cluster) -> Path:
    location = cluster.base / "space"
    location.mkdir()
    give(location)
    cluster.execute(f"create tablespace space location '{location}'")
    cluster.execute("create table spaced tablespace space as select i from generate_series(1, 1000) i")
    return location


def archive_rest(cluster: Cluster) -> None:
    cluster.execute("select pg_create_restore_point('rest')")
    archive_all(cluster)


@pytest.fixture
def cluster(archived: Cluster) -> Cluster:
    archived.execute("create table t as select i, md5(i::text) from generate_series(1, 20000) i")
    archived.execute("checkpoint")
    return archived


@pytest.mark.parametrize(
    "major",
    [pytest.param(major, marks=() if major == DEFAULT_MAJOR else pytest.mark.matrix) for major in MAJORS],
)
def test_a_backup_under_load_restores(major: int, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings, environment = archiving(archive_folder)
    cluster = make_cluster(major, settings=settings, environment=environment)
    location = add_tablespace(cluster)
    pgbench(cluster, "-i", "-q", "-s", "2")
    load = pgbench_in_background(cluster, 3)
    log = push(cluster, "--permanent", "--add-user-data", '{"job": "nightly"}', WALG_TAR_SIZE_THRESHOLD="5000000")
    assert load.wait() == 0
    backup = newest_backup(archive_folder)
    assert f"Started backup with name {backup.name} at LSN " in log
    assert f"Wrote backup with name {backup.name}\n" in log
    expected, spaced = cluster.execute(PGBENCH_CONTENT), cluster.execute(SPACED)
    archive_rest(cluster)
    cluster.stop("immediate")
    shutil.rmtree(location)

    sentinel, metadata = backup.sentinel(), backup.metadata()
    assert sentinel["IsPermanent"] is metadata["is_permanent"] is True
    assert sentinel["UserData"] == metadata["user_data"] == {"job": "nightly"}
    restored = make_cluster(major, initdb=False, environment=environment)
    restored.walpy("backup-fetch", str(restored.data_directory), backup.name)
    recover_fully(restored, {**settings, "archive_mode": "off"})
    assert restored.execute(PGBENCH_CONTENT) == expected
    assert restored.execute(SPACED) == spaced


def test_what_is_stored_is_as_wal_g_s(cluster: Cluster, archive_folder: Path) -> None:
    location = add_tablespace(cluster)
    log = push(cluster, WALG_TAR_SIZE_THRESHOLD="3000000", WALG_DELTA_MAX_STEPS="3")
    assert "a full backup is taken, never a delta" in log
    backup = newest_backup(archive_folder)
    sentinel = backup.sentinel()
    (oid,) = sentinel["Spec"]["tablespaces"]
    assert sentinel["Spec"] == {
        oid: {"loc": str(location), "link": f"pg_tblspc/{oid}"},
        "base_prefix": str(cluster.data_directory),
        "tablespaces": [oid],
    }
    # The members, and their order, of sentinels in archives of WAL-G's remote backups.
    assert list(sentinel) == [
        "LSN", "PgVersion", "FinishLSN", "SystemIdentifier", "UncompressedSize", "CompressedSize", "Spec", "ChkpNum",
        "Version", "StartTime", "FinishTime", "DateFmt", "Hostname", "DataDir", "IsPermanent",
    ]  # fmt: skip
    assert sentinel["PgVersion"] == int(cluster.execute("show server_version_num"))
    assert sentinel["FinishLSN"] > sentinel["LSN"]
    parts = backup.part_names()
    assert parts[-1] == "pg_control.tar.lz4"
    assert parts[:-1] == [f"part_{number:03d}.tar.lz4" for number in range(1, len(parts))]
    assert len(parts) > 4
    members = {name: backup.members(name) for name in parts}
    assert members["part_001.tar.lz4"][0].startswith(f"pg_tblspc/{oid}/PG_")
    assert all(name.startswith(f"pg_tblspc/{oid}/PG_") for name in members["part_001.tar.lz4"])
    assert members["part_002.tar.lz4"][:2] == ["backup_label", "tablespace_map"]
    assert members["pg_control.tar.lz4"] == ["global/pg_control"]
    assert "global/pg_control" in members[parts[-2]]
    stored = sum((backup.folder / "tar_partitions" / name).stat().st_size for name in parts)
    assert sentinel["CompressedSize"] == stored
    # The server's tars: those of the parts, but for the end marks that all but two parts have instead of the server's.
    sizes = [len(backup.tar(name)) for name in parts[:-1]]
    assert sentinel["UncompressedSize"] == sum(sizes) - (len(sizes) - 2) * 1024

    files = backup.files_metadata()
    assert list(files) == ["Files"]
    names = [name for part in parts[:-1] for name in members[part]]
    directories = {name.rpartition("/")[0] for name in names} | {"pg_wal/archive_status", "pg_notify", "pg_dynshmem"}
    assert {"base/1/PG_VERSION", "backup_label", "tablespace_map", "global/pg_control"} <= files["Files"].keys()
    assert files["Files"].keys() <= set(names)
    assert not files["Files"].keys() & directories
    assert f"a restore needs WAL from {backup.name[5:]} to {backup.name[5:]}" in log
    assert (archive_folder / "wal_005" / f"{backup.name[5:]}.lz4").exists()


def test_a_role_that_may_replicate_is_enough(cluster: Cluster, archive_folder: Path) -> None:
    cluster.execute("create role backup login; grant pg_read_all_settings to backup")
    refused = cluster.walpy("backup-push", check=False, PGUSER="backup")
    assert refused.returncode == 1
    assert "The role needs REPLICATION, and a line for the database `replication`" in refused.stderr
    cluster.execute("alter role backup replication")
    push(cluster, "--without-files-metadata", PGUSER="backup")
    backup = newest_backup(archive_folder)
    assert sorted(path.name for path in backup.folder.iterdir()) == ["metadata.json", "tar_partitions"]
    assert backup.sentinel()["FilesMetadataDisabled"] is True


def test_a_standby(cluster: Cluster, make_cluster: ClusterFactory, archive_folder: Path) -> None:
    push(cluster)
    standby = make_cluster(initdb=False, environment=cluster.environment)
    settings, _ = archiving(archive_folder)
    primary = f"host={cluster.socket_directory} port={cluster.port} user=postgres"
    standby.walpy("backup-fetch", str(standby.data_directory), "LATEST")
    (standby.data_directory / "standby.signal").touch()
    give(standby.data_directory)
    standby.configure({"restore_command": settings["restore_command"], "primary_conninfo": primary})
    standby.start()
    cluster.execute("insert into t select i, 'more' from generate_series(1, 1000) i")
    cluster.execute("checkpoint")
    lsn = cluster.execute("select pg_current_wal_lsn()")
    wait_until(standby, f"select pg_last_wal_replay_lsn() >= '{lsn}'")
    with segments_switched(cluster):
        push(standby)
    backup = newest_backup(archive_folder)
    assert backup.sentinel()["DataDir"] == str(standby.data_directory)
    assert "standby.signal" not in backup.files_metadata()["Files"]
    again = standby.walpy("backup-push", check=False)
    assert again.returncode == 1
    assert f"already holds a complete backup '{backup.name}'" in again.stderr
    archive_rest(cluster)
    restored = make_cluster(initdb=False, environment=cluster.environment)
    restore(backup, restored, {"restore_command": settings["restore_command"], "archive_mode": "off"})
    wait_until(restored, "select not pg_is_in_recovery()")
    assert restored.execute(CONTENT) == cluster.execute(CONTENT)


def test_corrupt_pages_are_told_and_do_not_fail_the_backup(cluster: Cluster, archive_folder: Path) -> None:
    path = cluster.execute("select pg_relation_filepath('t')")
    with (cluster.data_directory / path).open("r+b") as file:
        file.seek(3 * 8192 + 4000)
        file.write(b"damage")
    log = push(cluster, "--verify")
    assert f'checksum verification failed in file "./{path}", block 3' in log
    assert "Corruption found: the server's warnings above name the files and blocks" in log
    assert newest_backup(archive_folder).sentinel()


def test_wal_that_does_not_come_fails_the_backup(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings = {"archive_mode": "on", "archive_command": "false"}
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    result = cluster.walpy("backup-push", check=False, WALPY_WAL_WAIT_TIMEOUT="1s")
    assert result.returncode == 1
    assert "no further WAL segment was archived for 1 s" in result.stderr
    assert stored_files(archive_folder) == []


# ---- bytes that change, and connections that break


@pytest.fixture
def pushes(cluster: Cluster) -> Iterator[Callable[..., Push]]:
    """Starts backups; ends them when the test does not."""
    started: list[Push] = []

    def start(**environment: str) -> Push:
        started.append(Push(cluster, **environment))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()


ALTERED: list[tuple[bytes, bytes | None, str]] = [
    (b"what a file holds", b"what a file held!", "'note' came with other content than the server's manifest says"),
    (b'{ "Path": "note"', b'{ "Path": "nota"', "the server's manifest has 'nota', which it did not send"),
    (b'"Manifest-Checksum": "', b'"Manifest-Checksum":"0', "the manifest that the server sent is damaged"),
    (b'"Manifest-Checksum": "', None, "BASE_BACKUP failed on "),
    (b"what a file holds", None, "BASE_BACKUP failed on "),
]


def test_bytes_that_change_or_stay_away_fail_the_backup(cluster: Cluster, archive_folder: Path) -> None:
    note = cluster.data_directory / "note"
    note.write_text("what a file holds")
    give(note)
    for wanted, altered, complaint in ALTERED:
        with AlteringProxy(cluster, wanted, altered) as proxy:
            result = cluster.walpy("backup-push", check=False, PGHOST=str(proxy.folder))
        assert proxy.altered_count == 1
        assert result.returncode == 1
        assert complaint in result.stderr
        assert stored_files(archive_folder) == []
    push(cluster)
    assert newest_backup(archive_folder).sentinel()


def test_a_server_process_that_is_ended_fails_the_backup(
    pushes: Callable[..., Push], cluster: Cluster, archive_folder: Path
) -> None:
    running = pushes(**PIECEMEAL)
    running.wait_for_log("Stored part_")
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'"
    assert cluster.execute(ended) == "t"
    assert running.end() == 1
    assert "BASE_BACKUP failed on " in running.log
    assert_nothing_is_left(running, cluster, archive_folder)


def test_a_signal_ends_it(pushes: Callable[..., Push], cluster: Cluster, archive_folder: Path) -> None:
    running = pushes(**PIECEMEAL)
    running.wait_for_log("Stored part_")
    sent = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 128 + signal.SIGTERM
    assert time.monotonic() - sent < PROMPT_SECONDS
    assert_nothing_is_left(running, cluster, archive_folder)


def test_a_killed_push_lists_no_backup(pushes: Callable[..., Push], cluster: Cluster, archive_folder: Path) -> None:
    running = pushes(**PIECEMEAL)
    running.wait_for_log("Stored part_")
    running.process.kill()
    running.process.wait()
    left = stored_files(archive_folder)
    assert left
    assert not [name for name in left if name.endswith("sentinel.json")]
    assert cluster.walpy("backup-list").stdout == ""
    wait_for(lambda: backup_connections(cluster) == "0")
    push(cluster)
    assert newest_backup(archive_folder).name in cluster.walpy("backup-list").stdout
