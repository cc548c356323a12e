"""Archive to Azure Blob storage, lose, restore and recover: a real PostgreSQL and a real Azurite."""

import shutil
from pathlib import Path

from tests.fixtures.azurite import Azurite, azure_settings
from tests.fixtures.cluster import installed_command
from tests.fixtures.postgres import DEFAULT_MAJOR, ClusterFactory, archiving
from tests.fixtures.recovery import PGBENCH_CONTENT, archive_all, pgbench, recover_fully


def test_backup_and_wal_on_azure_recover(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    with Azurite() as server:
        environment = azure_settings(server.url, server.new_container())
        settings, _ = archiving(archive_folder, installed_command())
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
