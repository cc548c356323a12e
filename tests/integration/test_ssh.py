"""Archive to a server with SSH, lose, restore and recover: a real PostgreSQL and a real sshd."""

import shutil
from collections.abc import Iterator

import pytest

from tests.fixtures.cluster import installed_command
from tests.fixtures.postgres import DEFAULT_MAJOR, ClusterFactory, archiving, give, new_base
from tests.fixtures.recovery import PGBENCH_CONTENT, archive_all, pgbench, recover_fully
from tests.fixtures.ssh_server import SshServer


@pytest.fixture
def server() -> Iterator[SshServer]:
    folder = new_base()
    with SshServer(folder) as server:
        give(folder)  # the key: PostgreSQL's user runs walpy
        yield server
    shutil.rmtree(folder)


def test_backup_and_wal_over_ssh_recover(server: SshServer, make_cluster: ClusterFactory) -> None:
    settings, _ = archiving(server.archive, installed_command())
    environment = server.settings()
    primary = make_cluster(DEFAULT_MAJOR, settings=settings, environment=environment)
    pgbench(primary, "-i", "-q", "-s", "2")
    primary.walpy("backup-push", str(primary.data_directory))
    pgbench(primary, "-n", "-t", "300")
    expected = primary.execute(PGBENCH_CONTENT)
    archive_all(primary)
    primary.stop("immediate")
    shutil.rmtree(primary.data_directory)

    restored = make_cluster(primary.major, initdb=False, environment=environment)
    restored.walpy("backup-fetch", str(restored.data_directory), "LATEST")
    recover_fully(restored, {"restore_command": settings["restore_command"], "archive_mode": "off"})
    assert restored.execute(PGBENCH_CONTENT) == expected
    assert not [path for path in server.archive.rglob("*") if ".tmp." in path.name]
