"""What a WAL segment changed: the blocks that its records name, and the forks that they cut, made or removed.

A segment is read on its own. A record that it begins and does not end is kept as its head, what continues one of the
segment before as its tail; a Joint puts them together. Every record's checksum is verified, so that no damaged or
foreign byte passes for a change.

Memory: twice the segment, and about 100 bytes for each block that it changed.
Source: PostgreSQL 13 to 18, src/include/access/xlogrecord.h and xlog_internal.h, src/backend/access/transam/
xlogreader.c; what counts as cut: src/backend/postmaster/walsummarizer.c.
"""

import struct
from struct import Struct
from typing import Final, NamedTuple

import google_crc32c

from walpy.errors import InvalidWal
from walpy.postgres.lsn import Lsn, format_lsn
from walpy.wal.validate import HEADER_SIZE, KNOWN_MAGICS, LONG_HEADER, parse_header

LOCATOR_SIZE: Final = 12  # bytes: numbers of tablespace, database and relation
PLACE_SIZE: Final = 16  # bytes: a locator and a block's number

_FIRST_MAGIC: Final = 0xD106  # PostgreSQL 13
_MAGIC_15: Final = 0xD110  # from here on images have other flags, and databases are made in two ways
_SHORT_HEADER: Final = 24  # bytes of the header of all pages but the first, padded
_IS_CONTINUED, _OVERWRITES = 0x0001, 0x0008  # XLP_FIRST_IS_CONTRECORD, XLP_FIRST_IS_OVERWRITE_CONTRECORD
_PAGE: Final = Struct("<HHIQI")  # magic, info, timeline, address, bytes that still belong to a record of before
_RECORD: Final = Struct("<I4x8xBBxxI")  # length, info, resource manager, checksum
_RECORD_SIZE: Final = _RECORD.size
_CHECKED_HEADER: Final = 20  # bytes of a record's header, those before its checksum
_LARGEST_RECORD: Final = 1 << 30  # PostgreSQL's limit is a little below
_ALIGNMENT: Final = 8

_XLOG, _XACT, _SMGR, _DBASE = 0, 1, 2, 4  # resource managers
_SWITCH: Final = 0x40
_SMGR_CREATE, _SMGR_TRUNCATE, _TRUNCATES_MAIN = 0x10, 0x20, 0x01
_XACT_MASK, _XACT_HAS_INFO = 0x70, 0x80
_ENDS_OF_TRANSACTIONS: Final = frozenset((0x00, 0x20, 0x30, 0x40))  # commit, abort, both of prepared ones
_HAS_DATABASE, _HAS_SUBTRANSACTIONS, _HAS_RELATIONS = 1, 2, 4
_MAIN_FORK: Final = 0

_LARGEST_BLOCK_ID: Final = 32
_TOP_TRANSACTION, _ORIGIN, _LONG_DATA, _SHORT_DATA = 252, 253, 254, 255
_HAS_IMAGE, _SAME_RELATION = 0x10, 0x80
_HAS_HOLE, _COMPRESSED_13, _COMPRESSED_15 = 0x01, 0x02, 0x1C
_U32, _DATABASE, _RELATION = Struct("<I"), Struct("<II"), Struct("<III")
_LOCATOR, _CREATED, _TRUNCATED = Struct("<12s"), Struct("<12si"), Struct("<I12si")


class Changes:
    """Places: locator and number of each block that records name, of any fork. limits: by locator, the lowest length,
    in blocks, that a main fork was cut to; 0 for one made or removed. Relation 0 stands for a whole database.
    """

    __slots__ = ("limits", "places")

    def __init__(self) -> None:
        self.places: set[bytes] = set()
        self.limits: dict[bytes, int] = {}

    def cut(self, locator: bytes, blocks: int) -> None:
        """Note that a fork was cut to so many blocks."""
        self.limits[locator] = min(blocks, self.limits.get(locator, blocks))


class SegmentChanges(NamedTuple):
    """A segment, read from start to end (positions in the WAL).

    tail: the begin of its data, which continues a record of the segment before. head: the begin of a record that it
    does not end. overwrites: the record that the segment before began was given up, in a crash. is_inside: all is tail,
    and the record goes on behind it. is_switched: there is nothing behind the tail, so that must end a switch.
    """

    magic: int
    start: int
    end: int
    changes: Changes
    tail: bytes = b""
    head: bytes = b""
    overwrites: bool = False
    is_inside: bool = False
    is_switched: bool = False


def read_segment(data: bytes, end: int | None = None) -> SegmentChanges:
    """Read a segment, or its pages up to a position in the WAL at which a record begins.

    data: from the segment's first byte on, whole pages. Raises InvalidWal where it is not what PostgreSQL writes.
    """
    return _Segment(data, end).read()


class Joint:
    """Reads the records that lie in several segments, which are added in their order.

    head: that of the segment before the first; None when nobody knows it, and the record's end does not matter.
    """

    def __init__(self, head: bytes | None) -> None:
        self.head = head

    def add(self, segment: SegmentChanges) -> Changes:
        """What the record changed that ends in this segment. Raises InvalidWal when its parts do not fit."""
        changes = Changes()
        head = b"" if segment.overwrites else self.head
        if segment.is_inside:
            self.head = None if head is None else head + segment.tail
            return changes
        self.head = segment.head
        if head is None and not segment.is_switched:
            return changes
        if head is None or bool(head) != bool(segment.tail):
            raise InvalidWal(f"the WAL at {_at(segment.start)} does not continue what is before it")
        is_switch = bool(head) and _read_record(head + segment.tail, changes, segment.magic, segment.start)
        if segment.is_switched and not is_switch:
            raise InvalidWal(f"the WAL at {_at(segment.start)} ends early")
        return changes


class _Segment:
    """One segment while it is read. Positions are those in its bytes without page headers, unless said otherwise."""

    def __init__(self, data: bytes, end: int | None) -> None:
        header = parse_header(data[:HEADER_SIZE])
        self._start, self._magic, self._page_size = header.page_address, header.magic, header.page_size
        if header.magic not in KNOWN_MAGICS or header.magic < _FIRST_MAGIC or not header.info & LONG_HEADER:
            raise InvalidWal(f"the WAL at {_at(self._start)} has page magic {header.magic:#06x}, which cannot be read")
        if self._page_size < 2 * HEADER_SIZE or len(data) % self._page_size:
            raise InvalidWal(f"the WAL at {_at(self._start)} has pages of {self._page_size} bytes, and is cut off")
        self._data = data
        self._end = self._start + len(data) if end is None else end
        self._flat = self._without_headers()
        self._page, self._page_start = 0, 0  # the next page to check, and where it begins
        self._changes = Changes()

    def read(self) -> SegmentChanges:
        info, tail_size = self._header(0)
        overwrites = bool(info & _OVERWRITES)
        self._check_page(tail_size)
        size = len(self._flat)
        begin = self._cross(tail_size) if tail_size else None
        if begin is not None:
            overwrites, tail_size = True, 0
        position = _aligned(tail_size) if begin is None else begin
        is_inside = tail_size > size
        is_switched = 0 < tail_size <= position < size and not any(self._flat[position : position + _RECORD_SIZE])
        head = b"" if is_inside or is_switched else self._read_records(position)
        return SegmentChanges(
            self._magic,
            self._start,
            self._end,
            self._changes,
            self._flat[:tail_size],
            head,
            overwrites=overwrites,
            is_inside=is_inside,
            is_switched=is_switched,
        )

    def _read_records(self, position: int) -> bytes:
        """Read the records from a position on; the begin of one that does not end."""
        flat, changes, magic = self._flat, self._changes, self._magic
        size = len(flat)
        while position < size:
            (length,) = _U32.unpack_from(flat, position)
            if not _RECORD_SIZE <= length <= _LARGEST_RECORD:
                raise self._fault(position, f"a record of {length} bytes")
            end = position + length
            if self._page_start <= position:
                self._check_page(0)
            if self._page_start < end:
                begin = self._cross(end)
                if begin is not None:
                    position = begin
                    continue
                if end > size:
                    return flat[position:]
            if _read_record(flat[position:end], changes, magic, self._start):
                return b""  # the server switched to the next segment: nothing follows
            position = _aligned(end)
        return b""

    def _cross(self, end: int) -> int | None:
        """Check the pages into which a record goes on; where the first one begins that gives it up, if one does."""
        size = len(self._flat)
        while self._page_start < min(end, size):
            if self._header(self._page)[0] & _OVERWRITES:
                return self._page_start
            self._check_page(end - self._page_start)
        return None

    def _check_page(self, remaining: int) -> None:
        """Check the header of the next page: where it is, and how many bytes of a record of before it begins with."""
        info, found = self._header(self._page)
        if found != remaining or bool(info & _IS_CONTINUED) != bool(found):
            raise self._fault(self._page_start, f"a page that continues a record by {found} bytes")
        self._page += 1
        self._page_start += self._page_size - (_SHORT_HEADER if self._page > 1 else HEADER_SIZE)

    def _header(self, page: int) -> tuple[int, int]:
        """Flags of a page, and how many bytes of a record of before it begins with."""
        magic, info, _, address, remaining = _PAGE.unpack_from(self._data, page * self._page_size)
        if magic != self._magic or address != self._start + page * self._page_size:
            raise self._fault(self._page_start, "another page")
        return info, remaining

    def _without_headers(self) -> bytes:
        size = self._page_size
        whole = memoryview(self._data)[: max(0, self._end - self._start)]
        pieces = [whole[HEADER_SIZE:size]]
        pieces += [whole[page + _SHORT_HEADER : page + size] for page in range(size, len(whole), size)]
        return b"".join(pieces)

    def _fault(self, position: int, what: str) -> InvalidWal:
        return InvalidWal(f"the WAL at {_at(self._start)} has {what}, {position} bytes behind its begin")


def _read_record(record: bytes, changes: Changes, magic: int, start: int) -> bool:
    """Note what a record changed; whether it ends its segment. start: of the segment, for messages."""
    length, info, manager, checksum = _RECORD.unpack_from(record)
    if length != len(record):
        raise InvalidWal(f"the WAL at {_at(start)} has a record of {len(record)} bytes that says {length}")
    body = record[_RECORD_SIZE:]
    if google_crc32c.extend(google_crc32c.value(body), record[:_CHECKED_HEADER]) != checksum:
        raise InvalidWal(f"the WAL at {_at(start)} has a damaged record: its checksum is wrong")
    try:
        data = _note_blocks(record, changes.places, _COMPRESSED_15 if magic >= _MAGIC_15 else _COMPRESSED_13)
        if manager == _SMGR:
            _note_storage(info & 0xF0, data, changes)
        elif manager == _XACT:
            _note_transaction(info, data, changes)
        elif manager == _DBASE:
            _note_database(info & 0xF0, data, changes, magic)
    except (IndexError, struct.error) as error:
        raise InvalidWal(f"the WAL at {_at(start)} has a record that cannot be read: {error}") from error
    return bool(manager == _XLOG and info & 0xF0 == _SWITCH)


def _note_blocks(record: bytes, places: set[bytes], compressed: int) -> bytes:
    """Note the blocks that a record names; its main data. compressed: flags of an image that takes less than a page."""
    at, size, payload, main = _RECORD_SIZE, len(record), 0, 0
    locator = b""
    while size - at > payload:
        kind = record[at]
        if kind <= _LARGEST_BLOCK_ID:
            flags = record[at + 1]
            payload += record[at + 2] | record[at + 3] << 8
            at += 4
            if flags & _HAS_IMAGE:
                payload += record[at] | record[at + 1] << 8
                image = record[at + 4]
                at += 7 if image & _HAS_HOLE and image & compressed else 5
            if flags & _SAME_RELATION:
                places.add(locator + record[at : at + 4])
                at += 4
            else:
                place = record[at : at + PLACE_SIZE]
                places.add(place)
                locator = place[:LOCATOR_SIZE]
                at += PLACE_SIZE
        elif kind == _SHORT_DATA:
            main = record[at + 1]
            payload += main
            at += 2
        elif kind == _LONG_DATA:
            (main,) = _U32.unpack_from(record, at + 1)
            payload += main
            at += 5
        elif kind == _ORIGIN:
            at += 3
        elif kind == _TOP_TRANSACTION:
            at += 5
        else:
            raise IndexError(f"a part of kind {kind}")
    if size - at != payload:
        raise IndexError("its parts are longer than it is")
    return record[size - main :]


def _note_storage(kind: int, data: bytes, changes: Changes) -> None:
    if kind == _SMGR_CREATE:
        locator, fork = _CREATED.unpack_from(data)
        if fork == _MAIN_FORK:
            changes.cut(locator, 0)
    elif kind == _SMGR_TRUNCATE:
        blocks, locator, forks = _TRUNCATED.unpack_from(data)
        if forks & _TRUNCATES_MAIN:
            changes.cut(locator, blocks)


def _note_transaction(info: int, data: bytes, changes: Changes) -> None:
    """Note the relations that the end of a transaction removes."""
    if info & _XACT_MASK not in _ENDS_OF_TRANSACTIONS or not info & _XACT_HAS_INFO:
        return
    at = 8  # behind the time
    (parts,) = _U32.unpack_from(data, at)
    at += 4
    if parts & _HAS_DATABASE:
        at += 8
    if parts & _HAS_SUBTRANSACTIONS:
        (count,) = _U32.unpack_from(data, at)
        at += 4 + 4 * count
    if parts & _HAS_RELATIONS:
        (count,) = _U32.unpack_from(data, at)
        for place in range(at + 4, at + 4 + count * LOCATOR_SIZE, LOCATOR_SIZE):
            (locator,) = _LOCATOR.unpack_from(data, place)
            changes.cut(locator, 0)


def _note_database(kind: int, data: bytes, changes: Changes, magic: int) -> None:
    is_drop = kind == (0x20 if magic >= _MAGIC_15 else 0x10)
    database, number = _DATABASE.unpack_from(data)  # a new one's tablespace, or how many a removed one had
    tablespaces = [_U32.unpack_from(data, 8 + 4 * index)[0] for index in range(number)] if is_drop else [number]
    for tablespace in tablespaces:
        changes.cut(_RELATION.pack(tablespace, database, 0), 0)


def unpacked_locator(locator: bytes) -> tuple[int, int, int]:
    """Numbers of tablespace, database and relation."""
    tablespace, database, relation = _RELATION.unpack(locator)
    return tablespace, database, relation


def is_database(locator: bytes) -> bool:
    """Whether a locator stands for a whole database."""
    return not any(locator[-_U32.size :])


def place_of_cut(locator: bytes, blocks: int) -> bytes:
    """Place of the first block behind a cut."""
    return locator + _U32.pack(blocks)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _at(position: int) -> str:
    return format_lsn(Lsn(position))
