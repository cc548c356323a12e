"""A primary storage on S3 that dies and a folder that takes over, with a data directory whose WAL goes there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.fixtures import s3_server
from tests.fixtures.mortal_server import MortalServer
from tests.fixtures.s3_server import S3Server
from tests.integration.agent.agents import WALPY, command_lines
from tests.integration.faults.commands import environment_of
from tests.unit.wal.synthetic import DataDirectory, archive_in, content, stored
from walpy.archive import Archive, open_archive

PROJECT = Path(__file__).resolve().parents[3]
PATIENCE, IMPATIENCE = 20, 3  # seconds after which a storage counts as dead: while it lives, and when it is to die
EVERY = bool(os.environ.get("WALPY_EVERY_REQUEST"))  # tried by hand; else a part
WAYS = ("dies", "hangs", "dies after it")  # in which a primary ends
TRIES = 4  # PostgreSQL's archiver never gives up; more than these would be too many


def tried(count: int, how: str) -> list[int]:
    """At which of so many requests the primary ends in that way: one of three, each in another way, or EVERY one."""
    return [number for number in range(count) if EVERY or number % len(WAYS) == WAYS.index(how)]


@dataclass
class Site:
    """base: a new folder. server: in front of s3."""

    base: Path
    s3: S3Server
    server: MortalServer
    bucket: str = ""
    runtime: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="walpy-t-", dir="/tmp")))

    def __post_init__(self) -> None:
        self.bucket = self.s3.new_bucket()
        self.patience = PATIENCE
        self.data = DataDirectory(self.base / "data")
        (self.data.path / "PG_VERSION").write_text("15\n")
        for name in ("second", "home"):
            (self.base / name).mkdir()

    def settings(self, **more: str) -> dict[str, str]:
        """What commands are given."""
        times = dict.fromkeys(
            ("WALPY_STORAGE_DEADLINE", "WALPY_CONNECT_TIMEOUT", "WALPY_READ_TIMEOUT"), f"{self.patience}s"
        )
        own = environment_of(s3_server.settings(self.server.url, self.bucket, **times))
        return {
            **own,
            "WALG_FAILOVER_STORAGES": json.dumps({"second": {"WALG_FILE_PREFIX": str(self.base / "second")}}),
            "WALG_FAILOVER_STORAGES_CHECK_TIMEOUT": f"{self.patience}s",
            "WALG_FAILOVER_STORAGES_CHECK_SIZE": "1kb",
            **more,
        }

    def environment(self, **more: str) -> dict[str, str]:
        """Of commands; they know nothing of other tests' storages and agents."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "HOME": str(self.base / "home"),
            "TMPDIR": str(self.runtime),
            "WALPY_AGENT": "off",
            **self.settings(),
            **more,
        }

    def run(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, as PostgreSQL does where an agent may serve it."""
        program = [WALPY] if more.get("WALPY_AGENT", "off") != "off" else [sys.executable, "-m", "walpy"]
        done = subprocess.run(
            [*program, *arguments],
            cwd=self.data.path,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "unexpected error" not in done.stderr, done.stderr
        return done

    def must(self, *arguments: str, tries: int = TRIES, **more: str) -> str:
        """Run a command until it succeeds, as PostgreSQL and operators do; what it printed."""
        log = ""
        for _ in range(tries):
            done = self.run(*arguments, **more)
            log += done.stderr
            if done.returncode == 0:
                return done.stdout
        raise AssertionError(f"{arguments} failed {tries} times:\n{log}")

    def doom(self, number: int, how: str, part: str = "") -> None:
        """The primary ends at a request, of those with part in their paths: it `dies`, `hangs`, or `dies after it`."""
        self.patience = IMPATIENCE
        self.server.start(number, part=part, hangs=how == "hangs", carries_out=how == "dies after it")

    def revive(self) -> None:
        """The primary is back, and every command looks at it anew."""
        self.patience = PATIENCE
        self.server.start()
        for path in (self.base / "home").glob(".walg_storage_*"):
            path.unlink()

    @property
    def primary(self) -> Archive:
        """The primary, around all faults."""
        return open_archive(s3_server.settings(self.s3.url, self.bucket, WALG_PG_WAL_SIZE="1"))

    @property
    def second(self) -> Archive:
        """The failover."""
        return archive_in(self.base / "second", WALG_PG_WAL_SIZE="1")

    def holders(self, name: str) -> list[Archive]:
        """Who holds a WAL file."""
        return [archive for archive in (self.primary, self.second) if f"wal_005/{name}.lz4" in stored(archive)]

    def check_kept(self, *names: str) -> None:
        """Each WAL file is kept, with its content, wherever it is; a merged listing shows it once."""
        for name in names:
            holders = self.holders(name)
            assert holders, f"{name} is lost"
            for archive in holders:
                assert content(archive, name) == (self.data.wal / name).read_bytes()
        shown = json.loads(self.must("wal-show", "--detailed-json", "--without-backups", WALG_PG_WAL_SIZE="1"))
        segments = [name for name in names if "." not in name]
        assert sum(timeline["segments_count"] for timeline in shown) == len(segments)

    def bring_home(self) -> None:
        """Move everything to the primary: nothing may stay in the failover, or be in the primary with other content."""
        before = {name: self.second.get_bytes(name) for name in self.second.storage.list_names() if _moves(name)}
        for what in ("backups", "pg-wals"):
            done = self.run("st", "transfer", what, "--source", "second")
            assert done.returncode == 0, done.stderr
        assert [name for name in self.second.storage.list_names() if name.startswith("wal_005/")] == []
        assert [name for name in self.second.storage.list_names() if name.endswith("sentinel.json")] == []
        home = self.primary
        assert all(home.get_bytes(name) == content for name, content in before.items())

    def check_fetched(self, *names: str) -> None:
        """A recovery gets each file."""
        for name in names:
            self.must("wal-fetch", name, "pg_wal/RECOVERYXLOG", WALG_DOWNLOAD_CONCURRENCY="1")
            assert (self.data.wal / "RECOVERYXLOG").read_bytes() == (self.data.wal / name).read_bytes()

    def requests_of(self, *arguments: str, **more: str) -> int:
        """How many requests a command makes on the living primary."""
        self.server.start()
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        count = len(self.server.kill())
        self.server.start()
        return count

    def agents(self) -> list[int]:
        """Processes of its agents."""
        return [pid for pid, line in command_lines() if "walpy.agent.resident" in line and str(self.runtime) in line]

    def end(self) -> None:
        """End its agents."""
        for process in self.agents():
            os.kill(process, 9)
        shutil.rmtree(self.runtime, ignore_errors=True)


def _moves(name: str) -> bool:
    return name.startswith(("wal_005/", "basebackups_005/"))
