"""backup-push that is killed, interrupted or refused: no backup, no leftovers, no hang."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, give
from tests.fixtures.postgres import ClusterFactory
from tests.integration.backup_restore import newest_backup, stored_files
from tests.integration.running_push import (
    Push,
    assert_nothing_is_left,
    backup_connections,
    is_running,
    wait_until,
)

# Two seconds are promised. A busy machine gets a little more, still less than any time-out that could end it instead.
PROMPT_SECONDS = 4
SLOW = {"WALG_DISK_RATE_LIMIT": "100000"}  # bytes a second: such a backup takes minutes


@pytest.fixture
def pushes(archived: Cluster) -> Iterator[Callable[..., Push]]:
    """Starts backups of the archived cluster; ends them when the test does not."""
    started: list[Push] = []

    def start(cluster: Cluster = archived, **environment: str) -> Push:
        started.append(Push(cluster, str(cluster.data_directory), **environment))
        return started[-1]

    yield start
    for push in started:
        push.process.kill()
        push.process.communicate()


def test_a_killed_worker_fails_the_backup(pushes: Callable[..., Push], archived: Cluster, archive_folder: Path) -> None:
    push = pushes(**SLOW)
    os.kill(push.workers()[0], signal.SIGKILL)
    assert push.end() == 1
    assert "was killed by SIGKILL while it worked on base_" in push.log
    assert_nothing_is_left(push, archived, archive_folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_backup_that_packs(
    number: signal.Signals, pushes: Callable[..., Push], archived: Cluster, archive_folder: Path
) -> None:
    push = pushes(**SLOW)
    workers = push.workers()
    sent = time.monotonic()
    push.process.send_signal(number)
    assert push.end() == 128 + number
    assert time.monotonic() - sent < PROMPT_SECONDS
    wait_until(lambda: not any(map(is_running, workers)))
    assert_nothing_is_left(push, archived, archive_folder)


def test_a_signal_ends_the_server_s_wait_for_the_archiver(
    pushes: Callable[..., Push], make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    settings = {"archive_mode": "on", "archive_command": "false"}
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    push = pushes(cluster, WALPY_WAL_WAIT_TIMEOUT="0")
    wait_until(lambda: cluster.execute("select wait_event from pg_stat_activity where query ~ '[_]stop'") != "")
    sent = time.monotonic()
    push.process.send_signal(signal.SIGTERM)
    assert push.end() == 128 + signal.SIGTERM
    assert time.monotonic() - sent < PROMPT_SECONDS
    assert_nothing_is_left(push, cluster, archive_folder)


def test_a_signal_ends_the_wait_for_wal(
    pushes: Callable[..., Push], make_cluster: ClusterFactory, archive_folder: Path
) -> None:
    settings = {"archive_mode": "on", "archive_command": "false"}
    cluster = make_cluster(settings=settings, environment={"WALG_FILE_PREFIX": str(archive_folder)})
    push = pushes(cluster)
    push.wait_for_log("Waiting for WAL to be archived")
    sent = time.monotonic()
    push.process.send_signal(signal.SIGTERM)
    assert push.end() == 128 + signal.SIGTERM
    assert time.monotonic() - sent < PROMPT_SECONDS
    assert_nothing_is_left(push, cluster, archive_folder)


def test_a_killed_push_takes_its_workers_along_and_lists_no_backup(
    pushes: Callable[..., Push], archived: Cluster, archive_folder: Path
) -> None:
    push = pushes(WALG_TAR_SIZE_THRESHOLD="500000", WALG_DISK_RATE_LIMIT="3000000")
    push.wait_for_log("Stored part_")
    workers = push.workers()
    push.process.kill()
    wait_until(lambda: not any(map(is_running, workers)))
    left = stored_files(archive_folder)
    assert left
    assert not [name for name in left if name.endswith("sentinel.json")]
    assert archived.walpy("backup-list").stdout == ""
    wait_until(lambda: backup_connections(archived) == "0")
    archived.walpy("backup-push", str(archived.data_directory))
    assert newest_backup(archive_folder).name in archived.walpy("backup-list").stdout


def test_a_server_that_stops_fails_the_backup(pushes: Callable[..., Push], archived: Cluster) -> None:
    push = pushes(**SLOW, WALG_ALIVE_CHECK_INTERVAL="100ms")
    push.workers()
    archived.stop("immediate")
    assert push.end() == 1
    assert "asking for a sign of life failed" in push.log
    assert "Removed " in push.log


def test_a_storage_that_takes_nothing_fails_the_backup(
    pushes: Callable[..., Push], archived: Cluster, archive_folder: Path
) -> None:
    (archive_folder / "basebackups_005").write_text("no folder")
    give(archive_folder)
    push = pushes()
    assert push.end() == 1
    assert "ERROR" in push.log
    wait_until(lambda: backup_connections(archived) == "0")


def test_a_file_that_cannot_be_read_fails_the_backup(
    pushes: Callable[..., Push], archived: Cluster, archive_folder: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a file that the server's user cannot read")
    secret = archived.data_directory / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    push = pushes()
    assert push.end() == 1
    assert f"cannot open '{secret}': Permission denied" in push.log
    assert_nothing_is_left(push, archived, archive_folder)
