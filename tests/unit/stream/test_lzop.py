"""lzop files, made here field by field."""

import zlib

import pytest
from lzallright import LZOCompressor

from walpy.errors import DataCorrupt
from walpy.stream import lzop

ALL_SUMS = lzop.ADLER32_PLAIN | lzop.ADLER32_STORED | lzop.CRC32_PLAIN | lzop.CRC32_STORED
TEXT = b"some text, some more text, and some text again. " * 1000


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def header(flags: int, *, version: int = 0x1030, method: int = 1, name: bytes = b"segment") -> bytes:
    modern = version >= lzop.LEVEL_VERSION
    fields = number(version, 2) + number(0x2080, 2) + (number(0x0940, 2) if modern else b"")
    fields += number(method, 1) + (b"\5" if modern else b"") + number(flags, 4)
    fields += number(0o100600, 4) + number(1_600_000_000, 4) + (bytes(4) if modern else b"")
    fields += number(len(name), 1) + name
    checksum = zlib.crc32(fields) if flags & lzop.CRC32_HEADER else zlib.adler32(fields)
    return lzop.MAGIC + fields + number(checksum, 4)


def block(flags: int, plain: bytes) -> bytes:
    packed = bytes(LZOCompressor().compress(plain))
    stored = packed if len(packed) < len(plain) else plain
    sums = b""
    for flag, data in (
        (lzop.ADLER32_PLAIN, plain),
        (lzop.CRC32_PLAIN, plain),
        (lzop.ADLER32_STORED, stored),
        (lzop.CRC32_STORED, stored),
    ):
        crc = flag in (lzop.CRC32_PLAIN, lzop.CRC32_STORED)
        of_stored = flag in (lzop.ADLER32_STORED, lzop.CRC32_STORED)
        if flags & flag and not (of_stored and len(stored) == len(plain)):
            sums += number(zlib.crc32(data) if crc else zlib.adler32(data), 4)
    return number(len(plain), 4) + number(len(stored), 4) + sums + stored


def file(flags: int, *blocks: bytes) -> bytes:
    return header(flags) + b"".join(block(flags, plain) for plain in blocks) + bytes(4)


def decoded(data: bytes, size: int = 1 << 20) -> bytes:
    decoder = lzop.decoder()
    out = b"".join(decoder.update(data[start : start + size]) for start in range(0, len(data), size))
    return out + decoder.finish()


@pytest.mark.parametrize("flags", [0, lzop.ADLER32_PLAIN | lzop.ADLER32_STORED, ALL_SUMS, lzop.CRC32_HEADER | ALL_SUMS])
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_packed_and_stored_blocks(flags: int, size: int) -> None:
    incompressible = bytes(zlib.crc32(bytes([place])) & 0xFF for place in range(256))
    assert decoded(file(flags, TEXT, incompressible, TEXT), size) == TEXT + incompressible + TEXT


@pytest.mark.parametrize("version", [0x0900, 0x093F, 0x0940, 0x1040])
def test_old_and_new_headers(version: int) -> None:
    data = header(ALL_SUMS, version=version, name=b"") + block(ALL_SUMS, TEXT) + bytes(4)
    assert decoded(data) == TEXT


def test_files_in_a_row() -> None:
    assert decoded(file(ALL_SUMS, TEXT) + file(0) + file(0, b"end")) == TEXT + b"end"


@pytest.mark.parametrize("flag", [0x40, 0x400, 0x800])
def test_features_that_nobody_used_are_refused(flag: int) -> None:
    with pytest.raises(DataCorrupt, match="cannot read lzop data"):
        decoded(file(flag, TEXT))


@pytest.mark.parametrize(("version", "method"), [(0x0800, 1), (0x1030, 0), (0x1030, 128)])
def test_other_versions_and_methods_are_refused(version: int, method: int) -> None:
    with pytest.raises(DataCorrupt, match="cannot read lzop data"):
        decoded(header(0, version=version, method=method) + bytes(4))


@pytest.mark.parametrize("place", range(9, 46))
def test_the_header_is_covered_by_its_checksum(place: int) -> None:
    data = bytearray(file(lzop.CRC32_HEADER | ALL_SUMS, TEXT))
    data[place] ^= 1
    with pytest.raises(DataCorrupt):
        decoded(bytes(data))


def test_wrong_sizes_are_refused() -> None:
    for sizes in (number(10, 4) + bytes(4), number(10, 4) + number(11, 4), number(65 << 20, 4) + number(9, 4)):
        with pytest.raises(DataCorrupt, match="a block of"):
            decoded(header(0) + sizes + bytes(100))


def test_a_block_that_inflates_to_another_size_is_refused() -> None:
    packed = bytes(LZOCompressor().compress(TEXT))
    data = header(0) + number(len(TEXT) + 1, 4) + number(len(packed), 4) + packed + bytes(4)
    with pytest.raises(DataCorrupt):
        decoded(data)


def test_errors_do_not_repeat_the_data() -> None:
    packed = bytes(LZOCompressor().compress(TEXT)) + b"more than the library wants"
    data = header(0) + number(len(TEXT), 4) + number(len(packed), 4) + packed + bytes(4)
    with pytest.raises(DataCorrupt) as refused:
        decoded(data)
    assert refused.value.__cause__ is None
