"""A store with millions of WAL segments that nobody stored: their listing is made from their numbers."""

from bisect import bisect_left
from pathlib import Path

from benchmarks.sink.store import Held, Page, Store

SUFFIX = ".lz4"
MODIFIED = 1_700_000_000.0  # Unix seconds
EMPTY = Held((), f"{0:032x}", MODIFIED)


def segment_of(number: int) -> str:
    """Name of a segment of timeline 1, 16 MiB each."""
    return f"00000001{number >> 8:08X}{number & 0xFF:08X}"


class Crowd(Store):
    """Besides what is stored, segments 1 to count in a folder (`bucket/.../wal_005/`)."""

    def __init__(self, root: Path, folder: str, count: int) -> None:
        super().__init__(root)
        self._folder = folder
        self._numbers_of_segments = range(1, count + 1)

    def get(self, name: str) -> Held | None:
        """The object; that of a segment is empty."""
        return EMPTY if name.startswith(self._folder) else super().get(name)

    def page(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """As Store.page; a prefix of the folder and nothing more lists segments alone."""
        if f"{bucket}/{prefix}" != self._folder:
            return super().page(bucket, prefix, delimiter, after, limit)
        first = bisect_left(
            self._numbers_of_segments, after, key=lambda number: f"{prefix}{segment_of(number)}{SUFFIX}"
        )
        if first < len(self._numbers_of_segments) and after == self._key(prefix, first):
            first += 1
        keys = [self._key(prefix, index) for index in range(first, min(first + limit, len(self._numbers_of_segments)))]
        is_truncated = first + limit < len(self._numbers_of_segments)
        return Page(keys, [], keys[-1] if keys else "", is_truncated=is_truncated)

    def _key(self, prefix: str, index: int) -> str:
        return f"{prefix}{segment_of(self._numbers_of_segments[index])}{SUFFIX}"
