"""Takes a stream of packets apart, in memory that no claimed length can enlarge."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from walpy.errors import DataCorrupt
from walpy.openpgp.packets import ENDLESS, parse_header, parse_length
from walpy.storage.base import Chunk

LARGEST_COLLECTED = 64 << 10  # bytes of a packet that must be in memory as a whole: session keys
SMALL = 4 << 10  # bytes; shorter parts of a body are put together, as they may have one byte each


class Sink(Protocol):
    """Takes a packet's body, chunk by chunk, and gives what it makes of it; keeps no chunk."""

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk; to be consumed to its end before the next call. Raises DataCorrupt."""
        ...

    def close(self) -> Iterator[bytes]:
        """The body has ended; gives the rest. Raises DataCorrupt when it is not complete."""
        ...


class PartsSink(ABC):
    """A Sink that need not have the parts of a body put together."""

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk."""
        return self.feed_parts([data])

    @abstractmethod
    def feed_parts(self, parts: Sequence[Chunk]) -> Iterator[bytes]:
        """Take chunks in a row, as feed. Raises DataCorrupt."""

    @abstractmethod
    def close(self) -> Iterator[bytes]:
        """The body has ended, see Sink."""


class PacketStream:
    """A Sink for packets in a row: gives each one's body to a sink of its own.

    open_packet: makes that sink from the packet's tag; it also judges the order of packets. Memory: one chunk.
    """

    def __init__(self, open_packet: Callable[[int], Sink]) -> None:
        self._open_packet = open_packet
        self._sink: Sink | None = None
        self._head = bytearray()  # of a header or a length that has not come whole
        self._left = 0  # bytes of the body up to its end or next length
        self._partial = False
        self._endless = False

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take packets apart. A body comes in one piece for each chunk, however many lengths cut it.

        To a PartsSink it comes as it lies in the chunk.
        """
        view = memoryview(data)
        position = 0
        parts = Parts()
        while position < len(view):
            if self._left:
                part = view[position : position + self._left]
                position += len(part)
                self._left -= len(part)
                parts.add(part)
            elif not self._take_head(view[position]):
                position += 1
                continue
            else:
                position += 1
            if self._sink is not None and not self._left and not self._partial:
                yield from self._end(parts)
        if self._sink is not None:
            yield from parts.give(self._sink)

    def close(self) -> Iterator[bytes]:
        """End the last packet, when its length is that of what encloses it. Raises DataCorrupt for a truncated one."""
        if self._head or (self._sink is not None and not self._endless):
            raise DataCorrupt("the OpenPGP data are truncated")
        yield from self._end(Parts())

    def _end(self, parts: "Parts") -> Iterator[bytes]:
        sink, self._sink = self._sink, None
        if sink is not None:
            yield from parts.give(sink)
            yield from sink.close()

    def _take_head(self, octet: int) -> bool:
        """Take a byte of a header or length; whether that is complete."""
        self._head.append(octet)
        try:
            if self._partial:
                length = parse_length(bytes(self._head))
            else:
                header = parse_header(bytes(self._head))
                length = header.length if header else None
        except ValueError as error:
            raise DataCorrupt(f"not an OpenPGP message: {error}") from None
        if length is None:
            return False
        if not self._partial and header is not None:
            self._sink = self._open_packet(header.tag)
        self._head.clear()
        self._left, self._partial = length.size, length.partial
        self._endless = length.size == ENDLESS
        return True


class Parts:
    """Parts of one body within one chunk. Memory: a view of each, and what is SMALL of them."""

    def __init__(self) -> None:
        self._parts: list[Chunk] = []
        self._small = bytearray()

    def add(self, part: memoryview) -> None:
        """Take the next part."""
        if len(part) < SMALL:
            self._small += part
            return
        self._end_small()
        self._parts.append(part)

    def give(self, sink: Sink) -> Iterator[bytes]:
        """Give them to a sink; then there are none."""
        self._end_small()
        parts, self._parts = self._parts, []
        if len(parts) > 1 and isinstance(sink, PartsSink):
            yield from sink.feed_parts(parts)
        elif parts:
            yield from sink.feed(parts[0] if len(parts) == 1 else b"".join(parts))

    def _end_small(self) -> None:
        if self._small:
            self._parts.append(bytes(self._small))
            self._small.clear()


class Skipped:
    """Sink of a packet that says nothing."""

    def feed(self, data: Chunk) -> Iterator[bytes]:  # noqa: ARG002
        """Take a chunk."""
        return iter(())

    def close(self) -> Iterator[bytes]:
        """Nothing to give."""
        return iter(())


class Collected:
    """Sink of a packet that is needed as a whole. done: called with its body, of at most LARGEST_COLLECTED bytes."""

    def __init__(self, done: Callable[[bytes], None]) -> None:
        self._done = done
        self._body = bytearray()

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk. Raises DataCorrupt for a packet that is too large to be true."""
        self._body += data
        if len(self._body) > LARGEST_COLLECTED:
            raise DataCorrupt("an OpenPGP session key packet is too large")
        return iter(())

    def close(self) -> Iterator[bytes]:
        """Hand the body over."""
        self._done(bytes(self._body))
        return iter(())
