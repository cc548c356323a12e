"""backup-push with WAL-G's composers on a real server: where files lie, and that the backups restore."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully
from tests.integration.backup_restore import newest_backup
from walpy import layout
from walpy.postgres.relation_file import relation_file

CONTENT = "select count(*), sum(hashtextextended(t::text, 0)) from t"
FILL = "create table t as select i, md5(i::text) x from generate_series(1, 20000) i"


def push(cluster: Cluster, archive_folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """Name of the new backup, and the messages."""
    done = cluster.walpy("backup-push", str(cluster.data_directory), *arguments, **environment)
    return newest_backup(archive_folder).name, done.stderr


def files_metadata(archive_folder: Path, name: str) -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = json.loads(
        (archive_folder / layout.files_metadata(name)).read_text()
    )
    return found


def restored(cluster: Cluster, make_cluster: ClusterFactory, name: str, database: str = "postgres") -> str:
    """Content of t in a restore of a backup."""
    copy = make_cluster(initdb=False, environment=cluster.environment)
    copy.walpy("backup-fetch", str(copy.data_directory), name)
    recover_fully(copy, {"restore_command": cluster.execute("show restore_command"), "archive_mode": "off"})
    content = copy.execute(CONTENT, database)
    copy.stop()
    return content


def test_each_database_has_tars_of_its_own(
    archived: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    archived.execute("create database other")
    archived.execute(FILL, "other")
    name, _ = push(archived, archive_folder, "--database-composer")
    for members in files_metadata(archive_folder, name)["TarFileSets"].values():
        databases = {file.relation.database if (file := relation_file(member)) else 0 for member in members}
        assert len(databases - {0}) <= 1, members
    archive_all(archived)
    assert restored(archived, make_cluster, name, "other") == archived.execute(CONTENT, "other")


def test_tables_that_change_are_kept_apart(
    archived: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    archived.execute(FILL)
    archived.execute("create table quiet as select * from t")
    archived.execute("select pg_stat_reset()")
    archived.execute("update t set x = 'new' where i % 10 = 0")
    archived.execute("select pg_stat_force_next_flush(), pg_sleep(0.1)")
    name, _ = push(archived, archive_folder, WALG_USE_RATING_COMPOSER="true")
    document = files_metadata(archive_folder, name)
    updates = {member: entry["UpdatesCount"] for member, entry in document["Files"].items()}
    busy, quiet = (
        f"/{archived.execute(f'select pg_relation_filepath({table!r}::regclass)')}" for table in ("t", "quiet")
    )
    assert updates[busy] == 2000
    assert updates[quiet] == 0
    for members in document["TarFileSets"].values():
        assert len({updates[member] > 0 for member in members if member in updates}) <= 1, members
    archive_all(archived)
    assert restored(archived, make_cluster, name) == archived.execute(CONTENT)


@pytest.fixture
def settled(archived: Cluster) -> Cluster:
    """A cluster with two tables, whose files were changed long before any backup."""
    archived.execute(FILL)
    archived.execute("create table other as select * from t")
    archived.execute("vacuum")
    archived.execute("checkpoint")
    for path in (archived.data_directory / "base").rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    return archived


PER_FILE = {"WALG_TAR_SIZE_THRESHOLD": "1"}  # bytes: a tar for each file


def test_tars_whose_files_stayed_are_copied(
    settled: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    first, messages = push(settled, archive_folder, "-c", **PER_FILE)
    assert "There is no backup" in messages
    settled.execute("update other set x = 'new' where i = 1")
    time.sleep(0.01)  # the clock that files are stamped with has moved
    second, messages = push(settled, archive_folder, "-c", **PER_FILE, WALG_DELTA_MAX_STEPS="5")
    third, _ = push(settled, archive_folder, "-c", **PER_FILE)
    table, other = (
        f"/{settled.execute(f'select pg_relation_filepath({table!r}::regclass)')}" for table in ("t", "other")
    )
    for older, newer in ((first, second), (second, third)):
        before, after = (files_metadata(archive_folder, name) for name in (older, newer))
        copies = {tar: members for tar, members in after["TarFileSets"].items() if tar.startswith("copy_")}
        assert len(copies) > 100
        assert [table] in copies.values()
        for tar, members in copies.items():
            (source,) = (name for name, found in before["TarFileSets"].items() if found == members)
            old, new = (
                archive_folder / layout.tar_folder(name) / part for name, part in ((older, source), (newer, tar))
            )
            assert new.read_bytes() == old.read_bytes()
            assert all(after["Files"][str(member)] == before["Files"][str(member)] for member in members)
    assert [other] not in [
        found for tar, found in files_metadata(archive_folder, second)["TarFileSets"].items() if tar.startswith("copy_")
    ]
    assert "_D_" not in second
    archive_all(settled)
    assert restored(settled, make_cluster, third) == settled.execute(CONTENT)


def test_nothing_is_copied_that_other_keys_would_read(settled: Cluster, archive_folder: Path) -> None:
    push(settled, archive_folder, **PER_FILE)
    key = {"WALG_LIBSODIUM_KEY": "11" * 32, "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
    name, messages = push(settled, archive_folder, "-c", **PER_FILE, **key)
    assert "is packed anew" in messages
    assert "Copied 0 of" in messages
    assert not any(tar.startswith("copy_") for tar in files_metadata(archive_folder, name)["TarFileSets"])
