"""Many names in order, in little memory: sorted blocks, each packed into one string of bytes.

For directories with millions of files. Memory: the bytes of the names and one more for each, and one block of BLOCK
names as Python has them.
"""

import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

BLOCK: Final = 1 << 16  # names


def in_order(names: Iterable[str]) -> Iterator[str]:
    """The same names, which hold no NUL, in order by code point. All are taken before the first comes out."""
    source = iter(names)
    block = sorted(islice(source, BLOCK))
    if len(block) < BLOCK:
        return iter(block)
    packed = []
    while block:
        packed.append(b"\0".join(map(os.fsencode, block)) + b"\0")
        block = sorted(islice(source, BLOCK))
    return heapq.merge(*map(_unpacked, packed))


def _unpacked(block: bytes) -> Iterator[str]:
    """The names of a block, one at a time."""
    start = 0
    while (end := block.find(b"\0", start)) >= 0:
        yield os.fsdecode(block[start:end])
        start = end + 1
