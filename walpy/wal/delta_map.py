"""WAL delta maps: which blocks 16 segments in a row changed, as an object beside them. The format, and names.

WAL-G's: 16 bytes for each block (tablespace, database, relation, number), 16 zero bytes, the length of the begin of a
record that the last segment does not end, that begin. WAL-G looks at nothing behind it. There walpy puts what a map
needs to be right, and WAL-G's lack: forks that were cut, made or removed, the WAL that the map is made of, a checksum.
A map without that is not believed: pages that are cut off and come back without a record would keep their old rows.

Memory: READ_AT_ONCE of a map while it is read, and what was cut.
Source: WAL-G 3.0.9's stored objects.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from xxhash import xxh3_64

from walpy.errors import DataCorrupt
from walpy.storage.base import Chunk
from walpy.wal.records import LOCATOR_SIZE, PLACE_SIZE
from walpy.wal.segment import segment_name, segment_position

GROUP_SEGMENTS: Final = 16
SUFFIX: Final = "_delta"
READ_AT_ONCE: Final = 1 << 20  # bytes of blocks' places

_END_OF_PLACES: Final = bytes(PLACE_SIZE)
_LENGTH: Final = struct.Struct("<I")
_TRAILER: Final = struct.Struct("<8sIIQQQI")  # mark, version, page magic, system, start, end, number of cuts
_CUT: Final = struct.Struct(f"<{LOCATOR_SIZE}sI")
_CHECKSUM: Final = struct.Struct("<Q")
_MARK: Final = b"walpymap"
_VERSION: Final = 1
_LARGEST_HEAD: Final = 1 << 30


class Unmarked(Exception):
    """A map that walpy did not make."""


class Covered(NamedTuple):
    """The WAL that a map is made of: of which cluster (system), which pages, from start to end."""

    magic: int
    system: int
    start: int
    end: int


def group_of(name: str, segment_size: int) -> list[str]:
    """Names of the segments that share a map with this one, in order."""
    timeline, number = segment_position(name, segment_size)
    first = number - number % GROUP_SEGMENTS
    return [segment_name(timeline, first + index, segment_size) for index in range(GROUP_SEGMENTS)]


def write_map(places: Iterable[bytes], head: bytes, limits: dict[bytes, int], covered: Covered) -> Iterator[bytes]:
    """A map in pieces. places: of blocks, any number in each; may name a block again."""
    digest = xxh3_64()
    trailer = _TRAILER.pack(_MARK, _VERSION, *covered, len(limits)) + packed_limits(limits)
    for piece in chain(places, (_END_OF_PLACES, _LENGTH.pack(len(head)) + head, trailer)):
        digest.update(piece)
        yield piece
    yield _CHECKSUM.pack(digest.intdigest())


def packed_limits(limits: dict[bytes, int]) -> bytes:
    """Cuts of forks: 12 bytes of a locator, four of a length."""
    return b"".join(_CUT.pack(locator, blocks) for locator, blocks in sorted(limits.items()))


def unpacked_limits(data: bytes) -> dict[bytes, int]:
    """The inverse of packed_limits. Raises ValueError."""
    try:
        return dict(_CUT.iter_unpack(data))
    except struct.error as error:
        raise ValueError(str(error)) from error


class MapReader:
    """Reads one map: places() first, to its end; then the rest is known. Raises DataCorrupt, Unmarked."""

    def __init__(self, chunks: Iterable[Chunk], name: str) -> None:
        self.head = b""
        self.limits: dict[bytes, int] = {}
        self.covered = Covered(0, 0, 0, 0)
        self._chunks = iter(chunks)
        self._name = name
        self._buffer = bytearray()
        self._digest = xxh3_64()

    def places(self) -> Iterator[bytes]:
        """The blocks' places, many in each piece. What they say counts only when it came to its end."""
        while self._fill(PLACE_SIZE):
            self._fill(READ_AT_ONCE)
            whole = len(self._buffer) - len(self._buffer) % PLACE_SIZE
            end = _find_end(self._buffer, whole)
            if end:
                yield self._take(end)
            if end < whole:
                self._take(PLACE_SIZE)
                self._read_rest()
                return
        raise DataCorrupt(f"{self._name} is cut off")

    def _read_rest(self) -> None:
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LARGEST_HEAD:
            raise DataCorrupt(f"{self._name} is damaged")
        self.head = self._exactly(length)
        if not self._fill(1):
            raise Unmarked
        mark, version, magic, system, start, end, count = _TRAILER.unpack(self._exactly(_TRAILER.size))
        if (mark, version) != (_MARK, _VERSION):
            raise Unmarked
        self.covered = Covered(magic, system, start, end)
        self.limits = unpacked_limits(self._exactly(count * _CUT.size))
        computed = self._digest.intdigest()
        if self._exactly(_CHECKSUM.size) != _CHECKSUM.pack(computed) or self._fill(1):
            raise DataCorrupt(f"{self._name} is damaged: its checksum is wrong")

    def _fill(self, size: int) -> bool:
        """Have at least so many bytes in the buffer; false where there are fewer."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer += chunk
        return True

    def _exactly(self, size: int) -> bytes:
        if not self._fill(size):
            raise DataCorrupt(f"{self._name} is cut off")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._digest.update(data)
        return data


def _find_end(buffer: bytearray, size: int) -> int:
    """Where the places end among whole ones of so many bytes; size when they do not."""
    at = buffer.find(_END_OF_PLACES, 0, size)
    while at >= 0 and at % PLACE_SIZE:
        at = buffer.find(_END_OF_PLACES, at + 1, size)
    return size if at < 0 else at
