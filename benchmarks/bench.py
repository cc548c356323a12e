"""What every row needs: the data, a place to work in, the servers, and the programs that are here."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.data.cluster import PREFERRED, Cluster, program
from benchmarks.data.make import Data
from benchmarks.floors import Speed, codec_speed
from benchmarks.machine import CORES
from benchmarks.measure import CommandFailed, run
from benchmarks.model import OWN, Absent, Command
from benchmarks.services import Services

PEERS = ("wal-g", "walg-daemon-client", "pgbackrest", "barman-cloud-backup", "lz4", "zstd", "tar", "brotli")
POSTGRES_PEERS = ("pg_basebackup",)
SHELL = "shell"  # one-liners of codec and tar: a reference, not a peer
BUCKET = "bench"
TEMPORARY = "tmp"  # below the work directory: TMPDIR of all commands


def find_programs() -> dict[str, str]:
    """Path of each program that is here; walpy's is the one beside this interpreter."""
    found = {name: path for name in PEERS if (path := shutil.which(name))}
    own = Path(sys.executable).parent / OWN
    if own.exists():
        found[OWN] = str(own)
    for name in POSTGRES_PEERS:
        try:
            found[name] = str(program(name))
        except LookupError:
            continue
    return found


def base_environment(home: Path) -> dict[str, str]:
    """Environment of every command. PYTHONDONTWRITEBYTECODE stays out: with it nothing is cached."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(home),
        "TMPDIR": str(home / TEMPORARY),
        "LANG": "C.UTF-8",
    }


def tree_size(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@dataclass
class Bench:
    """One run. work: scratch of the run, removed at its end; most_rounds: fewer samples than the rule says."""

    data: Data
    work: Path
    services: Services
    programs: Mapping[str, str]
    environment: Mapping[str, str]
    most_rounds: int | None = None
    clusters: dict[Path, Cluster] = field(default_factory=dict)
    write_speed: float = 0.0  # bytes a second, with a flush
    speeds: dict[tuple[str, Path], Speed] = field(default_factory=dict)
    commands: dict[str, bool] = field(default_factory=dict)

    def rounds(self, full: int) -> int:
        """Samples of each variant: as many as the rule says, unless the run is to be shorter."""
        return min(full, self.most_rounds or full)

    def missing(self, name: str, label: str = "") -> Absent:
        """The entry of a program that is not on this machine."""
        return Absent(name, label or name, f"{name} is not on PATH")

    def folder(self, *parts: str) -> Path:
        """An empty directory of the run."""
        path = self.work.joinpath(*parts)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def command(self, name: str, *arguments: str, environment: Mapping[str, str], directory: Path) -> Command:
        """A command line of a program of find_programs()."""
        return Command((self.programs[name], *arguments), environment, directory)

    def has_command(self, name: str) -> bool:
        """Whether this walpy has a command."""
        if name not in self.commands:
            try:
                run(self.command(OWN, name, "--help", environment=self.environment, directory=self.work))
                self.commands[name] = True
            except CommandFailed:
                self.commands[name] = False
        return self.commands[name]

    def cluster(self, directory: Path, major: int = PREFERRED) -> Cluster:
        """The server of a data directory, of this major, started when it does not run."""
        if directory not in self.clusters:
            cluster = Cluster(directory, self.environment, major)
            cluster.stop()  # a run that was killed may have left it
            self.services.pids.add(cluster.start())
            self.clusters[directory] = cluster
            cluster.execute("checkpoint")
        return self.clusters[directory]

    def speed(self, codec: str, source: Path) -> Speed:
        """What a codec does with data like a file's content; measured once."""
        if (codec, source) not in self.speeds:
            self.speeds[codec, source] = codec_speed(codec, source)
        return self.speeds[codec, source]

    def floor(self, codec: str, size: int, source: Path) -> float:
        """Seconds that encoding size bytes on all cores, or writing and flushing what comes out, needs at least.

        source: a file of the same kind of data.
        """
        speed = self.speed(codec, source)
        return max(size / (speed.encode * CORES), size * speed.ratio / self.write_speed)

    def decoding_floor(self, codec: str, size: int, source: Path, *, is_written: bool = True) -> float:
        """Seconds that decoding to size bytes on all cores, or writing and flushing them, needs at least."""
        writing = size / self.write_speed if is_written else 0.0
        return max(size / (self.speed(codec, source).decode * CORES), writing)


@contextmanager
def running(bench: Bench) -> Iterator[Bench]:
    """Stop what a run started, and remove what it made."""
    try:
        yield bench
    finally:
        for cluster in bench.clusters.values():
            cluster.stop()
        for sink in bench.services.sinks():
            sink.stop()
        shutil.rmtree(bench.work, ignore_errors=True)
