"""Data directories made by hand whose commands may start agents, and what tests ask of those."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.wal.synthetic import FIRST, DataDirectory
from walpy.wal.segment import MIB, following_segment

WALPY = str(Path(sysconfig.get_path("scripts")) / "walpy")
SECONDS = 30.0


class Site:
    """One data directory with its archive and its own place for sockets."""

    def __init__(self, base: Path, **settings: str) -> None:
        self.data = DataDirectory(base / "data")
        (self.data.path / "PG_VERSION").write_text("15\n")
        self.archive = base / "archive"
        self.archive.mkdir()
        self.runtime = Path(tempfile.mkdtemp(prefix="walpy-t-", dir="/tmp"))  # short: it is part of a socket's name
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "TMPDIR": str(self.runtime),
            "WALG_FILE_PREFIX": str(self.archive),
            **settings,
        }

    def run(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the installed command in the data directory, as PostgreSQL does."""
        return subprocess.run(
            [WALPY, *arguments],
            cwd=self.data.path,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=SECONDS * 2,
            check=False,
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the installed command in the data directory."""
        return subprocess.Popen(
            [WALPY, *arguments],
            cwd=self.data.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def segments(self, count: int, first: str = FIRST) -> list[str]:
        """Write so many WAL segments that wait to be archived; their names."""
        names = [first]
        while len(names) < count:
            names.append(following_segment(names[-1], MIB))
        for name in names:
            self.data.add(name, ready=True)
        return names

    def push(self, name: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """What PostgreSQL's archiver does with one file."""
        result = self.run("wal-push", f"pg_wal/{name}", **more)
        if result.returncode == 0:
            self.data.status(name).rename(self.data.status(name, "done"))
        return result

    def states(self) -> list[dict[str, object]]:
        """What `walpy daemon status` tells."""
        result = self.run("daemon", "status", "--json")
        assert result.returncode == 0, result.stderr
        states = json.loads(result.stdout)
        assert isinstance(states, list)
        return states

    def processes(self) -> list[int]:
        """Processes of this site's agents."""
        return [pid for pid, line in command_lines() if "walpy.agent.resident" in line and str(self.runtime) in line]

    def start_agent(self) -> int:
        """Have a command start an agent, and wait until it answers; its process."""
        self.run("wal-fetch", "0000000100000000000000FF", "pg_wal/RECOVERYXLOG")
        wait_for(lambda: bool(self.states()))
        return self.processes()[0]

    def stored(self, name: str) -> bool:
        """Whether the archive holds a segment with the content that the data directory has."""
        result = subprocess.run(
            [sys.executable, "-m", "walpy", "wal-fetch", name, str(self.archive / "fetched")],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        return result.returncode == 0 and (self.archive / "fetched").read_bytes() == (self.data.wal / name).read_bytes()

    def end(self) -> None:
        """End what still runs."""
        for process in self.processes():
            os.kill(process, 9)
        shutil.rmtree(self.runtime, ignore_errors=True)


def command_lines() -> list[tuple[int, str]]:
    """Process and arguments of every living process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((int(entry.parent.name), entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")))
        except OSError:
            continue  # it ended meanwhile
    return found


def wait_for(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
