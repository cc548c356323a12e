"""Whether a segment's content fits its name and its cluster: the long header of its first page.

Source: PostgreSQL, src/include/access/xlog_internal.h, XLogLongPageHeaderData; the magic numbers are XLOG_PAGE_MAGIC of
each major version.
"""

import struct
from typing import NamedTuple

from walpy.errors import InvalidWal
from walpy.wal.segment import (
    WalKind,
    is_segment_size,
    segment_name,
    segment_number,
    segment_timeline,
    wal_kind,
)

HEADER_SIZE = 40  # bytes
LONG_HEADER = 0x0002  # XLP_LONG_HEADER; set on the first page of every segment

# 9.5, 9.6, 10, 11, 12, 13, 14, 15, 16, 17, 18
KNOWN_MAGICS = frozenset(
    (0xD087, 0xD093, 0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118),
)
# The number has only ever grown, within 0xD0.. and 0xD1..; an unknown one above these is a newer PostgreSQL.
NEWEST_KNOWN_MAGIC = max(KNOWN_MAGICS)
NEWEST_CREDIBLE_MAGIC = 0xDFFF

_HEADER = struct.Struct("=HHIQI4xQII")  # in the byte order of the machine, as PostgreSQL writes it


class SegmentHeader(NamedTuple):
    """The first page header of a segment; sizes in bytes."""

    magic: int
    info: int
    timeline: int
    page_address: int
    remaining: int
    system_identifier: int
    segment_size: int
    page_size: int


class Cluster(NamedTuple):
    """What pg_control says about the cluster that a segment must belong to."""

    system_identifier: int
    segment_size: int


def parse_header(head: bytes) -> SegmentHeader:
    """Header at the start of a segment. Raises InvalidWal when head is shorter than HEADER_SIZE."""
    if len(head) < HEADER_SIZE:
        raise InvalidWal(f"{len(head)} bytes cannot be a WAL segment")
    return SegmentHeader(*_HEADER.unpack_from(head))


def announced_size(head: bytes) -> int:
    """Bytes of the segment that begins with head, by its header; 0 when head is the begin of no segment."""
    if len(head) < HEADER_SIZE:
        return 0
    header = parse_header(head)
    return 0 if _page_fault(header) else header.segment_size


def is_newer_magic(head: bytes) -> bool:
    """Whether a segment's page magic looks like that of a PostgreSQL newer than this program."""
    return _is_newer(parse_header(head).magic)


def find_fault(name: str, head: bytes, size: int, cluster: Cluster | None) -> str | None:
    """What makes a file unfit to be the segment (or partial segment) name; None when it fits, or is no segment.

    head: the file's first HEADER_SIZE bytes, or all of a shorter one. size: the file's bytes. cluster: None when there
    is no pg_control to compare with.
    """
    if wal_kind(name) not in (WalKind.SEGMENT, WalKind.PARTIAL):
        return None
    try:
        header = parse_header(head)
    except InvalidWal as error:
        return str(error)
    return _page_fault(header) or _place_fault(name[:24], header, size) or _cluster_fault(header, cluster)


def _is_newer(magic: int) -> bool:
    return NEWEST_KNOWN_MAGIC < magic <= NEWEST_CREDIBLE_MAGIC


def _page_fault(header: SegmentHeader) -> str | None:
    if header.magic not in KNOWN_MAGICS and not _is_newer(header.magic):
        return f"page magic {header.magic:#06x} is no WAL page's"
    if not header.info & LONG_HEADER:
        return "the first page has no long header"
    if not is_segment_size(header.segment_size):
        return f"the header gives {header.segment_size} bytes as the segment size"
    return None


def _place_fault(segment: str, header: SegmentHeader, size: int) -> str | None:
    if size != header.segment_size:
        return f"the file has {size} bytes, its header says {header.segment_size}"
    try:
        number = segment_number(segment, header.segment_size)
    except InvalidWal as error:
        return str(error)
    if header.page_address != number * header.segment_size:
        found = segment_name(header.timeline, header.page_address // header.segment_size, header.segment_size)
        return f"the content is that of segment {found}"
    if header.timeline > segment_timeline(segment):
        return f"the content is of timeline {header.timeline}"
    return None


def _cluster_fault(header: SegmentHeader, cluster: Cluster | None) -> str | None:
    if cluster is None:
        return None
    if header.system_identifier != cluster.system_identifier:
        return (
            f"the segment belongs to the cluster with system identifier {header.system_identifier}, "
            f"the data directory to {cluster.system_identifier}"
        )
    if header.segment_size != cluster.segment_size:
        return f"the segment has {header.segment_size} bytes, pg_control says {cluster.segment_size}"
    return None
