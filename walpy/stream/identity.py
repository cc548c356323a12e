"""none: bytes as they are."""

from collections.abc import Iterator

from walpy.storage.base import Chunk
from walpy.stream.library import Decoder
from walpy.stream.pieces import PIECE_SIZE, EmptyTail, PieceFormat
from walpy.stream.transform import Transform
from walpy.stream.units import Source, Unit, nothing_to_check


def encoder(level: int) -> Transform:
    """Changes nothing."""
    del level
    return Identity()


def decoder() -> Decoder:
    """Changes nothing, and cannot notice anything either."""
    return Identity()


def pieces(level: int) -> PieceFormat:
    """Pieces as they are."""
    del level
    return PieceFormat(PIECE_SIZE, b"", bytes, EmptyTail)


def units(source: Source) -> Iterator[Unit]:
    """Pieces as they are."""
    while piece := source.take(PIECE_SIZE):
        yield Unit(piece, bytes, nothing_to_check)


class Identity:
    """Gives back every chunk."""

    def update(self, chunk: Chunk) -> bytes:
        """The chunk, copied when it is a view."""
        return bytes(chunk)

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """The chunk alone."""
        yield bytes(chunk)

    def finish(self) -> bytes:
        """Nothing."""
        return b""
