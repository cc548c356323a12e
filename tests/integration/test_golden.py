"""Archives that WAL-G wrote: walpy lists and restores them, and PostgreSQL recovers from them with walpy wal-fetch."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.ciphers import AwsServer, serving
from tests.fixtures.cluster import Cluster, give, walpy_command
from tests.fixtures.golden import GoldenArchive, all_archives, golden_archive
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import recover_fully
from walpy.archive import open_archive
from walpy.config import Config

ARCHIVES = all_archives()
SETTINGS = {
    "archive_mode": "off",
    "listen_addresses": "",
    "logging_collector": "off",
    "shared_buffers": "16MB",
    "fsync": "off",
    "restore_command": f"{walpy_command()} wal-fetch %f %p",
}


RESTORES = [
    pytest.param(
        archive,
        restore,
        id=f"{archive.folder.parent.name}/{archive.name}-{number}-{restore['target']['type']}",
    )
    for archive in ARCHIVES
    for number, restore in enumerate(archive.expected["restores"])
]


def recovery_settings(target: dict[str, Any]) -> dict[str, str]:
    settings = dict(SETTINGS)
    if target["type"] == "immediate":
        settings["recovery_target"] = "immediate"
    elif target["type"] != "end":
        settings[f"recovery_target_{target['type']}"] = target["value"]
    if target.get("timeline"):
        settings["recovery_target_timeline"] = target["timeline"]
    return settings


def restore_spec(base: Path, tablespaces: dict[str, str]) -> list[str]:
    """Flags that put every tablespace into a directory of its own below base."""
    if not tablespaces:
        return []
    entries = {name: {"loc": str(base / place), "link": f"pg_tblspc/{name}"} for name, place in tablespaces.items()}
    path = base / "spec.json"
    path.write_text(json.dumps({"base_prefix": str(base / "data"), "tablespaces": list(entries), **entries}))
    return ["--restore-spec", str(path)]


@pytest.fixture
def cluster(make_cluster: ClusterFactory, request: pytest.FixtureRequest) -> Cluster:
    """A cluster without data directory, of the major version of the archive under test."""
    archive: GoldenArchive = request.getfixturevalue("archive")
    return make_cluster(archive.expected["pg_major"], initdb=False)


@pytest.fixture(scope="module")
def key_service() -> Iterator[int]:
    """Port of the key service that some archives need."""
    with serving(AwsServer()) as server:
        yield server.server_port


def place_archive(archive: GoldenArchive, cluster: Cluster, port: int = 0) -> None:
    """Copy the archive beside the cluster, and let the cluster's commands use it."""
    copy = archive.copy(cluster.base / "golden")
    give(copy)
    cluster.environment.update(archive.environment(copy, port))


@pytest.mark.parametrize(("archive", "restore"), RESTORES)
def test_restore_and_recover(
    archive: GoldenArchive, restore: dict[str, Any], cluster: Cluster, key_service: int
) -> None:
    place_archive(archive, cluster, key_service)
    name = [restore["backup"]] if restore["backup"] else []
    flags = [*(restore.get("args") or []), *restore_spec(cluster.base, restore["tablespaces"])]
    cluster.walpy("backup-fetch", str(cluster.data_directory), *name, *flags)
    for absent in restore.get("absent") or []:
        assert not (cluster.data_directory / absent).exists()
    recover_fully(cluster, recovery_settings(restore["target"]))
    for query in restore["queries"]:
        assert cluster.execute(query["sql"], query["db"]) == query["expect"]


@pytest.mark.parametrize(
    "archive", [archive for archive in ARCHIVES if archive.expected["backups"]], ids=lambda archive: archive.name
)
def test_list(archive: GoldenArchive, make_cluster: ClusterFactory) -> None:
    cluster = make_cluster(initdb=False)
    place_archive(archive, cluster)
    lines = cluster.walpy("backup-list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["backup_name", *archive.expected["backups"]]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda archive: archive.name)
def test_every_wal_file(archive: GoldenArchive, key_service: int) -> None:
    opened = open_archive(Config.from_mapping(archive.environment(archive.folder, key_service)))
    for name, digest in archive.expected["wal_sha256"].items():
        with opened.open_wal(name) as chunks:
            assert hashlib.sha256(b"".join(map(bytes, chunks))).hexdigest() == digest


def test_the_archive_is_left_as_it_was(make_cluster: ClusterFactory) -> None:
    """Reading needs no permission to write."""
    archive = golden_archive("walg-zstd")
    cluster = make_cluster(initdb=False)
    place_archive(archive, cluster)
    shutil.copytree(cluster.base / "golden", cluster.base / "before")
    for path in (cluster.base / "golden").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    cluster.walpy("backup-list", "--detail")
    cluster.walpy("backup-fetch", str(cluster.data_directory), archive.expected["backups"][0])
    after = {path.relative_to(cluster.base / "golden") for path in (cluster.base / "golden").rglob("*")}
    assert after == {path.relative_to(cluster.base / "before") for path in (cluster.base / "before").rglob("*")}
