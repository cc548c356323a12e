"""Stand-ins for a server's data directory, as archive_command and restore_command see it; one for each variant."""

import mmap
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench

READ_SIZE = 1 << 20  # bytes
RECOVERED = "pg_wal/RECOVERYXLOG"  # where a recovery wants every segment


def make_home(bench: Bench, name: str, segments: Sequence[str] = ()) -> Path:
    """A data directory, its server this process, with pg_control and the segments, which are links to the data's."""
    home = bench.folder(name)
    (home / "postmaster.pid").write_text(f"{os.getpid()}\n{home}\n")
    (home / "global").mkdir()
    (home / "pg_wal" / "archive_status").mkdir(parents=True)
    shutil.copyfile(bench.data.big / "global" / "pg_control", home / "global" / "pg_control")
    shutil.copyfile(bench.data.big / "PG_VERSION", home / "PG_VERSION")
    home.chmod(0o700)
    for segment in segments:
        os.link(bench.data.wal / segment, home / "pg_wal" / segment)
    return home


def mark_ready(home: Path, segments: Sequence[str]) -> None:
    """Make all segments wait for the archiver, and forget what walpy and WAL-G noted about segments pushed earlier.

    What walpy knows of the archive as a whole stays: only a server's very first push asks for it.
    """
    shutil.rmtree(home / "pg_wal" / "walg_data" / "walg_archive_status", ignore_errors=True)
    status = home / "pg_wal" / "archive_status"
    for path in status.iterdir():
        path.unlink()
    for segment in segments:
        (status / f"{segment}.ready").touch()


def forget_prefetched(home: Path) -> None:
    """Remove what was fetched ahead."""
    shutil.rmtree(home / "pg_wal" / ".wal-g", ignore_errors=True)


class Reader:
    """Reads files as a recovery does, piece by piece into one buffer, and tells their checksum."""

    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, READ_SIZE))

    def checksum(self, path: Path) -> int:
        """CRC of a file's content."""
        value = 0
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(self._buffer):
                value = zlib.crc32(self._buffer[:count], value)
        return value
