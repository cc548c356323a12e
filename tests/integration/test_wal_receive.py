"""wal-receive against real servers: killed on either side, promoted, stopped; no gap, no wrong byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, give, new_base, unprivileged
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import recover, wait_until
from tests.unit.wal.synthetic import archive_in
from walpy.wal.history import parse_history
from walpy.wal.segment import following_segment, segment_name

MIB = 1 << 20
FILL = "insert into t select n, repeat(md5(n::text), 20) from generate_series(1, 3000) n"  # three segments
SLOT = "select count(*) > 0 and bool_and(active) from pg_replication_slots"


@pytest.fixture
def truth() -> Iterator[Path]:
    """Where the server's own archive_command copies its segments."""
    base = new_base()
    yield base
    subprocess.run(["rm", "-rf", str(base)], check=True)


@pytest.fixture
def server(make_cluster: ClusterFactory, archive_folder: Path, truth: Path) -> Cluster:
    settings = {"archive_mode": "on", "archive_command": f"cp %p {truth}/%f"}
    environment = {"WALG_FILE_PREFIX": str(archive_folder)}
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    cluster.execute("create table t (n int, x text)")
    return cluster


@contextmanager
def receiving(cluster: Cluster, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A wal-receive; its messages go to receive.log in the cluster's base."""
    log = cluster.base / "receive.log"
    with log.open("ab") as errors:
        give(log)
        process = subprocess.Popen(
            [sys.executable, "-m", "walpy", "wal-receive"],
            cwd=cluster.base,
            env={**cluster.process_environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            **unprivileged(),  # type: ignore[call-overload]
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def messages(cluster: Cluster) -> str:
    return (cluster.base / "receive.log").read_text()


def stored(archive_folder: Path) -> list[str]:
    folder = archive_folder / "wal_005"
    return sorted(path.name.removesuffix(".lz4") for path in folder.iterdir()) if folder.is_dir() else []


def wait_for(condition: Callable[[], object], cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, messages(cluster)
        time.sleep(0.05)


def switch(cluster: Cluster) -> str:
    """Name of the segment that ends now."""
    cluster.execute("select pg_create_restore_point('switch')")
    return cluster.execute("select pg_walfile_name(pg_switch_wal())")


def kill(cluster: Cluster) -> None:
    """kill -9 of the server; its processes notice by themselves."""
    os.kill(int((cluster.data_directory / "postmaster.pid").read_text().split("\n")[0]), signal.SIGKILL)


def start_again(cluster: Cluster) -> None:
    for _ in range(100):
        try:
            cluster.start()
        except RuntimeError:  # processes of the killed server are still there
            time.sleep(0.1)
        else:
            return
    raise AssertionError(cluster.log_tail())


def check(archive_folder: Path, truth: Path, last: str, first: str = "") -> None:
    """Every segment up to last is stored, and is the one that the server archived itself."""
    names = [name for name in stored(archive_folder) if len(name) == 24 and name[:8] == last[:8] and name >= first]
    expected = [names[0]]
    while expected[-1] < last:
        expected.append(following_segment(expected[-1], MIB))
    assert names[: len(expected)] == expected
    for name in names:
        wait_for_file(truth / name)
        assert content_of(archive_folder, name) == (truth / name).read_bytes(), name


def content_of(archive_folder: Path, name: str) -> bytes:
    with archive_in(archive_folder).open_wal(name) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < MIB:
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def test_segments_arrive_as_the_server_wrote_them(server: Cluster, archive_folder: Path, truth: Path) -> None:
    with receiving(server) as process:
        wait_until(server, SLOT)
        for _ in range(3):
            server.execute(FILL)
        last = switch(server)
        wait_for(lambda: last in stored(archive_folder), server)
        check(archive_folder, truth, last)
        # The server is told: it need not keep what is stored.
        following = following_segment(last, MIB)
        wait_until(server, f"select pg_walfile_name(restart_lsn + 1) >= '{following}' from pg_replication_slots")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in messages(server)
    verdict = server.walpy("wal-verify", "integrity", "--json").stdout
    assert '"status":"FAILURE"' not in verdict
    with receiving(server):  # goes on where it was
        last = switch(server)
        wait_for(lambda: last in stored(archive_folder), server)
    check(archive_folder, truth, last)


def test_whoever_is_killed_nothing_is_lost(server: Cluster, archive_folder: Path, truth: Path) -> None:
    with receiving(server):
        wait_until(server, SLOT)
        server.execute(FILL)
    for _ in range(4):
        server.execute(FILL)  # while nobody receives
        with receiving(server):
            wait_until(server, SLOT)
            server.execute(FILL)
            time.sleep(0.1)  # killed in the middle of something
    with receiving(server):
        for _ in range(3):
            wait_until(server, SLOT)
            server.execute(FILL)
            kill(server)
            start_again(server)
        wait_until(server, SLOT)
        last = switch(server)
        wait_for(lambda: last in stored(archive_folder), server)
    check(archive_folder, truth, last)
    assert "connecting again" in messages(server)


def test_a_server_that_stops_need_not_wait_for_the_end_of_the_segment(server: Cluster, archive_folder: Path) -> None:
    with receiving(server):
        wait_until(server, SLOT)
        server.execute("insert into t values (1, 'x')")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 20
        server.start()
        wait_until(server, SLOT)
        last = switch(server)
        wait_for(lambda: last in stored(archive_folder), server)


def test_a_promotion(server: Cluster, make_cluster: ClusterFactory, archive_folder: Path, truth: Path) -> None:
    standby = make_cluster(initdb=False, environment=server.environment)
    copied = [str(server.programs / "pg_basebackup"), "-D", str(standby.data_directory), "-X", "stream", "-c", "fast"]
    if not Path(copied[0]).exists():
        pytest.skip("no pg_basebackup of this version")
    server.run([*copied, "-h", str(server.socket_directory), "-U", "postgres"])
    stream = f"host={server.socket_directory} port={server.port} user=postgres"
    recover(standby, {"primary_conninfo": stream}, signal="standby.signal")
    with receiving(standby):
        wait_until(standby, SLOT)
        server.execute(FILL)
        wait_until(server, "select count(*) > 0 from pg_stat_replication")
        server.execute("insert into t values (1, 'the last one')")
        wait_until(server, "select bool_and(replay_lsn = pg_current_wal_flush_lsn()) from pg_stat_replication")
        server.stop()
        standby.execute("select pg_promote()")
        wait_until(standby, "select pg_is_in_recovery()", "f")
        standby.execute(FILL)
        last = switch(standby)
        assert last.startswith("00000002")
        wait_for(lambda: last in stored(archive_folder), standby)
    check(archive_folder, truth, last, first="00000002")
    (switched,) = parse_history(content_of(archive_folder, "00000002.history").decode(), "00000002.history")
    number, offset = divmod(switched.lsn, MIB)
    partial = f"{segment_name(1, number, MIB)}.partial"
    # A timeline that ends between two segments leaves no partial one.
    expected = [partial] if offset else []
    assert [name for name in stored(archive_folder) if name.endswith(".partial")] == expected, messages(standby)
    if offset:
        beginning = (truth / segment_name(2, number, MIB)).read_bytes()[:offset]
        assert content_of(archive_folder, partial) == beginning.ljust(MIB, b"\0")


def test_what_stops_it(server: Cluster, archive_folder: Path) -> None:
    wrong = server.walpy("wal-receive", check=False, WALG_SLOTNAME="No-Slot")
    assert wrong.returncode == 1
    assert "expected at most 63 of a-z" in wrong.stderr
    with receiving(server):
        wait_until(server, SLOT)
        second = server.walpy("wal-receive", check=False)
        assert second.returncode == 1
        assert "is in use by the server process" in second.stderr
    server.stop()
    absent = server.walpy("wal-receive", check=False)
    assert absent.returncode == 1
    assert "cannot connect to PostgreSQL" in absent.stderr


def test_another_clusters_archive_is_refused(
    server: Cluster, make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    with receiving(server):
        wait_until(server, SLOT)
        last = switch(server)
        wait_for(lambda: last in stored(archive_folder), server)
    other = make_cluster(environment=server.environment, wal_segment_size_mib=1)
    refused = other.walpy("wal-receive", check=False)
    assert refused.returncode == 1
    assert "belongs to the cluster" in refused.stderr
