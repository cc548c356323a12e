"""The files of one partition while they are read: whatever happens to them meanwhile, the tar stays whole.

The header says the size that the walk saw: a file that grew is cut to it, one that shrank is filled up with zeros
(recovery replays what happened to it), one that is gone is left out. Of a file that an earlier backup holds, the pages
that changed since are enough, unless they take as much room.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from walpy.backup import tar
from walpy.backup.cut import Blocks, Item, OpenFile, Span, WholeFile
from walpy.backup.increment import encode_head, member_size
from walpy.backup.members import tar_header
from walpy.backup.page_cache import read_part, read_whole
from walpy.errors import BackupError
from walpy.postgres.page import changed_blocks

if TYPE_CHECKING:
    from walpy.postgres.entry import Entry
    from walpy.postgres.verifier import PageVerifier
    from walpy.storage.limit import RateLimiter


@dataclass(frozen=True, slots=True)
class Pages:
    """Data pages of a cluster: their size in bytes, which checksums to verify, and which pages count as changed.

    verify_before: those of pages last changed before this position in the WAL, where the backup starts; None: none.
    changed_since: those last changed at or after this position, where the backup's base started.
    """

    size: int
    verify_before: int | None = None
    changed_since: int = 0


class Pass:
    """What one thread did for one piece. size: bytes of file data, also of files that were gone; the rest: seconds."""

    __slots__ = ("limited", "size", "verifying")

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.verifying = 0.0
        self.limited = 0.0


class SourceFiles:
    """Reads the files of one partition; safe for threads.

    vanished: names of files that were gone. increments: bytes that stand for a file, by its name, where its changed
    pages do. disk: the limit of reading, whose waits end() ends.
    """

    def __init__(self, pages: Pages, disk: "RateLimiter | None") -> None:
        self.vanished: set[str] = set()
        self.increments: dict[str, int] = {}
        self._pages = pages
        self._disk = disk
        self._lock = threading.Lock()  # of what the threads find out
        self._verifier = _verifier(pages)
        self._ended = threading.Event()
        self._open_files: list[OpenFile] = []

    def end(self) -> None:
        """No more reading is wanted: waits for the limit end."""
        self._ended.set()

    def corrupt(self) -> dict[str, list[int]]:
        """Numbers of blocks with wrong checksums, by name, after everything was read. Raises BackupError."""
        if self._verifier is None:
            return {}
        try:
            self._verifier.finish()
        except OSError as error:
            raise _not_verified(error) from error
        return self._verifier.corrupt

    def close(self) -> None:
        """Close what is open, after a failure; no thread reads any more."""
        for file in self._open_files:
            file.close()

    def open(self, entry: "Entry") -> OpenFile | None:
        """Open a large file, to read it in parts; None when it is gone. Raises BackupError."""
        descriptor = self._descriptor(entry)
        if descriptor is None:
            return None
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # see page_cache
        file = OpenFile(entry, descriptor)
        self._open_files = [known for known in self._open_files if known.is_open]
        self._open_files.append(file)
        return file

    def fill(self, item: Item, room: memoryview, done: Pass) -> int:
        """Put an item at the beginning of room; how many bytes it took. Raises BackupError."""
        if isinstance(item, WholeFile):
            return self._fill_whole(item, room, done)
        if isinstance(item, bytes):
            room[: len(item)] = item
            return len(item)
        if isinstance(item, Blocks):
            return self._fill_blocks(item, room, done)
        self._fill_span(item, room[: item.length], done)
        return item.length

    def _fill_whole(self, item: WholeFile, room: memoryview, done: Pass) -> int:
        entry, header = item
        size = entry.size
        done.size += size
        descriptor = self._descriptor(entry)
        if descriptor is None:
            return 0
        start = len(header)
        end = start + size
        try:
            if size:
                view = room[start:end]
                self._wait_for_limit(size, done)
                try:
                    count = read_whole(descriptor, view)
                except OSError as error:
                    raise _unreadable(entry, 0, error) from error
                self._take(entry, 0, view, count, done)
                if entry.has_base and (increment := self._increment(entry, view)):
                    header, end = increment[0], start + len(increment[1])
                    room[start:end] = increment[1]
        finally:
            os.close(descriptor)
        size = end - start
        room[:start] = header
        padding = tar.padding(size)
        room[end : end + padding] = bytes(padding)
        return end + padding

    def _increment(self, entry: "Entry", content: memoryview) -> tuple[bytes, bytes] | None:
        """Header and data of what stands for a file with this content; None when it is stored whole."""
        size = self._pages.size
        found = changed_blocks(content, 0, page_size=size, since=self._pages.changed_since)
        changed = self.decide(entry, found)
        if changed is None:
            return None
        pages = [content[number * size : (number + 1) * size] for number in changed]
        data = b"".join([encode_head(entry.size, changed), *pages])
        return tar_header(entry._replace(size=len(data))), data

    def decide(self, entry: "Entry", changed: Sequence[int] | None) -> Sequence[int] | None:
        """The changed pages (None: nobody knows them) when they are to stand for a file, which is noted; else None."""
        if changed is None:
            return None
        size = member_size(len(changed), self._pages.size)
        if size >= entry.size:
            return None
        with self._lock:
            self.increments[entry.name] = size
        return changed

    def _fill_span(self, span: Span, view: memoryview, done: Pass) -> None:
        file, offset, size = span
        done.size += size
        try:
            self._read(file, offset, view, done)
        finally:
            file.release()

    def _fill_blocks(self, blocks: Blocks, room: memoryview, done: Pass) -> int:
        """Pages that were counted when they were found."""
        file, numbers = blocks
        size, filled = self._pages.size, 0
        try:
            for first, count in _runs(numbers):
                view = room[filled : filled + count * size]
                self._read(file, first * size, view, done, in_order=False)
                filled += len(view)
        finally:
            file.release()
        return filled

    def look_through(self, file: OpenFile, offset: int, view: memoryview, done: Pass) -> "Sequence[int] | None":
        """Numbers of the changed pages in a part of a large file, which view takes; None when they do not tell.

        Raises BackupError.
        """
        done.size += len(view)
        self._read(file, offset, view, done, is_stored=False)
        size = self._pages.size
        return changed_blocks(view, offset // size, page_size=size, since=self._pages.changed_since)

    def _read(
        self,
        file: OpenFile,
        offset: int,
        view: memoryview,
        done: Pass,
        *,
        in_order: bool = True,
        is_stored: bool = True,
    ) -> None:
        self._wait_for_limit(len(view), done)
        try:
            count = file.reads.read(view, offset) if in_order else read_part(file.descriptor, view, offset)
        except OSError as error:
            raise _unreadable(file.entry, offset, error) from error
        self._take(file.entry, offset, view, count, done, is_stored=is_stored)

    def _take(
        self,
        entry: "Entry",
        offset: int,
        view: memoryview,
        count: int,
        done: Pass,
        *,
        is_stored: bool = True,
    ) -> None:
        """Complete what was read, count bytes of view, and verify what is stored."""
        if count < len(view):
            view[count:] = bytes(len(view) - count)
        if is_stored and self._verifier is not None:
            began = perf_counter()
            try:
                self._verifier.add(entry.name, entry.path, offset, view)
            except OSError as error:
                raise _not_verified(error) from error
            done.verifying += perf_counter() - began

    def _wait_for_limit(self, size: int, done: Pass) -> None:
        if self._disk is not None:
            began = perf_counter()
            self._disk.acquire(size, self._ended)
            done.limited += perf_counter() - began

    def _descriptor(self, entry: "Entry") -> int | None:
        try:
            return os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self.vanished.add(entry.name)
            return None
        except OSError as error:
            raise BackupError(f"cannot open {entry.path!r}: {error.strerror}") from error


def _verifier(pages: Pages) -> "PageVerifier | None":
    if pages.verify_before is None:
        return None
    from walpy.postgres.verifier import PageVerifier  # imports numpy, for --verify alone

    return PageVerifier(pages.size, pages.verify_before)


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and count of each run of numbers that follow each other."""
    first = count = 0
    for number in numbers:
        if count and number == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = number, 1
    if count:
        yield first, count


def _unreadable(entry: "Entry", offset: int, error: OSError) -> BackupError:
    return BackupError(f"cannot read {entry.path!r} at offset {offset}: {error.strerror}")


def _not_verified(error: OSError) -> BackupError:
    return BackupError(f"cannot read {error.filename!r} again, to verify it: {error.strerror}")
