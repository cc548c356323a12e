"""The primary storage dies during a backup and its restore: every listed backup restores."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import running_server
from tests.integration.failover.site import EVERY, Site

PLAIN = {"WALG_COMPRESSION_METHOD": "none"}  # large parts of a small cluster, which go to S3 in several requests


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A running server that does not archive."""
    with running_server() as cluster:
        yield cluster


def connection(server: Cluster) -> dict[str, str]:
    return {
        "PGHOST": str(server.socket_directory),
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
        **PLAIN,
    }


def backups(site: Site) -> dict[str, str]:
    """Name and storage of each listed backup."""
    rows = [line.split() for line in site.must("backup-list").splitlines()[1:]]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[-1] for row in rows}


def check_restored(site: Site, *names: str) -> None:
    """Each backup is complete."""
    for name in names:
        place = site.base / f"restored-{name}"
        site.must("backup-fetch", str(place), name, tries=1)
        assert (place / "global/pg_control").exists()
        assert (place / "backup_label").exists()
        shutil.rmtree(place)


# Requests at which the primary ends: part of the path; the last one of these, when a backup goes well.
PUSH_POINTS = {
    "dies": (
        "wal-g_storage_check",
        "walpy_005/identity.json",
        "partNumber=",
        "pg_control.tar",
        "backup_label.tar",
        "/metadata.json",
        "files_metadata.json",
        "sentinel.json",
    ),
    "hangs": ("partNumber=", "sentinel.json"),
    "dies after it": ("partNumber=", "/metadata.json", "sentinel.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", PUSH_POINTS)
def test_the_primary_ends_during_backup_push(make_site: Callable[[], Site], server: Cluster, how: str) -> None:
    push = ("backup-push", str(server.data_directory))
    counted = make_site()
    done = counted.run(*push, **connection(server))
    assert done.returncode == 0, done.stderr
    requests = counted.server.kill()
    for part in PUSH_POINTS[how] if EVERY else PUSH_POINTS[how][::2]:
        count = sum(part in request for request in requests)
        assert count
        site = make_site()
        site.doom(count - 1, how, part)
        site.must(*push, tries=2, **connection(server))
        site.revive()
        found = backups(site)
        assert "second" in found.values()
        site.bring_home()
        assert backups(site) == dict.fromkeys(found, "default")
        assert site.run("delete", "garbage", "--confirm").returncode == 0
        check_restored(site, *found)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_the_primary_ends_during_backup_fetch(make_site: Callable[[], Site], server: Cluster, how: str) -> None:
    site = make_site()
    site.must("backup-push", str(server.data_directory), **connection(server))
    (name,) = backups(site)
    place = site.base / "restored"
    fetch = ("backup-fetch", str(place), "LATEST")
    for part in (
        "list-type",
        "sentinel.json",
        "files_metadata.json",
        "part_001.tar",
        "pg_control.tar",
    ):
        shutil.rmtree(place, ignore_errors=True)
        site.revive()
        site.doom(0, how, part)
        done = site.run(*fetch)
        assert done.returncode != 0
        assert not (place / "global/pg_control").exists()
    site.revive()
    check_restored(site, name)


@pytest.mark.slow
def test_a_backup_in_the_failover_is_restored_while_the_primary_is_dead(
    make_site: Callable[[], Site], server: Cluster
) -> None:
    site = make_site()
    site.must("backup-push", str(server.data_directory), "--target-storage", "second", **connection(server))
    (name,) = backups(site)  # the primary is known to be alive
    site.server.kill()
    check_restored(site, name, "LATEST")
    assert backups(site) == {name: "second"}
