"""backup-push that is killed, interrupted or refused: no backup, no leftovers, no hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.cluster import Cluster, give, unprivileged
from tests.fixtures.postgres import ClusterFactory
from tests.integration.backup_restore import newest_backup, stored_files

# Two seconds are promised. A busy machine gets a little more, still less than any time-out that could end it instead.
PROMPT_SECONDS = 4
SLOW = {"WALG_DISK_RATE_LIMIT": "100000"}  # bytes a second: such a backup takes minutes
WAIT_SECONDS = 60


class Push:
    """A running backup-push; what it logged so far is kept."""

    def __init__(self, cluster: Cluster, **environment: str) -> None:
        self.log = ""
        self._cluster = cluster
        self.process = subprocess.Popen(
            [sys.executable, "-m", "walpy", "backup-push", str(cluster.data_directory)],
            env={**cluster.process_environment(), **environment},
            stderr=subprocess.PIPE,
            text=True,
            **unprivileged(),  # type: ignore[call-overload]
        )

    def wait_for_log(self, text: str) -> None:
        """Read log lines until one holds text."""
        assert self.process.stderr is not None
        while text not in self.log:
            line = self.process.stderr.readline()
            assert line, f"backup-push ended without {text!r}:\n{self.log}"
            self.log += line

    def workers(self) -> list[int]:
        """Process ids of its workers, once one has begun: the fork server's children."""
        wait_until(lambda: any(has_threads(child) for pid in self._servers() for child in children(pid)))
        return [child for pid in self._servers() for child in children(pid)]

    def _servers(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if "forkserver" in command_line(pid)]

    def end(self) -> int:
        """Wait for its end; its exit code."""
        assert self.process.stderr is not None
        self.log += self.process.stderr.read()
        return self.process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def has_threads(pid: int) -> bool:
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except FileNotFoundError:
        return False


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def backup_connections(cluster: Cluster) -> str:
    return cluster.execute("select count(*) from pg_stat_activity where application_name = 'wal-g'")


@pytest.fixture
def pushes(archived: Cluster) -> Iterator[Callable[..., Push]]:
    """Starts backups of the archived cluster; ends them when the test does not."""
    started: list[Push] = []

    def start(cluster: Cluster = archived, **environment: str) -> Push:
        started.append(Push(cluster, **environment))
        return started[-1]

    yield start
    for push in started:
        push.process.kill()
        push.process.communicate()


def assert_nothing_is_left(push: Push, cluster: Cluster, archive_folder: Path) -> None:
    assert stored_files(archive_folder) == []
    assert "Removed " in push.log
    wait_until(lambda: backup_connections(cluster) == "0")


def test_a_killed_worker_fails_the_backup(pushes: Callable[..., Push], archived: Cluster, archive_folder: Path) -> None:
    push = pushes(**SLOW)
    push.wait_for_log("Started backup")
    os.kill(push.workers()[0], signal.SIGKILL)
    assert push.end() == 1
    assert "was killed by SIGKILL while it worked on base_" in push.log
    assert_nothing_is_left(push, archived, archive_folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_backup_that_packs(
    number: signal.Signals, pushes: Callable[..., Push], archived: Cluster, archive_folder: Path
) -> None:
    push = pushes(**SLOW)
    push.wait_for_log("Started backup")
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
    push.wait_for_log("Started backup")
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
