"""Archive to a server with SSH, lose, restore and recover: a real PostgreSQL and a real sshd."""

import shutil
from collections.abc import Iterator

import pytest

from tests.fixtures.postgres import ClusterFactory, give, new_base
from tests.fixtures.ssh_server import SshServer
from tests.integration.storage_life import lose_and_recover


@pytest.fixture
def server() -> Iterator[SshServer]:
    folder = new_base()
    with SshServer(folder) as server:
        give(folder)  # the key: PostgreSQL's user runs walpy
        yield server
    shutil.rmtree(folder)


def test_backup_and_wal_over_ssh_recover(server: SshServer, make_cluster: ClusterFactory) -> None:
    lose_and_recover(make_cluster, server.archive, server.settings())
    assert not [path for path in server.archive.rglob("*") if ".tmp." in path.name]
