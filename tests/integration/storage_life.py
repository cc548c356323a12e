"""What a cluster goes through on any storage, with the installed command and its agents."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.fixtures.cluster import installed_command
from tests.fixtures.postgres import DEFAULT_MAJOR, ClusterFactory, archiving
from tests.fixtures.recovery import PGBENCH_CONTENT, archive_all, pgbench, recover_fully


def lose_and_recover(make_cluster: ClusterFactory, archive: Path, environment: Mapping[str, str]) -> None:
    """Archive to the storage of an environment, lose the cluster, restore it, recover, and compare the rows.

    archive: a folder that archive_command may name; the environment's storage counts.
    """
    settings, _ = archiving(archive, installed_command())
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
