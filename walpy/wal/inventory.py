"""What WAL an archive holds: one listing, kept as ranges, however many segments there are.

Memory: about 60 bytes for each segment while it is made, then a few for each gap.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from walpy import layout
from walpy.archive import Archive
from walpy.errors import InvalidWal, ObjectMissing
from walpy.stream.codecs import READ_EXTENSIONS
from walpy.wal.history import SegmentRanges, Switch, history_name, parse_history
from walpy.wal.segment import WalKind, segment_position, wal_kind

_EXTENSIONS: Final = frozenset(READ_EXTENSIONS)  # the empty one: a dot alone, of the codec none in WAL-G 3.0.8


class Inventory:
    """The segments of each timeline, and which timelines have a history file."""

    def __init__(self, names: Iterable[str], segment_size: int) -> None:
        """names: of WAL files, without folder and codec's extension."""
        self.segment_size = segment_size
        self.histories: set[int] = set()
        self.strange: list[str] = []  # names of segments that do not exist with this segment size
        numbers: dict[int, array[int]] = defaultdict(lambda: array("Q"))
        for name in names:
            kind = wal_kind(name)
            if kind is WalKind.SEGMENT:
                self._note(name, numbers)
            elif kind is WalKind.HISTORY:
                self.histories.add(int(name[:8], 16))
        self.strange.sort()
        self.segments = {timeline: SegmentRanges(found) for timeline, found in numbers.items()}

    @classmethod
    def of(cls, archive: Archive, segment_size: int) -> "Inventory":
        """What the archive holds; one listing."""
        return cls(archived_names(archive), segment_size)

    @property
    def timelines(self) -> list[int]:
        """Timelines with segments, ascending."""
        return sorted(self.segments)

    @property
    def highest_timeline(self) -> int:
        """The highest timeline that anything tells of; 0 when nothing does."""
        return max([*self.segments, *self.histories], default=0)

    def holds(self, timeline: int, number: int) -> bool:
        """Whether a segment is there."""
        return timeline in self.segments and number in self.segments[timeline]

    def run_begin(self, timeline: int, number: int) -> int:
        """The lowest segment from which on, up to this one, all are there, or none is."""
        return self.segments[timeline].run_begin(number) if timeline in self.segments else 0

    def _note(self, name: str, numbers: "dict[int, array[int]]") -> None:
        try:
            timeline, number = segment_position(name, self.segment_size)
        except InvalidWal:
            self.strange.append(name)
        else:
            numbers[timeline].append(number)


def archived_names(archive: Archive) -> Iterator[str]:
    """Names of the archive's WAL files, without the codec's extension, in no order (a file in two codecs twice).

    Other objects (WAL-G's metadata and delta files) come under their whole names, which are no WAL file's.
    """
    start = len(layout.WAL_FOLDER) + 1
    for full_name in archive.storage.list_names(layout.WAL_FOLDER):
        name = full_name[start:]
        if "/" not in name:
            yield without_extension(name)


def without_extension(name: str) -> str:
    """Name of a WAL file without the extension of the codec that its object has."""
    base, dot, extension = name.rpartition(".")
    return base if dot and extension in _EXTENSIONS else name


def read_history(archive: Archive, timeline: int) -> list[Switch]:
    """Rows of a timeline's history file in the archive; none for timeline 1. Raises ObjectMissing, DataCorrupt."""
    if timeline <= 1:
        return []
    name = history_name(timeline)
    try:
        with archive.open_wal(name) as chunks:
            data = b"".join(bytes(chunk) for chunk in chunks)
    except ObjectMissing:
        raise ObjectMissing(f"the archive holds no {name}") from None
    return parse_history(data.decode("utf-8", "replace"), name)
