"""Cuts the members of one tar into pieces that several threads read and compress on their own.

A piece is a list of items that fill one buffer: tar headers and padding as bytes, whole small files, and spans of
larger ones, or the changed pages of such a file. Spans begin and end at whole pages of their file, so that pages can be
verified piece by piece.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from walpy.backup import tar
from walpy.backup.increment import encode_head, member_size
from walpy.backup.members import tar_header
from walpy.backup.page_cache import SequentialReads
from walpy.backup.shared_file import SharedFile
from walpy.postgres.entry import Entry

WHOLE_FILE = 256 << 10  # bytes; files up to this size are opened by the thread that reads them, and never divided


class OpenFile(SharedFile):
    """A large file while its spans are read, by any threads.

    reads: of all of it, in order. changed: numbers of the pages that stand for it, ascending; None: it is stored whole.
    """

    def __init__(self, entry: Entry, descriptor: int) -> None:
        super().__init__(descriptor)
        self.entry = entry
        self.reads = SequentialReads(descriptor, entry.size)
        self.changed: Sequence[int] | None = None

    def finish(self) -> None:
        """The page cache is as it was."""
        self.reads.end()


class WholeFile(NamedTuple):
    """A small file with its header; left out as a whole when it cannot be opened because it is gone."""

    entry: Entry
    header: bytes


class Span(NamedTuple):
    """Some bytes of a large file; whoever reads them releases the file."""

    file: OpenFile
    offset: int
    length: int


class Blocks(NamedTuple):
    """Some pages of a large file, by their numbers, ascending; whoever reads them releases the file."""

    file: OpenFile
    numbers: Sequence[int]


Item = bytes | WholeFile | Span | Blocks
Opener = Callable[[Entry], OpenFile | None]  # None: the file is gone


def cut(entries: Iterable[Entry], open_file: Opener, *, piece_size: int, page_size: int) -> Iterator[list[Item]]:
    """Divide a tar with these members, in their order, into pieces of at most piece_size bytes.

    piece_size: at least WHOLE_FILE and two pages. open_file opens a large file, or one whose changed pages
    are known, when its turn comes.
    """
    piece = _Piece(piece_size)
    for entry in entries:
        header = tar_header(entry)
        if entry.size > WHOLE_FILE or entry.changed is not None:
            file = open_file(entry)
            if file is not None and file.changed is not None:
                yield from _cut_increment(piece, file, file.changed, page_size)
            elif file is not None:
                yield from _cut_file(piece, file, header, page_size)
            continue
        size = len(header) + entry.size + tar.padding(entry.size)
        if size > piece.room:
            yield piece.take()
        piece.append(WholeFile(entry, header) if entry.is_file else header, size)
    yield from piece.add(tar.END, len(tar.END))
    yield piece.items


def _cut_file(piece: "_Piece", file: OpenFile, header: bytes, page_size: int) -> Iterator[list[Item]]:
    try:
        yield from piece.add(header, len(header))
        offset, size = 0, file.entry.size
        while offset < size:
            if piece.room < page_size:
                yield piece.take()
            length = min(piece.room // page_size * page_size, size - offset)
            file.hold()
            piece.append(Span(file, offset, length), length)
            offset += length
        padding = tar.padding(size)
        yield from piece.add(bytes(padding), padding)
    finally:
        file.release()


def _cut_increment(piece: "_Piece", file: OpenFile, changed: Sequence[int], page_size: int) -> Iterator[list[Item]]:
    try:
        size = member_size(len(changed), page_size)
        for head in (tar_header(file.entry._replace(size=size)), encode_head(file.entry.size, changed)):
            yield from piece.add(head, len(head))
        done = 0
        while done < len(changed):
            if piece.room < page_size:
                yield piece.take()
            numbers = changed[done : done + piece.room // page_size]
            file.hold()
            piece.append(Blocks(file, numbers), len(numbers) * page_size)
            done += len(numbers)
        padding = tar.padding(size)
        yield from piece.add(bytes(padding), padding)
    finally:
        file.release()


class _Piece:
    """The piece that is being filled."""

    def __init__(self, capacity: int) -> None:
        self.items: list[Item] = []
        self.room = capacity
        self._capacity = capacity

    def add(self, item: Item, size: int) -> Iterator[list[Item]]:
        """Append an item, after giving out the piece when the item does not fit."""
        if size > self.room:
            yield self.take()
        self.append(item, size)

    def append(self, item: Item, size: int) -> None:
        self.items.append(item)
        self.room -= size

    def take(self) -> list[Item]:
        """Give out what is there, and begin anew."""
        items, self.items, self.room = self.items, [], self._capacity
        return items
