"""The SQL side of a backup, on a running server."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import ClusterFactory
from walpy.config import Config
from walpy.errors import PostgresError, describe
from walpy.postgres.control import read_control
from walpy.postgres.keep_alive import KeepAlive
from walpy.postgres.relations import collect_relations
from walpy.postgres.server import Server, connect

NEVER_ARCHIVES = {"archive_mode": "on", "archive_command": "false"}

STOP_IN_A_CHILD = """
import signal, sys, time
from walpy.config import Config
from walpy.errors import Interrupted
from walpy.postgres.server import connect

def interrupt(number, frame):
    raise Interrupted("interrupted", "", number)

signal.signal(signal.SIGTERM, interrupt)
settings = dict(item.split("=", 1) for item in sys.argv[1:])
with connect(Config.from_mapping(settings)) as server:
    server.start_backup("interrupted")
    print("stopping", flush=True)
    try:
        server.stop_backup()
    except Interrupted:
        print("interrupted", flush=True)
"""


def settings(cluster: Cluster, **more: str) -> dict[str, str]:
    """How to connect to a cluster."""
    place = {"PGHOST": str(cluster.socket_directory), "PGPORT": str(cluster.port)}
    return {**place, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGAPPNAME": "wal-g", **more}


def config(cluster: Cluster, **more: str) -> Config:
    """Configuration that connects to a cluster."""
    return Config.from_mapping(settings(cluster, **more))


@pytest.fixture
def server(postgres: Cluster) -> Iterator[Server]:
    """A connection to a running server."""
    with connect(config(postgres)) as server:
        yield server


def wait_for(cluster: Cluster, query: str, expected: str) -> None:
    """Ask until the server answers as expected."""
    deadline = time.monotonic() + 20
    while cluster.execute(query) != expected:
        assert time.monotonic() < deadline, f"{query} is never {expected}"
        time.sleep(0.02)


def test_facts_agree_with_pg_control(postgres: Cluster, server: Server) -> None:
    facts = server.facts()
    control = read_control(str(postgres.data_directory / "global/pg_control"))
    assert facts.system_identifier == control.system_identifier
    assert facts.timeline == control.timeline == 1
    assert facts.segment_size == control.segment_size == 16 << 20
    assert (facts.page_size, facts.wal_page_size) == (control.page_size, control.wal_page_size)
    assert facts.data_directory == os.path.realpath(postgres.data_directory)
    assert facts.version_num // 10000 == postgres.major == server.version_num // 10000
    assert facts.data_checksums
    assert not facts.in_recovery
    assert (facts.archive_mode, facts.archive_command) == ("off", "(disabled)")


def test_a_backup_starts_and_stops(postgres: Cluster, server: Server) -> None:
    started = server.start_backup("a label")
    stopped = server.stop_backup()
    assert not started.in_recovery
    assert len(started.name_file) == 24
    assert started.name_file == postgres.execute(f"SELECT pg_walfile_name('0/{started.lsn:X}')")
    assert stopped.lsn > started.lsn
    assert "LABEL: a label\n" in stopped.label_file
    assert f"(file {started.name_file})" in stopped.label_file
    assert stopped.tablespace_map == ""


def test_the_tablespace_map_names_locations(postgres: Cluster, server: Server) -> None:
    location = postgres.base / "space"
    postgres.run(["mkdir", str(location)])
    postgres.execute(f"CREATE TABLESPACE space LOCATION '{location}'")
    oid = postgres.execute("SELECT oid FROM pg_tablespace WHERE spcname = 'space'")
    server.start_backup("with a tablespace")
    assert server.stop_backup().tablespace_map == f"{oid} {location}\n"


@pytest.mark.matrix
@pytest.mark.parametrize("major", [13, 14, 15, 16, 17, 18])
def test_every_major_version(make_cluster: ClusterFactory, major: int) -> None:
    cluster = make_cluster(major)
    with connect(config(cluster)) as server:
        facts = server.facts()
        assert facts.version_num // 10000 == major
        assert facts.system_identifier == read_control(f"{facts.data_directory}/global/pg_control").system_identifier
        started = server.start_backup("any version")
        assert server.stop_backup().lsn > started.lsn
        assert collect_relations(config(cluster), server)["postgres"].tables["pg_catalog.pg_class"].relfilenode


def test_application_name_and_session(postgres: Cluster) -> None:
    postgres.execute("ALTER ROLE postgres SET statement_timeout = '2s'")
    postgres.execute("ALTER ROLE postgres SET search_path = 'public'")
    with connect(config(postgres, PGAPPNAME="night")) as server:
        rows = server.query("asking", "SELECT current_setting('application_name'), current_setting('search_path')")
        assert rows == [("night", "")]
        server.query("taking longer than the role may", "SELECT pg_sleep(2.5)")


def test_a_missing_privilege_names_the_grants(postgres: Cluster) -> None:
    postgres.execute("CREATE ROLE archiver LOGIN")
    with connect(config(postgres, PGUSER="archiver")) as server:
        with pytest.raises(PostgresError) as refused:
            server.facts()
        grants = refused.value.hint.partition("or: ")[2]
        assert "TO archiver;" in grants
        postgres.execute(grants)
    with connect(config(postgres, PGUSER="archiver")) as server:
        assert server.facts().data_directory
        server.start_backup("by a plain role")
        assert server.stop_backup().label_file


def test_errors_name_the_place_without_the_password(postgres: Cluster) -> None:
    with pytest.raises(PostgresError) as refused:
        connect(config(postgres, PGDATABASE="nowhere", PGPASSWORD="secret"))
    text = describe(refused.value)
    assert 'database "nowhere" does not exist' in text
    assert str(postgres.socket_directory) in text
    assert "secret" not in text


def test_a_stopped_server_is_explained(postgres: Cluster, server: Server) -> None:
    server.start_backup("to be lost")
    postgres.stop("immediate")
    with pytest.raises(PostgresError) as lost:
        server.stop_backup()
    assert "server was stopped" in lost.value.hint
    with pytest.raises(PostgresError) as refused:
        connect(config(postgres))
    assert "Is the server running?" in refused.value.hint


def test_several_hosts_are_tried(postgres: Cluster, tmp_path: Path) -> None:
    hosts = f"{tmp_path},{postgres.socket_directory}"
    with connect(config(postgres, PGHOST=hosts)) as server:
        assert str(postgres.socket_directory) in server.place


def test_stop_times_out(make_cluster: ClusterFactory) -> None:
    cluster = make_cluster(settings=NEVER_ARCHIVES)
    with connect(config(cluster)) as server:
        server.start_backup("never archived")
        with pytest.raises(PostgresError) as late:
            server.stop_backup(timeout_seconds=0.3)
    assert "statement timeout" in str(late.value)
    assert "archive_command" in late.value.hint


def test_a_signal_ends_a_waiting_stop(make_cluster: ClusterFactory) -> None:
    cluster = make_cluster(settings=NEVER_ARCHIVES)
    arguments = [f"{key}={value}" for key, value in settings(cluster).items()]
    command = [sys.executable, "-c", STOP_IN_A_CHILD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stopping\n"
        waiting = "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'wal-g'"
        wait_for(cluster, waiting, "BackupWaitWalArchive")
        signalled = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(20) == 0
        assert time.monotonic() - signalled < 2
    wait_for(cluster, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wal-g'", "0")


def test_keep_alive_notices_a_lost_connection(postgres: Cluster, server: Server) -> None:
    with KeepAlive(server, 0.05) as keep_alive:
        wait_for(postgres, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT 1'", "1")
        keep_alive.check()
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wal-g'")
        with pytest.raises(PostgresError, match="sign of life"):
            check_for_seconds(keep_alive, 20)


def check_for_seconds(keep_alive: KeepAlive, seconds: float) -> None:
    """Check until it raises, but no longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        keep_alive.check()
        time.sleep(0.02)


def test_threads_may_share_a_connection(server: Server) -> None:
    server.start_backup("while others ask")
    failures: list[PostgresError] = []

    def ask() -> None:
        try:
            for _ in range(50):
                server.ping()
        except PostgresError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert server.stop_backup().label_file
    for thread in threads:
        thread.join()
    assert not failures


def test_relations_of_all_databases(postgres: Cluster, server: Server) -> None:
    postgres.execute("CREATE DATABASE app")
    postgres.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    postgres.execute("CREATE TABLE plain (id int PRIMARY KEY); CREATE VIEW seen AS SELECT 1", "app")
    postgres.execute(
        "CREATE SCHEMA other; CREATE TABLE top (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF top FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);"
        "CREATE TABLE other.lowest PARTITION OF low FOR VALUES FROM (0) TO (1);"
        "CREATE INDEX ON top (id)",
        "app",
    )
    found = collect_relations(config(postgres), server)
    assert set(found) == {"app", "postgres", "template1"}
    app = found["app"].tables
    assert str(found["app"].oid) == postgres.execute("SELECT oid FROM pg_database WHERE datname = 'app'")
    assert app["public.plain"].oid == app["public.plain"].relfilenode > 0
    assert "public.plain_pkey" in app
    assert "public.seen" not in app
    assert app["pg_catalog.pg_class"].relfilenode == int(
        postgres.execute("SELECT pg_relation_filenode('pg_class')", "app")
    )
    assert app["public.top"].relfilenode == 0
    assert set(app["public.top"].subtables) == {"public.low", "other.lowest", "other.lowest_id_idx"}
    assert set(app["public.plain"].subtables) == {"public.plain_pkey"}
    assert app["public.top"].subtables["other.lowest"].relfilenode > 0
    assert "other.lowest_id_idx" in app


def test_a_standby_has_no_file_name(make_cluster: ClusterFactory) -> None:
    primary = make_cluster()
    standby = make_cluster(initdb=False, start=False)
    primary.execute("CHECKPOINT")
    primary.stop()
    standby.run(["cp", "-a", f"{primary.data_directory}/.", str(standby.data_directory)])
    (standby.data_directory / "standby.signal").touch()
    standby.start()
    with connect(config(standby)) as server:
        assert server.facts().in_recovery
        started = server.start_backup("on a standby")
        assert (started.in_recovery, started.name_file) == (True, "")
        assert started.lsn > 0


def test_system_identifiers_are_unsigned(make_cluster: ClusterFactory) -> None:
    cluster = make_cluster(start=False)
    path = cluster.data_directory / "global/pg_control"
    identifier = 2**63 + 5
    cluster.run([str(cluster.programs / "pg_resetwal"), "-f", str(cluster.data_directory)])
    rewrite_identifier(path, identifier)
    cluster.run([str(cluster.programs / "pg_resetwal"), "-f", str(cluster.data_directory)])
    cluster.start()
    with connect(config(cluster)) as server:
        assert server.facts().system_identifier == read_control(str(path)).system_identifier == identifier


def rewrite_identifier(path: Path, identifier: int) -> None:
    """Give a stopped cluster another system identifier."""
    from walpy.postgres.crc32c import crc32c

    data = bytearray(path.read_bytes())
    place = next(end for end in range(200, 400, 4) if struct.pack("=I", crc32c(data[:end])) == data[end : end + 4])
    data[:8] = struct.pack("=Q", identifier)
    data[place : place + 4] = struct.pack("=I", crc32c(data[:place]))
    with path.open("r+b") as file:
        file.write(data)
