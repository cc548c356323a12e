"""WAL-G's daemon and walpy's: started before a sample, asked by a client, ended after the row."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import run
from benchmarks.model import Command

CLIENT = "walg-daemon-client"
START_SECONDS = 20


@dataclass
class Daemon:
    """One program's daemon for one data directory, with WAL-G's compiled client."""

    bench: Bench
    program: str
    home: Path
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.home.parent / f"{self.home.name}.sock"

    def start(self) -> None:
        """Start it, unless it runs, and wait for its socket. Raises RuntimeError when that does not come."""
        if self.process and self.process.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        with (self.home.parent / f"{self.home.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.bench.programs[self.program], "daemon", str(self.socket)],
                cwd=self.home,
                env={**self.environment, "PGDATA": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the daemon of {self.program} did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def words(self, *arguments: str) -> tuple[str, ...]:
        """The client's command line. Sent are bare names: WAL-G joins them to the WAL directory."""
        return (self.bench.programs[CLIENT], str(self.socket), *arguments)

    def ask(self, *arguments: str) -> None:
        """Have it do one command."""
        run(Command(self.words(*arguments), self.environment, self.home))


def shell_words(words: tuple[str, ...]) -> str:
    """A command line as archive_command holds it; no word needs quotes."""
    return " ".join(os.fspath(word) for word in words)
