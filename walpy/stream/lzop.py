"""lzop, for reading: what WAL-E and old WAL-G versions wrote.

All numbers are big-endian. Source: lzop 1.04, src/lzop.c (header and block layout).
"""

import zlib
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from lzallright import LZOCompressor, LZOError

from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk
from walpy.stream.library import Decoder

MAGIC = bytes.fromhex("894c5a4f000d0a1a0a")
OLDEST_VERSION = 0x0900
LEVEL_VERSION = 0x0940  # headers have more fields from this version on
METHODS = (1, 2, 3)  # LZO1X at three levels of effort, one format
MAX_BLOCK_SIZE = 64 << 20  # bytes; lzop's own limit

ADLER32_PLAIN = 0x1
ADLER32_STORED = 0x2
CRC32_PLAIN = 0x100
CRC32_STORED = 0x200
CRC32_HEADER = 0x1000
UNREADABLE = 0x40 | 0x400 | 0x800  # extra field, part of a multi-part archive, filter: nobody wrote these here

Checksum = Callable[[bytes], int]
Result = TypeVar("Result")
Parser = Generator[int, bytes, Result]  # yields how many bytes it wants next, and is sent exactly these


def decoder() -> Decoder:
    """Reads lzop files in a row, and checks all checksums they have."""
    return LzopDecoder()


class LzopDecoder:
    """Decodes lzop files in a row. Memory: one chunk of input, one block and its plain form (at most 64 MiB)."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._output: list[bytes] = []
        self._file_count = 0
        self._inside = False
        self._parser = self._parse()
        self._wanted = next(self._parser)

    def update(self, chunk: Chunk) -> bytes:
        """Decode a chunk. Raises DataCorrupt."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """Decode a chunk, one block at a time. Raises DataCorrupt."""
        self._input += chunk
        used = 0
        while len(self._input) - used >= self._wanted:
            field = bytes(self._input[used : used + self._wanted])
            used += self._wanted
            self._wanted = self._parser.send(field)
            if self._output:
                yield self._output.pop()
        del self._input[:used]

    def finish(self) -> bytes:
        """Nothing more to give. Raises DataCorrupt when the stream is empty or its end is missing."""
        if self._inside or self._input:
            raise DataCorrupt("the lzop data are truncated")
        if not self._file_count:
            raise DataCorrupt("no lzop data")
        return b""

    def _parse(self) -> Parser[None]:
        while True:
            magic = yield len(MAGIC)
            if magic != MAGIC:
                raise DataCorrupt("other data follow the lzop data" if self._file_count else "not lzop data")
            self._file_count += 1
            self._inside = True
            flags = yield from _header()
            while (plain := (yield from _block(flags))) is not None:
                self._output.append(plain)
            self._inside = False


def _header() -> Parser[int]:
    """Read what follows the magic; the result is the flags."""
    header = yield 4  # version, version of the library
    version = _number(header[:2])
    modern = version >= LEVEL_VERSION
    # modern: version needed 2, method, level, flags 4, mode 4, time 8, name length; else without those at both ends
    header += yield 21 if modern else 14
    method, flags = (header[6], _number(header[8:12])) if modern else (header[4], _number(header[5:9]))
    if version < OLDEST_VERSION or method not in METHODS or flags & UNREADABLE:
        raise DataCorrupt(f"cannot read lzop data of version {version:#x}, method {method}, flags {flags:#x}")
    header += yield header[-1]  # the file's name
    expected = yield 4
    if _number(expected) != (zlib.crc32 if flags & CRC32_HEADER else zlib.adler32)(header):
        raise DataCorrupt("damaged lzop data: wrong checksum of the header")
    return flags


def _block(flags: int) -> Parser[bytes | None]:
    """Read a block; None is the end of the file."""
    plain_size = _number((yield 4))
    if not plain_size:
        return None
    stored_size = _number((yield 4))
    if not 0 < stored_size <= plain_size <= MAX_BLOCK_SIZE:
        raise DataCorrupt(f"damaged lzop data: a block of {stored_size} bytes for {plain_size}")
    packed = stored_size < plain_size
    plain_sums = yield from _checksums(flags & ADLER32_PLAIN, flags & CRC32_PLAIN)
    stored_sums = (yield from _checksums(flags & ADLER32_STORED, flags & CRC32_STORED)) if packed else []
    stored = yield stored_size
    _check(stored_sums, stored)
    plain = _decompress(stored, plain_size) if packed else stored
    _check(plain_sums, plain)
    return plain


def _checksums(adler32: int, crc32: int) -> Parser[list[tuple[Checksum, int]]]:
    checksums: list[tuple[Checksum, int]] = []
    for wanted, function in ((adler32, zlib.adler32), (crc32, zlib.crc32)):
        if wanted:
            checksums.append((function, _number((yield 4))))
    return checksums


def _check(checksums: list[tuple[Checksum, int]], data: bytes) -> None:
    if any(function(data) != expected for function, expected in checksums):
        raise DataCorrupt("damaged lzop data: wrong checksum of a block")


def _decompress(stored: bytes, plain_size: int) -> bytes:
    try:
        plain: bytes = LZOCompressor().decompress(stored, plain_size)
    except LZOError:
        raise DataCorrupt("damaged lzop data") from None  # the library's error may hold the data
    if len(plain) != plain_size:
        raise DataCorrupt(f"damaged lzop data: {len(plain)} bytes instead of {plain_size}")
    return plain


def _number(field: bytes) -> int:
    return int.from_bytes(field, "big")
