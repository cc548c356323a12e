"""An increment: the pages of a relation's file that changed since an earlier backup, in the place of the file in a tar.

All numbers are little-endian: the magic bytes, the file's size (u64), the number of pages (u32), the pages' numbers
within the file (u32 each, ascending), and the pages in the same order. No pages at all is a file that only shrank, or
whose modification time alone is new.
Source: WAL-G 3.0.9's stored objects.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from walpy.errors import DataCorrupt

MAGIC: Final = b"wi1U"  # the third byte is the version
VERSION_PLACE: Final = 2
NUMBER_SIZE: Final = 4
PAGE_SIZES: Final = frozenset(1 << bits for bits in range(10, 16))  # bytes, those that PostgreSQL can be built with

_HEAD: Final = Struct("<4sQI")
HEAD_SIZE: Final = _HEAD.size
_LARGEST_FILE: Final = (1 << 63) - 1  # bytes


class Head(NamedTuple):
    """What comes before the numbers. file_size: bytes of the file as the backup saw it. page_count: pages stored."""

    file_size: int
    page_count: int


def member_size(page_count: int, page_size: int) -> int:
    """Bytes of an increment of so many pages."""
    return HEAD_SIZE + page_count * (NUMBER_SIZE + page_size)


def encode_head(file_size: int, blocks: Iterable[int]) -> bytes:
    """Everything before the pages. blocks: numbers of the pages, ascending."""
    numbers = array("I", blocks)
    head = _HEAD.pack(MAGIC, file_size, len(numbers))
    return head + _swapped(numbers).tobytes()


def parse_head(data: bytes | memoryview) -> Head:
    """Take the first HEAD_SIZE bytes apart. Raises DataCorrupt when they do not begin an increment."""
    magic, file_size, page_count = _HEAD.unpack(data)
    if magic == MAGIC:
        return Head(file_size, page_count)
    if magic[:VERSION_PLACE] + magic[VERSION_PLACE + 1 :] == MAGIC[:VERSION_PLACE] + MAGIC[VERSION_PLACE + 1 :]:
        raise DataCorrupt(f"an increment of version {magic[VERSION_PLACE : VERSION_PLACE + 1]!r}, known is b'1'")
    raise DataCorrupt(f"no increment: it begins with {magic!r}")


def parse_numbers(data: bytes | memoryview) -> "array[int]":
    """The numbers that follow, ascending. Raises DataCorrupt when they are not."""
    numbers = array("I", bytes(data))
    blocks = _swapped(numbers)
    if any(later <= earlier for earlier, later in pairwise(blocks)):
        raise DataCorrupt("an increment whose page numbers do not ascend")
    return blocks


def _swapped(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class Increment(NamedTuple):
    """An increment that is being read: the file's size, the numbers of its pages, and a page's bytes (0 without any).

    runs: (offset in the file, bytes) in the order in which they are stored, once; what lies behind the file's size is
    left out. A run is a part of a piece that the reader was given, however many pages follow one another in it.
    """

    file_size: int
    blocks: "array[int]"
    page_size: int
    runs: Iterator[tuple[int, memoryview]]


def read_increment(size: int, pieces: Iterable[memoryview]) -> Increment:
    """Begin to read an increment of so many bytes; its pages are read with the runs.

    A file that grew while WAL-G read it has pages behind its size. They are left out, as whole files are cut to their
    size in the tar: recovery brings them. Memory: the pages' numbers. Raises DataCorrupt, before the first page, for
    what is no increment of this size; pieces that end too early are their maker's to report.
    """
    stream = _Pieces(pieces)
    if size < HEAD_SIZE:
        raise DataCorrupt(f"an increment of {size} bytes")
    head = parse_head(stream.take(HEAD_SIZE))
    page_size = _page_size(head, size)
    blocks = parse_numbers(stream.take(head.page_count * NUMBER_SIZE))
    return Increment(head.file_size, blocks, page_size, _runs(head.file_size, blocks, page_size, stream.rest()))


def _page_size(head: Head, size: int) -> int:
    """Bytes of a page. PostgreSQL can be built with other pages than those of 8 kB, and the sizes tell."""
    data_size = size - HEAD_SIZE - head.page_count * NUMBER_SIZE
    page_size = data_size // head.page_count if head.page_count else 0
    is_whole = page_size * head.page_count == data_size and (page_size in PAGE_SIZES or not head.page_count)
    if not is_whole or head.file_size > _LARGEST_FILE or (page_size and head.file_size % page_size):
        raise DataCorrupt(
            f"an increment of {size} bytes with {head.page_count} pages of a file of {head.file_size} bytes"
        )
    return page_size


def _runs(
    file_size: int, blocks: "array[int]", page_size: int, pieces: Iterator[memoryview]
) -> Iterator[tuple[int, memoryview]]:
    index, inside = 0, 0  # the page that comes next, and how much of it has come
    for piece in pieces:
        while piece:
            first, end = index, index + 1
            room = len(piece) + inside
            while (end - first) * page_size < room and end < len(blocks) and blocks[end] - blocks[first] == end - first:
                end += 1
            offset = blocks[first] * page_size + inside
            length = min(len(piece), (end - first) * page_size - inside)
            kept = max(0, min(length, file_size - offset))
            if kept:
                yield offset, piece[:kept]
            piece = piece[length:]
            index, inside = divmod(first * page_size + inside + length, page_size)


class _Pieces:
    """Bytes out of pieces of any size."""

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def take(self, count: int) -> bytes:
        """Exactly so many bytes. Raises DataCorrupt when there are fewer."""
        taken = bytearray()
        while len(taken) < count:
            if not self._left:
                self._left = next(self._pieces, memoryview(b""))
                if not self._left:
                    raise DataCorrupt("an increment that ends too early")
            missing = count - len(taken)
            taken += self._left[:missing]
            self._left = self._left[missing:]
        return bytes(taken)

    def rest(self) -> Iterator[memoryview]:
        """What is left."""
        yield self._left
        yield from self._pieces
