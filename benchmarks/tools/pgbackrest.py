"""pgBackRest with a repository in a folder."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, tree_size
from benchmarks.machine import CORES
from benchmarks.measure import run
from benchmarks.model import Command

NAME = "pgbackrest"
STANZA = "bench"
CODECS = {"lz4": "lz4", "zstd": "zst", "none": "none"}  # it names them so; no brotli


@dataclass(frozen=True, slots=True)
class Repository:
    """One configuration: its folder, and the data directory that it serves."""

    bench: Bench
    folder: Path
    data_directory: Path

    @property
    def spool(self) -> Path:
        """What waits between the asynchronous process and the commands."""
        return self.folder / "spool"

    @property
    def archive(self) -> Path:
        """Where WAL is stored."""
        return self.folder / "repo" / "archive" / STANZA

    def command(self, *arguments: str) -> Command:
        """One of its commands, run in the data directory."""
        options = [f"--config={self.folder / 'pgbackrest.conf'}", f"--stanza={STANZA}"]
        environment = self.bench.environment
        return self.bench.command(NAME, *options, *arguments, environment=environment, directory=self.data_directory)

    def create(self) -> None:
        """Empty the repository and make the stanza anew."""
        shutil.rmtree(self.folder / "repo", ignore_errors=True)
        (self.folder / "repo").mkdir()
        self.empty_spool()
        run(self.command("stanza-create", "--no-online"))

    def forget_wal(self) -> None:
        """Remove all stored segments, and what is spooled."""
        self.empty_spool()
        for version in self.archive.iterdir():
            if version.is_dir():
                shutil.rmtree(version)

    def empty_spool(self) -> None:
        """Forget what waits between the asynchronous process and the commands."""
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir()

    def segments(self) -> int:
        """How many segments are stored."""
        return sum(1 for path in self.archive.rglob("*") if path.is_file() and not path.name.startswith("archive.info"))

    @property
    def stored(self) -> Callable[[], int]:
        """Bytes in the repository."""
        return lambda: tree_size(self.folder / "repo")


def repository(
    bench: Bench, name: str, data_directory: Path, codec: str, *, is_async: bool = False, sockets: Path | None = None
) -> Repository:
    """A new repository with its stanza, for as many processes as there are cores."""
    folder = bench.folder(name)
    lines = [
        "[global]",
        f"repo1-path={folder / 'repo'}",
        f"lock-path={folder / 'lock'}",
        f"spool-path={folder / 'spool'}",
        "log-level-file=off",
        "log-level-console=warn",
        f"compress-type={CODECS[codec]}",
        f"process-max={CORES}",
        f"archive-async={'y' if is_async else 'n'}",
        f"[{STANZA}]",
        f"pg1-path={data_directory}",
        "pg1-user=postgres",
        *([f"pg1-socket-path={sockets}", "pg1-port=5432"] if sockets else []),
    ]
    (folder / "pgbackrest.conf").write_text("\n".join(lines) + "\n")
    made = Repository(bench, folder, data_directory)
    made.create()
    return made
