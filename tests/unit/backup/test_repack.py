"""A server's tars, and the parts that are made of them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest

from walpy.archive import Archive, open_archive
from walpy.backup import tar
from walpy.backup.part_uploads import PartUploads, StoredPart
from walpy.backup.repack import LARGEST_CONTROL, Repacking
from walpy.backup.tar_reader import TarReader, full_member
from walpy.config import load_config
from walpy.errors import DataCorrupt
from walpy.postgres.backup_manifest import ReceivedFile
from walpy.postgres.base_backup import SentArchive
from walpy.progress import SilentProgress

OWNED = tar.Member(b"", uid=26, gid=27, user=b"postgres", group=b"pg", mtime_ns=1_700_000_000_000_000_000)
CONTROL = b"c" * 8192
BASE: list[tuple[bytes, bytes | None]] = [
    (b"backup_label", b"label"),
    (b"tablespace_map", b""),
    (b"global/", None),
    (b"global/1260", b"a" * 8192),
    (b"./pg_wal/archive_status/", None),
    (b"standby.signal", b""),
    (b"base/5/16384", b"b" * 40_000),
    (b"base/5/16385", b"d" * 100),
    (b"global/pg_control", CONTROL),
]
SPACE: list[tuple[bytes, bytes | None]] = [(b"PG_15_202209061/", None), (b"PG_15_202209061/5/16386", b"s" * 600)]


def server_tar(members: list[tuple[bytes, bytes | None]], end: bytes = tar.END) -> bytes:
    """As PostgreSQL sends it; content None: a directory."""
    return b"".join(member_blocks(*member) for member in members) + end


def member_blocks(name: bytes, content: bytes | None) -> bytes:
    kind, mode, data = (tar.DIRECTORY, 0o700, b"") if content is None else (tar.REGULAR, 0o600, content)
    header = tar.header(replace(OWNED, name=name, kind=kind, mode=mode, size=len(data)))
    return header + data + bytes(tar.padding(len(data)))


def chunks(data: bytes, size: int = 32768) -> Iterator[memoryview]:
    return iter([memoryview(data)[start : start + size] for start in range(0, len(data), size)])


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(load_config({}, {"WALG_FILE_PREFIX": str(tmp_path)}, ""))


@pytest.fixture
def repack(archive: Archive) -> Callable[..., tuple[Repacking, dict[str, bytes]]]:
    """Re-pack archives; what became of them, and the tars of the parts."""

    def run(*sent: SentArchive, threshold: int = 1 << 30) -> tuple[Repacking, dict[str, bytes]]:
        stored: list[StoredPart] = []
        with PartUploads(archive, "base_x", stored.append) as uploads:
            repacking = Repacking(uploads, threshold, SilentProgress(), is_recorded=True)
            for one in sent:
                repacking.add(one)
            uploads.finish()
        parts = {}
        for part in stored:
            with archive.open_object(part.object_name) as pieces:
                parts[part.tar_name] = b"".join(bytes(piece) for piece in pieces)
        return repacking, parts

    return run


@pytest.mark.parametrize("size", [100, 32768])
@pytest.mark.parametrize("end", [tar.END, b""])
def test_parts_hold_the_server_s_members(
    size: int, end: bytes, repack: Callable[..., tuple[Repacking, dict[str, bytes]]]
) -> None:
    """Up to PostgreSQL 14 the server's tars have no end."""
    space, base = server_tar(SPACE, end), server_tar(BASE, end)
    repacking, parts = repack(SentArchive(chunks(space, size), 16400), SentArchive(chunks(base, size)))
    moved = [(b"pg_tblspc/16400/" + name, content) for name, content in SPACE]
    kept = [member for member in BASE if member[0] != b"standby.signal"]
    assert parts == {"part_001.tar": server_tar(moved), "part_002.tar": server_tar(kept)}
    assert repacking.size == len(space) + len(base)
    assert repacking.control is not None
    member, content = repacking.control
    assert tar.header(member) + content == member_blocks(b"global/pg_control", CONTROL)
    files = [(name, content) for name, content in [*moved, *BASE] if content is not None]
    assert repacking.received == {
        name.decode(): ReceivedFile(len(content), google_crc32c.value(content)) for name, content in files
    }
    listing = json.loads(b"{%b}" % b",".join(repacking.listing()))
    assert list(listing) == [name.decode() for name, _ in files if name != b"standby.signal"]
    assert listing["backup_label"]["MTime"].startswith("2023-11-1")


@pytest.mark.parametrize(
    ("threshold", "divided"),
    [
        (0, ["backup_label", "global/1260", "base/5/16384", "base/5/16385", "global/pg_control"]),
        (5, ["backup_label", "global/1260", "base/5/16384", "base/5/16385", "global/pg_control"]),
        (8197, ["backup_label", "base/5/16384", "base/5/16385", "global/pg_control"]),
        (8292, ["backup_label", "base/5/16384", "base/5/16385"]),
        (60_000, ["backup_label"]),
    ],
)
def test_a_part_ends_before_the_file_that_is_too_much(
    threshold: int, divided: list[str], repack: Callable[..., tuple[Repacking, dict[str, bytes]]]
) -> None:
    """As WAL-G does it; a bigger file has a part of its own."""
    base = [member for member in BASE if member[1] != b"" and member[1] is not None]
    _, parts = repack(SentArchive(chunks(server_tar(base))), threshold=threshold)
    assert [next(iter(TarReader([part]))).name for part in parts.values()] == divided
    assert b"".join(part.removesuffix(tar.END) for part in parts.values()) == server_tar(base, b"")


def test_a_tar_that_ends_too_early_is_damaged(repack: Callable[..., tuple[Repacking, dict[str, bytes]]]) -> None:
    with pytest.raises(DataCorrupt, match="before the end of a member's data"):
        repack(SentArchive(chunks(server_tar(BASE)[:20_000])))


def test_a_file_that_comes_twice(repack: Callable[..., tuple[Repacking, dict[str, bytes]]]) -> None:
    with pytest.raises(DataCorrupt, match="'backup_label' twice"):
        repack(SentArchive(chunks(server_tar([*BASE, BASE[0]]))))


def test_a_pg_control_that_is_none(repack: Callable[..., tuple[Repacking, dict[str, bytes]]]) -> None:
    huge = [(b"global/pg_control", bytes(LARGEST_CONTROL + 1))]
    with pytest.raises(DataCorrupt, match="global/pg_control has"):
        repack(SentArchive(chunks(server_tar(huge))))


def test_a_time_before_1970_and_a_size_beyond_8_gib() -> None:
    """PostgreSQL writes both as binary numbers."""
    block = bytearray(tar.header(replace(OWNED, name=b"old")))
    block[124:136] = b"\x80" + (9 << 30).to_bytes(11, "big")
    block[136:148] = b"\x80\0\0\0" + (2**64 - 5).to_bytes(8, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    reader = TarReader([bytes(block)])
    member = full_member(next(iter(reader)), reader.header)
    assert (member.size, member.mtime_ns) == (9 << 30, -5_000_000_000)
