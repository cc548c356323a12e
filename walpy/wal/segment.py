"""WAL file names, LSNs and segment arithmetic: pure functions.

A segment's name is 24 hex digits: timeline, log and segment, 8 each. With segments of S bytes a log holds 2**32 / S of
them; segment numbers count from the start of the WAL, whatever the timeline.
Source: PostgreSQL, src/include/access/xlog_internal.h.
"""

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

_HEX = frozenset("0123456789abcdefABCDEF")
_BACKUP, _HISTORY, _PARTIAL = ".backup", ".history", ".partial"


class WalKind(Enum):
    """What a file name in a WAL directory stands for."""

    SEGMENT = "segment"
    PARTIAL = "partial segment"
    BACKUP = "backup history"
    HISTORY = "timeline history"
    OTHER = "other"


def wal_kind(name: str) -> WalKind:
    """Kind of a file by its bare name."""
    if _is_hex(name, 24):
        return WalKind.SEGMENT
    base, dot, ending = name.rpartition(".")
    kind = dot + ending
    if kind == _PARTIAL and _is_hex(base, 24):
        return WalKind.PARTIAL
    if kind == _HISTORY and _is_hex(base, 8):
        return WalKind.HISTORY
    if kind == _BACKUP and base[24:25] == "." and _is_hex(base[:24], 24) and _is_hex(base[25:], 8):
        return WalKind.BACKUP
    return WalKind.OTHER


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
    return Timeline(_numbers(name)[0])


def segment_number(name: str, segment_size: int) -> int:
    """Position of a segment, counted from the start of the WAL.

    segment_size: bytes; a power of two from 1 MiB to 1 GiB.
    Raises InvalidWal when name has another shape, or does not exist with that segment size.
    Source: PostgreSQL, src/include/access/xlog_internal.h, XLogFromFileName.
    """
    return segment_position(name, segment_size)[1]


def segment_name(timeline: int, number: int, segment_size: int) -> str:
    """Name of a segment: the inverse of segment_timeline and segment_number."""
    log, low = divmod(number, LOG_SIZE // segment_size)
    return f"{timeline:08X}{log:08X}{low:08X}"


def segment_position(name: str, segment_size: int) -> tuple[Timeline, int]:
    """Timeline and number of a segment's name. Raises as segment_number."""
    timeline, log, low = _numbers(name)
    per_log = LOG_SIZE // segment_size
    if low >= per_log:
        raise InvalidWal(f"no WAL segment of {segment_size} bytes is named {name!r}")
    return Timeline(timeline), log * per_log + low


def following_segment(name: str, segment_size: int, count: int = 1) -> str:
    """Name of the segment count places after name, on the same timeline."""
    return segment_name(segment_timeline(name), segment_number(name, segment_size) + count, segment_size)


def segment_of_lsn(lsn: int, segment_size: int) -> int:
    """Number of the segment that holds the byte at lsn."""
    return lsn // segment_size


def segment_before_lsn(lsn: int, segment_size: int) -> int:
    """Number of the segment that holds the last byte before lsn: where a range that ends at lsn ends."""
    return (lsn - 1) // segment_size


def _numbers(name: str) -> tuple[int, int, int]:
    """Timeline, log and segment of a name."""
    if not _is_hex(name, 24):
        raise InvalidWal(f"not a WAL segment name: {name!r}")
    number = int(name, 16)
    return number >> 64, number >> 32 & 0xFFFFFFFF, number & 0xFFFFFFFF


def _is_hex(text: str, length: int) -> bool:
    """Whether a text is so many hex digits (four regular expressions would cost half a millisecond at every start)."""
    return len(text) == length and _HEX.issuperset(text)
