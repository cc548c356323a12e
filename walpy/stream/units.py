"""Units of a compressed object that decode independently of each other, and the bytes to cut them from."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from walpy.storage.base import Chunk


class Unit(NamedTuple):
    """Some compressed bytes that decode on their own.

    decode: runs in any thread, raises DataCorrupt. check: runs in the reader's thread, in order, with what decode gave;
    raises DataCorrupt.
    """

    data: bytes
    decode: Callable[[bytes], bytes]
    check: Callable[[bytes], object]


class Source:
    """Bytes of an object out of chunks of any size; iterating gives what is left."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def take(self, count: int) -> bytes:
        """The next bytes; fewer than count at the end."""
        parts = []
        while count and self._refilled():
            part = self._rest[:count]
            parts.append(bytes(part))
            self._rest = self._rest[len(part) :]
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self, count: int) -> bytes:
        """The same without moving on; for a few bytes."""
        if len(self._rest) < count:
            start = self.take(count)
            self._rest = memoryview(start + bytes(self._rest))
        return bytes(self._rest[:count])

    def __iter__(self) -> Iterator[Chunk]:
        while self._refilled():
            rest, self._rest = self._rest, memoryview(b"")
            yield rest

    def _refilled(self) -> bool:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._rest = memoryview(chunk)
        return True


def nothing_to_check(_: bytes) -> None:
    """Check of units that carry their own checksum, or none."""
