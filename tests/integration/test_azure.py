"""Archive to Azure Blob storage, lose, restore and recover: a real PostgreSQL and a real Azurite."""

from pathlib import Path

from tests.fixtures.azurite import Azurite, azure_settings
from tests.fixtures.postgres import ClusterFactory
from tests.integration.storage_life import lose_and_recover


def test_backup_and_wal_on_azure_recover(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    with Azurite() as server:
        lose_and_recover(make_cluster, archive_folder, azure_settings(server.url, server.new_container()))
