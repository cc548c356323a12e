"""The parts of an upload to S3 or Azure: cutting a stream into reused buffers, and handing a buffer to the SDK.

Parts are held in memory only.
"""

import hashlib
import mmap
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from threading import Event, Semaphore
from typing import NamedTuple

from walpy.errors import StorageError
from walpy.storage.base import Chunk
from walpy.storage.buffers import Buffers

MOST_PARTS = 10_000  # S3's limit for one object; Azure's is 50,000
EVEN_PARTS = 1_000  # parts of the first size; later ones grow
LARGEST_OBJECT = 5 << 40  # bytes

# A larger piece saves system calls and hand-overs of the interpreter lock; a smaller one can still be sent within the
# connection's time-out on a slow line: 256 KiB in 10 s.
PIECE_SIZE = 256 << 10

# From this size on the server is asked before a body is sent (Expect: 100-continue), so that its refusal arrives
# instead of a broken connection. WAL-G's limit.
ASK_FIRST_SIZE = 2 << 20


class Part(NamedTuple):
    """One part of an object: its number from 1, its buffer, and how many bytes of that are in use."""

    number: int
    buffer: mmap.mmap
    size: int


class Cancelled(StorageError):
    """Another part of the same upload has failed."""


class PartSlots:
    """Buffers of parts on their way, at most count at a time: take waits for one. Safe for threads."""

    def __init__(self, buffers: Buffers, count: int) -> None:
        self._buffers = buffers
        self._free = Semaphore(count)

    def take(self, size: int) -> mmap.mmap:
        """A buffer for a part of at most size bytes."""
        self._free.acquire()
        return self._buffers.take(size)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Hand back the buffer of a part that is stored, or was given up."""
        self._buffers.give_back(buffer)
        self._free.release()


def part_size(number: int, first_size: int) -> int:
    """Size of a part by its number (from 1), such that MOST_PARTS hold LARGEST_OBJECT.

    The first EVEN_PARTS have first_size bytes (8 GiB in all at 8 MiB); each later one is larger by the same step.
    """
    growing = MOST_PARTS - EVEN_PARTS
    missing = max(0, LARGEST_OBJECT - MOST_PARTS * first_size)
    step = -(-missing // (growing * (growing + 1) // 2))
    return first_size + max(0, number - EVEN_PARTS) * step


def gather(
    chunks: Iterable[Chunk], buffer: mmap.mmap, note: Callable[[Chunk], object]
) -> tuple[int, Iterator[Chunk] | None]:
    """Fill a buffer with a stream; how many bytes it takes, and None when that is all of the stream.

    Otherwise the whole stream, what is in the buffer first; the buffer's memory is free again once that is passed.
    note hears of every chunk that goes into the buffer.
    """
    used = 0
    remaining = iter(chunks)
    for chunk in remaining:
        if used + len(chunk) > len(buffer):
            return used, chain(_spilled(buffer, used), [chunk], remaining)
        buffer[used : used + len(chunk)] = chunk
        note(chunk)
        used += len(chunk)
    return used, None


def _spilled(buffer: mmap.mmap, used: int) -> Iterator[Chunk]:
    yield memoryview(buffer)[:used]
    buffer.madvise(mmap.MADV_DONTNEED)


def cut(
    chunks: Iterable[Chunk],
    first_size: int,
    take: Callable[[int], mmap.mmap],
    give_back: Callable[[mmap.mmap], None],
) -> Iterator[tuple[Part, bool]]:
    """Parts of a stream, each with whether it is the last; always at least one, which may be empty.

    A part comes out when it is full and more bytes follow. take(size) gives the buffer of the next part, and may wait
    for one; the buffer belongs to whoever takes the part. give_back(buffer) gets the one that an error left half full.
    """
    number, used = 1, 0
    buffer: mmap.mmap | None = take(part_size(1, first_size))
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while len(view):
                if buffer is not None and used == len(buffer):
                    part, buffer = Part(number, buffer, used), None
                    yield part, False
                    number, used = number + 1, 0
                if buffer is None:
                    buffer = take(_next_size(number, first_size))
                count = min(len(view), len(buffer) - used)
                buffer[used : used + count] = view[:count]
                used += count
                view = view[count:]
        if buffer is not None:
            part, buffer = Part(number, buffer, used), None
            yield part, True
    finally:
        if buffer is not None:
            give_back(buffer)


def _next_size(number: int, first_size: int) -> int:
    if number > MOST_PARTS:
        raise StorageError(
            f"one object of more than {LARGEST_OBJECT} bytes, or {MOST_PARTS} parts of {first_size} bytes and above"
        )
    return part_size(number, first_size)


class PartBody:
    """A part as the file that the SDK sends, and sends again; reading fails once cancel is set.

    read() may give more than it is asked for: PIECE_SIZE at least. The HTTP library asks for 16 KiB at a time.
    """

    def __init__(self, part: Part, cancel: Event) -> None:
        self._view = memoryview(part.buffer)[: part.size]
        self._cancel = cancel
        self._position = 0

    def __len__(self) -> int:
        return len(self._view)

    def read(self, size: int = -1) -> memoryview:
        """The next bytes; none at the end."""
        if self._cancel.is_set():
            raise Cancelled("the upload was cancelled")
        count = len(self._view) if size < 0 else max(size, PIECE_SIZE)
        piece = self._view[self._position : self._position + count]
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset from the start (whence 0), the current position (1) or the end (2)."""
        self._position = (0, self._position, len(self._view))[whence] + offset
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position


def content_md5(body: "bytes | bytearray | memoryview") -> str:
    """Value of the Content-MD5 header; no use of MD5 for security, so it works on FIPS systems as well."""
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
