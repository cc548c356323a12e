"""A backup-push that runs while a test does something to it."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fixtures.cluster import Cluster, unprivileged
from tests.integration.backup_restore import stored_files

WAIT_SECONDS = 60


class Push:
    """A running backup-push; what it logged so far is kept."""

    def __init__(self, cluster: Cluster, *arguments: str, **environment: str) -> None:
        self.log = ""
        self._cluster = cluster
        self.process = subprocess.Popen(
            [sys.executable, "-m", "walpy", "backup-push", *arguments],
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
        """Process ids of its workers, once one reads the server's files; such come first. They start before that."""
        found: list[int] = []

        def is_one_reading() -> bool:
            workers = [child for pid in self._servers() for child in children(pid)]
            reading = [worker for worker in workers if has_open(worker, self._cluster.data_directory)]
            found[:] = sorted(workers, key=lambda worker: worker not in reading)
            return bool(reading)

        wait_until(is_one_reading)
        return found

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


def has_open(pid: int, folder: Path) -> bool:
    """Whether a process has a file below a folder open."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if link.readlink().is_relative_to(folder):
                    return True
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


def assert_nothing_is_left(push: Push, cluster: Cluster, archive_folder: Path) -> None:
    assert stored_files(archive_folder) == []
    assert "Removed " in push.log
    wait_until(lambda: backup_connections(cluster) == "0")
