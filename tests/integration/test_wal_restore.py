"""wal-restore and wal-push --missing around a real promotion: pg_rewind finds its WAL, the archive loses none."""

import re
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import ClusterFactory, archiving
from tests.fixtures.recovery import archive_all, recover, wait_until
from walpy.wal.segment import segment_number

MIB = 1 << 20
FILL = "insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 5000) n"


@pytest.fixture
def pair(make_cluster: ClusterFactory, archive_folder: Path) -> tuple[Cluster, Cluster]:
    """A primary with a streaming standby."""
    settings, environment = archiving(archive_folder)
    primary = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    primary.execute("create table t (n int, x text)")
    primary.walpy("backup-push", str(primary.data_directory))
    standby = make_cluster(initdb=False, environment=environment)
    standby.walpy("backup-fetch", str(standby.data_directory), "LATEST")
    stream = f"host={primary.socket_directory} port={primary.port} user=postgres"
    # Its checkpoints remove no WAL: what is removed is for the test to choose.
    kept = {"wal_keep_size": "256MB"}
    recover(standby, {**settings, **kept, "primary_conninfo": stream}, signal="standby.signal")
    return primary, standby


def archived(archive_folder: Path) -> set[str]:
    return {path.name.removesuffix(".lz4") for path in (archive_folder / "wal_005").iterdir()}


def test_pg_rewind_after_the_new_primary_has_removed_its_wal(
    pair: tuple[Cluster, Cluster], archive_folder: Path
) -> None:
    old, new = pair
    wait_until(old, "select count(*) > 0 from pg_stat_replication")
    new.execute("select pg_promote()")
    wait_until(new, "select pg_is_in_recovery()", "f")
    old.execute(FILL)  # nobody will ever want these rows
    for _ in range(3):
        new.execute(FILL)
        archive_all(new)
    old.stop()
    new.execute("checkpoint")
    expected = new.execute("select count(*) from t")
    new.stop()
    wal = new.data_directory / "pg_wal"
    removed = {}
    for name in sorted(archived(archive_folder)):
        if len(name) == 24 and name.startswith("00000002") and (wal / name).exists():
            removed[name] = (wal / name).read_bytes()
            (wal / name).unlink()
    assert len(removed) >= 3
    directories = str(old.data_directory), str(new.data_directory)
    result = new.walpy("wal-restore", *directories)
    assert "the clusters parted at" in result.stderr
    for name, content in removed.items():
        assert (wal / name).read_bytes() == content, name
    restored = re.search(r"Restored (\d+) WAL files", result.stderr)
    assert restored is not None
    assert int(restored[1]) >= len(removed)
    assert "No WAL files to restore" in new.walpy("wal-restore", *directories).stderr

    rewind = str(new.programs / "pg_rewind")
    command = [
        rewind,
        "--restore-target-wal",
        "--target-pgdata",
        str(old.data_directory),
        "--source-pgdata",
        str(new.data_directory),
    ]
    rewound = new.run(command, check=False)
    assert rewound.returncode == 0, rewound.stderr
    old.start()
    assert old.execute("select count(*) from t") == expected

    other = new.walpy("wal-restore", str(new.data_directory), str(new.data_directory), check=False)
    assert other.returncode == 1
    assert "nothing to rewind" in other.stderr


def test_a_promotion_whose_primary_could_not_archive(pair: tuple[Cluster, Cluster], archive_folder: Path) -> None:
    old, new = pair
    archive_all(old)
    old.configure({"archive_command": "false"})
    old.execute("select pg_reload_conf()")
    for _ in range(3):
        old.execute(FILL)
        old.execute("select pg_switch_wal()")
    old.execute(FILL)
    position = old.execute("select pg_current_wal_flush_lsn()")
    lost = old.execute("select pg_walfile_name(pg_current_wal_lsn())")
    wait_until(new, f"select pg_last_wal_replay_lsn() >= '{position}'")
    old.stop("immediate")
    new.execute("select pg_promote()")
    wait_until(new, "select pg_is_in_recovery()", "f")
    archive_all(new)
    wanted = [f"{lost[:16]}{number:08X}" for number in range(segment_number(lost, MIB) - 3, segment_number(lost, MIB))]
    assert not archived(archive_folder) & set(wanted)  # PostgreSQL never asks for them

    result = new.walpy("wal-push", "--missing", str(new.data_directory))
    assert set(wanted) <= archived(archive_folder)
    assert "that were missing" in result.stderr
    assert "No WAL files are missing" in new.walpy("wal-push", "--missing", str(new.data_directory)).stderr
    report = new.walpy("wal-verify", "integrity").stdout
    assert "integrity check status: OK" in report
