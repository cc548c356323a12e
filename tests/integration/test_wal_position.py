"""wal-verify asks real servers where they are: a primary, a standby, and a primary that was just promoted."""

import json
from pathlib import Path

from tests.fixtures.postgres import ClusterFactory, archiving
from tests.fixtures.recovery import archive_all, recover, wait_until
from walpy.config import Config
from walpy.postgres.server import connect
from walpy.wal.position import ServerPosition, read_position


def position(base: Path) -> ServerPosition:
    with connect(Config.from_mapping({"PGHOST": str(base), "PGUSER": "postgres", "PGDATABASE": "postgres"})) as server:
        return read_position(server)


def test_primary_standby_and_promotion(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    settings, environment = archiving(archive_folder)
    primary = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    primary.walpy("backup-push", str(primary.data_directory))
    archive_all(primary)
    here = position(primary.socket_directory)
    assert (here.timeline, here.segment_size) == (1, 1 << 20)
    assert (here.lsn - 1) >> 20 == int(primary.execute("select pg_walfile_name(pg_current_wal_lsn())")[-2:], 16)

    answer = json.loads(primary.walpy("wal-verify", "integrity", "timeline", "--json").stdout)
    assert answer["integrity"]["status"] == "OK"
    assert answer["timeline"] == {
        "status": "OK",
        "details": {"current_timeline_id": 1, "highest_storage_timeline_id": 1},
    }

    standby = make_cluster(initdb=False, environment=environment)
    standby.walpy("backup-fetch", str(standby.data_directory), "LATEST")
    recover(standby, {**settings, "archive_mode": "off"}, signal="standby.signal")
    wait_until(
        standby, f"select pg_last_wal_replay_lsn() >= '{here.lsn >> 32:X}/{here.lsn & 0xFFFFFFFF & -(1 << 20):X}'"
    )
    there = position(standby.socket_directory)
    assert (there.timeline, there.segment_size) == (1, 1 << 20)
    assert there.lsn <= position(primary.socket_directory).lsn

    standby.execute("select pg_promote()")
    wait_until(standby, "select pg_is_in_recovery()", "f")
    assert position(standby.socket_directory).timeline == 2
    report = json.loads(standby.walpy("wal-verify", "timeline", "--json").stdout)
    assert report["timeline"]["details"]["current_timeline_id"] == 2
