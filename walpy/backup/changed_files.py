"""Large files of which an earlier backup holds a version: their changed pages are found before their turn comes.

The size of an increment stands in front of it, so the whole file has to be looked through first; the threads that fill
pieces do that for the next files while the ones before them are packed. The changed pages are read again when they are
stored, so that a file's pages are never all in memory. Files whose changed pages the WAL told are not looked through.

Memory: one piece for each thread, and four bytes for each changed page of the files that are looked through.
"""

import mmap
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from walpy.backup.cut import WHOLE_FILE, OpenFile
from walpy.backup.source_files import Pass, SourceFiles
from walpy.stream.pieces import PIECE_SIZE

if TYPE_CHECKING:
    from walpy.postgres.entry import Entry

FILES_AHEAD = 2  # large files that are looked through before their turn
PIECES_AT_ONCE = 16  # that a thread looks through before it is asked again
ENTRIES_AHEAD = 64  # entries among which they are looked for


class _Looked(NamedTuple):
    """What some pieces of a file showed: changed pages by their offset, None when they do not tell; what it took."""

    changed: dict[int, Sequence[int] | None]
    done: Pass
    seconds: float


class _Buffer(threading.local):
    """Where a thread puts the piece that it looks through."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, PIECE_SIZE))


class ChangedFiles:
    """Opens the files of one partition.

    note: told what looking through a part took (its bytes among that, and the seconds), in the caller's thread.
    """

    def __init__(self, files: SourceFiles, pool: ThreadPoolExecutor, note: Callable[[Pass, float], None]) -> None:
        self._files = files
        self._pool = pool
        self._note = note
        self._buffer = _Buffer()
        self._looking: dict[str, tuple[OpenFile | None, list[Future[_Looked]]]] = {}  # by name

    def ahead(self, entries: Iterable["Entry"]) -> "Iterator[Entry]":
        """The entries, in their order, each large file with a base once the looking through it has begun."""
        waiting: deque[Entry] = deque()
        for entry in entries:
            waiting.append(entry)
            if _is_looked_through(entry):
                self._begin(entry)
            while len(waiting) > ENTRIES_AHEAD or len(self._looking) > FILES_AHEAD:
                yield waiting.popleft()
        yield from waiting

    def open(self, entry: "Entry") -> OpenFile | None:
        """Open a file; its changed pages are known, unless it is to be stored whole. None when it is gone.

        Raises BackupError.
        """
        if entry.changed is not None:
            return self._open_known(entry, entry.changed)
        if not _is_looked_through(entry):
            return self._files.open(entry)
        file, futures = self._looking.pop(entry.name)
        if file is not None:
            file.changed = self._files.decide(entry, self._changed(file, futures))
        return file

    def _open_known(self, entry: "Entry", changed: Sequence[int]) -> OpenFile | None:
        """Open a file that need not be looked through."""
        file = self._files.open(entry)
        if file is not None:
            file.changed = self._files.decide(entry, changed)
        if file is None or file.changed is not None:
            self._note(Pass(entry.size), 0.0)  # it is done, but for its changed pages
        return file

    def _begin(self, entry: "Entry") -> None:
        file = self._files.open(entry)
        futures = []
        if file is not None:
            offsets = range(0, entry.size, PIECE_SIZE)
            rest = iter(offsets)  # each thread takes the next piece: the file is read in its order
            futures = [self._pool.submit(self._look, file, rest) for _ in offsets[::PIECES_AT_ONCE]]
        self._looking[entry.name] = file, futures

    def _look(self, file: OpenFile, offsets: Iterator[int]) -> _Looked:
        began, done = perf_counter(), Pass()
        changed = {}
        for offset in islice(offsets, PIECES_AT_ONCE):
            view = self._buffer.memory[: min(PIECE_SIZE, file.entry.size - offset)]
            changed[offset] = self._files.look_through(file, offset, view, done)
            if changed[offset] is None:
                deque(offsets, maxlen=0)  # it is stored whole: no thread takes a further piece
        return _Looked(changed, done, perf_counter() - began)

    def _changed(self, file: OpenFile, futures: list[Future[_Looked]]) -> Sequence[int] | None:
        """Numbers of the changed pages of a file; None when one of its pieces does not tell."""
        found: dict[int, Sequence[int] | None] = {}
        for future in futures:
            changed, done, seconds = future.result()
            self._note(done, seconds)
            found.update(changed)
        file.reads.end()
        numbers = array("I")
        for offset in sorted(found):
            piece = found[offset]
            if piece is None:
                return None
            numbers.extend(piece)
        return numbers


def _is_looked_through(entry: "Entry") -> bool:
    return entry.has_base and entry.changed is None and entry.size > WHOLE_FILE
