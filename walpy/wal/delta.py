"""Records, at wal-push, which blocks a segment changed, and stores a map of them for each 16 (WALG_USE_WAL_DELTA).

What a segment changed waits in a small file below the state folder until all 16 of its group are there, in whatever
order and by however many processes they were archived; a file for each segment, written in one step, needs no lock. A
map that is missing costs a delta backup some reading, so no trouble here fails a push: it is told once, in the log.

Memory: see records, for each segment under way; segments above LARGEST_SEGMENT are not recorded.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xxhash import xxh3_64_hexdigest

from walpy.errors import DataCorrupt, Interrupted, InvalidWal
from walpy.wal.delta_map import GROUP_SEGMENTS, SUFFIX, Covered, group_of, packed_limits, unpacked_limits, write_map
from walpy.wal.records import Changes, Joint, SegmentChanges, is_database, place_of_cut, read_segment
from walpy.wal.segment import following_segment
from walpy.wal.status import forget_oldest, replace_file
from walpy.wal.validate import parse_header

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.wal.files import SourceFile

RECORD_FOLDER: Final = "walpy/delta"  # below the state folder
RECORD_VERSION: Final = 1
MOST_RECORDS: Final = 8 * GROUP_SEGMENTS  # of groups that are never complete, where archiving began in their midst
LARGEST_SEGMENT: Final = 64 << 20  # bytes

_KEPT_FIELDS: Final = ("magic", "start", "end", "overwrites", "is_inside", "is_switched")

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """What is known of one segment.

    system: its cluster's identifier. places: one after the other. is_mapped: the map of its group is stored; only the
    last one of a group waits on then, for what it leaves behind.
    """

    system: int
    segment: SegmentChanges
    places: bytes
    is_mapped: bool = False


class DeltaRecorder:
    """Records the segments of one cluster. state: the folder for local state; None: nothing can be recorded."""

    def __init__(self, archive: "Archive", state: str | None) -> None:
        self._archive = archive
        self._records = Records(os.path.join(state, RECORD_FOLDER)) if state else None

    def record(self, source: "SourceFile") -> None:
        """Note what a segment changed that is archived, and store the map of its group when that is complete."""
        name, records = os.path.basename(source.path), self._records
        if records is None:
            logger.warning("%s is in no WAL directory: what it changed is not recorded", source.path)
            return
        try:
            records.note(name, _read(source))
            for some in (name, following_segment(name, source.size)):  # the next group may have waited for its begin
                group = group_of(some, source.size)
                while self._complete(records, group, source.size):  # and all of it may be there, archived ahead
                    group = group_of(following_segment(group[-1], source.size), source.size)
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: archiving goes on, whatever is wrong with a record
            logger.warning("what WAL segment %s changed is not recorded for delta backups: %s", name, error)

    def _complete(self, records: "Records", group: list[str], segment_size: int) -> bool:
        """Store the map of a group, if all of it is known; whether that was so."""
        if not records.names().issuperset(group):
            return False
        before = following_segment(group[0], segment_size, -1)
        try:
            head = records.head(before) if records.read(group[0]).segment.tail else b""
            if head is None:
                return False
            head, chunks = _map(records, group, head)
            self._archive.put_wal(group[0] + SUFFIX, chunks, create_only=False)
            last = records.read(group[-1])
            segment = last.segment._replace(head=head) if last.segment.is_inside else last.segment
            records.note(group[-1], last._replace(segment=segment, is_mapped=True))
        except FileNotFoundError:
            return False  # another process has stored it meanwhile
        logger.info("FILE PATH: %s", f"{group[0]}{SUFFIX}")
        records.remove(group[:-1])
        _forget_lasts(records, before, segment_size)
        return True


def _forget_lasts(records: "Records", last: str, segment_size: int) -> None:
    """Forget the last segments of groups, from one on, that neither their own map nor the next one needs any more.

    Whoever stores a map marks its last segment first and looks here then: of two at once, the second sees both.
    """
    while _is_stored(records, following := group_of(following_segment(last, segment_size), segment_size), segment_size):
        if records.is_mapped(last) or records.names().isdisjoint(group_of(last, segment_size)[:-1]):
            records.remove([last])
        last = following[-1]


def _is_stored(records: "Records", group: list[str], segment_size: int) -> bool:
    """Whether the map of a group is stored: its last segment says so, or is forgotten as one behind it said so."""
    if records.is_mapped(group[-1]):
        return True
    names = records.names()
    behind = (name for name in names if name > group[-1] and name[:8] == group[0][:8])
    lasts = (name for name in behind if name == group_of(name, segment_size)[-1])
    return names.isdisjoint(group) and any(records.is_mapped(name) for name in lasts)


def _map(records: "Records", group: list[str], head: bytes) -> tuple[bytes, Iterator[bytes]]:
    """What a group leaves behind, and its map in pieces; head: what the segment before it leaves behind.

    Its segments are read twice, so that one is in memory at a time.
    """
    joint, cuts, borders = Joint(head), Changes(), list[bytes]()
    covered: Covered | None = None
    for name in group:
        system, segment, *_ = records.read(name)
        if covered and covered != (segment.magic, system, covered.start, segment.start):
            raise InvalidWal(f"{name} does not continue the segment before it")
        covered = Covered(segment.magic, system, covered.start if covered else segment.start, segment.end)
        ended = joint.add(segment)
        borders.extend(ended.places)
        for changes in (segment.changes, ended):
            for locator, blocks in changes.limits.items():
                cuts.cut(locator, blocks)
    if covered is None or joint.head is None:
        raise InvalidWal("a group without segments")
    # WAL-G passes over a fork that no block is named of: one is named of each that was cut.
    borders.extend(place_of_cut(*cut) for cut in cuts.limits.items() if not is_database(cut[0]))
    places = (records.read(name).places for name in group)
    return joint.head, write_map(chain([b"".join(borders)], places), joint.head, cuts.limits, covered)


class Records:
    """What segments changed, each in a file of a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def note(self, name: str, record: Record) -> None:
        """Keep what a segment changed, and forget the oldest. Raises OSError."""
        os.makedirs(self._folder, exist_ok=True)
        replace_file(os.path.join(self._folder, name), _packed(record))
        forget_oldest(self._folder, MOST_RECORDS)

    def names(self) -> set[str]:
        """Segments that are known."""
        try:
            return set(os.listdir(self._folder))
        except FileNotFoundError:
            return set()

    def read(self, name: str) -> Record:
        """What a segment changed. Raises FileNotFoundError, DataCorrupt."""
        path = os.path.join(self._folder, name)
        with open(path, "rb") as file:
            data = file.read()
        try:
            return _unpacked(data)
        except (ValueError, KeyError, TypeError) as error:
            raise DataCorrupt(f"{path!r} is damaged: {error}", "Remove it.") from error

    def head(self, name: str) -> bytes | None:
        """The begin of a record that a segment leaves behind; None while nobody knows it. Raises DataCorrupt."""
        try:
            segment = self.read(name).segment
        except FileNotFoundError:
            return None
        return None if segment.is_inside and not segment.head else segment.head

    def is_mapped(self, name: str) -> bool:
        """Whether a segment's record waits for the next group alone. Raises DataCorrupt."""
        try:
            return self.read(name).is_mapped
        except FileNotFoundError:
            return False

    def remove(self, names: Iterable[str]) -> None:
        """Forget segments; those that are not known too."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._folder, name))


def _read(source: "SourceFile") -> Record:
    if source.size > LARGEST_SEGMENT:
        raise InvalidWal(f"segments of more than {LARGEST_SEGMENT >> 20} MiB are not recorded")
    return record_of(b"".join(bytes(chunk) for chunk in source.chunks()))


def record_of(data: bytes, end: int | None = None) -> Record:
    """What a segment changed, by its bytes. Raises as read_segment."""
    segment = read_segment(data, end)
    return Record(parse_header(data).system_identifier, segment, b"".join(sorted(segment.changes.places)))


def _packed(record: Record) -> bytes:
    segment = record.segment
    parts = record.places, packed_limits(segment.changes.limits), segment.tail, segment.head
    body = b"".join(parts)
    document = {
        "walpy": RECORD_VERSION,
        "system": record.system,
        "segment": {field: getattr(segment, field) for field in _KEPT_FIELDS},
        "mapped": record.is_mapped,
        "sizes": [len(part) for part in parts],
        "digest": xxh3_64_hexdigest(body),
    }
    return json.dumps(document).encode() + b"\n" + body


def _unpacked(data: bytes) -> Record:
    line, _, body = data.partition(b"\n")
    document: dict[str, Any] = json.loads(line)
    places_size, limits_size, tail_size, head_size = document["sizes"]
    ends = list(accumulate((places_size, limits_size, tail_size, head_size)))
    if document["walpy"] != RECORD_VERSION or document["digest"] != xxh3_64_hexdigest(body) or ends[-1] != len(body):
        raise ValueError("its digest is wrong")
    places, limits, tail, head = (body[start:end] for start, end in pairwise([0, *ends]))
    changes = Changes()
    changes.limits = unpacked_limits(limits)
    segment = SegmentChanges(changes=changes, tail=tail, head=head, **document["segment"])
    return Record(document["system"], segment, places, document["mapped"])
