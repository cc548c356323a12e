"""Data pages: which files have them, whether their checksums are right, and which of them changed.

As PostgreSQL's own base backup, a page that was changed after the backup began is not judged: it may be torn, and
recovery replaces it. Unlike WAL-G, so no page that is just being written is reported as corrupt.
"""

import re
from collections.abc import Callable

RELATION_SEGMENT_SIZE = 1 << 30  # bytes

# Main fork, free space map, visibility map and init fork; temporary relations are not in backups.
_RELATION = re.compile(
    r"/(?:global|base/[0-9]+|pg_tblspc/[0-9]+/PG_[^/]+/[0-9]+)"
    r"/[1-9][0-9]*(?:_(?:fsm|vm|init))?(?:\.(?P<segment>[1-9][0-9]*))?"
)

# The main fork of a relation outside global/: what WAL-G makes increments of.
_PAGED = re.compile(r"/(?:base|pg_tblspc)/(?:[^/]+/)*[0-9]+(?:\.[0-9]+)?")


def relation_segment(name: str) -> int | None:
    """Number of a relation's file, from 0; None when the file is not a relation's.

    name: in the backup, as datadir.Entry has it: `/base/5/16384.2` is file 2.
    """
    match = _RELATION.fullmatch(name)
    if match is None:
        return None
    return int(match["segment"] or 0)


def has_increments(name: str, size: int, page_size: int) -> bool:
    """Whether the changed pages of a file may stand for it. name: in the backup; size: bytes."""
    return size > 0 and size % page_size == 0 and _PAGED.fullmatch(name) is not None


def corrupt_blocks(
    pages: memoryview,
    *,
    segment: int,
    offset: int,
    page_size: int,
    start_lsn: int,
    read_again: Callable[[int], bytes],
) -> list[int]:
    """Verify whole pages of a relation file; numbers of the corrupt blocks in that file, ascending.

    pages: bytes of the file from offset, both multiples of page_size. segment: the file's relation_segment. start_lsn:
    where the backup began. read_again(offset): the page at that offset of the file, read anew (shorter when the file
    has been truncated), because a page may have been read while it was written. Needs numpy; 128 pages of 8 KiB take
    0.7 ms.
    """
    from walpy.postgres.checksum import wrong_pages  # imports numpy, for --verify alone

    first_block = segment * (RELATION_SEGMENT_SIZE // page_size) + offset // page_size
    corrupt = []
    for index in wrong_pages(pages, first_block, page_size=page_size, start_lsn=start_lsn):
        place = offset + index * page_size
        page = read_again(place)
        if len(page) == page_size and wrong_pages(
            memoryview(page), first_block + index, page_size=page_size, start_lsn=start_lsn
        ):
            corrupt.append(place // page_size)
    return corrupt


def changed_blocks(pages: memoryview, first_block: int, *, page_size: int, since: int) -> list[int] | None:
    """Numbers of the pages that changed at or after a position in the WAL, ascending; see changes.changed_pages.

    first_block: number of the first page. Needs numpy.
    """
    from walpy.postgres.changes import changed_pages  # imports numpy, for delta backups alone

    changed = changed_pages(pages, page_size=page_size, since=since)
    return None if changed is None else [first_block + index for index in changed]
