"""Data pages: which files have them, and which of them changed. Whether their checksums are right: verifier."""

import re

from walpy.postgres.changes import changed_pages

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


def changed_blocks(pages: memoryview, first_block: int, *, page_size: int, since: int) -> list[int] | None:
    """Numbers of the pages that changed at or after a position in the WAL, ascending; see changes.changed_pages.

    first_block: number of the first page.
    """
    changed = changed_pages(pages, page_size=page_size, since=since)
    return None if changed is None else [first_block + index for index in changed]
