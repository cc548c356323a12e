"""The demo: archive, lose and restore a throw-away PostgreSQL with walpy on a folder.

Run by `make demo`. Prints a short report; leaves no process and no file behind.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.fixtures.cluster import (
    MAJORS,
    SETTINGS,
    Cluster,
    archiving,
    bin_directory,
    give,
    installed_command,
    new_base,
)

ROWS = 400_000
CHECKSUM = "select count(*), sum(hashtextextended(t::text, 0)) from accounts t"


def query(cluster: Cluster, *statements: str) -> tuple[object, ...]:
    """Run statements in autocommit; the last one's first row, () when it has none."""
    host, port = str(cluster.socket_directory), cluster.port
    with psycopg.connect(host=host, port=port, user="postgres", dbname="postgres", autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchone() or () if cursor.description else ()


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def report(label: str, value: str) -> None:
    """One line of the report."""
    print(f"  {label:<34}{value}", flush=True)


def timed(label: str, size: Callable[[], int], step: Callable[[], object]) -> None:
    """Run a step; report its seconds and the rate over size bytes."""
    started = time.monotonic()
    step()
    seconds = time.monotonic() - started
    megabytes = size() / 1e6
    report(label, f"{megabytes:8.1f} MB in {seconds:5.2f} s ({megabytes / seconds:.0f} MB/s)")


def wait_for_archiving(cluster: Cluster) -> None:
    """Switch to a new segment and wait until the one before is archived."""
    # An empty segment is not switched: write something first.
    (last,) = query(cluster, "select pg_create_restore_point('demo')", "select pg_walfile_name(pg_switch_wal())")
    for _ in range(600):
        (archived, failures) = query(
            cluster, "select coalesce(last_archived_wal, ''), failed_count from pg_stat_archiver"
        )
        if str(archived) >= str(last):
            return
        if int(str(failures)) > 3:
            raise SystemExit(f"archiving failed:\n{cluster.log_tail()}")
        time.sleep(0.1)
    raise SystemExit(f"segment {last} was not archived within a minute:\n{cluster.log_tail()}")


def wait_for_recovery(cluster: Cluster) -> None:
    """Wait until the restored server has replayed all WAL and accepts writes."""
    for _ in range(600):
        if query(cluster, "select pg_is_in_recovery()") == (False,):
            return
        time.sleep(0.1)
    raise SystemExit(f"recovery did not end within a minute:\n{cluster.log_tail()}")


def run(cluster: Cluster, storage: Path) -> None:
    """The whole story; raises SystemExit when a step fails."""
    settings, _ = archiving(storage, installed_command())
    cluster.initdb()
    cluster.configure({**SETTINGS, **settings})
    cluster.start()
    print(f"PostgreSQL {cluster.major} is running with archive_command = '{settings['archive_command']}'\n")

    query(
        cluster,
        "create table accounts (id bigint primary key, owner text, balance bigint)",
        f"insert into accounts select i, md5(i::text), i % 997 from generate_series(1, {ROWS}) i",
    )
    (database,) = query(cluster, "select sum(pg_database_size(oid))::bigint from pg_database")
    timed(
        "backup-push",
        lambda: int(str(database)),
        lambda: cluster.walpy("backup-push", str(cluster.data_directory)),
    )
    query(
        cluster,
        f"insert into accounts select i, md5(i::text), 0 from generate_series({ROWS + 1}, {ROWS + 50_000}) i",
        "update accounts set balance = balance + 1 where id % 7 = 0",
        "delete from accounts where id % 101 = 0",
    )
    wait_for_archiving(cluster)
    expected = query(cluster, CHECKSUM)
    report("rows written", f"{expected[0]:>8}")
    report("stored: base backup", f"{folder_size(storage / 'basebackups_005') / 1e6:8.1f} MB")
    wal = list((storage / "wal_005").iterdir())
    report("stored: WAL", f"{folder_size(storage / 'wal_005') / 1e6:8.1f} MB in {len(wal)} objects")

    cluster.stop("immediate")
    shutil.rmtree(cluster.data_directory)
    report("data directory", "destroyed")

    timed(
        "backup-fetch LATEST",
        lambda: folder_size(cluster.data_directory),
        lambda: cluster.walpy("backup-fetch", str(cluster.data_directory), "LATEST"),
    )
    (cluster.data_directory / "recovery.signal").touch()
    give(cluster.data_directory)
    cluster.configure({**settings, "archive_mode": "off"})
    started = time.monotonic()
    cluster.start()
    wait_for_recovery(cluster)
    report("recovery through wal-fetch", f"{time.monotonic() - started:8.2f} s")
    if query(cluster, CHECKSUM) != expected:
        raise SystemExit("the restored rows differ from the rows written")
    report("rows compared", f"{expected[0]:>8}, all equal")


def main() -> None:
    """Find a server, run the demo, clean up."""
    major = next((major for major in reversed(MAJORS) if bin_directory(major)), None)
    if major is None:
        sys.exit("no PostgreSQL 13 to 18 found")
    storage = new_base()
    programs = bin_directory(major)
    assert programs is not None
    base = new_base()
    cluster = Cluster(major, programs, base, {"WALG_FILE_PREFIX": str(storage), "TMPDIR": str(base)})
    try:
        run(cluster, storage)
    except AssertionError as error:
        sys.exit(str(error))
    finally:
        cluster.walpy("daemon", "stop")  # it would end with its server, a second later
        cluster.remove()
        shutil.rmtree(storage, ignore_errors=True)
    print("\nThe cluster was archived, lost and restored. Nothing was left behind.")


if __name__ == "__main__":
    main()
