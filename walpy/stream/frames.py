"""Frames of one size, cut from chunks of any size, and the buffer that their results are written to.

Memory: one frame, and the results of one chunk.
"""

from collections.abc import Iterator

from walpy.storage.base import Chunk


class Frames:
    """Cuts a stream into frames of size bytes; only what a chunk leaves over is copied.

    holds_last: a whole frame is held back until another byte follows, so that whoever ends the stream still has it.
    """

    def __init__(self, size: int, *, holds_last: bool = False) -> None:
        self._size = size
        self._held = int(holds_last)
        self._kept = memoryview(bytearray(size))
        self._kept_size = 0

    def count(self, chunk: Chunk) -> int:
        """How many frames runs(chunk) will give."""
        return max(0, self._kept_size + len(chunk) - self._held) // self._size

    def runs(self, chunk: Chunk) -> Iterator[memoryview]:
        """The frames that a chunk completes, as runs of one or more; each is valid until the next is asked for."""
        rest = memoryview(chunk)
        if self._kept_size:
            missing = rest[: self._size - self._kept_size]
            rest = rest[len(missing) :]
            self._keep(missing)
            if not self._is_complete(len(rest)):
                return
            yield self._kept
            self._kept_size = 0
        whole = max(0, len(rest) - self._held) // self._size * self._size
        if whole:
            yield rest[:whole]
        self._keep(rest[whole:])

    def rest(self) -> memoryview:
        """What is left at the end of the stream: less than a frame; with holds_last, up to one, and none of nothing."""
        return self._kept[: self._kept_size]

    def _is_complete(self, following: int) -> bool:
        return self._kept_size == self._size and following >= self._held

    def _keep(self, part: memoryview) -> None:
        self._kept[self._kept_size : self._kept_size + len(part)] = part
        self._kept_size += len(part)


class Output:
    """Memory for the results of one chunk, used again for the next."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def room(self, size: int) -> memoryview:
        """At least size bytes; what was written to the last ones is gone."""
        if len(self._memory) < size:
            self._memory = bytearray(size)  # a new one: somebody may hold a view of the old
        return memoryview(self._memory)
