"""kill -9 of every process, at random moments: nothing partial is visible, nothing is lost, the next run succeeds."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, archiving
from tests.fixtures.postgres import ClusterFactory
from tests.fixtures.recovery import (
    PGBENCH_CONTENT,
    archive_all,
    pgbench,
    pgbench_in_background,
    recover,
    recover_fully,
    wait_until,
)
from tests.fixtures.s3_server import S3Server
from tests.integration.faults.chaos import Chaos
from tests.integration.faults.commands import Run, s3_environment, stat_fields
from tests.integration.faults.scene import SMALL_BACKUP, Scene, folder_scene, wait_for_query
from tests.integration.running_push import has_open

BACKUP_KILLS = 6
FETCH_KILLS = 5


@pytest.mark.slow
def test_no_segment_is_lost(make_cluster: ClusterFactory, s3: S3Server) -> None:
    """wal-push is killed again and again under a server that archives, to S3 in parts, while pgbench runs."""
    settings, _ = archiving(Path())
    # The archiver of PostgreSQL restarts itself, after ten seconds, when a command dies by a signal.
    settings["archive_command"] += " || exit 1"
    cluster = make_cluster(settings=settings, environment=s3_environment(s3.url, s3.new_bucket(), "20s"))
    pgbench(cluster, "-i", "-q", "-s", "2")
    cluster.walpy("backup-push", str(cluster.data_directory))
    load = pgbench_in_background(cluster, 8)
    with Chaos(cluster.data_directory, ("wal-push",), seed=1, longest=1.0, mercy=0.3) as chaos:
        deadline = time.monotonic() + 60  # on a busy machine the load alone is too short for three kills
        while load.poll() is None or (chaos.kills <= 2 and time.monotonic() < deadline):
            cluster.execute("insert into pgbench_history (tid) values (0)")
            cluster.execute("select pg_switch_wal()")
            time.sleep(0.3)  # so that there is always something to archive
    assert load.returncode == 0
    assert chaos.kills > 2
    expected = cluster.execute(PGBENCH_CONTENT)
    archive_all(cluster)
    assert "contents differ" not in cluster.log.read_text()
    cluster.stop("immediate")

    restored = make_cluster(initdb=False, environment=cluster.environment)
    restored.walpy("backup-fetch", str(restored.data_directory), "LATEST")
    recover_fully(restored, {"restore_command": settings["restore_command"], "archive_mode": "off"})
    assert restored.execute(PGBENCH_CONTENT) == expected


@pytest.mark.slow
def test_recovery_survives_killed_fetches(make_cluster: ClusterFactory, archive_folder: Path) -> None:
    """PostgreSQL stops when restore_command is killed; started again, it goes on until all is there."""
    settings, environment = archiving(archive_folder)
    cluster = make_cluster(settings=settings, environment=environment, wal_segment_size_mib=1)
    pgbench(cluster, "-i", "-q", "-s", "1")
    cluster.walpy("backup-push", str(cluster.data_directory))
    pgbench(cluster, "-n", "-t", "2500", "-c", "4")
    expected = cluster.execute(PGBENCH_CONTENT)
    archive_all(cluster)
    cluster.stop("immediate")

    restored = make_cluster(initdb=False, environment=environment)
    restored.walpy("backup-fetch", str(restored.data_directory), "LATEST")
    commands = ("wal-fetch", "wal-prefetch")
    starts = 0
    with Chaos(restored.data_directory, commands, seed=2, longest=0.15, mercy=0.4, most=FETCH_KILLS) as chaos:
        while not _recovers(restored, {"restore_command": settings["restore_command"], "archive_mode": "off"}):
            starts += 1
            assert starts <= FETCH_KILLS, restored.log_tail()
    assert chaos.kills >= 2  # on a fast machine the recovery may end first
    assert restored.execute(PGBENCH_CONTENT) == expected
    assert restored.execute("select timeline_id from pg_control_checkpoint()") == "2"


def _recovers(cluster: Cluster, settings: dict[str, str]) -> bool:
    """Start a server in recovery; whether it gets to the end."""
    try:
        recover(cluster, {"recovery_target_action": "promote", **settings})
        wait_until(cluster, "select pg_is_in_recovery()", "f")
    except RuntimeError:
        while cluster.is_running():
            time.sleep(0.05)
        # PostgreSQL removes it before it fetches the history of the timelines that the new one comes from.
        is_still_asked_for = (cluster.data_directory / "recovery.signal").exists()
        assert is_still_asked_for or "selected new timeline ID" in cluster.log_tail(), cluster.log_tail()
        return False
    return True


def test_a_killed_backup_is_never_listed(tmp_path: Path, server: Cluster) -> None:
    scene = folder_scene(tmp_path, server).prepare()
    chance = random.Random(3)
    longest = scene.start("backup-push").end().seconds
    listed = listing(scene)
    for _ in range(BACKUP_KILLS):
        run = scene.start("backup-push")
        time.sleep(chance.uniform(longest / 4, longest))
        if run.kill().code == 0:
            listed = listing(scene)
        run.wait_for_children_to_go()
        assert listing(scene) == listed
        scene.check_no_backup_runs()
    ended = scene.start("backup-push").end()
    assert ended.code == 0, ended.log
    assert len(listing(scene)) == len(listed) + 1


def test_a_backup_that_is_killed_while_the_server_waits_ends_in_the_server(
    tmp_path: Path, archiving_nowhere: Cluster
) -> None:
    scene = folder_scene(tmp_path, archiving_nowhere).prepare()
    run = scene.start("backup-push", WALPY_WAL_WAIT_TIMEOUT="0")
    wait_for_query(scene.server, "%pg_backup_stop%")
    run.kill()
    scene.check_no_backup_runs()


@pytest.mark.parametrize("victim", ["worker", "fork server", "resource tracker"])
def test_a_killed_part_of_a_backup(victim: str, tmp_path: Path, server: Cluster) -> None:
    scene = folder_scene(tmp_path, server).prepare()
    before = listing(scene)
    run = scene.start("backup-push", WALG_NETWORK_RATE_LIMIT=str(1 << 20))
    os.kill(find_process(run, victim, server.data_directory), signal.SIGKILL)
    if victim == "worker":
        ended = run.end()
        assert ended.code == 1
        assert "was killed by SIGKILL while it worked on" in ended.error
        assert "part_00" in ended.error
        assert listing(scene) == before
        assert [name for name in scene.objects() if "basebackups_005/base" in name and SMALL_BACKUP not in name] == []
    else:
        run.end()  # whether it can do without: but it ends
    run.wait_for_children_to_go()
    scene.check_no_backup_runs()
    ended = scene.start("backup-push").end()
    assert ended.code == 0, ended.log


def find_process(run: Run, kind: str, data_directory: Path) -> int:
    """A worker is a child of the fork server; that and the resource tracker are the command's own children.

    The worker is one that reads the server's files, for which all wait.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        parents = {pid: int(fields[1]) for pid in run.children() if (fields := stat_fields(pid))}
        workers = [pid for pid, parent in parents.items() if parent in parents and has_open(pid, data_directory)]
        if workers:
            own = sorted(pid for pid, parent in parents.items() if parent == run.process.pid)
            server = parents[workers[0]]
            return {
                "worker": workers[0],
                "fork server": server,
                "resource tracker": next(pid for pid in own if pid != server),
            }[kind]
        time.sleep(0.01)
    raise AssertionError(f"no {kind}")


def listing(scene: Scene) -> list[str]:
    """Lines of backup-list."""
    ended = scene.start("backup-list").end()
    assert ended.code == 0, ended.log
    return ended.output.splitlines()
