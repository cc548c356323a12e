"""A real server whose primary storage dies and comes back: what both storages hold is brought home, and recovered."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import archiving, give, new_base
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all


@pytest.fixture
def base() -> Iterator[Path]:
    """Folders `default`, `second` and `home`, of the server's user."""
    found = new_base()
    for name in ("default", "second", "home"):
        (found / name).mkdir()
        give(found / name)
    yield found
    shutil.rmtree(found, ignore_errors=True)


def segments(folder: Path) -> set[str]:
    return {path.name[:24] for path in (folder / "wal_005").glob("0*") if path.suffix != ".history"}


def test_nothing_is_lost_or_doubled_when_the_primary_storage_dies(base: Path, make_cluster: ClusterFactory) -> None:
    settings, environment = archiving(base / "default")
    environment |= {
        "WALG_FAILOVER_STORAGES": json.dumps({"second": {"WALG_FILE_PREFIX": str(base / "second")}}),
        "WALG_FAILOVER_STORAGES_CHECK_TIMEOUT": "5s",
        "HOME": str(base / "home"),
    }
    server = make_cluster(settings=settings, environment=environment)
    server.execute("create table t as select 1 as i")
    archive_all(server)
    server.walpy("backup-push", str(server.data_directory))

    os.rename(base / "default", base / "gone")
    server.execute("insert into t values (2)")
    archive_all(server)
    pushed = server.walpy("backup-push", str(server.data_directory)).stderr
    assert "Backup will be pushed to storage: second" in pushed
    server.execute("insert into t values (3)")
    archive_all(server)

    os.rename(base / "gone", base / "default")
    for path in (base / "home").glob(".walg_storage_*"):
        path.unlink()
    server.execute("insert into t values (4)")
    archive_all(server)
    server.stop()

    in_default, in_second = segments(base / "default"), segments(base / "second")
    assert in_default
    assert in_second
    assert not in_default & in_second
    listed = server.walpy("backup-list").stdout.splitlines()[1:]
    assert [line.split()[-1] for line in listed] == ["default", "second"]

    for name in (listed[0].split()[0], "LATEST"):
        if name == "LATEST":  # it was made in the second storage; the first restore read from both
            for what in ("backups", "pg-wals"):
                server.walpy("st", "transfer", what, "--source", "second")
            assert segments(base / "default") == in_default | in_second
            assert not segments(base / "second")
            brought = server.walpy("backup-list").stdout.splitlines()[1:]
            assert [line.split()[-1] for line in brought] == ["default", "default"]
        restored = make_cluster(settings=settings, environment=environment, initdb=False)
        restored.walpy("backup-fetch", str(restored.data_directory), name)
        (restored.data_directory / "recovery.signal").touch()
        give(restored.data_directory)
        restored.configure({"archive_mode": "off", "restore_command": settings["restore_command"]})
        restored.start()
        assert restored.execute("select string_agg(i::text, ',' order by i) from t").strip() == "1,2,3,4"
        restored.stop()
