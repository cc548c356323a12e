"""PieceFormat: one compressed object made of pieces that several threads compress."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from walpy.storage.base import Chunk

PIECE_SIZE = 1 << 20  # bytes; smaller costs ratio and calls, larger costs memory and waiting (measured)


class PieceTail(Protocol):
    """What ends an object: fed every plain piece in order, by one thread at a time; an instance serves one object."""

    def update(self, piece: Chunk) -> None:
        """Take the next plain piece; does not keep it."""
        ...

    def finish(self) -> bytes:
        """Bytes that end the object; call once, after the last piece."""
        ...


class EmptyTail:
    """Tail of a format whose pieces are complete in themselves."""

    def update(self, piece: Chunk) -> None:
        """Nothing to remember."""

    def finish(self) -> bytes:
        """No bytes."""
        return b""


class PieceFormat(NamedTuple):
    """How to write one object as head + encode(piece 1) + encode(piece 2) + ... + tail.

    piece_size: bytes of plain data in a piece; the last may be shorter, none may be longer or empty. There is one.
    head: bytes before the first piece.
    encode: compresses a piece; safe for threads, releases the interpreter lock, independent of other pieces.
    tail: makes the PieceTail of one object, which must see all pieces in their order.
    """

    piece_size: int
    head: bytes
    encode: Callable[[Chunk], bytes]
    tail: Callable[[], PieceTail]
