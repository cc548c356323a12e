"""A real server whose primary storage is killed while it archives, comes back, and gets everything home."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import archiving, give, new_base
from tests.fixtures.mortal_server import MortalServer
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import archive_all, recover_fully
from tests.fixtures.s3_server import S3Server
from tests.integration.failover.site import Site

CONTENT = "select string_agg(i::text, ',' order by i) from t"


@pytest.fixture
def served_site(s3: S3Server) -> Iterator[Site]:
    """A site whose folders are the server's user's."""
    base = new_base()
    with MortalServer(s3.url) as server:
        site = Site(base, s3, server)
        for name in ("second", "home"):
            give(base / name)
        yield site
        site.end()
    shutil.rmtree(base, ignore_errors=True)


def environment(site: Site) -> dict[str, str]:
    return {**site.settings(), "HOME": str(site.base / "home")}


@pytest.mark.slow
def test_everything_is_recovered_from_the_primary_alone(served_site: Site, make_cluster: ClusterFactory) -> None:
    site = served_site
    site.patience = 5
    settings, _ = archiving(Path())
    server = make_cluster(settings=settings, environment=environment(site))
    server.execute("create table t as select 1 as i")
    archive_all(server)
    server.walpy("backup-push", str(server.data_directory))

    for number in (2, 3):  # in the middle of a push, and again
        site.server.start(number)
        server.execute(f"insert into t values ({number})")
        archive_all(server)
        if number == 2:
            server.walpy("backup-push", str(server.data_directory))
        site.server.start()
        for path in (site.base / "home").glob(".walg_storage_*"):
            path.unlink()
    server.execute("insert into t values (4)")
    archive_all(server)
    server.stop("immediate")

    rows = [line.split() for line in server.walpy("backup-list").stdout.splitlines()[1:]]
    assert len({row[0] for row in rows}) == len(rows) >= 2
    for what in ("backups", "pg-wals"):
        server.walpy("st", "transfer", what, "--source", "second")
    assert list((site.base / "second").rglob("*_sentinel.json")) == []
    assert list((site.base / "second").glob("wal_005/*")) == []

    alone = {key: value for key, value in environment(site).items() if "FAILOVER" not in key}
    for row in rows:
        restored = make_cluster(initdb=False, environment=alone)
        restored.walpy("backup-fetch", str(restored.data_directory), row[0])
        recover_fully(restored, {"restore_command": settings["restore_command"], "archive_mode": "off"})
        assert restored.execute(CONTENT).strip() == "1,2,3,4"
        restored.stop("immediate")
