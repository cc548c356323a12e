"""Which pages of a file newer backups have brought: chains are restored from the newest backup down.

The newest increment of a file makes it, at its final size. What an older backup has of it goes only where no newer one
has been: into pages below every size that the file had since, since what lay behind one of them was cut off then, and
pages behind it that nobody wrote are zeros. So each page is written once, and no file is cut twice.

Each part with increments leaves a file in the restore's journal: for each of its files what it and the newer backups
brought, compressed marks behind one another, then an index. Memory: a byte for each page of one file at a time (128 KiB
for 1 GiB), and the index of a part, by the names that are asked for.
"""

import json
import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Final, NamedTuple, Self

import lz4.block

from walpy.backup.increment import Increment
from walpy.backup.records import writing_journal
from walpy.errors import BackupError, DataCorrupt

_INDEX_PLACE: Final = struct.Struct("<Q")  # at the end of the file: where its index begins
_BROUGHT, _MISSING = b"\1", b"\0"
_MOST_PAGES: Final = 1 << 27  # of one file: 1 TiB of PostgreSQL's usual ones


class NewerPages(NamedTuple):
    """What of one file is there. size: its own, in the end. limit: older backups have nothing behind it; both bytes.

    marks: a byte for each page of page_size bytes, from the first on, 1 when it is there; pages behind them are not.
    page_size: 0 while no page is there.
    """

    size: int
    limit: int
    page_size: int
    marks: bytes

    @classmethod
    def of(cls, increment: Increment) -> "NewerPages":
        """What the newest increment of a file brings."""
        return cls(increment.file_size, increment.file_size, 0, b"").joined(increment)

    def joined(self, increment: Increment) -> "NewerPages":
        """What is there with an older increment too. Raises DataCorrupt when its pages have another size."""
        page_size = increment.page_size or self.page_size
        if self.page_size not in (0, page_size):
            raise DataCorrupt(f"increments of one file have pages of {self.page_size} and {page_size} bytes")
        limit = min(self.limit, increment.file_size)
        if not increment.blocks:
            return self._replace(limit=limit)
        count = min(increment.blocks[-1] + 1, -(-limit // page_size))
        if count > _MOST_PAGES:
            raise DataCorrupt(f"an increment of a file of {increment.file_size} bytes")
        marks = bytearray(self.marks[: -(-limit // page_size)].ljust(count, _MISSING))
        for block in increment.blocks[: bisect_left(increment.blocks, count)]:
            marks[block] = 1
        return NewerPages(self.size, limit, page_size, bytes(marks))

    def missing(self, runs: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[int, memoryview]]:
        """What of an older backup's runs (offset in the file, bytes) still has its place."""
        for offset, data in runs:
            end = min(offset + len(data), self.limit)
            place = offset
            while place < end:
                place, stop = self._gap(place, end)
                if place < stop:
                    yield place, data[place - offset : stop - offset]
                place = stop

    def _gap(self, start: int, end: int) -> tuple[int, int]:
        """The first bytes from start on that are not there: where they begin and end."""
        if not self.page_size:
            return start, end
        page = start // self.page_size
        if page >= len(self.marks):
            return start, end
        first = self.marks.find(_MISSING, page)
        if first < 0:
            first = len(self.marks)
        stop = self.marks.find(_BROUGHT, first)
        return min(end, max(start, first * self.page_size)), end if stop < 0 else min(end, stop * self.page_size)


def whole_file(pieces: Iterable[memoryview]) -> Iterator[tuple[int, memoryview]]:
    """The runs of a whole file."""
    offset = 0
    for piece in pieces:
        yield offset, piece
        offset += len(piece)


class PagesWriter:
    """Writes down what a part, and the newer backups, brought of each file; a context manager.

    Without an error in it, all of it is in place at the end; else nothing is. Raises BackupError.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._index: dict[str, tuple[int, ...]] = {}
        self._size = 0
        with writing_journal(path):
            self._file = open(f"{path}.new", "wb")  # noqa: SIM115 - closed at the end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file, writing_journal(self._path):
            if kind is None:
                self._file.write(json.dumps(self._index).encode() + _INDEX_PLACE.pack(self._size))
                self._file.close()
                os.replace(self._file.name, self._path)

    def add(self, name: str, pages: NewerPages) -> None:
        """Add a file; a later one of the same name counts."""
        data = lz4.block.compress(pages.marks)
        with writing_journal(self._path):
            self._file.write(data)
        self._index[name] = (self._size, len(data), pages.size, pages.limit, pages.page_size)
        self._size += len(data)


class PagesReader:
    """What newer backups brought of some files. places: what a PagesWriter wrote, by the files' names.

    Raises BackupError when it is not there.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._found: dict[str, tuple[str, _Row]] = {}
        names: dict[str, list[str]] = {}
        for name, path in places.items():
            names.setdefault(path, []).append(name)
        for path, wanted in names.items():
            with _reading(path), open(path, "rb") as file:
                index = _read_index(file)
                self._found.update((name, (path, _Row(*index[name]))) for name in wanted)

    def of(self, name: str) -> NewerPages | None:
        """What they brought of a file; None for one that none of them has."""
        if name not in self._found:
            return None
        path, row = self._found[name]
        with _reading(path), open(path, "rb") as file:
            file.seek(row.place)
            marks = lz4.block.decompress(file.read(row.length))
        return NewerPages(row.size, row.limit, row.page_size, marks)


class _Row(NamedTuple):
    """Where a file's marks are, and what else is known of it."""

    place: int
    length: int
    size: int
    limit: int
    page_size: int


def _read_index(file: BinaryIO) -> dict[str, list[int]]:
    file.seek(-_INDEX_PLACE.size, os.SEEK_END)
    end = file.tell()
    (place,) = _INDEX_PLACE.unpack(file.read())
    file.seek(place)
    index: dict[str, list[int]] = json.loads(file.read(end - place))
    return index


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, struct.error, lz4.block.LZ4BlockError) as error:
        message = f"the journal of the restore has lost {path!r}: {error}"
        raise BackupError(message, "Empty the directory, and restore again.") from error
