"""Reading tars of any origin."""

import io
import tarfile
from collections.abc import Iterable, Iterator

import pytest

from tests.fixtures.stored_backup import tar
from walpy.backup.tar import DIRECTORY, HARD_LINK, REGULAR, SYMLINK
from walpy.backup.tar_reader import TarMember, TarReader
from walpy.errors import DataCorrupt

NAMES = [
    "a",
    "/base/1/1259",
    "d" * 99 + "/" + "f" * 100,
    "/" + "long/" * 60 + "é" * 40,
    "x" * 300,
    "/weird<&>é.txt",
]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(chunks: Iterable[bytes]) -> list[tuple[TarMember, bytes]]:
    reader = TarReader(chunks)
    return [(member, b"".join(bytes(piece) for piece in reader.data())) for member in reader]


def python_tar(format: int, end: bool = True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for index, name in enumerate(NAMES):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = index * 300, 0o4755, 12.5
            archive.addfile(member, io.BytesIO(b"z" * member.size))
        for kind, name in ((tarfile.DIRTYPE, "folder"), (tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "" if kind == tarfile.DIRTYPE else "t" * 150
            archive.addfile(member)
        length = archive.offset
    return buffer.getvalue() if end else buffer.getvalue()[:length]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [1, 511, 512, 10_000, 1 << 20])
def test_python_s_tars_are_read_in_any_chunking(format: int, size: int) -> None:
    members = read(pieces(python_tar(format), size))
    assert [member.name for member, _ in members[:6]] == NAMES
    assert [len(data) for _, data in members[:6]] == [index * 300 for index in range(6)]
    assert {member.mode for member, _ in members[:6]} == {0o4755}
    assert [(member.kind, member.name, len(member.link)) for member, _ in members[6:]] == [
        (DIRECTORY, "folder", 0),
        (SYMLINK, "link", 150),
        (HARD_LINK, "hard", 150),
    ]


def test_our_own_tars_are_read() -> None:
    files = dict.fromkeys(NAMES, b"x" * 1000)
    members = read([tar(files, {"/": 0o700, "/base": 0o750}, {"/l": "/target"})])
    assert [(member.name, member.kind, member.size) for member, _ in members] == [
        ("/", DIRECTORY, 0),
        ("/base", DIRECTORY, 0),
        *((name, REGULAR, 1000) for name in NAMES),
        ("/l", SYMLINK, 0),
    ]
    assert members[-1][0].link == "/target"


def test_data_that_nobody_reads_is_skipped() -> None:
    assert [member.name for member in TarReader(pieces(tar({"a": b"1" * 5000, "b": b"", "c": b"2"}), 700))] == list(
        "abc"
    )


@pytest.mark.parametrize("missing", [512, 700, 1024])
def test_the_end_marker_may_be_missing(missing: int) -> None:
    assert len(read([tar({"a": b"1" * 512})[:-missing]])) == 1


@pytest.mark.parametrize("missing", range(1024, 1024 + 512))
def test_the_last_padding_may_be_missing(missing: int) -> None:
    """As at the end of WAL-G's remote backups, whose last member is not padded."""
    [(member, data)] = read([tar({"a": b"1"})[:-missing]])
    assert (member.size, data) == (1, b"1")


def test_zeros_may_follow_the_end_marker() -> None:
    assert len(read([tar({"a": b"1"}) + bytes(20 * 512)])) == 1


@pytest.mark.parametrize("cut", [1, 100, 511, 512, 513, 1500])
def test_an_end_inside_header_or_data_is_damage(cut: int) -> None:
    data = tar({"a": b"1" * 1024}, end=b"")
    with pytest.raises(DataCorrupt, match="tar ends"):
        read([data[:cut]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar({"a": b"1"}) + b"x", "after its end marker"),
        (tar({"a": b"1"}, end=bytes(512)) + tar({"b": b"2"}), "after its end marker"),
        (b"x" * 512, "wrong checksum|number"),
        (b"\x04\x22\x4d\x18" + b"q" * 600, "wrong checksum|number"),
    ],
)
def test_other_damage(data: bytes, message: str) -> None:
    with pytest.raises(DataCorrupt, match=message):
        read([data])


SIZE, KIND = slice(124, 136), slice(156, 157)


def changed(data: bytes, fields: dict[str, bytes]) -> bytes:
    """A tar whose first header has other fields, and the checksum to go with them."""
    block = bytearray(data)
    for field, value in fields.items():
        block[{"size": SIZE, "kind": KIND}[field]] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def header_with(name: str = "a", **fields: bytes) -> bytes:
    return changed(tar({name: b""}, end=b""), fields)


def pax(body: bytes, follow: bytes) -> bytes:
    return changed(tar({"PaxHeaders.0/a": body}, end=b""), {"kind": b"x"}) + follow


def test_sizes_in_base_256() -> None:
    size = 9 * 2**30
    reader = iter(TarReader([header_with(size=b"\x80" + size.to_bytes(11, "big"))]))
    assert next(reader).size == size


@pytest.mark.parametrize("size", [b"\xff" * 12, b"-0000000001\0", b"0000008\0\0\0\0\0", b"123456789ab\0"])
def test_sizes_that_are_none(size: bytes) -> None:
    with pytest.raises(DataCorrupt):
        read([header_with(size=size)])


def test_gnu_sparse_files_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="sparse"):
        read([header_with(kind=b"S")])


def test_old_style_regular_files_and_directories() -> None:
    assert read([header_with(kind=b"\0")])[0][0].kind == REGULAR
    assert read([header_with(kind=b"\0", name="d/")])[0][0].kind == DIRECTORY
    assert read([header_with(kind=b"7")])[0][0].kind == REGULAR


@pytest.mark.parametrize(
    "body", [b"x", b"5 a\n", b"99 path=b\n", b"10 path=bcd", b"0 path=b\n", b"9 path=b\n9 size=x\n", b"3 \n"]
)
def test_malformed_pax_headers_are_damage(body: bytes) -> None:
    with pytest.raises(DataCorrupt):
        read([pax(body, tar({"a": b""}))])


def test_an_extension_header_needs_a_member() -> None:
    with pytest.raises(DataCorrupt, match="behind an extension header"):
        read([pax(b"9 path=b\n", b"")])


def test_a_huge_extension_header_is_damage() -> None:
    with pytest.raises(DataCorrupt, match="extension header of 4194304 bytes"):
        read([header_with(kind=b"L", size=b"00020000000\0")])
