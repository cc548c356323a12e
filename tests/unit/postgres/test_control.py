"""pg_control of every major version, and damaged ones."""

import io
import struct
import tarfile
import threading
from pathlib import Path

import pytest

from walpy.errors import DataCorrupt
from walpy.postgres import control
from walpy.postgres.control import parse_control, read_control, read_control_bytes
from walpy.postgres.crc32c import crc32c
from walpy.stream.codecs import codec

GOLDEN = Path(__file__).parents[2] / "golden" / "pg_control"


def stored(major: int) -> bytes:
    """Bytes of the pg_control that WAL-G stored."""
    plain = b"".join(codec("lz4").decode([(GOLDEN / f"pg{major}.tar.lz4").read_bytes()]))
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        assert file is not None
        return file.read()


def test_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize(
    ("major", "version", "catalog_version", "state", "segment_size", "checksum_version"),
    [
        (13, 1300, 202007201, "in production", 1 << 20, 0),
        (14, 1300, 202107181, "in archive recovery", 1 << 20, 1),
        (15, 1300, 202209061, "in production", 1 << 20, 1),
        (16, 1300, 202307071, "in production", 1 << 20, 1),
        (17, 1700, 202406281, "in production", 1 << 20, 1),
        (18, 1800, 202506291, "in production", 16 << 20, 1),
    ],
)
def test_every_major_version(
    major: int, version: int, catalog_version: int, state: str, segment_size: int, checksum_version: int
) -> None:
    found = parse_control(stored(major), "pg_control")
    assert (found.version, found.catalog_version, found.state) == (version, catalog_version, state)
    assert (found.segment_size, found.checksum_version) == (segment_size, checksum_version)
    assert (found.page_size, found.wal_page_size, found.timeline) == (8192, 8192, 1)
    assert 7_710_000_000_000_000_000 < found.system_identifier < 7_720_000_000_000_000_000
    assert 0 < found.redo_lsn <= found.checkpoint_lsn < 1 << 32
    recovered = (0x3500000, 1) if state == "in archive recovery" else (0, 0)
    assert (found.min_recovery_lsn, found.min_recovery_timeline) == recovered


@pytest.mark.parametrize("major", [13, 17, 18])
def test_every_flipped_bit_of_the_content_is_noticed(major: int) -> None:
    data = stored(major)
    size = len(data.rstrip(b"\0"))
    for place in range(size):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(DataCorrupt):
            parse_control(bytes(damaged), "pg_control")


@pytest.mark.parametrize("data", [b"", b"short", bytes(8192), b"\xff" * 8192, struct.pack("=d", 1234567.0) * 40])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(DataCorrupt, match="'pg_control'"):
        parse_control(data, "pg_control")


def test_truncated_files_are_refused() -> None:
    data = stored(15)
    for length in range(0, len(data.rstrip(b"\0")), 3):
        with pytest.raises(DataCorrupt):
            parse_control(data[:length], "pg_control")


def test_a_file_that_is_being_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pg_control"
    data = stored(15)
    path.write_bytes(data[:100] + bytes(len(data) - 100))
    pauses = threading.Event()

    def finish_writing(_seconds: float) -> None:
        pauses.set()
        path.write_bytes(data)

    monkeypatch.setattr(control.time, "sleep", finish_writing)
    assert read_control_bytes(str(path)) == data
    assert pauses.is_set()


def test_a_damaged_file_stays_damaged(tmp_path: Path) -> None:
    path = tmp_path / "pg_control"
    path.write_bytes(stored(15)[:200])
    with pytest.raises(DataCorrupt):
        read_control(str(path))
    with pytest.raises(FileNotFoundError):
        read_control(str(tmp_path / "missing"))
