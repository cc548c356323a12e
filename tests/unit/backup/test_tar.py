"""Tar headers: byte for byte what WAL-G stored, and what POSIX says for the rest."""

import dataclasses
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import lz4.frame
import pytest

from walpy.backup import tar

GOLDEN = Path(__file__).parents[2] / "golden" / "backup"


def walk(data: bytes, *, with_data: bool = True) -> Iterator[tuple[tar.Member, bytes]]:
    """Members of a tar as their fields say, and the header blocks that hold them."""
    start = position = 0
    pax_name: bytes | None = None
    while position < len(data) and data[position : position + tar.BLOCK] != bytes(tar.BLOCK):
        block = data[position : position + tar.BLOCK]
        size = int(block[124:135], 8)
        kind = block[156:157]
        position += tar.BLOCK
        if kind == tar.PAX:
            record = data[position : position + size]
            pax_name = record.partition(b" path=")[2].rstrip(b"\n")
            position += size + tar.padding(size)
            continue
        prefix, name = block[345:500].rstrip(b"\0"), block[:100].rstrip(b"\0")
        member = tar.Member(
            name=pax_name or (prefix + b"/" + name if prefix else name),
            kind=kind,
            mode=int(block[100:107], 8),
            size=size,
            mtime_ns=int(block[136:147], 8) * 10**9,
            uid=int(block[108:115], 8),
            gid=int(block[116:123], 8),
            user=block[265:297].rstrip(b"\0"),
            group=block[297:329].rstrip(b"\0"),
            link=block[157:257].rstrip(b"\0"),
        )
        yield member, data[start:position]
        if with_data:
            position += size + tar.padding(size)
        start, pax_name = position, None


@pytest.mark.parametrize("name", ["delta_part_001.tar.lz4", "pg_control.tar.lz4", "backup_label.tar.lz4"])
def test_headers_of_parts_written_by_wal_g(name: str) -> None:
    members = list(walk(lz4.frame.decompress((GOLDEN / name).read_bytes())))
    assert members
    for member, blocks in members:
        assert tar.header(member) == blocks, member.name


def test_parts_written_by_wal_g_close_as_ours() -> None:
    data = lz4.frame.decompress((GOLDEN / "backup_label.tar.lz4").read_bytes())
    whole = b""
    position = 0
    for member, blocks in walk(data):
        content = data[position + len(blocks) : position + len(blocks) + member.size]
        whole += tar.header(member) + content + bytes(tar.padding(member.size))
        position = len(whole)
    assert whole + tar.END == data


def test_long_and_foreign_names_as_wal_g_writes_them() -> None:
    members = list(walk((GOLDEN / "odd_headers.bin").read_bytes(), with_data=False))
    assert [len(blocks) for _, blocks in members] == [512, 512, 1536]
    assert members[2][0].name == "/näme.txt".encode()
    for member, blocks in members:
        assert tar.header(member) == blocks, member.name


def read_back(member: tar.Member) -> tarfile.TarInfo:
    data = tar.header(member) + tar.END
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return next(iter(archive))


@pytest.mark.parametrize(
    "name",
    [
        b"/" + b"x" * 120,
        b"/" + b"d" * 160 + b"/" + b"f" * 20,
        b"/a/" + b"\xc3\xa9" * 80,
        b"/weird<&>\xc3\xa9.txt",
        b"/" + b"d" * 98 + b"/" + b"f" * 101,
    ],
)
def test_names_that_ustar_cannot_hold_get_a_pax_record(name: bytes) -> None:
    assert len(tar.header(tar.Member(name))) >= 1536
    assert read_back(tar.Member(name)).name == name.decode()


def test_pax_record_of_an_old_file_is_as_seen() -> None:
    member = tar.Member(b"/old", mtime_ns=-315619200 * 10**9)
    blocks = tar.header(member)
    assert blocks[:18] == b"/PaxHeaders.0/old\0"
    assert blocks[512:532] == b"20 mtime=-315619200\n"
    assert blocks[1024 + 136 : 1024 + 148] == b"00000000000\0"
    assert read_back(member).mtime == -315619200


def test_numbers_that_ustar_cannot_hold() -> None:
    info = read_back(tar.Member(b"/big", kind=tar.DIRECTORY, uid=2_097_152, gid=2_097_151))
    assert (info.uid, info.gid) == (2_097_152, 2_097_151)
    blocks = tar.header(tar.Member(b"/big", size=8 << 30))
    assert b"19 size=8589934592\n" in blocks
    assert blocks[1024 + 124 : 1024 + 136] == b"00000000000\0"
    assert len(tar.header(tar.Member(b"/big", size=(8 << 30) - 1))) == 512


def test_a_splittable_name_is_whole_in_a_pax_header_that_something_else_needs() -> None:
    name = b"/" + b"d" * 60 + b"/" + b"f" * 60
    assert len(tar.header(tar.Member(name))) == 512
    blocks = tar.header(tar.Member(name, mtime_ns=-(10**9)))
    assert b" path=" + name + b"\n" in blocks
    assert b"mtime=-1\n" in blocks


def test_owner_names_beyond_ustar() -> None:
    info = read_back(tar.Member(b"/x", user=b"u" * 40, group="größe".encode()))
    assert (info.uname, info.gname) == ("u" * 40, "größe")


@pytest.mark.parametrize(("length_of_name", "length"), [(120, 130), (90, 99), (91, 101)])
def test_record_length_counts_its_own_digits(length_of_name: int, length: int) -> None:
    name = b"/" + b"\xc3" + b"n" * (length_of_name - 2)
    record = tar.header(tar.Member(name))[512:1024].rstrip(b"\0")
    assert int(record.partition(b" ")[0]) == len(record) == length


@pytest.mark.parametrize(("mtime_ns", "seconds"), [(1_499_999_999, 1), (1_500_000_000, 2), (0, 0)])
def test_times_are_rounded_to_the_nearest_second(mtime_ns: int, seconds: int) -> None:
    assert int(tar.header(tar.Member(b"/x", mtime_ns=mtime_ns))[136:147], 8) == seconds


def test_padding_fills_the_block() -> None:
    assert [tar.padding(size) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


@pytest.mark.parametrize(
    "member",
    [
        tar.Member(
            b"/base/5/1259", mode=0o600, size=8192, mtime_ns=1_764_061_234_499_999_999, uid=26, user=b"postgres"
        ),
        tar.Member(b"/base", tar.DIRECTORY, mode=0o700, mtime_ns=1_764_061_234_500_000_000, gid=7, group=b"staff"),
        tar.Member(b"/" + b"x" * 99),
        tar.Member(b"/" + b"x" * 100),
        tar.Member(b"/folder/" * 12 + b"x" * 80),
        tar.Member("/späte".encode()),
        tar.Member(b"/a", size=tar.LARGEST_SIZE),
        tar.Member(b"/a", size=tar.LARGEST_SIZE + 1),
        tar.Member(b"/a", mtime_ns=-5_000_000_000),
        tar.Member(b"/a", uid=tar.LARGEST_ID + 1),
        tar.Member(b"/a", user="käthe".encode()),
    ],
)
def test_a_template_makes_the_same_headers(member: tar.Member) -> None:
    template = tar.HeaderTemplate(dataclasses.replace(member, name=b"other", size=77, mtime_ns=5))
    assert template.header(member.name, member.size, member.mtime_ns) == tar.header(member)
