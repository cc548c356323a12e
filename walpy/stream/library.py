"""Adapts the compressors and decompressors of libraries to Transform."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from walpy.errors import DataCorrupt
from walpy.storage.base import READ_SIZE, Chunk
from walpy.stream.transform import Transform

Piece = TypeVar("Piece", bytes, Chunk, covariant=True)


class Piecewise(Protocol[Piece]):
    """What hands out in bounded pieces what a stream holds; see Decoder."""

    def pieces(self, chunk: Chunk) -> Iterator[Piece]: ...

    def finish(self) -> Piece: ...


class Decoder(Transform, Protocol):
    """A Transform that can also hand out what it decodes in bounded pieces."""

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """As update, in pieces of about READ_SIZE bytes; to be consumed to its end before the next call."""
        ...

    def finish(self) -> bytes: ...


class Decompressor(Protocol):
    """One compressed member, with the interface of bz2.BZ2Decompressor and lzma.LZMADecompressor."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: Chunk, max_length: int) -> bytes: ...


class LibraryEncoder:
    """A library's compressor as a Transform: head, then what update and finish give."""

    def __init__(self, update: Callable[[Chunk], bytes], finish: Callable[[], bytes], head: bytes = b"") -> None:
        self._update = update
        self._finish = finish
        self._head = head

    def update(self, chunk: Chunk) -> bytes:
        """Compress a chunk."""
        return self._take_head() + self._update(chunk)

    def finish(self) -> bytes:
        """End the stream."""
        return self._take_head() + self._finish()

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head


class MemberDecoder:
    """Decodes one member, or several in a row, and refuses everything else.

    form: what the stream should be, for messages. open_member: a fresh decompressor. errors: what the library raises
    for damaged data. several: whether another member may follow the first. Memory: the library's window, one chunk
    of input, READ_SIZE of output.
    """

    def __init__(
        self,
        form: str,
        open_member: Callable[[], Decompressor],
        errors: tuple[type[Exception], ...],
        *,
        several: bool,
    ) -> None:
        self._form = form
        self._open_member = open_member
        self._errors = errors
        self._several = several
        self._member: Decompressor | None = None
        self._member_count = 0

    def update(self, chunk: Chunk) -> bytes:
        """Decode a chunk. Raises DataCorrupt."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """Decode a chunk, at most READ_SIZE bytes at a time. Raises DataCorrupt."""
        rest = chunk
        while len(rest):
            member = self._member or self._next_member()
            yield self._decompress(member, rest)
            while not member.eof and not member.needs_input:
                yield self._decompress(member, b"")
            rest = (member.unused_data or b"") if member.eof else b""
            self._member = None if member.eof else member

    def finish(self) -> bytes:
        """Nothing more to give. Raises DataCorrupt when the stream is empty or its end is missing."""
        if self._member is not None or not self._member_count:
            raise DataCorrupt(f"the {self._form} data are truncated" if self._member_count else f"no {self._form} data")
        return b""

    def _next_member(self) -> Decompressor:
        if self._member_count and not self._several:
            raise DataCorrupt(f"other data follow the {self._form} data")
        self._member_count += 1
        return self._open_member()

    def _decompress(self, member: Decompressor, data: Chunk) -> bytes:
        try:
            return member.decompress(data, READ_SIZE)
        except self._errors as error:
            where = "" if self._member_count == 1 else f" (member {self._member_count})"
            raise DataCorrupt(f"damaged {self._form} data{where}") from error


def decode(decoder: Piecewise[Piece], chunks: Iterable[Chunk]) -> Iterator[Piece]:
    """Drive chunks through a decoder in bounded memory, whatever they inflate to; yields no empty piece."""
    for chunk in chunks:
        for piece in decoder.pieces(chunk):
            if piece:
                yield piece
    rest = decoder.finish()
    if rest:
        yield rest
