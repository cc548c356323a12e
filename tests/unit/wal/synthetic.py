"""Small WAL files and data directories made by hand; the pg_control is a real one: PostgreSQL 15, 1 MiB segments."""

import os
import random
import shutil
import struct
from pathlib import Path

from walpy.archive import Archive, open_archive
from walpy.config import Config
from walpy.wal.segment import MIB, segment_number

PG_CONTROL = Path(__file__).parents[2] / "golden/wal/pg_control-15-1MiB"
SYSTEM_IDENTIFIER = int.from_bytes(PG_CONTROL.read_bytes()[:8], "little")
OTHER_SYSTEM_IDENTIFIER = SYSTEM_IDENTIFIER + 1
FIRST = "000000010000000000000001"
PG15_MAGIC = 0xD110


def segment(
    name: str,
    *,
    seed: int = 0,
    system_identifier: int = SYSTEM_IDENTIFIER,
    timeline: int | None = None,
    magic: int = PG15_MAGIC,
    info: int = 0x0002,
    size: int = MIB,
) -> bytes:
    """Bytes that look like the segment name; seed chooses the content after the header."""
    base = name[:24]
    address = segment_number(base, size) * size
    header = struct.pack(
        "=HHIQI4xQII", magic, info, timeline or int(base[:8], 16), address, 0, system_identifier, size, 8192
    )
    body = random.Random(f"{base}-{seed}").randbytes(64 << 10)
    return (header + body * (size // len(body) + 1))[:size]


class DataDirectory:
    """A data directory with pg_control, pg_wal and archive_status."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wal = path / "pg_wal"
        (self.wal / "archive_status").mkdir(parents=True)
        (path / "global").mkdir()
        shutil.copyfile(PG_CONTROL, path / "global/pg_control")

    def serve(self) -> Path:
        """As if this process were a server that runs on it; the file that tells."""
        pid_file = self.path / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n{self.path}\n")
        return pid_file

    @property
    def markers(self) -> Path:
        return self.wal / "walg_data/walg_archive_status"

    def add(self, name: str, content: bytes | None = None, *, ready: bool = False) -> str:
        """Write a WAL file (by default one that fits its name); its path."""
        path = self.wal / name
        path.write_bytes(segment(name) if content is None else content)
        if ready:
            self.status(name).write_bytes(b"")
        return str(path)

    def status(self, name: str, suffix: str = "ready") -> Path:
        return self.wal / f"archive_status/{name}.{suffix}"


def archive_in(folder: Path, **settings: str) -> Archive:
    """An archive on a folder, which is made."""
    folder.mkdir(exist_ok=True)
    return open_archive(Config.from_mapping({"WALG_FILE_PREFIX": str(folder), **settings}))


def stored(archive: Archive) -> list[str]:
    """Names of all objects but the identity."""
    return [item.name for item in archive.storage.list("wal_005")]


def content(archive: Archive, name: str) -> bytes:
    """What the archive holds as a WAL file."""
    with archive.open_wal(name) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)
