"""WAL file names, LSNs and segment arithmetic: pure functions.

A segment's name is 24 hex digits: timeline, log and segment, 8 each. With segments of S bytes a log holds 2**32 / S of
them; segment numbers count from the start of the WAL, whatever the timeline.
Source: PostgreSQL, src/include/access/xlog_internal.h.
"""

import re
from enum import Enum
from typing import TYPE_CHECKING, NewType

from walpy.errors import InvalidWal

if TYPE_CHECKING:
    from walpy.config import Config

Timeline = NewType("Timeline", int)

MIB = 1 << 20
LOG_SIZE = 1 << 32  # bytes that share the middle 8 digits of a name
MINIMUM_SEGMENT_SIZE = MIB
MAXIMUM_SEGMENT_SIZE = 1 << 30

_HEX = "[0-9A-Fa-f]"
_SEGMENT = re.compile(f"({_HEX}{{8}})({_HEX}{{8}})({_HEX}{{8}})")
_BACKUP = re.compile(rf"{_HEX}{{24}}\.{_HEX}{{8}}\.backup")
_HISTORY = re.compile(rf"({_HEX}{{8}})\.history")
_PARTIAL = ".partial"


class WalKind(Enum):
    """What a file name in a WAL directory stands for."""

    SEGMENT = "segment"
    PARTIAL = "partial segment"
    BACKUP = "backup history"
    HISTORY = "timeline history"
    OTHER = "other"


def wal_kind(name: str) -> WalKind:
    """Kind of a file by its bare name."""
    if _SEGMENT.fullmatch(name):
        return WalKind.SEGMENT
    if name.endswith(_PARTIAL) and _SEGMENT.fullmatch(name.removesuffix(_PARTIAL)):
        return WalKind.PARTIAL
    if _HISTORY.fullmatch(name):
        return WalKind.HISTORY
    return WalKind.BACKUP if _BACKUP.fullmatch(name) else WalKind.OTHER


def is_segment_name(name: str) -> bool:
    """Whether name is a whole segment's."""
    return wal_kind(name) is WalKind.SEGMENT


def is_segment_size(size: int) -> bool:
    """Whether PostgreSQL can have segments of size bytes: a power of two from 1 MiB to 1 GiB."""
    return MINIMUM_SEGMENT_SIZE <= size <= MAXIMUM_SEGMENT_SIZE and size & (size - 1) == 0


def configured_segment_size(config: "Config") -> int:
    """Bytes of a segment by WALG_PG_WAL_SIZE (MiB), for where no pg_control tells. Raises ConfigError."""
    size = config.integer("WALG_PG_WAL_SIZE") * MIB
    if not is_segment_size(size):
        raise config.invalid("WALG_PG_WAL_SIZE", "expected a power of two from 1 to 1024 (MiB)")
    return size


def segment_timeline(name: str) -> Timeline:
    """Timeline of a segment's name. Raises InvalidWal when name has another shape."""
    return Timeline(int(_match(name)[1], 16))


def segment_number(name: str, segment_size: int) -> int:
    """Position of a segment, counted from the start of the WAL.

    segment_size: bytes; a power of two from 1 MiB to 1 GiB.
    Raises InvalidWal when name has another shape, or does not exist with that segment size.
    Source: PostgreSQL, src/include/access/xlog_internal.h, XLogFromFileName.
    """
    match = _match(name)
    per_log, low = LOG_SIZE // segment_size, int(match[3], 16)
    if low >= per_log:
        raise InvalidWal(f"no WAL segment of {segment_size} bytes is named {name!r}")
    return int(match[2], 16) * per_log + low


def segment_name(timeline: int, number: int, segment_size: int) -> str:
    """Name of a segment: the inverse of segment_timeline and segment_number."""
    log, low = divmod(number, LOG_SIZE // segment_size)
    return f"{timeline:08X}{log:08X}{low:08X}"


def following_segment(name: str, segment_size: int, count: int = 1) -> str:
    """Name of the segment count places after name, on the same timeline."""
    return segment_name(segment_timeline(name), segment_number(name, segment_size) + count, segment_size)


def segment_of_lsn(lsn: int, segment_size: int) -> int:
    """Number of the segment that holds the byte at lsn."""
    return lsn // segment_size


def segment_before_lsn(lsn: int, segment_size: int) -> int:
    """Number of the segment that holds the last byte before lsn: where a range that ends at lsn ends."""
    return (lsn - 1) // segment_size


def _match(name: str) -> "re.Match[str]":
    match = _SEGMENT.fullmatch(name)
    if match is None:
        raise InvalidWal(f"not a WAL segment name: {name!r}")
    return match
