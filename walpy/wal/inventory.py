"""What WAL an archive holds: one listing, kept as ranges, however many segments there are.

Memory: a few bytes for each gap, not for each segment.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from walpy import layout
from walpy.archive import Archive
from walpy.errors import InvalidWal, ObjectMissing
from walpy.stream.codecs import READ_EXTENSIONS
from walpy.wal.history import SegmentRanges, Switch, history_name, parse_history
from walpy.wal.segment import WalKind, segment_number, segment_timeline, wal_kind

_EXTENSIONS: Final = tuple(f".{extension}" for extension in READ_EXTENSIONS)  # `.`: of the codec none in WAL-G 3.0.8


class Inventory:
    """The segments of each timeline, and which timelines have a history file."""

    def __init__(self, names: Iterable[str], segment_size: int) -> None:
        """names: of WAL files, without folder and codec's extension, in name order."""
        self.segment_size = segment_size
        self.segments: dict[int, SegmentRanges] = {}
        self.histories: set[int] = set()
        self.strange: list[str] = []  # names of segments that do not exist with this segment size
        for name in names:
            kind = wal_kind(name)
            if kind is WalKind.SEGMENT:
                self._add(name)
            elif kind is WalKind.HISTORY:
                self.histories.add(int(name[:8], 16))

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

    def _add(self, name: str) -> None:
        try:
            number = segment_number(name, self.segment_size)
        except InvalidWal:
            self.strange.append(name)
            return
        self.segments.setdefault(segment_timeline(name), SegmentRanges()).add(number)


def archived_names(archive: Archive) -> Iterator[str]:
    """Names of the archive's WAL files, without the codec's extension, in name order (a file in two codecs twice).

    Other objects (WAL-G's metadata and delta files) come under their whole names, which are no WAL file's.
    """
    prefix = f"{layout.WAL_FOLDER}/"
    for item in archive.storage.list(layout.WAL_FOLDER):
        name = item.name.removeprefix(prefix)
        if "/" not in name:
            yield without_extension(name)


def without_extension(name: str) -> str:
    """Name of a WAL file without the extension of the codec that its object has."""
    return next((name.removesuffix(extension) for extension in _EXTENSIONS if name.endswith(extension)), name)


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
