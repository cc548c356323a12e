"""One object, several threads: its pieces are encoded or decoded side by side, and come out in their order.

Whoever takes the result does his part of the pieces, besides reading, hashing and writing. He is helped by threads that
live as long as the object is under way; the objects under way at one time share the cores, so that in a burst of files
they go without.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, cycle, islice
from types import TracebackType
from typing import Protocol, Self

from walpy.storage.base import Chunk
from walpy.storage.buffers import Buffers
from walpy.stream.codecs import Codec
from walpy.stream.pieces import PieceFormat
from walpy.stream.units import Source, Unit

HELPED_SIZE = 64 << 10  # bytes; a smaller unit is decoded before another thread has taken it over (measured)
KEPT_SIZE = 4 << 20  # bytes of buffers for the next objects
MOST_HELPERS = 3  # more make pieces faster than one thread reads, hashes and writes them


class PieceSource(Protocol):
    """Bytes to encode, as chunks or straight into buffers of the reader's."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def chunks(self) -> Iterable[Chunk]:
        """All of them."""
        ...

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Put the bytes from offset on into a buffer: as many as it takes, fewer at the end, 0 behind it."""
        ...


class Helpers:
    """How many threads may help at this moment: one for each core that no object uses. Safe for threads.

    An object uses one core for itself, and one for each of its helpers: many objects at a time need none.
    """

    def __init__(self, count: int | None = None) -> None:
        """count: how many may help a single object; None: as many as there are further cores."""
        self._free = len(os.sched_getaffinity(0)) if count is None else count + 1  # cores; fewer than 0: objects wait
        self._lock = threading.Lock()
        self._buffers = Buffers(KEPT_SIZE)

    def take(self) -> int:
        """Begin an object; how many threads help it."""
        with self._lock:
            count = max(0, min(self._free - 1, MOST_HELPERS))
            self._free -= count + 1
        return count

    def give_back(self, count: int) -> None:
        """End an object that so many threads have helped."""
        with self._lock:
            self._free += count + 1

    def encode(self, form: PieceFormat, source: PieceSource, piece_size: int) -> Generator[Chunk, None, None]:
        """The object of a source, in form. piece_size: bytes of a piece, at most the form's.

        Close it, if not read to its end, before the source. Raises what the source raises.
        Memory: for each helper, and two more, one piece, plain and encoded.
        """
        yield form.head
        tail = form.tail()
        with _Line(self if source.size > piece_size else _NOBODY) as line:
            ring = [self._buffers.take(min(piece_size, source.size + 1)) for _ in range(line.room)]
            offset = 0
            for buffer in cycle([memoryview(memory) for memory in ring]):
                if line.is_full:
                    yield line.take()
                count = source.read_into(buffer, offset)
                if not count:
                    break
                offset += count
                piece = buffer[:count]
                line.put(form.encode, piece)
                tail.update(piece)  # while a helper is at work on it
            while not line.is_empty:
                yield line.take()
        for memory in ring:  # not after a failure: a helper may look at one still
            self._buffers.give_back(memory)
        yield tail.finish()

    def decode(self, codec: Codec, chunks: Iterable[Chunk]) -> Generator[bytes, None, None]:
        """As codec.decode, side by side where the format allows and it is of use. Raises DataCorrupt.

        Memory: for each helper, and two more, one piece (of up to 4 MiB, in archives of WAL-G), encoded and decoded.
        """
        source = Source(chunks)
        units = codec.units if source.peek(1) else None  # an empty object is for the decoder to judge
        if units is not None:
            yield from self._decode_units(units(source))
        if units is None or source.peek(1):
            yield from codec.decode(source)

    def _decode_units(self, units: Iterator[Unit]) -> Generator[bytes, None, None]:
        first = list(islice(units, 1))
        is_helped = any(len(unit.data) >= HELPED_SIZE for unit in first)
        under_way: deque[Unit] = deque()
        with _Line(self if is_helped else _NOBODY) as line:
            for unit in chain(first, units):
                if line.is_full:
                    yield from _checked(under_way.popleft(), line.take())
                under_way.append(unit)
                line.put(unit.decode, unit.data)
            while under_way:
                yield from _checked(under_way.popleft(), line.take())


_NOBODY = Helpers(0)


def _checked(unit: Unit, plain: bytes) -> Generator[bytes, None, None]:
    unit.check(plain)
    if plain:
        yield plain


class _Task:
    """One call, made once, in any thread."""

    def __init__(self, function: Callable[..., bytes], argument: object) -> None:
        self._function = function
        self._argument = argument
        self._value = b""
        self._error: BaseException | None = None
        self._under_way = threading.Lock()
        self._under_way.acquire()

    def run(self) -> None:
        """Make it in the consumer's thread. Raises what it raises."""
        self._value = self._function(self._argument)
        self._under_way.release()

    def run_for_another(self) -> None:
        """Make it in a helper: what it raises, result() will."""
        try:
            self._value = self._function(self._argument)
        except BaseException as error:  # noqa: BLE001 - the worker boundary
            self._error = error
        self._under_way.release()

    def is_finished(self) -> bool:
        return not self._under_way.locked()

    def result(self) -> bytes:
        """What it gave; waits until it is finished. Raises what it raised."""
        with self._under_way:
            if self._error is not None:
                raise self._error
            return self._value


class _Line:
    """Calls in a row, made by helpers and by the consumer; a context manager, left when nothing of it is wanted more.

    room: how many calls, finished or not, it holds at most.
    """

    def __init__(self, helpers: Helpers) -> None:
        self._helpers = helpers
        self._count = 0
        self.room = 1
        self._tasks: deque[_Task] = deque()  # all, in their order
        self._waiting: deque[_Task] = deque()  # those that nobody has begun
        self._posted = threading.Semaphore(0)
        self._is_over = False

    @property
    def is_full(self) -> bool:
        return len(self._tasks) == self.room

    @property
    def is_empty(self) -> bool:
        return not self._tasks

    def put(self, function: Callable[..., bytes], argument: object) -> None:
        """Add a call at the end."""
        task = _Task(function, argument)
        self._tasks.append(task)
        self._waiting.append(task)
        self._posted.release()

    def take(self) -> bytes:
        """Result of the first call; makes further ones until it is there. Raises what the call raised."""
        task = self._tasks.popleft()
        while not task.is_finished():
            try:
                other = self._waiting.popleft()
            except IndexError:
                break
            other.run()
        return task.result()

    def __enter__(self) -> Self:
        self._count = self._helpers.take()
        self.room = self._count + 2 if self._count else 1
        try:
            for number in range(self._count):
                threading.Thread(target=self._help, name=f"piece-{number}", daemon=True).start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        for _ in range(self._count):
            self._posted.release()
        self._helpers.give_back(self._count)

    def _help(self) -> None:
        while True:
            self._posted.acquire()
            if self._is_over:
                return
            try:
                task = self._waiting.popleft()
            except IndexError:
                continue  # the consumer was faster
            task.run_for_another()
