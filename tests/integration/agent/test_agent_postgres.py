"""The agent of a real server: it comes with the first segment and goes with the server."""

import os
import time
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, installed_command
from tests.fixtures.postgres import ClusterFactory, archiving
from tests.fixtures.recovery import archive_all
from tests.integration.agent.agents import command_lines, wait_for


def agents_of(cluster: Cluster) -> list[int]:
    """Processes of agents whose working directory is the cluster's data directory."""
    found = []
    for pid, line in command_lines():
        try:
            is_ours = "walpy.agent.resident" in line and os.readlink(f"/proc/{pid}/cwd") == str(cluster.data_directory)
        except OSError:
            continue  # it ended meanwhile
        if is_ours:
            found.append(pid)
    return found


@pytest.fixture
def server(make_cluster: ClusterFactory, archive_folder: Path) -> Cluster:
    """A cluster with 1 MiB segments that archives through the installed command."""
    settings, environment = archiving(archive_folder, installed_command())
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    archive_all(cluster)
    wait_for(lambda: len(agents_of(cluster)) == 1)
    return cluster


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_it_goes_with_its_server_and_comes_again(mode: str, server: Cluster) -> None:
    first = agents_of(server)
    server.stop(mode)
    wait_for(lambda: agents_of(server) == [])
    time.sleep(max(0.0, 10.5 - (time.time() - _start_of(server))))  # no agent is started more often
    server.start()
    archive_all(server)
    wait_for(lambda: len(agents_of(server)) == 1)
    assert agents_of(server) != first


def _start_of(server: Cluster) -> float:
    locks = Path(f"/tmp/walpy-{server.data_directory.stat().st_uid}").glob("*.lock")
    return max(lock.stat().st_mtime for lock in locks)


def test_it_goes_with_a_server_that_is_killed(server: Cluster) -> None:
    postmaster = int((server.data_directory / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, 9)
    wait_for(lambda: agents_of(server) == [])
    assert (server.data_directory / "postmaster.pid").exists()


def test_a_burst_is_archived_whole_while_its_agent_is_killed(server: Cluster, archive_folder: Path) -> None:
    server.execute("create table t (x text)")
    for number in range(6):
        server.execute(f"insert into t select repeat(md5(i::text), 20) from generate_series(1, {2000 + number}) i")
        for pid in agents_of(server):
            os.kill(pid, 9)
    last = archive_all(server)
    names = {path.name.partition(".")[0] for path in (archive_folder / "wal_005").iterdir()}
    numbers = sorted(int(name, 16) for name in names if len(name) == 24 and name <= last)
    assert numbers == list(range(numbers[0], int(last, 16) + 1))
    assert "FATAL" not in server.log.read_text()
