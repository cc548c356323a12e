"""An increment: the pages of a relation's file that changed since an earlier backup, in the place of the file in a tar.

All numbers are little-endian: the magic bytes, the file's size (u64), the number of pages (u32), the pages' numbers
within the file (u32 each, ascending), and the pages in the same order. No pages at all is a file that only shrank, or
whose modification time alone is new.
Source: WAL-G 3.0.9's stored objects.
"""

import sys
from array import array
from collections.abc import Iterable
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from walpy.errors import DataCorrupt

MAGIC: Final = b"wi1U"  # the third byte is the version
VERSION_PLACE: Final = 2
NUMBER_SIZE: Final = 4

_HEAD: Final = Struct("<4sQI")
HEAD_SIZE: Final = _HEAD.size


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
