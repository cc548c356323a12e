"""BytePipe: bytes from one thread to another, bounded, as a PieceSource.

Chunks go over in batches of a piece, since waking a thread costs more than a small chunk is worth.
Memory: HELD_SIZE and a batch, plus the rest of a chunk at each end.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from walpy.storage.base import Chunk
from walpy.stream.pieces import PIECE_SIZE

HELD_SIZE: Final = 4 << 20  # bytes that wait for the reader


class BytePipe:
    """One thread writes, then closes; another one reads. An error of either is raised in the other.

    written_size: bytes so far. seconds_waited: by the writer, for room.
    """

    def __init__(self) -> None:
        self.written_size = 0
        self.seconds_waited = 0.0
        self._batch: list[Chunk] = []  # what the writer has not handed over yet
        self._batch_size = 0
        self._rest: deque[Chunk] = deque()  # what the reader has taken and not used yet
        self._change = threading.Condition()
        self._waiting: deque[tuple[list[Chunk], int]] = deque()  # batches and their bytes
        self._held = 0
        self._is_whole = False
        self._error: BaseException | None = None

    @property
    def size(self) -> int:
        """Nobody knows it beforehand: enough for several threads."""
        return sys.maxsize

    def write(self, chunk: Chunk) -> None:
        """Add bytes, which must not change any more; waits for room. Raises the reader's error."""
        self._batch.append(chunk)
        self._batch_size += len(chunk)
        self.written_size += len(chunk)
        if self._batch_size >= PIECE_SIZE:
            self._hand_over()

    def close(self) -> None:
        """End the stream well. Raises the reader's error."""
        self._hand_over()
        with self._change:
            self._is_whole = True
            self._change.notify_all()

    def fail(self, error: BaseException) -> None:
        """Make the other side raise an error, at its next call."""
        with self._change:
            self._error = self._error or error
            self._change.notify_all()

    def chunks(self) -> Iterator[Chunk]:
        """All bytes, as they come. Raises the writer's error."""
        while self._refill():
            while self._rest:
                yield self._rest.popleft()

    def read_into(self, buffer: memoryview, offset: int) -> int:  # noqa: ARG002 - a stream is read once, in its order
        """Fill a buffer with what comes next; less at the end. Raises the writer's error."""
        filled = 0
        while filled < len(buffer) and self._refill():
            chunk = memoryview(self._rest.popleft()).cast("B")
            count = min(len(chunk), len(buffer) - filled)
            buffer[filled : filled + count] = chunk[:count]
            filled += count
            if count < len(chunk):
                self._rest.appendleft(chunk[count:])
        return filled

    def _hand_over(self) -> None:
        with self._change:
            if self._held >= HELD_SIZE and not self._error:
                began = perf_counter()
                while self._held >= HELD_SIZE and not self._error:
                    self._change.wait()
                self.seconds_waited += perf_counter() - began
            if self._error:
                raise self._error
            self._waiting.append((self._batch, self._batch_size))
            self._held += self._batch_size
            self._change.notify_all()
        self._batch, self._batch_size = [], 0

    def _refill(self) -> bool:
        """Make sure that there is something to read; False at the end."""
        while not self._rest:
            with self._change:
                while not (self._waiting or self._is_whole or self._error):
                    self._change.wait()
                if self._error:
                    raise self._error
                if not self._waiting:
                    return False
                batch, size = self._waiting.popleft()
                self._held -= size
                self._change.notify_all()
            self._rest.extend(chunk for chunk in batch if len(chunk))
        return True
