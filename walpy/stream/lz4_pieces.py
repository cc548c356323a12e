"""lz4: one frame whose blocks are compressed by several threads; the same as lz4_frame's but for their sizes."""

from lz4.block import compress
from xxhash import xxh32

from walpy.storage.base import Chunk
from walpy.stream.pieces import PIECE_SIZE, PieceFormat

HEADER = bytes.fromhex("04224d186470b9")  # see lz4_frame
STORED = 1 << 31  # flag in a block's length: its bytes are not compressed
END_MARK = bytes(4)


def pieces(level: int) -> PieceFormat:
    """Every piece a block; level as the library's (0 = fast)."""
    if level:
        raise ValueError("blocks are made with the fast compressor alone")
    return PieceFormat(PIECE_SIZE, HEADER, _block, ContentChecksum)


def _block(piece: Chunk) -> bytes:
    block: bytes = compress(piece, store_size=False)
    if len(block) < len(piece):
        return len(block).to_bytes(4, "little") + block
    return (len(piece) | STORED).to_bytes(4, "little") + piece


class ContentChecksum:
    """End mark and checksum (xxh32) of a frame whose blocks were made elsewhere.

    A hashing library takes half of the time of the one in the lz4 library, and releases the interpreter lock too.
    """

    def __init__(self) -> None:
        self._hash = xxh32()

    def update(self, piece: Chunk) -> None:
        """Hash a piece."""
        self._hash.update(piece)

    def finish(self) -> bytes:
        """End mark and checksum."""
        return END_MARK + self._hash.intdigest().to_bytes(4, "little")
