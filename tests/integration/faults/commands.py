"""Runs of walpy as processes of their own, and what they leave behind: processes, temporary files, objects."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures import s3_server
from tests.fixtures.cluster import PROJECT
from walpy.config import Config

DEADLINES = ("WALPY_STORAGE_DEADLINE", "WALPY_CONNECT_TIMEOUT", "WALPY_READ_TIMEOUT")
SIGNAL_SECONDS = 2.0  # are promised
BUSY_SECONDS = 1.5  # are granted to a busy machine; no time-out of these tests is that short
TIMEOUT_SECONDS = 60  # no run of these tests takes longer, or something hangs


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    code: int
    output: str
    log: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The ERROR lines, without level and time."""
        return [line.split(" ", 3)[3] for line in self.log.splitlines() if line.startswith("ERROR: ")]

    @property
    def tried_seconds(self) -> float:
        """How long the request that failed was tried, as the error says; 0 for an error that is not tried again."""
        found = re.search(r"\(tried .* in ([0-9.]+) s\)", self.error)
        return float(found[1]) if found else 0.0

    @property
    def error(self) -> str:
        """The one ERROR line; nothing else may look like one."""
        assert "Traceback" not in self.log, self.log
        assert "unexpected error" not in self.log, self.log
        assert len(self.errors) == 1, self.log
        return self.errors[0]


class Run:
    """One run in a session of its own; temporary: what becomes its TMPDIR."""

    def __init__(self, *arguments: str, cwd: Path, temporary: Path, settings: Mapping[str, str], **options: object):
        temporary.mkdir(exist_ok=True)
        temporary.chmod(0o777)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONPATH": str(PROJECT),
            "TMPDIR": str(temporary),
            **settings,
        }
        self.temporary = temporary
        self.began = time.monotonic()
        self.process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-m", "walpy", *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def end(self, timeout: float = TIMEOUT_SECONDS) -> Ended:
        """Wait for its end; raises TimeoutExpired, and kills it then."""
        with self.process as process:
            try:
                output, log = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Ended(process.returncode, output, log, time.monotonic() - self.began)

    def abandon(self) -> None:
        """Kill what still lives of it: for the end of a test that failed."""
        for pid in session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process.stdout and not self.process.stdout.closed:
            self.process.communicate()

    def signal(self, number: int, *, whole_group: bool = False) -> Ended:
        """Send a signal (to all of its processes, as a terminal does); it must end in time and leave nothing."""
        began = time.monotonic()
        if whole_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        ended = self.end()
        seconds = time.monotonic() - began
        assert seconds < SIGNAL_SECONDS + BUSY_SECONDS, f"{seconds:.1f} s\n{ended.log}"
        return ended

    def kill(self) -> Ended:
        """kill -9 of the main process alone."""
        self.process.kill()
        return self.end()

    def children(self) -> list[int]:
        """Its other processes, however deep, that still live."""
        return [pid for pid in session(self.process.pid) if pid != self.process.pid]

    def wait_for_children_to_go(self, seconds: float = SIGNAL_SECONDS + BUSY_SECONDS) -> None:
        """Assert that all of its processes end."""
        deadline = time.monotonic() + seconds
        while children := self.children():
            assert time.monotonic() < deadline, [commandline(pid) for pid in children]
            time.sleep(0.01)

    def left_in_temporary(self) -> list[str]:
        """What lies in its TMPDIR."""
        return sorted(os.listdir(self.temporary))


def session(leader: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        fields = stat_fields(pid)
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.append(pid)
    return found


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on: state, parent, group, session; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def commandline(pid: int) -> list[str]:
    """Arguments of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def environment_of(config: Config) -> dict[str, str]:
    """A configuration as environment variables."""
    return {key: item.value for key, item in config.settings.items()}


def s3_environment(url: str, bucket: str, deadline: str = "1s", **more: str) -> dict[str, str]:
    """Settings for a bucket of S3Server behind url, with one deadline for everything."""
    return environment_of(s3_server.settings(url, bucket, **{**dict.fromkeys(DEADLINES, deadline), **more}))
